"""The commands in the documents: blocks of shell in Markdown and in docstrings, and what they call once pasted.

A block is pasted into bash in a folder of its own, where `python` and `make` only note how they were called.
`TREATMENTS` says of each block what stands in for its placeholders and why its commands cannot run here, or which test
runs them. A block that is not listed there is a fault.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.scripts.starting import ROOT

_CALLS = "calls"
_INLINE = re.compile(r"`((?:python|make) [^`]*)`")
# As a placeholder is written, and not a redirection or a here-document.
_PLACEHOLDER = re.compile(r"<[a-z][a-z A-Z]*>")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_COMMAND_LINE = re.compile(r"(python|make)\b(?! =)")
_STUB = f"""#!/usr/bin/env bash
printf '%s\\0' "$#" "${{0##*/}}" "$@" >> "$PASTED_TO/{_CALLS}"
"""


@dataclass(frozen=True)
class Block:
    """Lines of a document, without indentation.

    Attributes:
        document: its path below the root.
        text: as it is pasted.
    """

    document: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """The document and the beginning of the first line."""
        return self.document, re.split(r"  +#?|<", self.text)[0].strip()


@dataclass(frozen=True)
class Treatment:
    """What is done with a block.

    Attributes:
        run_by: the test that runs its commands.
        not_run: why they cannot run here; they are pasted and parsed.
        no_shell: what it is, if it is nothing to be pasted.
        stand_ins: what takes the place of a placeholder.
    """

    run_by: str = ""
    not_run: str = ""
    no_shell: str = ""
    stand_ins: Mapping[str, str] = field(default_factory=dict)


_NEEDS_DATA = "needs a dataset or weights that are not public or large"
_INSTALLS = "installs packages"
_SEVERAL_MACHINES = "needs two machines"
_NEEDS_GPUS = "needs GPUs, or days"
_REPORTS = "tests/tools/report/test_command.py writes reports on other runs"
_LAUNCHES = "trains for minutes in two processes; tests/tools/launch starts smaller programs"
_SERVES = "serves until it is stopped; tests/tools/serve/test_command.py serves another run"
_CITYSCAPES = {"<cityscapes>": "cityscapes"}
_README = "README.md"

TREATMENTS: dict[tuple[str, str], Treatment] = {
    (_README, "make setup"): Treatment(not_run=_INSTALLS),
    (
        _README,
        "python train.py --database Toy --fine_tune_filename none --weight_decay_mode 0 --network resnet_v1_18 \\",
    ): Treatment(not_run="trains for minutes"),
    (
        _README,
        "python train.py --database custom --data_dir ~/mine --num_classes 2 --holdout 0.2 --network resnet_v1_18 \\",
    ): Treatment(run_by="test_readme.py: test_example_of_own_photos"),
    (
        _README,
        "python -m tools.download resnet_v1_50\npython -m tools.download Cityscapes\n"
        "python train.py --database Cityscapes --gpu_num 4 --batch_size 4",
    ): Treatment(not_run=_NEEDS_DATA),
    (
        _README,
        "python ./train.py --batch_size 4 --gpu_num 4 --consider_dilated 1 --weight_decay_rate 0.0001 "
        "--weight_decay_rate2 0.001 --random_rotate 0 --database 'Cityscapes' --train_image_size 816 "
        "--test_image_size 816\npython ./train.py --batch_size 8 --gpu_num 2 --weight_decay_mode 0 --weight_decay_rate "
        "0.0001 --weight_decay_rate2 0.0001 --train_max_iter 60000 --snapshot 30000 --random_rotate 0 --database 'ADE' "
        "--train_image_size 480 --test_image_size 480",
    ): Treatment(not_run=_NEEDS_GPUS),
    (_README, "python predict.py --ms 1"): Treatment(
        run_by="test_readme.py: test_example_of_prediction", stand_ins={"./log/.../": "./log/run/"}
    ),
    (_README, "python train.py --database CamVid --data_dir"): Treatment(
        not_run="needs CamVid and an hour", stand_ins={"<camvid>": "camvid"}
    ),
    ("CONTRIBUTING.md", "make setup"): Treatment(not_run=_INSTALLS),
    ("docs/data.md", "python train.py --database ADE --data_dir ADEChallengeData2016 --gpu_num 2 --batch_size 8 \\"): (
        Treatment(not_run=_NEEDS_DATA)
    ),
    (
        "docs/data.md",
        "python -m tools.sbd --sbd database/benchmark_RELEASE/dataset --voc database/VOCdevkit/VOC2012 --out "
        "database/SBD_all\npython train.py --database SBD --subsets_for_training trainaug --gpu_num 4 --batch_size 4",
    ): Treatment(not_run=_NEEDS_DATA),
    ("docs/data.md", "python -m tools.cityscapes --data_dir"): Treatment(not_run=_NEEDS_DATA, stand_ins=_CITYSCAPES),
    ("docs/data.md", "python -m tools.make_tfrecord --database Cityscapes --data_dir"): Treatment(
        run_by="test_readme.py: test_example_of_records", stand_ins=_CITYSCAPES
    ),
    ("docs/getting-started.md", "make setup"): Treatment(not_run=_INSTALLS),
    (
        "docs/getting-started.md",
        "python train.py --database Toy --fine_tune_filename none --weight_decay_mode 0 --network resnet_v1_18 \\",
    ): Treatment(run_by="test_readme.py: test_getting_started"),
    ("docs/getting-started.md", "python predict.py"): Treatment(run_by="test_readme.py: test_getting_started"),
    ("docs/getting-started.md", "python inference.py --image_path database/toy/leftImg8bit/val/toyburg"): Treatment(
        run_by="test_readme.py: test_getting_started"
    ),
    (
        "docs/own-data.md",
        "python -m tools.check_dataset --database custom --data_dir ~/mine --num_classes 2\n"
        "python -m tools.download resnet_v1_50\n"
        "python train.py --database custom --data_dir ~/mine --num_classes 2 --run_name mine",
    ): Treatment(run_by="test_readme.py: test_example_of_own_data_in_folders"),
    (
        "docs/own-data.md",
        "python train.py --database custom --data_dir ~/mine --num_classes 2 --run_name first_try "
        "--network resnet_v1_18 \\",
    ): Treatment(run_by="test_readme.py: test_example_of_own_data_in_folders"),
    (
        "docs/own-data.md",
        "python predict.py --weights_ckpt log/custom/mine\n"
        "python inference.py --weights_ckpt log/custom/mine --image_path ~/mine/images/val",
    ): Treatment(run_by="test_readme.py: test_example_of_own_data_in_folders"),
    (
        "docs/own-data.md",
        "python -m tools.import_annotations --format labelme --annotations json --images photos --out mine\n"
        "python -m tools.import_annotations --format labelme --annotations json_val --images photos --out mine "
        "--split val\n"
        "python -m tools.check_dataset --database custom --data_dir mine --num_classes 3 --palette mine/palette.txt",
    ): Treatment(run_by="test_own_data.py: test_importing_annotations"),
    (
        "docs/own-data.md",
        "python -m tools.check_dataset --database custom --data_dir tree --num_classes 21\n"
        "python train.py --database custom --data_dir tree --num_classes 21",
    ): Treatment(run_by="test_own_data.py: test_trees_of_other_projects"),
    (
        "docs/own-data.md",
        "python -m tools.check_dataset --database custom --data_dir ~/tiles --num_classes 2 --input_channels 4\n"
        "python train.py --database custom --data_dir ~/tiles --num_classes 2 --input_channels 4 \\",
    ): Treatment(run_by="test_own_data.py: test_tiles_of_four_channels"),
    ("docs/export.md", "make setup EXTRAS=dev,export"): Treatment(not_run=_INSTALLS),
    ("docs/export.md", "python -m tools.benchmark --parts export --weights_ckpt log/CamVid/my_run --data_dir camvid"): (
        Treatment(not_run=_NEEDS_DATA)
    ),
    (
        "tools/export/__main__.py",
        "python -m tools.export --weights_ckpt log/Cityscapes/my_run --format onnx --out exported",
    ): Treatment(not_run=_NEEDS_DATA),
    ("docs/own-data.md", "printf '%s\\n' 'photos/0001.jpg masks/0001.png' > train.txt"): Treatment(
        run_by="test_readme.py: test_example_of_own_data_trains"
    ),
    (
        "docs/own-data.md",
        """seq 0 255 | awk '{print $1, ($1 == 0 ? 0 : $1 == 255 ? 1 : "ignore")}' > ids.txt\n"""
        "python -m tools.check_dataset --database custom --data_dir ~/mine --num_classes 2 --label_map ids.txt",
    ): Treatment(run_by="test_readme.py: test_example_of_smoothed_edges"),
    ("docs/prediction.md", "python predict.py --ms 1"): Treatment(run_by="test_readme.py: test_example_of_prediction"),
    ("docs/prediction.md", "val_set/CamVid/"): Treatment(no_shell="names of files"),
    (
        "docs/prediction.md",
        "python predict.py --areas 1 --per_image 1 --confusion_matrix 1 --confidence 1\n"
        "python inference.py --image_path photos --recursive 1 --save_probabilities png --polygons coco --min_area 50",
    ): Treatment(run_by="test_prediction_outputs.py: test_example_of_the_documents"),
    (
        "docs/prediction.md",
        "python predict.py --weights_ckpt last --ms 1 --test_image_size 713 --base_size 2048 --overlap ceil "
        "--window_padding both --flipped_eval windows",
    ): Treatment(not_run=_NEEDS_DATA),
    ("docs/prediction.md", "python predict.py --index_start 0 --index_step 250"): Treatment(
        not_run="needs a split of 500 images; test_protocols.py does the same with 2"
    ),
    ("docs/training.md", "python train.py --database Cityscapes --gpu_num 4 --batch_size 4"): Treatment(
        not_run=_NEEDS_DATA
    ),
    (
        "docs/training.md",
        "python train.py --config configs/reference/cityscapes-resnet50-l2sp.yaml --data_dir",
    ): Treatment(not_run=_NEEDS_GPUS, stand_ins=_CITYSCAPES),
    (
        "docs/training.md",
        "python train.py --database Cityscapes --gpu_num 4 --batch_size 4 --subsets_for_training train,train_extra\n"
        "python train.py --database Cityscapes --gpu_num 4 --batch_size 4 --lrn_rate 0.001 --fine_tune_filename "
        "log/Cityscapes/",
    ): Treatment(not_run=_NEEDS_DATA, stand_ins={"<run of the first>": "run"}),
    (
        "docs/camvid.md",
        "python -m tools.download CamVid\npython train.py --config configs/camvid/from-scratch.yaml\n"
        "python predict.py --weights_ckpt log/CamVid/from-scratch --mirror 0",
    ): Treatment(not_run=_NEEDS_DATA),
    (
        "docs/training.md",
        "python train.py --config configs/camvid/two-phase-1.yaml --data_dir",
    ): Treatment(not_run=_NEEDS_DATA, stand_ins={"<camvid>": "camvid"}),
    (
        "docs/training.md",
        "python train.py --database Cityscapes --gpu_num 4 --batch_size 4 --decoder icnet --fine_tune_filename "
        "log/Cityscapes/",
    ): Treatment(not_run=_NEEDS_DATA, stand_ins={"<run of a PSPNet>": "run"}),
    (
        "docs/pruning.md",
        "python -m tools.prune --weights_ckpt log/Cityscapes/icnet --keep 0.5 --out pruned\n"
        "python train.py --network resnet_v1_50 --database Cityscapes --batch_size 8 --fine_tune_filename pruned",
    ): Treatment(not_run=_NEEDS_DATA),
    (
        "docs/pruning.md",
        "python -m tools.prune --weights_ckpt log/Cityscapes/icnet --keep 0.75 --out pruned-0.75\n"
        "python train.py --network resnet_v1_50 --database Cityscapes --batch_size 8 --run_name icnet-0.75 "
        "--fine_tune_filename pruned-0.75\n"
        "python -m tools.prune --weights_ckpt log/Cityscapes/icnet-0.75 --keep 0.5 --out pruned-0.5\n"
        "python train.py --network resnet_v1_50 --database Cityscapes --batch_size 8 --run_name icnet-0.5 "
        "--fine_tune_filename pruned-0.5",
    ): Treatment(not_run=_NEEDS_DATA),
    ("tools/prune/__main__.py", "python -m tools.prune --weights_ckpt log/Cityscapes/icnet --keep 0.5 --out pruned"): (
        Treatment(not_run=_NEEDS_DATA)
    ),
    ("docs/weights.md", "make setup EXTRAS=dev,convert"): Treatment(not_run="installs packages, needs weights"),
    (
        "docs/weights.md",
        "python -m tools.convert encoder_epoch_20.pth --decoder decoder_epoch_20.pth --out converted --image_mean "
        "122.7717,115.9465,102.9801 --image_std 1,1,1 --color_switch 1",
    ): Treatment(not_run="needs weights"),
    (
        "docs/weights.md",
        "python -m tools.convert model.safetensors --out converted --align_corners 0 --output_stride 8 "
        "--stride_convention mmseg --image_mean 123.675,116.28,103.53 --image_std 58.395,57.12,57.375 --color_switch 0",
    ): Treatment(not_run="needs weights"),
    ("train.py", "python train.py --database Cityscapes --gpu_num 4 --batch_size 4"): Treatment(not_run=_NEEDS_DATA),
    ("predict.py", "python predict.py --ms 1"): Treatment(run_by="test_readme.py: test_example_of_prediction"),
    ("inference.py", "python inference.py --image_path street.png\npython inference.py"): Treatment(
        run_by="test_readme.py: test_example_of_prediction"
    ),
    ("tools/setup/audit.py", "python -m tools.setup.audit lock/dev.txt"): Treatment(
        not_run="asks a database on the network"
    ),
    ("tools/benchmark/__main__.py", "python -m tools.benchmark --parts inference,input --json figures.json"): Treatment(  # noqa: E501
        not_run="takes minutes"
    ),
    ("tools/check_dataset/__main__.py", "python -m tools.check_dataset --database CamVid --data_dir"): Treatment(
        not_run=_NEEDS_DATA, stand_ins={"<camvid>": "camvid"}
    ),
    ("tools/cityscapes.py", "python -m tools.cityscapes --data_dir ./database/cityscapes"): Treatment(
        not_run=_NEEDS_DATA
    ),
    (
        "tools/convert/__main__.py",
        "python -m tools.convert pspnet50.pth --out converted\n"
        "python -m tools.convert encoder.pth --decoder decoder.pth --out converted",
    ): Treatment(not_run="needs weights, and PyTorch"),
    ("tools/demo.py", "python -m tools.demo"): Treatment(not_run="takes minutes"),
    (
        "tools/download/__main__.py",
        "python -m tools.download --list\npython -m tools.download resnet_v1_50",
    ): Treatment(not_run="needs the network"),
    (
        "tools/import_annotations/__main__.py",
        "python -m tools.import_annotations --format coco --annotations instances.json --images photos --out mine",
    ): Treatment(run_by="test_own_data.py: test_importing_annotations"),
    ("tools/launch/__main__.py", "python -m tools.launch --processes 2 -- train.py --database CamVid --batch_size 2"): (
        Treatment(not_run=_NEEDS_DATA)
    ),
    ("tools/make_tfrecord/__main__.py", "python -m tools.make_tfrecord --database Cityscapes --data_dir"): Treatment(
        run_by="test_readme.py: test_example_of_records", stand_ins=_CITYSCAPES
    ),
    ("tools/report/__main__.py", "python -m tools.report log/Toy/first --out report.html"): Treatment(not_run=_REPORTS),
    ("tools/serve/__main__.py", "python -m tools.serve --weights_ckpt log/Cityscapes/my_run"): Treatment(
        not_run=_SERVES
    ),
    (
        "docs/hosts.md",
        "python train.py --database Cityscapes --gpu_num 4 --hosts host1:2222,host2:2222 --host_rank 0",
    ): Treatment(not_run=_SEVERAL_MACHINES),
    (
        "docs/hosts.md",
        "(\ntrap 'exit 75' INT TERM",
    ): Treatment(run_by="test_examples.py: test_ctrl_c_ends_the_loop_that_starts_a_host_again"),
    (
        "docs/hosts.md",
        "python -m tools.launch --processes 2 -- train.py --database Toy --fine_tune_filename none "
        "--weight_decay_mode 0 \\",
    ): Treatment(not_run=_LAUNCHES),
    (
        "docs/measured.md",
        "python train.py --network resnet_v1_18 --decoder icnet --output_stride 16 --database CamVid --data_dir",
    ): Treatment(not_run=_NEEDS_DATA, stand_ins={"<camvid>": "camvid"}),
    (
        "docs/hosts.md",
        "python -m tools.launch --processes 2 --restarts 3 --logs logs -- train.py --database CamVid --auto_resume 1",
    ): Treatment(not_run=_NEEDS_DATA),
    ("docs/serve.md", "make setup EXTRAS=dev,serve"): Treatment(not_run=_INSTALLS),
    ("docs/serve.md", "python -m tools.serve --weights_ckpt log/Cityscapes/my_run"): Treatment(not_run=_SERVES),
    ("docs/serve.md", "python -m tools.benchmark --parts serve --weights_ckpt log/CamVid/my_run --data_dir camvid"): (
        Treatment(not_run=_NEEDS_DATA)
    ),
    ("docs/report.md", "make setup EXTRAS=dev,report"): Treatment(not_run=_INSTALLS),
    ("docs/report.md", "python -m tools.report log/Toy/first"): Treatment(not_run=_REPORTS),
    (
        "tools/results/__main__.py",
        "python -m tools.results --log_dir ./log --format markdown --json results.json",
    ): Treatment(  # noqa: E501
        run_by="test_readme.py: test_example_of_prediction"
    ),
    (
        "tools/sbd.py",
        "python -m tools.sbd --sbd benchmark_RELEASE/dataset --voc VOCdevkit/VOC2012 --out ./database/SBD_all",
    ): Treatment(not_run=_NEEDS_DATA),
    ("tools/setup/virtual_environment.py", "python -m tools.setup.virtual_environment .venv"): Treatment(
        not_run="installs packages"
    ),
}


def markdown_documents() -> list[Path]:
    """README.md, the other documents beside it, and docs/*.md."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of_markdown(document: str, text: str) -> Iterator[Block]:
    """The indented blocks, which follow an empty line, outside of fences: `test_extending.py` runs what is in those."""
    for block in re.findall(r"(?:\A|(?<=\n\n))((?:    .*(?:\n|\Z))+)", _FENCED.sub("", text)):
        yield Block(document, re.sub(r"(?m)^    ", "", block))


def blocks_of_docstring(document: str, source: str) -> Iterator[Block]:
    """The lines of commands in a module's docstring."""
    lines = (ast.get_docstring(ast.parse(source)) or "").splitlines()
    block: list[str] = []
    for line in [*lines, ""]:
        if _COMMAND_LINE.match(line):
            block.append(line + "\n")
        elif block:
            yield Block(document, "".join(block))
            block = []


def all_blocks() -> list[Block]:
    """The blocks of all documents, and of the docstrings of scripts and tools."""
    sources = [*sorted(ROOT.glob("*.py")), *sorted((ROOT / "tools").rglob("*.py"))]
    finders = [(path, blocks_of_markdown) for path in markdown_documents()]
    finders += [(path, blocks_of_docstring) for path in sources]
    return [
        block
        for path, find in finders
        for block in find(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]


def inline_commands() -> list[str]:
    """The commands in running text and in tables, placeholders filled."""
    texts = (path.read_text(encoding="utf-8") for path in markdown_documents())
    found = {" ".join(command.split()) for text in texts for command in _INLINE.findall(text)}
    return sorted(_PLACEHOLDER.sub("placeholder", command) for command in found)


def filled(block: Block, treatment: Treatment) -> str:
    """The text of a block with stand-ins for its placeholders.

    Raises:
        ValueError: a placeholder has none.
    """
    text = block.text
    for placeholder, stand_in in treatment.stand_ins.items():
        text = text.replace(placeholder, stand_in)
    left = _PLACEHOLDER.search(text)
    if left:
        raise ValueError(f"{block.key}: {left.group()} has no stand-in in TREATMENTS")
    return text


def paste(text: str, folder: Path) -> list[list[str]]:
    """Has bash run lines in a folder; returns the calls of python and make, each as a list of words.

    Raises:
        AssertionError: bash fails, says something, or waits for more.
    """
    stubs = folder / ".stubs"
    stubs.mkdir()
    for name in ("python", "make"):
        (stubs / name).write_text(_STUB)
        (stubs / name).chmod(0o755)
    activate = folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    environment = {
        **os.environ, "PATH": f"{stubs}{os.pathsep}{os.environ['PATH']}", "PASTED_TO": str(stubs), "HOME": str(folder),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "--norc", "-e"], input=text, cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), text
    words = (stubs / _CALLS).read_text().split("\0")[:-1] if (stubs / _CALLS).exists() else []
    calls = []
    while words:
        count = int(words[0])
        calls.append(words[1 : count + 2])
        words = words[count + 2 :]
    return calls
