"""Every block of shell in the documents does what it says when it is pasted; links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from tests.scripts.document_blocks import (
    TREATMENTS,
    Block,
    Treatment,
    all_blocks,
    blocks_of_docstring,
    blocks_of_markdown,
    filled,
    inline_commands,
    markdown_documents,
    paste,
)
from tests.scripts.starting import ROOT
from tools import cityscapes, sbd
from tools.benchmark.flags import BenchmarkConfig
from tools.check_dataset.__main__ import CheckConfig
from tools.convert import __main__ as convert
from tools.demo import DemoConfig
from tools.download import __main__ as download
from tools.download.sources import find_source
from tools.export.flags import ExportConfig
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.import_annotations import __main__ as import_annotations
from tools.launch.command import parse_command_line as parse_launch
from tools.make_tfrecord.__main__ import MakeTFRecordConfig
from tools.prune.flags import PruneConfig
from tools.report import __main__ as report
from tools.results import __main__ as results
from tools.serve.flags import ServeConfig

BLOCKS = all_blocks()
SHELL = [block for block in BLOCKS if not TREATMENTS.get(block.key) or not TREATMENTS[block.key].no_shell]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def flags_of(config: type) -> Callable[[Sequence[str]], object]:
    return lambda arguments: parse_flags(config, arguments, "test")


def parse_download(arguments: Sequence[str]) -> None:
    options = download._parse(arguments)
    if options.name is not None:
        find_source(options.name)


def parse_audit(arguments: Sequence[str]) -> None:
    assert arguments
    for path in arguments:
        assert (ROOT / path).is_file()


def parse_virtual_environment(arguments: Sequence[str]) -> None:
    [_folder] = arguments


# What python is given -> a function that takes the arguments after it, and raises where they are not understood.
PARSERS: dict[str, Callable[[Sequence[str]], object]] = {
    "train.py": flags_of(TrainConfig),
    "predict.py": flags_of(PredictConfig),
    "inference.py": flags_of(InferenceConfig),
    "-m tools.setup.audit": parse_audit,
    "-m tools.benchmark": flags_of(BenchmarkConfig),
    "-m tools.check_dataset": flags_of(CheckConfig),
    "-m tools.cityscapes": cityscapes._parse,
    "-m tools.convert": convert._parse,
    "-m tools.demo": flags_of(DemoConfig),
    "-m tools.download": parse_download,
    "-m tools.export": flags_of(ExportConfig),
    "-m tools.import_annotations": import_annotations._parse,
    "-m tools.launch": parse_launch,
    "-m tools.make_tfrecord": flags_of(MakeTFRecordConfig),
    "-m tools.prune": flags_of(PruneConfig),
    "-m tools.report": report._parse,
    "-m tools.results": flags_of(results.ResultsConfig),
    "-m tools.sbd": sbd._parse,
    "-m tools.serve": flags_of(ServeConfig),
    "-m tools.setup.virtual_environment": parse_virtual_environment,
}


def understand(call: Sequence[str]) -> None:
    """Has the program that is called parse its arguments."""
    program, *words = call
    if program == "make":
        understand_make(words)
        return
    assert program == "python"
    count = 2 if words[0] == "-m" else 1
    PARSERS[" ".join(words[:count]).removeprefix("./")](words[count:])


def understand_make(words: Sequence[str]) -> None:
    for word in words:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{re.escape(name)} \?= ?" if is_variable else rf"^{re.escape(name)}:"
        assert re.search(pattern, MAKEFILE, re.MULTILINE), word


def test_every_block_is_treated_and_no_other():
    untreated = [block for block in BLOCKS if block.key not in TREATMENTS]
    assert not untreated, f"say in TREATMENTS what is done with {untreated}"
    assert not TREATMENTS.keys() - {block.key for block in BLOCKS}
    for key, treatment in TREATMENTS.items():
        assert sum(map(bool, (treatment.run_by, treatment.not_run, treatment.no_shell))) == 1, key


def test_tests_that_run_blocks_exist():
    for treatment in TREATMENTS.values():
        if treatment.run_by:
            file, name = treatment.run_by.split(": ")
            assert f"def {name}(" in Path(__file__).with_name(file).read_text(encoding="utf-8")


@pytest.mark.parametrize("indentation", ["", "    "], ids=["shown", "source"])
@pytest.mark.parametrize("block", SHELL, ids=lambda block: f"{block.document}-{block.text[:30].strip()}")
def test_a_block_can_be_pasted(block, indentation, tmp_path, monkeypatch):
    """As it is shown, and from the source with its indentation."""
    text = re.sub("(?m)^", indentation, filled(block, TREATMENTS[block.key]).removesuffix("\n")) + "\n"
    calls = paste(text, tmp_path)
    assert calls
    monkeypatch.chdir(ROOT)  # some name files of configs/
    for call in calls:
        understand(call)


@pytest.mark.parametrize("command", inline_commands())
def test_a_command_in_running_text_is_understood(command, tmp_path, monkeypatch):
    calls = paste(command.replace("...", "") + "\n", tmp_path)
    monkeypatch.chdir(ROOT)
    for call in calls:
        program, *words = call
        if program == "make":
            understand_make(words)
        elif words[0] == "-m" and len(words) == 2:  # the name of a tool, in place of a command
            path = ROOT / words[1].replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
        elif "--help" in words:
            with pytest.raises(SystemExit, match="^0$"):
                understand(call)
        else:
            understand(call)


def test_what_counts_as_a_block():
    text = "    first\n    line\n\ntext\n    no block, as it goes on\n\n- item\n\n    second\n"
    assert [block.text for block in blocks_of_markdown("x", text)] == ["first\nline\n", "second\n"]
    source = '"""About python.\n\npython a.py\npython b.py  # b\n\nmake c\n"""\npython = 1\n'
    assert [block.text for block in blocks_of_docstring("x", source)] == [
        "python a.py\npython b.py  # b\n", "make c\n"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "cat > a.txt      # no end mark, and what follows becomes content\n1 2\npython train.py\n",
        "python inference.py   (asks)\n",
        "cat > a.txt <<'END'\npython train.py\n",
        "python 'train.py\n",
        "missing-program\n",
    ],
)
def test_a_block_that_swallows_itself_fails(text, tmp_path):
    with pytest.raises(AssertionError):
        assert paste(text, tmp_path) == [["python", "train.py"]]


