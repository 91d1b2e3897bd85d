"""What train.py refuses in the data is a fault for `tools.check_dataset`; what the one takes the other lets pass."""

from __future__ import annotations

import itertools
import logging
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from database.datasets import custom_dataset, find_samples
from database.errors import DatasetError
from tests.scripts.starting import ROOT
from tools.check_dataset import __main__ as check_dataset
from tools.check_dataset.__main__ import inspect_splits
from tools.check_dataset.label_faults import CheckedSplits, label_faults
from tools.console import run_script
from tools.errors import PreflightError
from tools.training.preflight import check_training_labels

_SIZE = (4, 6)
_serial = itertools.count()


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


def write_sample(root: Path, split: str, name: str, ids=(0, 1, 2, 255)) -> None:
    """Noise with a label that has every one of the ids."""
    rng = np.random.default_rng(next(_serial))
    label = np.resize(np.array(ids), _SIZE)
    save(root / "images" / split / f"{name}.png", rng.integers(0, 256, (*_SIZE, 3)))
    save(root / "labels" / split / f"{name}.png", label)


def folders(root: Path) -> str:
    """Four training and two validation images of three classes; the flags that describe them."""
    for split, names in (("train", "abcd"), ("val", "ef")):
        for name in names:
            write_sample(root, split, name)
    return "--num_classes 3"


def relabel(root: Path, split: str, *ids: int, names: str = "abcdef") -> None:
    for path in (root / "labels" / split).iterdir():
        if path.stem in names:
            save(path, np.resize(np.array(ids), _SIZE))


def listed(root: Path, **lists: str) -> str:
    """Lists of images by their letters, as `split=letters`; flags that name them."""
    flags = folders(root)
    for split, names in lists.items():
        places = {name: "train" if name in "abcd" else "val" for name in names}
        lines = [f"images/{place}/{name}.png labels/{place}/{name}.png\n" for name, place in places.items()]
        (root / f"{split}.txt").write_text("".join(lines))
        flags += f" --{split}_list {root / split}.txt"
    return flags


def after(change: Callable[[Path], object], make: Callable[[Path], str] = folders, more: str = "") -> Callable:
    """The flags of data that are made and then changed."""

    def made(root: Path) -> str:
        flags = make(root)
        change(root)
        return f"{flags} {more}"

    return made


def with_map(root: Path, text: str) -> str:
    (root / "map.txt").write_text(text)
    return folders(root) + f" --label_map {root / 'map.txt'}"


def binary(root: Path) -> str:
    folders(root)
    for split in ("train", "val"):
        relabel(root, split, 0, 255)
    return "--num_classes 2"


def renumbered(root: Path) -> str:
    """Palette images whose colours are those of a palette, with the indices of the first two classes swapped."""
    folders(root)
    for path in root.glob("labels/*/*.png"):
        image = Image.fromarray(np.resize(np.array([0, 1, 2], np.uint8), _SIZE))
        image.putpalette([0, 9, 0, 9, 0, 0, 0, 0, 9])
        image.save(path)
    (root / "palette.txt").write_text("9 0 0 road\n0 9 0 tree\n0 0 9 sky\n")
    return f"--num_classes 3 --palette {root / 'palette.txt'}"


def only_held_out(root: Path) -> str:
    """Ten training images, of which only the one that is held out shows class 2."""
    for name in "abcdefghij":
        write_sample(root, "train", name, (0, 1))
    dataset = custom_dataset(3, holdout=0.1)
    [held_out] = find_samples(dataset, str(root), ["val"])
    relabel(root, "train", 0, 1, 2, names=held_out.name)
    return "--num_classes 3 --holdout 0.1"


SOUND = {
    "folders": folders,
    "lists": lambda root: listed(root, train="abc", val="ef"),
    "only a training list": lambda root: listed(root, train="abcd"),
    "held out": after(
        lambda root: shutil.rmtree(root / "labels/val"), lambda root: listed(root, train="abcd"), "--holdout 0.5"
    ),
    "a class that is allowed to be missing": after(
        lambda root: relabel(root, "train", 0, 1), more="--allow_missing_classes 1"
    ),
    "no class 1 in val": after(lambda root: relabel(root, "val", 0, 2)),
    "a class only in val, trained on too": after(
        lambda root: relabel(root, "train", 0, 1), more="--subsets_for_training train,val"
    ),
    "fewer images than a batch": after(lambda root: None, lambda root: listed(root, train="a", val="e")),
    "binary masks with a map": after(
        lambda root: (root / "map.txt").write_text("0 0\n255 1\n"), binary, "--label_map map.txt"
    ),
}  # fmt: skip

