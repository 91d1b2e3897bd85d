"""SBD and VOC 2012 put together, from files with the structure of the real ones."""

from __future__ import annotations

import logging
import os
import re
import signal

import numpy as np
import pytest
from PIL import Image
from scipy import sparse
from scipy.io import savemat

from database.datasets import find_samples, get_dataset, overlapping
from database.errors import DatasetError, ImageError
from database.loading import load_sample
from tools import sbd
from tools.errors import FlagError

SIZE = (6, 8)
# As in the real data: images that only one has, that both have, and images of SBD that are in the val of VOC.
VOC_TRAIN, VOC_VAL = ("2007_000032", "2008_000008"), ("2007_000033", "2008_000002", "2008_000003")
SBD_TRAIN, SBD_VAL = ("2008_000008", "2008_000051", "2008_000002"), ("2008_000003", "2008_000073")
TRAIN_AUG = ["2007_000032", "2008_000008", "2008_000051", "2008_000073"]


def ids_of(name, by_sbd):
    """0 to 20; VOC has a border of 255, which SBD has not."""
    ids = np.random.default_rng(int(name[-3:]) + 1000 * by_sbd).integers(0, 21, SIZE).astype(np.uint8)
    if not by_sbd:
        ids[:, 0] = 255
    return ids


def ground_truth(ids):
    """GTcls as in SBD's cls/*.mat: a 1x1 struct of a 20x1 cell of sparse boundaries, the ids and the classes."""
    boundaries = np.empty((20, 1), object)
    for index in range(20):
        boundaries[index, 0] = sparse.csc_matrix(ids == index + 1)
    present = np.setdiff1d(ids, (0, 255))[:, np.newaxis].astype(np.uint8)
    fields = [(name, object) for name in ("Boundaries", "Segmentation", "CategoriesPresent")]
    struct = np.empty((1, 1), fields)
    struct[0, 0] = (boundaries, ids, present)
    return {"GTcls": struct}


def write_mat(path, ids):
    savemat(path, ground_truth(ids), do_compression=True)
    return str(path)


