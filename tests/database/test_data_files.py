"""Tests the rule that decides which files below a folder are data, and what is logged about the others."""

from __future__ import annotations

import pytest
from PIL import Image

from database.data_files import files_below, is_no_data
from database.datasets import custom_dataset, find_samples
from database.image_suffixes import has_image_suffix, image_suffixes
from database.images import read_image
from tests.database.dataset_files import cityscapes_files, find, touch
from tools.prediction.input_images import images_in

NO_DATA = (
    ".ipynb_checkpoints", "@eaDir", "__MACOSX", ".hidden", "lost+found", "$RECYCLE.BIN", "System Volume Information",
    "#recycle", ".Trash-1000", "$Recycle.Bin", "__pycache__",
    "~snapshot", "#snapshot", "@Recently-Snapshot", "@tmp",
)  # fmt: skip
SUFFIXES = (".png", ".jpg", ".gif", ".avif", ".ppm", ".jp2", ".webp", ".TIF", ".pgm", ".jfif", ".tga", ".bmp")


# Layout by layout: the files of one split, and the folders that may contain other files.
LAYOUTS = {
    "Cityscapes": ("train", cityscapes_files("train", "bonn_000000_000000"), ("leftImg8bit/train", "gtFine/train")),
    "ADE": ("train", ["images/training/a.jpg", "annotations/training/a.png"],
            ("images/training", "annotations/training")),
    "KITTI": ("val", ["training/image_2/a.png", "training/semantic/a.png"], ("training/image_2", "training/semantic")),
    "CamVid": ("train", ["train/a.png", "trainannot/a.png"], ("train", "trainannot")),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_folders_of_systems_are_no_data(tmp_path, name):
    split, files, folders = LAYOUTS[name]
    touch(tmp_path, *files)
    for folder in folders:
        for no_data in NO_DATA:
            for file in files:
                touch(tmp_path / folder / no_data, file.rpartition("/")[2])
        for file in files:
            touch(tmp_path / folder, "._" + file.rpartition("/")[2])
        touch(tmp_path / folder, "Thumbs.db", "desktop.ini", ".DS_Store")
    assert len(find(name, tmp_path, split)) == 1


@pytest.mark.parametrize("split", ["train", "test"])
def test_own_data_without_what_is_none(tmp_path, caplog, split):
    caplog.set_level("INFO")
    for kind in ("images", "labels"):
        touch(tmp_path, *(f"{kind}/{split}/{folder}/a.png" for folder in ("deeper", *NO_DATA)))
        touch(tmp_path, *(f"{kind}/{split}/{file}" for file in ("._b.png", "Thumbs.db")))
    touch(tmp_path, f"images/{split}/notes.txt", f"images/{split}/a.xml", f"images/{split}/deeper/b.XML")
    [sample] = find_samples(custom_dataset(2), str(tmp_path), [split])
    assert sample.image == str(tmp_path / f"images/{split}/deeper/a.png")
    images, labels = (tmp_path / kind / split for kind in ("images", "labels"))
    hidden = f"skipped {len(NO_DATA) + 2} hidden or system files and folders"
    shown = "#recycle, #snapshot, $RECYCLE.BIN, $Recycle.Bin, ..."
    assert caplog.messages == [
        f"{images}: {hidden}: {shown}",
        f"{images}: skipped 3 files with other suffixes: 2 .xml, 1 .txt",
        f"{labels}: {hidden}: {shown}",
    ]


def test_a_dataset_below_a_hidden_folder_is_data(tmp_path):
    touch(tmp_path, ".cache/mine/images/test/a.png")
    assert len(find_samples(custom_dataset(2), str(tmp_path / ".cache" / "mine"), ["test"])) == 1


@pytest.mark.parametrize(
    "name", ["images", "Thumbs", "macosx", "a.ipynb_checkpoints", "lost", "street#recycle", "eadir"]
)
def test_names_of_data(name):
    assert not is_no_data(name)


def test_prediction_and_inference_take_the_same_files(tmp_path):
    names = [f"image{index}{suffix}" for index, suffix in enumerate(SUFFIXES)]
    others = ["notes.txt", "a.pdf", "b.eps", "c.h5", "d.mpg", "e.npy", "f.mat", "g", "h.json"]
    touch(tmp_path, *(f"images/test/{name}" for name in (*names, *others)))
    folder = tmp_path / "images" / "test"
    expected = sorted(str(folder / name) for name in names)
    assert [sample.image for sample in find_samples(custom_dataset(2), str(tmp_path), ["test"])] == expected
    assert [path for _, path in images_in(str(folder))] == expected


def test_suffixes_are_those_of_formats_that_pillow_decodes(tmp_path):
    """Tries all formats that Pillow writes and recognizes by suffix: those that can be read must be listed."""
    Image.init()
    readable = set()
    for suffix, kind in Image.registered_extensions().items():
        path = tmp_path / f"a{suffix}"
        if kind in Image.SAVE and suffix not in (".mpo", ".pdf"):
            for mode in ("RGB", "L", "1", "P", "RGBA"):
                try:
                    Image.new(mode, (16, 16)).save(path, format=kind)
                    read_image(str(path))
                except (OSError, ValueError, KeyError, SystemError):
                    continue
                readable.add(suffix)
                break
    assert {".png", ".jpg", ".gif", ".ppm", ".tga"} <= readable
    assert readable <= image_suffixes()


@pytest.mark.parametrize(
    "name", ["a.eps", "a.ps", "a.pdf", "a.h5", "a.hdf", "a.grib", "a.mpg", "a.wmf", "a.txt", "png", ".png"]
)
def test_names_of_no_images(name):
    assert not has_image_suffix(name)


def test_known_layouts_log_other_suffixes(tmp_path, caplog):
    caplog.set_level("INFO")
    touch(tmp_path, "train/a.png", "train/b.jpg", "trainannot/a.png")
    assert len(find("CamVid", tmp_path, "train")) == 1
    assert caplog.messages == [f"{tmp_path}/train: skipped 1 file with other suffixes: 1 .jpg"]


def test_endings_beside_which_others_are_expected_log_nothing(tmp_path, caplog):
    caplog.set_level("INFO")
    touch(tmp_path, "a_labelIds.png", "a_color.png", "a_polygons.json")
    assert list(files_below(str(tmp_path), ("_labelIds.png",))) == ["a"]
    assert caplog.messages == []