BROKEN = {
    "training list that is missing": after(lambda root: (root / "train.txt").unlink(), lambda r: listed(r, train="a")),
    "both lists missing": after(
        lambda root: [(root / f"{split}.txt").unlink() for split in ("train", "val")],
        lambda root: listed(root, train="a", val="e"),
    ),
    "validation list that is missing": after(
        lambda root: (root / "val.txt").unlink(), lambda root: listed(root, train="ab", val="ef")
    ),
    "empty training list": lambda root: listed(root, train="", val="ef"),
    "empty validation list": lambda root: listed(root, train="ab", val=""),
    "list of missing files": after(
        lambda root: (root / "images/train/b.png").unlink(), lambda root: listed(root, train="abc", val="ef")
    ),
    "list of one path a line": after(
        lambda root: (root / "train.txt").write_text("images/train/a.png\n"), lambda root: listed(root, train="a")
    ),
    "image listed twice": after(
        lambda root: (root / "train.txt").write_text((root / "train.txt").read_text() * 2),
        lambda root: listed(root, train="a"),
    ),
    "no training images": after(lambda root: [shutil.rmtree(root / kind / "train") for kind in ("images", "labels")]),
    "no validation images": after(lambda root: [shutil.rmtree(root / kind / "val") for kind in ("images", "labels")]),
    "no images": after(lambda root: [shutil.rmtree(root / kind) for kind in ("images", "labels")]),
    "no folder": after(shutil.rmtree),
    "split that is unknown": lambda root: folders(root) + " --subsets_for_training train,dev",
    "only ignored in train": after(lambda root: relabel(root, "train", 255)),
    "only ignored in val": after(lambda root: relabel(root, "val", 255)),
    "missing class": after(lambda root: relabel(root, "train", 0, 2)),
    "missing class but for val": after(lambda root: relabel(root, "train", 1, 2)),
    "missing class but for the held-out image": only_held_out,
    "binary masks": binary,
    "more classes than ids": lambda root: folders(root).replace("3", "4"),
    "ids that begin at 1": after(lambda root: relabel(root, "train", 1, 2, 3)),
    "unknown id in train": after(lambda root: relabel(root, "train", 0, 1, 2, 9, names="b")),
    "unknown id in val": after(lambda root: relabel(root, "val", 0, 1, 2, 9, names="f")),
    "label of another size in train": after(lambda root: save(root / "labels/train/c.png", np.ones((6, 4)))),
    "label of another size in val": after(lambda root: save(root / "labels/val/e.png", np.ones((6, 4)))),
    "validation image among the training images": lambda root: listed(root, train="abce", val="ef"),
    "linked validation image": after(
        lambda root: [(root / "images/val/e.png").unlink(),
                      (root / "images/val/e.png").symlink_to(root / "images/train/a.png")]
    ),
    "image that cannot be read": after(lambda root: (root / "images/train/b.png").write_bytes(b"damaged")),
    "label that cannot be read": after(lambda root: (root / "labels/train/b.png").write_bytes(b"damaged")),
    "validation label that cannot be read": after(lambda root: (root / "labels/val/f.png").write_bytes(b"damaged")),
    "label of colours": after(lambda root: save(root / "labels/train/b.png", np.zeros((*_SIZE, 3)))),
    "image without a label in train": after(lambda root: (root / "labels/train/b.png").unlink()),
    "image without a label in val": after(lambda root: (root / "labels/val/e.png").unlink()),
    "label without an image": after(lambda root: (root / "images/val/e.png").unlink()),
    "two images of one name": after(lambda root: save(root / "images/train/a.bmp", np.zeros((*_SIZE, 3)))),
    "held out beside val": lambda root: folders(root) + " --holdout 0.5",
    "held out and trained on": after(
        lambda root: None, lambda root: listed(root, train="abcd"), "--holdout 0.5 --subsets_for_training train,val"
    ),
    "indices that the palette contradicts": renumbered,
    "too many pixels": lambda root: folders(root) + " --max_pixels 23",
    "map without an id for a class": lambda root: with_map(root, "0 0\n1 1\n2 ignore\n"),
    "ignored id of a class": lambda root: with_map(root, "0 0\n1 1\n2 2\n") + " --ignore_label 0",
    "list that is a folder": after(
        lambda root: [(root / "train.txt").unlink(), (root / "train.txt").mkdir()], lambda root: listed(root, train="a")
    ),
}  # fmt: skip

# What only the check looks at, because training reads neither test nor, before step 0, every pixel of the images.
OF_THE_CHECK_ALONE = {
    "list of test images that is missing": lambda root: listed(root, train="ab", val="ef") + " --test_list no.txt",
    "image of test among those of train": lambda root: listed(root, train="abc", val="ef", test="a"),
    "truncated image": after(
        lambda root: (root / "images/train/b.png").write_bytes((root / "images/train/b.png").read_bytes()[:70])
    ),
}


