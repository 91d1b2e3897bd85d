"""Writes samples as files and as TFRecords."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from database.layouts import Sample
from database.tfrecord import TFRecordSample, make_example, write_shard
from database.tfrecord_index import IndexedSample, Shard, TFRecordIndex, shard_names

LABEL_MAP = {0: 255, **{index + 1: index for index in range(20)}, 255: 255}


def write_samples(folder: Path, count: int, size: tuple[int, int] = (6, 8)) -> list[Sample]:
    """Writes noise images with noise labels of the ids 0 to 20."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    samples = []
    for index in range(count):
        image, label = folder / f"{index}.png", folder / f"{index}_label.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(image)
        Image.fromarray(rng.integers(0, 21, size, dtype=np.uint8)).save(label)
        samples.append(Sample(str(index), str(image), str(label), LABEL_MAP))
    return samples


def index_of(shares: Sequence[Sequence[Sample]], data_dir: Path, folder: Path, split: str = "train") -> TFRecordIndex:
    """Writes one shard per share, and returns their index."""
    shards = []
    for name, share in zip(shard_names(split, len(shares)), shares, strict=True):
        places = write_shard(str(folder / name), (make_example(sample, str(data_dir)) for sample in share))
        pairs = zip(share, places, strict=True)
        shards.append(Shard(name, [IndexedSample.of(sample, str(data_dir), place) for sample, place in pairs]))
    return TFRecordIndex("custom", split, False, None, LABEL_MAP, LABEL_MAP, shards)


def in_a_shard(samples: list[Sample], folder: Path) -> list[TFRecordSample]:
    """Writes the samples into one shard beside their files, and returns the samples of the shard."""
    return index_of([samples], folder, folder).samples(str(folder), str(folder))


def flip_a_bit(path: str, position: int) -> None:
    """Changes a bit of one byte of a file."""
    content = bytearray(Path(path).read_bytes())
    content[position] ^= 4
    Path(path).write_bytes(content)


def write_values(path: Path, values: dict[str, Any]) -> None:
    """Writes an index with a valid checksum of its values, as an attacker could."""
    changed = {name: value for name, value in values.items() if name != "checksum"}
    path.write_text(json.dumps({**changed, "checksum": zlib.crc32(json.dumps(changed).encode())}))
