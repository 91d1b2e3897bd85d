"""Files that would run code if what reads them were careless: they are refused, and nothing is run.

PyTorch's files and .safetensors are in `tests/parity/test_malicious_weights.py`, archives in `tests/tools/download`.
"""

from __future__ import annotations

import io
import json
import pickle
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import yaml
from PIL import EpsImagePlugin, Image
from scipy.io import savemat

from database.errors import DatasetError, ImageError, PaletteError, TFRecordError
from database.images import image_size, read_image, read_label
from database.layouts import Sample
from database.lists import listed
from database.loading import load_sample
from database.palettes import read_palette
from database.tfrecord import write_shard
from database.tfrecord_index import TFRecordIndex
from tests.database.tfrecord_files import LABEL_MAP, in_a_shard, write_samples
from tests.security.canary import Canary
from tools.checkpoints.find import resolve_checkpoint
from tools.checkpoints.reading import variable_shapes
from tools.convert.files import read_weights
from tools.convert.npy_dictionary import read_npy_dictionary
from tools.errors import CheckpointError, ClassWeightsError, FlagError, NpyDictionaryError, RecordError, WeightFileError
from tools.flags.config_file import config_arguments
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.prediction.input_images import images_in
from tools.runs.folder import RunFolder
from tools.runs.record import CONFIG_NAME, ModelRecord
from tools.sbd import read_names, read_segmentation
from tools.training.best_snapshot import read_best
from tools.training.class_weights import read_class_weights


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path)


def npy_of(canary: Canary) -> bytes:
    """A .npy file with a dictionary, one of whose values is a call."""
    stream = io.BytesIO()
    np.save(stream, {"weights": np.ones(2, np.float32), "more": canary}, allow_pickle=True)
    return stream.getvalue()


def yaml_of(canary: Canary) -> bytes:
    return f"batch_size: !!python/object/apply:os.mkdir ['{canary.path}']\n".encode()


def mat_of(canary: Canary) -> bytes:
    """A MATLAB file of SBD's structure with bytes of a pickle, and text to evaluate, where ids are expected."""
    stream = io.BytesIO()
    pickled = np.frombuffer(pickle.dumps(canary), np.uint8)
    savemat(stream, {"GTcls": {"Segmentation": np.array([canary.expression]), "Boundaries": pickled}})
    return stream.getvalue()


@pytest.mark.parametrize(
    "careless",
    [
        lambda canary: np.load(io.BytesIO(npy_of(canary)), allow_pickle=True),
        lambda canary: pickle.loads(pickle.dumps(canary)),
        lambda canary: yaml.unsafe_load(yaml_of(canary)),
        lambda canary: eval(canary.expression),
    ],
    ids=["numpy.load", "pickle.loads", "yaml.unsafe_load", "eval"],
)
def test_the_canary_sings_where_files_are_read_carelessly(canary, careless):
    assert not canary.sang()
    careless(canary)
    assert canary.sang()


