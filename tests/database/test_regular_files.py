"""Tests that pipes, devices and folders in place of files are rejected without waiting."""

from __future__ import annotations

import os

import pytest

from database import images, lists, palettes
from database.datasets import custom_dataset
from database.errors import DatasetError, ImageError, PaletteError, TFRecordError
from database.regular_files import copy_file, read_regular_file, regular_file, writable_file
from database.tfrecord import Place, read_example
from tools.checkpoints.reading import checkpoint_checksum, variable_shapes
from tools.convert import npy_dictionary
from tools.errors import CheckpointError, ClassWeightsError, FlagError, RecordError
from tools.flags import config_file
from tools.runs import record as model_record
from tools.training import class_weights

WORDS = "a pipe or a device, expected a file"


@pytest.fixture
def pipe(tmp_path) -> str:
    """Creates a named pipe that nobody writes to."""
    path = str(tmp_path / "config.json")  # the file name of a run's record, beside its checkpoints
    os.mkfifo(path)
    return path


def test_files_are_opened_as_ever(tmp_path):
    (tmp_path / "file").write_text("content")
    with open(tmp_path / "file", encoding="utf-8", opener=regular_file) as file:
        assert file.read() == "content"
    with pytest.raises(IsADirectoryError), open(tmp_path, encoding="utf-8", opener=regular_file):
        pass
    with pytest.raises(FileNotFoundError):
        regular_file(str(tmp_path / "absent"), os.O_RDONLY)


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_devices_are_refused(device):
    with pytest.raises(OSError, match=WORDS):
        regular_file(device, os.O_RDONLY)
    with pytest.raises(OSError, match=WORDS):
        writable_file(device, os.O_WRONLY)


@pytest.mark.parametrize(("mode", "expected"), [("w", "new"), ("a", "oldnew"), ("r+", "new")])
def test_files_are_written_as_ever(tmp_path, mode, expected):
    path = tmp_path / "file"
    path.write_text("old")
    with open(path, mode, encoding="utf-8", opener=writable_file) as file:
        file.write("new")
    assert path.read_text() == expected


def test_files_are_created_as_by_open(tmp_path):
    for name, options in (("one", {"opener": writable_file}), ("other", {})):
        with open(tmp_path / name, "x", encoding="utf-8", **options):
            pass
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "other").stat().st_mode
    with pytest.raises(FileExistsError), open(tmp_path / "one", "x", encoding="utf-8", opener=writable_file):
        pass
    with pytest.raises(FileNotFoundError):
        writable_file(str(tmp_path / "absent"), os.O_WRONLY)
    with pytest.raises(IsADirectoryError):
        writable_file(str(tmp_path), os.O_WRONLY)


@pytest.mark.parametrize("mode", ["w", "a", "r+", "wb"])
@pytest.mark.parametrize("target", ["target", "absent"])
def test_links_are_not_written_to(tmp_path, mode, target):
    (tmp_path / "target").write_text("untouched")
    (tmp_path / "link").symlink_to(target)
    options = {} if "b" in mode else {"encoding": "utf-8"}
    with (
        pytest.raises(OSError, match="a link, expected a file: '.*link'"),
        open(tmp_path / "link", mode, opener=writable_file, **options),
    ):
        pass
    assert (tmp_path / "target").read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["link", "target"]


def test_a_link_or_a_pipe_that_appears_after_the_first_look_is_not_written_to(tmp_path, monkeypatch):
    """The descriptor decides, not the path."""
    (tmp_path / "target").write_text("untouched")
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("database.regular_files._refuse_special", lambda path: None)
    with pytest.raises(OSError, match="a link, expected a file"):
        writable_file(str(tmp_path / "link"), os.O_WRONLY | os.O_TRUNC)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)  # without one, opening fails as well
    with pytest.raises(OSError, match=WORDS):
        writable_file(str(tmp_path / "pipe"), os.O_WRONLY)
    os.close(reader)
    assert (tmp_path / "target").read_text() == "untouched"


@pytest.mark.timeout(10)
def test_pipes_are_not_written_to(pipe):
    with pytest.raises(OSError, match=WORDS):
        writable_file(pipe, os.O_WRONLY)


def test_copies(tmp_path):
    (tmp_path / "source").write_bytes(b"content")
    for _ in range(2):
        copy_file(str(tmp_path / "source"), str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == b"content"
    (tmp_path / "link").symlink_to("source")
    with pytest.raises(OSError, match="a link, expected a file"):
        copy_file(str(tmp_path / "copy"), str(tmp_path / "link"))


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (images.read_image, ImageError),
        (images.read_label, ImageError),
        (images.image_size, ImageError),
        (images.read_bytes, ImageError),
        (lambda path: lists.listed(path, ".", "train"), DatasetError),
        (lambda path: palettes.read_palette(path, 2), PaletteError),
        (lambda path: custom_dataset(2, label_map_file=path), DatasetError),
        (config_file.config_arguments, FlagError),
        (lambda path: class_weights.read_class_weights(path, 2), ClassWeightsError),
        (lambda path: read_example(path, 0, Place(0, 1, 0)), TFRecordError),
        (lambda path: model_record.ModelRecord.read(os.path.dirname(path)), RecordError),
        (npy_dictionary.read_npy_dictionary, OSError),
        (checkpoint_checksum, CheckpointError),
    ],
)
def test_pipes_are_refused_at_once(pipe, read, fault):
    with pytest.raises(fault, match=WORDS) as caught:
        read(pipe)
    assert pipe in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001"])
def test_pipes_in_the_place_of_checkpoints_are_refused(tmp_path, suffix):
    os.mkfifo(tmp_path / f"model.ckpt{suffix}")
    with pytest.raises(CheckpointError, match=f"ckpt{suffix}: a folder, a pipe or a device, expected"):
        variable_shapes(str(tmp_path / "model.ckpt"))


def test_files_up_to_a_limit(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular_file(str(tmp_path / "file"), 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes, the largest that is read"):
        read_regular_file(str(tmp_path / "file"), 4)
    with pytest.raises(IsADirectoryError):
        read_regular_file(str(tmp_path))


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda path: lists.listed(path, ".", "train"), DatasetError),
        (lambda path: palettes.read_palette(path, 2), PaletteError),
        (lambda path: model_record.ModelRecord.read(os.path.dirname(path)), RecordError),
    ],
)
def test_files_with_holes_are_refused_at_once(tmp_path, read, fault):
    """A terabyte that takes no room on the disk."""
    path = str(tmp_path / "config.json")
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(fault, match="the largest that is read"):
        read(path)


@pytest.mark.parametrize("mode", ["w", "a", "r+"])
def test_files_with_other_names_are_not_written_to(tmp_path, mode):
    (tmp_path / "mine").write_text("mine")
    os.link(tmp_path / "mine", tmp_path / "lock")
    with pytest.raises(OSError, match="other names") as caught:
        open(tmp_path / "lock", mode, opener=writable_file)  # noqa: SIM115
    assert caught.value.filename == str(tmp_path / "lock")
    assert (tmp_path / "mine").read_text() == "mine"
    os.unlink(tmp_path / "mine")
    with open(tmp_path / "lock", mode, opener=writable_file) as file:
        file.write("x")
