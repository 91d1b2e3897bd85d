"""Whole files of every kind that is read from users, which the corpus and the fuzzer damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.database.tfrecord_files import index_of, write_samples
from tests.hostile.pytorch_structures import impossible_file
from tests.tools.convert.pytorch_files import legacy_bytes, of_array, pickled, zip_bytes
from tests.tools.convert.test_npy_dictionary import npy_file
from tests.tools.import_annotations import annotation_files as made
from tests.tools.toy_runs import toy_record, write_checkpoint
from tools.flags.train import TrainConfig
from tools.runs.record import BackboneRecord

IMAGE_SUFFIXES = (".png", ".jpg", ".tif", ".gif", ".webp", ".bmp")
SIZE = (17, 23)
TENSORS = {
    "resnet_v1_50/conv1/weights": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "resnet_v1_50/conv1/BatchNorm/gamma": np.ones(4, np.float32),
    "global_step": np.array(7, np.int64),
}

# Builds files that are well-formed and impossible, by the name of the file that they replace.
STRUCTURES: dict[str, Callable[[np.random.Generator], bytes]] = {
    "weights.pth": impossible_file,
    "old.pth": impossible_file,
}


class Seed(NamedTuple):
    """A whole file.

    Attributes:
        kind: which loader reads it, see `loaders.LOADERS`.
        path: of the file.
    """

    kind: str
    path: Path


def noise(channels: int = 3, high: int = 256) -> np.ndarray:
    """uint8 [*SIZE, channels], always the same."""
    return np.random.default_rng(0).integers(0, high, (*SIZE, channels), dtype=np.uint8)


def _images(folder: Path) -> list[Seed]:
    seeds = []
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"image{suffix}"
        Image.fromarray(noise()).save(path)
        seeds.append(Seed("image", path))
    Image.fromarray(noise().astype(np.uint16)[:, :, 0] * 250).save(folder / "deep.png")
    Image.fromarray(noise()).save(folder / "packed.tif", compression="tiff_lzw")
    Image.fromarray(noise()).convert("CMYK").save(folder / "cmyk.jpg")
    frames = [Image.fromarray(noise()), Image.fromarray(255 - noise())]
    for suffix in (".gif", ".png", ".webp"):
        frames[0].save(folder / f"moving{suffix}", save_all=True, append_images=frames[1:])
    seeds += [Seed("image", folder / name) for name in ("deep.png", "packed.tif", "cmyk.jpg")]
    seeds += [Seed("image", folder / f"moving{suffix}") for suffix in (".gif", ".png", ".webp")]
    for suffix in (".png", ".tif", ".bmp", ".gif"):
        path = folder / f"label{suffix}"
        label = Image.fromarray(noise(1, 20)[:, :, 0])
        label.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
        label.save(path)
        seeds.append(Seed("label", path))
    return seeds


_TEXTS = {
    ("list", "list.txt"): "a.png b.png\n b.png\ta.png\n",
    ("list", "list.odgt"): '{"fpath_img": "a.png", "fpath_segm": "b.png", "width": 3}\n',
    ("palette", "palette.txt"): "# colours\n255 0 0 traffic light\n0 255 0\n",
    ("palette", "palette.json"): '[{"name": "stop", "color": [255, 0, 0]}, {"name": "go", "color": [0, 255, 0]}]',
    ("label_map", "map.txt"): "7 0\n  # person\n11 1\n0 ignore\n",
    ("label_map", "map.json"): '{"7": 0, "11": 1, "0": "ignore"}',
    ("class_weights", "weights.txt"): "0.5, 1.5\n",
    ("flags", "flags.yaml"): "batch_size: 2\nlrn_rate: 0.01\nsubsets_for_training: [train, val]\nrandom_blur: true\n",
    ("flags", "flags.json"): json.dumps({"batch_size": 2, "lr_step": [10, 20], "poly_lr": 0, "seed": 5}),
}


def _texts(folder: Path) -> list[Seed]:
    for name in ("a.png", "b.png"):  # what the lists name
        (folder / name).touch()
    for (_, name), text in _TEXTS.items():
        (folder / name).write_text(text)
    return [Seed(kind, folder / name) for kind, name in _TEXTS]


def _annotations(folder: Path) -> list[Seed]:
    """With run lengths of pycocotools, for 10, 3, 70, 2 and 11 pixels, and a picture of 2x2 pixels."""
    mask = {"size": list(made.SIZE), "counts": ":3V2OUN"}
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4nGNgZGBiYAQAABIABb6fs04AAAAASUVORK5CYII="
    shapes = [
        made.shape("x", made.SQUARE),
        made.shape("y", [[9, 4], [9, 6]], "circle"),
        made.shape("z", [[3, 2], [4, 3]], "mask", mask=picture),
    ]
    elements = (
        f'<polygon label="car" z_order="1" points="{made.cvat_points(made.SQUARE)}"/>'
        '<box label="car" xtl="0" ytl="0" xbr="3" ybr="2" rotation="3"/>'
        '<mask label="road" rle="1, 2, 4, 1" left="3" top="4" width="4" height="2"/>'
    )
    instances = [made.annotation([made.flat(made.SQUARE)]), made.annotation(mask, 3, 2, iscrowd=1)]
    texts = {
        "labelme.json": made.labelme(shapes),
        "coco.json": made.coco(instances),
        "cvat.xml": made.cvat(made.cvat_image(elements)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [Seed("annotations", folder / name) for name in texts]


def _records(folder: Path) -> list[Seed]:
    """Records beside checkpoints, of a PSPNet and of a ResNet."""
    toy_record(TrainConfig(batch_size=2, database="Toy")).write(str(folder / "pspnet"))
    BackboneRecord("resnet_v1_50", class_names=("a", "b"), image_mean=(1.0, 2.0, 3.0)).write(str(folder / "resnet"))
    return [Seed("record", folder / name / "config.json") for name in ("pspnet", "resnet")]


def _weights(folder: Path) -> list[Seed]:
    content = {"conv1": {"weights": TENSORS["resnet_v1_50/conv1/weights"], "name": "text"}, "list": [1, np.ones(2)]}
    np.save(folder / "weights.npy", content, allow_pickle=True)
    npy_file(folder / "old.npy", content, protocol=2)
    numbers = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    saved = pickled({"meta": {"cfg": "a = 1"}, "state_dict": {"conv1.weight": of_array(numbers)}})
    (folder / "weights.pth").write_bytes(zip_bytes(saved, {"0": numbers.tobytes()}))
    (folder / "old.pth").write_bytes(legacy_bytes(saved, {"0": numbers.tobytes()}))
    prefix = write_checkpoint(str(folder / "checkpoint" / "model.ckpt-7"), TENSORS)
    old = write_checkpoint(str(folder / "old_checkpoint" / "resnet.ckpt"), TENSORS, version=1)
    names = (f"{prefix}.index", f"{prefix}.data-00000-of-00001", old)
    return [Seed("weights", folder / name) for name in ("weights.npy", "old.npy", "weights.pth", "old.pth")] + [
        *(Seed("checkpoint", Path(name)) for name in names),
    ]


def _tfrecords(folder: Path) -> list[Seed]:
    shards = folder / "tfrecord"
    index_of([write_samples(folder / "images", 3)], folder, shards).write(str(shards))
    return [Seed("tfrecord", path) for path in (shards / "train.index.json", *shards.glob("*.tfrecord"))]


def write_seeds(folder: Path) -> list[Seed]:
    """Writes the files, each kind into a separate folder, where tests replace them by damaged ones."""
    seeds = []
    writers = {
        "images": _images,
        "texts": _texts,
        "annotations": _annotations,
        "records": _records,
        "weights": _weights,
    }
    for name, write in writers.items():
        (folder / name).mkdir()
        seeds += write(folder / name)
    return [*seeds, *_tfrecords(folder)]