def test_a_placeholder_without_stand_in_fails():
    with pytest.raises(ValueError, match="<camvid> has no stand-in"):
        filled(Block("x", "python train.py --data_dir <camvid>\n"), Treatment(not_run="needs CamVid"))


@pytest.mark.parametrize("path", markdown_documents(), ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path):
    """To a file, and to a heading of it where the link names one."""
    links = relative_links(path.read_text(encoding="utf-8"))
    assert links or path.name != "README.md"
    for link in links:
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def relative_links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http", "mailto:"))]


def anchors(text: str) -> set[str]:
    """The anchors of the headings in Markdown, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_anchors_are_those_of_headings():
    text = "# The reference's open questions, in a short run\n\n```python\n# no heading\n```\n\n## tools/\n"
    assert anchors(text) == {"the-references-open-questions-in-a-short-run", "tools"}


def test_links_of_a_document_are_found():
    text = "[a](b.md) and [c](d.md#e), [f](#g), [h](https://i.org), ![j](k.png)"
    assert relative_links(text) == ["b.md", "d.md#e", "#g", "k.png"]


def test_tests_that_documents_name_exist():
    """Files and functions; `test_a_name...` is the beginning of a name."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    files = {path.name for path in paths}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    functions = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    for document in markdown_documents():
        spans = re.findall(r"`([^`]+)`", document.read_text(encoding="utf-8"))
        for name, ending in [
            found for span in spans for found in re.findall(r"(?<![\w-])(test_\w+)(\.py|\.\.\.)?", span)
        ]:
            if ending == ".py":
                assert name + ending in files, (document.name, name)
            else:
                assert name in functions or (ending and any(f.startswith(name) for f in functions)), name
        for path in [
            found for span in spans for found in re.findall(r"\b(?:tests|tools|model|database)/[\w/]+\.py", span)
        ]:
            assert (ROOT / path).is_file(), (document.name, path)


def test_every_document_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {link.partition("#")[0] for link in relative_links(readme)}
    documents = {path.relative_to(ROOT).as_posix() for path in markdown_documents()}
    assert documents - {"README.md"} <= linked


def test_readme_fits_on_a_few_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_versions_of_pre_commit_are_the_locked_ones():
    lock = (ROOT / "lock" / "dev.txt").read_text(encoding="utf-8")
    ruff, mypy = (re.search(rf"^{name}==(\S+)", lock, re.MULTILINE)[1] for name in ("ruff", "mypy"))
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository.get("rev") for repository in hooks] == [f"v{ruff}", None]
    assert [hook["id"] for repository in hooks for hook in repository["hooks"]] == ["ruff-check", "ruff-format", "mypy"]
    assert hooks[1]["hooks"][0]["name"] == f"mypy {mypy}"


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert [reference["year"] for reference in citation["references"]] == [2017, 2018]


def test_flags_in_comments_of_recipes_exist():
    known = {f"--{name}" for name in TrainConfig.__dataclass_fields__}
    recipes = sorted((ROOT / "configs").rglob("*.yaml"))
    assert recipes
    for recipe in recipes:
        comments = [line for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        named = set(re.findall(r"--\w+", " ".join(comments)))
        assert named <= known, recipe
