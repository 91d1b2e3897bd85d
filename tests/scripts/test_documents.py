"""Every block of shell in the documents does what it says when it is pasted; links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.scripts.document_blocks import (
    TREATMENTS,
    Block,
    all_blocks,
    blocks_of_docstring,
    blocks_of_markdown,
    filled,
    inline_commands,
    markdown_documents,
    paste,
)
from tests.scripts.starting import ROOT
from tools import sbd
from tools.benchmark.__main__ import BenchmarkConfig
from tools.check_dataset.__main__ import CheckConfig
from tools.convert import __main__ as convert
from tools.download import __main__ as download
from tools.download.sources import find_source
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.make_tfrecord.__main__ import MakeTFRecordConfig
from tools.results import __main__ as results

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


def parse_demo(arguments: Sequence[str]) -> None:
    assert not arguments


# What python is given -> a function that takes the arguments after it, and raises where they are not understood.
PARSERS: dict[str, Callable[[Sequence[str]], object]] = {
    "train.py": flags_of(TrainConfig),
    "predict.py": flags_of(PredictConfig),
    "inference.py": flags_of(InferenceConfig),
    "-m tools.setup.audit": parse_audit,
    "-m tools.benchmark": flags_of(BenchmarkConfig),
    "-m tools.check_dataset": flags_of(CheckConfig),
    "-m tools.convert": convert._parse,
    "-m tools.demo": parse_demo,
    "-m tools.download": parse_download,
    "-m tools.make_tfrecord": flags_of(MakeTFRecordConfig),
    "-m tools.results": flags_of(results.ResultsConfig),
    "-m tools.sbd": sbd._parse,
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
        elif words[-1] == "--help":
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
        filled(Block("x", "python train.py --data_dir <camvid>\n"), TREATMENTS["train.py", SHELL[1].text.strip()])


@pytest.mark.parametrize("path", markdown_documents(), ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http", "#", "mailto:"))]
    assert links or path.name != "README.md"
    for link in links:
        assert (path.parent / link.partition("#")[0]).exists(), link


def test_flags_in_comments_of_recipes_exist():
    known = {f"--{name}" for name in TrainConfig.__dataclass_fields__}
    recipes = sorted((ROOT / "configs").rglob("*.yaml"))
    assert recipes
    for recipe in recipes:
        comments = [line for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        named = set(re.findall(r"--\w+", " ".join(comments)))
        assert named <= known, recipe
