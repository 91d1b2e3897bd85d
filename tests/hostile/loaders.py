"""What reads each kind of file, and what may come of it: a right result, or one line that names the file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from database.datasets import custom_dataset
from database.images import image_size, read_image, read_label
from database.lists import listed
from database.loading import load_sample
from database.palettes import legend, read_palette
from database.tfrecord_index import TFRecordIndex
from tests.database.tfrecord_files import LABEL_MAP
from tests.hostile.seeds import TENSORS
from tools.checkpoints.find import resolve_checkpoint
from tools.checkpoints.reading import damage_named, variable_shapes
from tools.console import USER_FAULTS
from tools.convert.files import read_meta, read_weights
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.import_annotations.coco import read_coco
from tools.import_annotations.cvat import read_cvat
from tools.import_annotations.drawing import covered
from tools.import_annotations.labelme import read_labelme
from tools.runs.record import BackboneRecord, ModelRecord
from tools.training.class_weights import read_class_weights

SECONDS = 10


class TooSlowError(BaseException):
    """A file that a loader did not finish with in time; no loader may catch it."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Ends a block with `TooSlowError` after `SECONDS`."""

    def stop(number: int, frame: Any) -> None:
        raise TooSlowError(f"not read in {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _image(path: Path) -> np.ndarray:
    image = read_image(str(path))
    assert image.dtype == np.uint8
    assert image.shape == (*image_size(str(path)), 3)
    return image


def _label(path: Path) -> np.ndarray:
    label = read_label(str(path))
    assert label.dtype in (np.uint8, np.int32)
    assert label.shape == image_size(str(path))
    return label


def _list(path: Path) -> Any:
    entries = listed(str(path), str(path.parent), "train")
    assert all(os.path.isfile(entry.image) and os.path.isfile(str(entry.label)) for entry in entries)
    return entries


def _palette(path: Path) -> Any:
    names, palette, _ = read_palette(str(path), 2)
    assert np.array(palette).shape == (2, 3)
    assert legend(names or ("a", "b"), palette, 60).shape[1] == 60
    return names, palette


def _label_map(path: Path) -> Any:
    label_map = custom_dataset(2, label_map_file=str(path)).label_map
    assert set(label_map) <= set(range(256))
    assert set(label_map.values()) <= {0, 1, 255}
    return label_map


def _class_weights(path: Path) -> Any:
    weights = read_class_weights(str(path), 2)
    assert np.isfinite(weights).all()
    assert min(weights) >= 0
    return weights


def _record(path: Path) -> Any:
    backbone = BackboneRecord.read(str(path.parent))
    assert backbone is not None
    return backbone, ModelRecord.read(str(path.parent))


def _checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The tensors as saved: TensorFlow keeps checksums of them and of their index."""
    prefix = resolve_checkpoint(str(path))
    shapes = variable_shapes(prefix)
    with damage_named(prefix):
        reader = tf.train.NewCheckpointReader(prefix)
        tensors = {name: reader.get_tensor(name) for name in shapes}
    assert tensors.keys() == TENSORS.keys()
    assert all(np.array_equal(tensor, TENSORS[name]) for name, tensor in tensors.items())
    return tensors


def _weights(path: Path) -> dict[str, np.ndarray]:
    """By the first bytes: .npy, .pth and .safetensors."""
    read_meta(str(path))
    return read_weights(str(path))


def _tfrecord(path: Path) -> Any:
    """The samples as they were written: the index and each example have checksums."""
    folder = path.parent
    index = TFRecordIndex.read(str(folder), "train")
    samples = index.samples(str(folder), str(folder.parent))
    assert index.label_map == LABEL_MAP
    for sample in samples:
        image, label = load_sample(sample)
        assert np.array_equal(image, read_image(sample.image))
        assert np.array_equal(label, np.where((ids := read_label(str(sample.label))) == 0, 255, ids - 1))
    return len(samples)


def _annotations(path: Path) -> Any:
    """Every shape is inside its image."""
    of_coco = partial(read_coco, ignore_crowds=True)
    images = {"labelme": read_labelme, "cvat": read_cvat}.get(path.stem, of_coco)(str(path)).images
    for image in images:
        height, width = (min(side, 1000) for side in image.size)
        for instance in image.instances:
            window = covered(instance, height, width)
            assert window.of(np.empty((height, width))).shape == window.mask.shape
    return images


LOADERS: dict[str, Callable[[Path], Any]] = {
    "image": _image,
    "label": _label,
    "list": _list,
    "palette": _palette,
    "label_map": _label_map,
    "class_weights": _class_weights,
    "flags": lambda path: parse_flags(TrainConfig, ["--config", str(path)], "test"),
    "record": _record,
    "weights": _weights,
    "checkpoint": _checkpoint,
    "tfrecord": _tfrecord,
    "annotations": _annotations,
}


def outcome(kind: str, path: Path) -> Any:
    """What a loader makes of a file: its result, or the one line of the user's fault, as `str`.

    Raises:
        AssertionError: the result is wrong, or the line does not name the file.
        TooSlowError: it took too long.
        Exception: anything else that a loader raised.
    """
    try:
        with time_limit():
            return LOADERS[kind](path)
    except USER_FAULTS as error:
        line = " ".join(str(error).split())
        # Checkpoints are named by their prefix, and TFRecords by whichever of their files is damaged.
        named = str(path.parent if kind == "tfrecord" else path.with_suffix("") if kind == "checkpoint" else path)
        is_of_flags = kind == "flags" and line.startswith("--")  # which contradict each other, whoever gave them
        assert is_of_flags or " ".join(named.split()) in line, f"'{line}' does not name {path}"
        assert len(line) < 1000 + len(named), f"a line of {len(line)} characters"
        return line