# What is read, what a malicious file holds, and the error it is refused with.
Reader = Callable[[str], object]
PICKLES: dict[str, tuple[str, Reader, type[Exception]]] = {
    ".npy dictionary": ("w.npy", read_npy_dictionary, NpyDictionaryError),
    ".npy weights": ("w.npy", read_weights, WeightFileError),
    "PyTorch's weights": ("w.pth", read_weights, WeightFileError),
    "label of SBD": ("x.mat", read_segmentation, DatasetError),
    "list of SBD": ("train.txt", read_names, DatasetError),
    "image": ("x.png", read_image, ImageError),
    "label": ("x.png", read_label, ImageError),
    "size": ("x.png", image_size, ImageError),
    "flags in YAML": ("run.yaml", config_arguments, FlagError),
    "flags in JSON": ("run.json", config_arguments, FlagError),
    "palette": ("colours.txt", lambda path: read_palette(path, 2), PaletteError),
    "palette in JSON": ("colours.json", lambda path: read_palette(path, 2), PaletteError),
    "weights of classes": ("weights.txt", lambda path: read_class_weights(path, 2), ClassWeightsError),
    "list": ("train.txt", lambda path: listed(path, ".", "train"), DatasetError),
    ".odgt list": ("train.odgt", lambda path: listed(path, ".", "train"), DatasetError),
    "index of TFRecords": (
        "train.index.json",
        lambda path: TFRecordIndex.read(str(Path(path).parent), "train"),
        TFRecordError,
    ),
    "record of a checkpoint": (CONFIG_NAME, lambda path: ModelRecord.read(str(Path(path).parent)), RecordError),
    "checkpoint": ("model.ckpt", variable_shapes, CheckpointError),
}


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("content", ["a pickle", "a .npy file", "YAML with a call", "a Python expression"])
def test_nothing_is_run_from_a_file(tmp_path, canary, kind, content):
    name, read, error = PICKLES[kind]
    made = {
        "a pickle": lambda: pickle.dumps(canary),
        "a .npy file": lambda: npy_of(canary),
        "YAML with a call": lambda: yaml_of(canary),
        "a Python expression": lambda: canary.expression.encode(),
    }[content]()
    (tmp_path / name).write_bytes(made)
    with pytest.raises(error) as caught:
        read(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert not canary.sang()


def test_flags_are_not_evaluated(canary):
    for name in ("batch_size", "lrn_rate", "lr_step", "image_mean", "poly_lr"):
        with pytest.raises(FlagError):
            parse_flags(TrainConfig, [f"--{name}={canary.expression}"], "")
    assert not canary.sang()


def test_a_matlab_file_of_texts_and_pickles(tmp_path, canary):
    (tmp_path / "x.mat").write_bytes(mat_of(canary))
    with pytest.raises(DatasetError, match="x.mat: GTcls.Segmentation is <U"):
        read_segmentation(str(tmp_path / "x.mat"))
    assert not canary.sang()


def test_an_example_whose_image_is_a_pickle(tmp_path, canary):
    """The checksum of the example is right: it is the file of a malicious writer, not a damaged one."""
    sample = in_a_shard(write_samples(tmp_path / "images", 1), tmp_path)[0]
    example = tf.train.Example.FromString(next(iter(tf.io.tf_record_iterator(sample.shard))))
    example.features.feature["image/encoded"].bytes_list.value[0] = pickle.dumps(canary)
    example.features.feature["sample/name"].bytes_list.value[0] = canary.expression.encode()
    [place] = write_shard(str(tmp_path / "train-00000-of-00001.tfrecord"), [example.SerializeToString()])
    crafted = type(sample)(**{**vars(sample), "shard": str(tmp_path / "train-00000-of-00001.tfrecord"), "place": place})
    with pytest.raises(ImageError, match="not an image that can be read"):
        load_sample(crafted)
    assert not canary.sang()


def test_the_score_of_the_best_snapshot_is_not_evaluated(tmp_path, canary):
    folder = RunFolder(str(tmp_path))
    (tmp_path / "best").mkdir()
    for content in (f'{{"mean_iou": "{canary.expression}"}}', json.dumps([canary.expression]), canary.expression):
        (tmp_path / "best" / "best.json").write_text(content)
        assert read_best(folder) is None
    assert not canary.sang()


@pytest.fixture
def ghostscript(tmp_path, canary, monkeypatch) -> Path:
    """A program in the place of Ghostscript, which Pillow calls for PostScript; returns a file that is."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\nmkdir '{canary.path}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", str(program))
    path = tmp_path / "x.eps"
    Image.new("RGB", (8, 6)).save(path, "EPS")
    return path


def test_postscript_is_a_program_that_pillow_runs(ghostscript, canary):
    with Image.open(ghostscript) as image, pytest.raises(OSError):  # noqa: PT011
        image.load()
    assert canary.sang()


@pytest.mark.parametrize("name", ["x.eps", "x.png"])
def test_postscript_is_refused_and_not_run(tmp_path, ghostscript, canary, name):
    """By what the file holds, whatever it is called."""
    path = tmp_path / name
    path.write_bytes(ghostscript.read_bytes())
    for read in (read_image, read_label, image_size):
        with pytest.raises(ImageError, match=rf"{name}: PostScript .*: convert it to PNG"):
            read(str(path))
    with pytest.raises(ImageError, match="PostScript"):
        load_sample(Sample("x", str(path), str(path), LABEL_MAP))
    assert not canary.sang()


def test_postscript_is_passed_over_in_a_folder(tmp_path, ghostscript):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    assert [name for name, _ in images_in(str(tmp_path))] == ["a"]


def test_the_state_file_beside_checkpoints_is_not_followed(tmp_path):
    """TensorFlow follows its absolute paths; here the newest snapshot is told by the names in the folder itself."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "snapshot"
    for path in (elsewhere / "model.ckpt-9", folder / "model.ckpt-1"):
        path.parent.mkdir()
        for ending in (".index", ".data-00000-of-00001"):
            path.with_name(path.name + ending).touch()
    state = (
        f'model_checkpoint_path: "{elsewhere}/model.ckpt-9"\nall_model_checkpoint_paths: "{elsewhere}/model.ckpt-9"\n'
    )
    (folder / "checkpoint").write_text(state)
    assert tf.train.latest_checkpoint(str(folder)) == f"{elsewhere}/model.ckpt-9"
    assert resolve_checkpoint(str(folder)) == f"{folder}/model.ckpt-1"
    for path in folder.glob("model.ckpt-1.*"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint \(model.ckpt-<step>.index\)"):
        resolve_checkpoint(str(folder))