@pytest.fixture
def verdicts(monkeypatch, tmp_path, capsys, caplog):
    """A function from flags to the output of train.py, before it would build anything, and of the check."""
    caplog.set_level(logging.WARNING)
    monkeypatch.chdir(tmp_path)
    for name in ("train", "score"):
        monkeypatch.setattr(f"tools.training.run.{name}", lambda *_, **__: None)

    def run(flags: str) -> tuple[tuple[int, str], tuple[int, str]]:
        flags = f"--database custom --data_dir {tmp_path / 'data'} {flags}"
        more = "--batch_size 2 --fine_tune_filename none --weight_decay_mode 0"
        outcomes = []
        for main, line in (
            (runpy.run_path(str(ROOT / "train.py"))["main"], f"{flags} {more}"),
            (check_dataset.main, f"{flags} --out report --thumbnails 0"),
        ):
            caplog.clear()
            capsys.readouterr()
            try:
                code = run_script(main, line.split())
            except SystemExit as exit_:  # the check's, where it has found a fault
                code = int(str(exit_.code))
            outcomes.append((code, "\n".join([*caplog.messages, *capsys.readouterr()])))
        return outcomes[0], outcomes[1]

    return run


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def flags_of(make: Callable[[Path], str], root: Path) -> str:
    """The flags, with the label map by its path."""
    return make(root).replace("--label_map map.txt", f"--label_map {root / 'map.txt'}")


@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND)
def test_both_let_sound_data_pass(verdicts, root, make):
    (code, said), (check_code, found) = verdicts(flags_of(make, root))
    assert (code, check_code) == (0, 0), said + found
    assert "no fault" in found


@pytest.mark.usefixtures("usual_pixel_limit")
@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_both_refuse_broken_data(verdicts, root, make):
    (code, said), (check_code, found) = verdicts(flags_of(make, root))
    assert code == 2
    assert check_code in (1, 2)
    assert "no fault" not in found
    [error] = [line.removeprefix("error: ") for line in said.splitlines() if line.startswith("error: ")]
    # The two describe the overlap of splits in different words.
    assert error in found or "a validation image, is among the training images" in error


@pytest.mark.parametrize("make", OF_THE_CHECK_ALONE.values(), ids=OF_THE_CHECK_ALONE)
def test_what_only_the_check_looks_at(verdicts, root, make):
    (code, said), (check_code, found) = verdicts(flags_of(make, root))
    assert (code, check_code) == (0, 1), said + found


@pytest.mark.parametrize(
    "make", [after(lambda root: relabel(root, "train", 0, 1)), only_held_out], ids=["in val", "held out"]
)
def test_line_about_a_class_that_only_val_shows(verdicts, root, make):
    """It does not advise fewer classes, though the training labels look like it."""
    (_, said), (_, found) = verdicts(make(root))
    for words in (said, found):
        assert "class 2 (class_2) occurs in no label of the" in words
        assert "labels of val show it: move some of their images to the training images" in words
        assert "Give --num_classes" not in words


def test_line_about_binary_masks(verdicts, root):
    """Its advice is enough."""
    (_, said), (_, found) = verdicts(binary(root))
    for words in (said, found):
        assert "class 1 (class_1) occurs in no label of the 4 training images; the ids are 0 and 255 only" in words
        assert "--label_map with a file of the lines '0 0', '255 1'" in words
        assert "--allow_missing_classes 1" in words


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 7, 255]), min_size=1, max_size=4), min_size=1, max_size=4),
    num_classes=st.integers(2, 4),
    ignored=st.sampled_from([7, 255]),
)
def test_verdicts_on_ids(tmp_path_factory, labels, num_classes, ignored):
    """Of any ids: refused unless each is a class or ignored and every class occurs."""
    folder = tmp_path_factory.mktemp("ids")
    for number, ids in enumerate(labels):
        save(folder / "images" / "train" / f"{number}.png", np.zeros((1, len(ids), 3)))
        save(folder / "labels" / "train" / f"{number}.png", np.array([ids]))
    dataset = custom_dataset(num_classes, ignore_label=ignored)
    samples = find_samples(dataset, str(folder), ["train"])
    found = {file_id for ids in labels for file_id in ids}
    expected = found - {ignored} == set(range(num_classes))

    try:
        check_training_labels(samples, "all", dataset)
        accepted = True
    except (DatasetError, PreflightError):
        accepted = False
    splits = {"train": samples}
    statistics, _ = inspect_splits(dataset, splits)
    checked = CheckedSplits(dataset, splits, splits, statistics)
    faults = [*statistics["train"].faults, *label_faults(checked)]
    assert (accepted, not faults) == (expected, expected)
    shutil.rmtree(folder)