def write_jpeg(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(int(name[-3:])).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.jpg")


@pytest.fixture
def archives(tmp_path):
    """(benchmark_RELEASE/dataset, VOCdevkit/VOC2012), unpacked."""
    sbd_folder, voc = tmp_path / "benchmark_RELEASE" / "dataset", tmp_path / "VOCdevkit" / "VOC2012"
    for folder in (sbd_folder / "cls", voc / "SegmentationClass", voc / "ImageSets" / "Segmentation"):
        folder.mkdir(parents=True)
    for split, names in (("train", SBD_TRAIN), ("val", SBD_VAL)):
        (sbd_folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            write_jpeg(sbd_folder / "img", name)
            write_mat(sbd_folder / "cls" / f"{name}.mat", ids_of(name, by_sbd=True))
    for split, names in (("train", VOC_TRAIN), ("val", VOC_VAL)):
        (voc / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            write_jpeg(voc / "JPEGImages", name)
            label = Image.fromarray(ids_of(name, by_sbd=False))
            label.putpalette([255 - i // 3 for i in range(768)])
            label.save(voc / "SegmentationClass" / f"{name}.png")
    return str(sbd_folder), str(voc)


def samples_of(out, split):
    return find_samples(get_dataset("SBD"), str(out), [split])


def test_the_whole_way(archives, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    out = tmp_path / "SBD_all"
    sbd.main(["--sbd", archives[0], "--voc", archives[1], "--out", str(out), "--jobs", "2"])
    assert caplog.messages[-1].startswith(f"{out}: train 2, val 3, train_aug 4 images")
    assert re.findall(r"\d{4,}", caplog.messages[-1].removeprefix(f"{out}")) == ["1464", "1449", "10582"]
    names = {split: [sample.name for sample in samples_of(out, split)] for split in ("train", "val", "trainaug")}
    assert names == {"train": list(VOC_TRAIN), "val": list(VOC_VAL), "trainaug": TRAIN_AUG}
    assert (
        (out / "train_aug.txt")
        .read_text()
        .startswith("/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n")
    )
    assert overlapping(samples_of(out, "trainaug"), samples_of(out, "val")) == []
    for split in names:
        for sample in samples_of(out, split):
            expected = ids_of(sample.name, by_sbd=sample.name not in VOC_TRAIN + VOC_VAL)
            np.testing.assert_array_equal(load_sample(sample)[1], expected)


def test_labels_of_sbd_are_in_vocs_colours(tmp_path):
    ids = ids_of("2008_000051", by_sbd=True)
    sbd.convert(write_mat(tmp_path / "a.mat", ids), str(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), ids)
        colours = np.reshape(image.getpalette(), (-1, 3))
    # VOC's development kit: aeroplane, bicycle, tvmonitor, and its border.
    assert colours[[0, 1, 2, 20, 255]].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [0, 64, 128], [224, 224, 192]]


def test_the_algebra_of_the_whole_data(tmp_path):
    """8498 + 2857 images of SBD, of which 1134 are among VOC's 1464 for training and 1103 among its 1449 others."""
    names = [f"2008_{index:06d}" for index in range(12031)]
    voc_train, voc_val, by_sbd = names[:1464], names[1464:2913], names[330:1464] + names[1464:2567] + names[2913:]
    assert len(by_sbd) == 8498 + 2857
    folder = tmp_path / "voc" / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    lists = {
        folder / "train.txt": voc_train, folder / "val.txt": voc_val,
        tmp_path / "train.txt": by_sbd[::-1][:8498], tmp_path / "val.txt": by_sbd[::-1][8498:],
    }  # fmt: skip
    for path, listed in lists.items():
        path.write_text("\n".join(listed))
    splits = sbd.read_splits(str(tmp_path), str(tmp_path / "voc"))
    assert (len(splits.train), len(splits.val), len(splits.train_aug)) == (1464, 1449, 10582)
    assert len(splits.only_of_sbd) == 9118
    assert not set(splits.train_aug) & set(splits.val)


def test_started_again_it_keeps_complete_files(archives, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    out = str(tmp_path / "out")
    sbd.merge(*archives, out, 1)
    shown, linked, others = caplog.messages
    assert shown.startswith("images: 12 of 12 files in ")
    assert linked == "images and labels of VOC: 12 linked"
    assert others.startswith("labels: 2 of 2 img in ")
    image = tmp_path / "out" / "JPEGImages" / "2007_000032.jpg"
    assert image.samefile(os.path.join(archives[1], "JPEGImages", "2007_000032.jpg"))
    labels = {
        name: tmp_path / "out" / "SegmentationClassAug" / f"{name}.png" for name in ("2008_000051", "2008_000073")
    }
    labels["2008_000051"].unlink()
    kept = labels["2008_000073"].stat().st_mtime_ns
    (tmp_path / "out" / "train_aug.txt").unlink()
    sbd.merge(*archives, out, 1)
    assert caplog.messages[-2] == "images and labels of VOC: 12 kept"
    assert labels["2008_000073"].stat().st_mtime_ns == kept
    np.testing.assert_array_equal(Image.open(labels["2008_000051"]), ids_of("2008_000051", by_sbd=True))
    assert (tmp_path / "out" / "train_aug.txt").exists()


def test_copies_where_there_are_no_links(archives, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    source = os.path.join(archives[1], "JPEGImages", "2007_000032.jpg")
    target = tmp_path / "out" / "a.jpg"
    assert sbd.link_or_copy(source, str(target)) == "copied"
    assert not target.samefile(source)
    with open(source, "rb") as file:
        assert target.read_bytes() == file.read()


def test_links_are_resolved(tmp_path):
    """A relative link would lead nowhere from the other folder."""
    (tmp_path / "voc").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.jpg").write_text("content")
    (tmp_path / "voc" / "a.jpg").symlink_to("../disk/a.jpg")
    target = tmp_path / "elsewhere" / "deeper" / "a.jpg"
    assert sbd.link_or_copy(str(tmp_path / "voc" / "a.jpg"), str(target)) == "linked"
    assert not target.is_symlink()
    assert target.read_text() == "content"


def test_what_a_killed_process_left_is_removed(archives, tmp_path):
    left = tmp_path / "out" / "SegmentationClassAug" / f".{'0' * 32}.tmp"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    sbd.merge(*archives, str(tmp_path / "out"), 1)
    assert not left.exists()


def damaged(path):
    """The bytes of a label, cut in the middle."""
    whole = path.parent / "whole.mat"
    write_mat(whole, ids_of("2008_000051", by_sbd=True))
    return whole.read_bytes()[: whole.stat().st_size // 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"MatReadError"),
        (b"no MATLAB file, but a text that is longer than a header of one" * 9, r"\w+Error"),
        (damaged, r"\w+"),
        ({"other": np.zeros(3)}, r"KeyError"),
        ({"GTcls": np.zeros((0, 0))}, r"IndexError"),
        ({"GTcls": {"Boundaries": 3}}, r"ValueError"),
    ],
)
def test_files_that_are_no_labels_are_named(tmp_path, content, reason):
    path = tmp_path / "2008_000051.mat"
    if isinstance(content, dict):
        savemat(path, content)
    else:
        path.write_bytes(content(path) if callable(content) else content)
    with pytest.raises(DatasetError, match=rf"^{path}: expected a label of SBD, .* \({reason}\)$"):
        sbd.read_segmentation(str(path))


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.full((2, 3), 21, np.uint8), "holds the id 21, expected 0 to 20 or 255"),
        (np.full((2, 3), -1, np.int16), "holds the id -1, expected 0 to 20 or 255"),
        (np.zeros((2, 3, 3), np.uint8), r"is uint8 \[2, 3, 3\], expected ids \[height, width\]"),
        (np.zeros((2, 3)), r"is float64 \[2, 3\], expected ids"),
        (np.zeros((0, 3), np.uint8), r"is uint8 \[0, 3\], expected ids"),
    ],
)
def test_labels_of_another_kind_are_named(tmp_path, ids, words):
    path = tmp_path / "a.mat"
    savemat(path, {"GTcls": {"Segmentation": ids}})
    with pytest.raises(DatasetError, match=f"^{path}: GTcls.Segmentation {words}"):
        sbd.read_segmentation(str(path))


def crash(source, target):
    """Ends the process as a segmentation fault does."""
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(("jobs", "others"), [(1, ""), (2, r" \(or one of the next 2: .*--jobs 1\)")])
def test_a_file_that_crashes_the_reader_is_named(monkeypatch, jobs, others):
    monkeypatch.setattr(sbd, "convert", crash)
    with pytest.raises(DatasetError, match=rf"^a\.mat{others}: the file is damaged"):
        sbd.convert_all([("a.mat", "a.png"), ("b.mat", "b.png")], jobs)


def test_a_fault_in_another_process_is_reported(archives, tmp_path):
    path = os.path.join(archives[0], "cls", "2008_000073.mat")
    with open(path, "wb") as file:
        file.write(b"x" * 200)
    with pytest.raises(DatasetError, match=f"^{path}: expected a label of SBD"):
        sbd.merge(*archives, str(tmp_path / "out"), 1)
    assert not (tmp_path / "out" / "train.txt").exists()


def test_missing_files_and_lists(archives, tmp_path):
    for path, words in (
        (
            os.path.join(archives[0], "cls", "2008_000051.mat"),
            "the lists name this file, but it does not exist: unpack",
        ),
        (
            os.path.join(archives[1], "JPEGImages", "2007_000032.jpg"),
            r"the lists name this file \(and 1 more\), but it does not exist: unpack",
        ),
        (os.path.join(archives[1], "ImageSets", "Segmentation", "val.txt"), "the list cannot be read"),
        (os.path.join(archives[0], "val.txt"), r"the list cannot be read \(No such file or directory\)"),
    ):
        os.unlink(path)
        with pytest.raises(DatasetError, match=f"^{path}: {words}"):
            sbd.merge(*archives, str(tmp_path / "out"), 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"2008_000051 1\n", "found '2008_000051 1', expected names such as"),
        (b"../2008_000051\n", "found '../2008_000051', expected names such as"),
        (b"\xff\xfe\n", "line 1, byte 3: 0x0A is not UTF-16, expected UTF-8"),
    ],
)
def test_lists_of_another_kind(tmp_path, content, words):
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        sbd.read_names(str(tmp_path / "train.txt"))
    assert str(caught.value).startswith((f"{tmp_path}/train.txt: {words}", f"{tmp_path}/train.txt, {words}"))


def test_folders_that_cannot_be_written(archives, tmp_path):
    (tmp_path / "taken").write_text("")
    target = str(tmp_path / "taken" / "a")
    words = rf"^{target}: cannot be written \(File exists\)$"
    with pytest.raises(DatasetError, match=words):
        sbd.write_list(target, ["a"])
    with pytest.raises(DatasetError, match=words):
        sbd.link_or_copy(os.path.join(archives[0], "train.txt"), target)
    with pytest.raises(ImageError, match="taken/a: the image cannot be written"):
        sbd.convert(os.path.join(archives[0], "cls", "2008_000051.mat"), target)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--voc a", "the following arguments are required: --sbd"),
        ("--voc a --sbd b --jobs 0", "--jobs is 0, expected 1 or more"),
    ],
)
def test_wrong_flags(arguments, words):
    with pytest.raises(FlagError, match=words):
        sbd.main(arguments.split())
