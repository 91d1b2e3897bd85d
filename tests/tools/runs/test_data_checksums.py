"""Checksums of images and labels."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.errors import TFRecordError
from database.layouts import Contents, Sample
from database.tfrecord import Place, TFRecordSample
from tools.runs.data_checksums import contents_checksum, names_checksum, path_within, sizes_checksum


def samples_in(folder: Path, count: int = 3) -> list[Sample]:
    """Writes and returns samples whose files have a few bytes each."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for index in range(count):
        paths = [folder / f"{kind}{index}.png" for kind in ("image", "label")]
        for path in paths:
            path.write_bytes(path.name.encode())
        samples.append(Sample(str(index), str(paths[0]), str(paths[1]), {}))
    return samples


def checksums(samples, folder) -> tuple:
    return names_checksum(samples, str(folder)), sizes_checksum(samples), contents_checksum(samples)


def test_copy_elsewhere_has_the_same_checksums(tmp_path):
    first = checksums(samples_in(tmp_path / "a"), tmp_path / "a")
    assert checksums(samples_in(tmp_path / "b" / "c"), tmp_path / "b" / "c") == first
    assert len(set(first)) == 3


@pytest.mark.parametrize(
    ("content", "changed"), [(b"image1.pnG", (False, False, True)), (b"image1.png.", (False, True, True))]
)
def test_changed_file(tmp_path, content, changed):
    samples = samples_in(tmp_path)
    before = checksums(samples, tmp_path)
    Path(samples[1].image).write_bytes(content)
    after = checksums(samples, tmp_path)
    assert tuple(a != b for a, b in zip(before, after, strict=True)) == changed


def test_file_among_many_is_noticed_by_its_size(tmp_path):
    """The files of 64 of 200 samples are read completely."""
    samples = samples_in(tmp_path, 200)
    sizes, contents = sizes_checksum(samples), contents_checksum(samples)
    Path(str(samples[1].label)).write_bytes(b"x")
    assert sizes_checksum(samples) != sizes
    assert contents_checksum(samples) == contents


def test_contents_are_hashed_in_order(tmp_path):
    samples = samples_in(tmp_path, 2)
    total = hashlib.sha256(b"2")
    for name in (b"image0.png", b"label0.png", b"image1.png", b"label1.png"):
        total.update(hashlib.sha256(name).digest())
    assert contents_checksum(samples) == total.hexdigest()


@dataclasses.dataclass(frozen=True)
class Packed(Sample):
    """A sample with its contents in memory, like an example of a TFRecord file."""

    packed: Contents = Contents()

    def contents(self) -> Contents:
        return self.packed


def test_examples_of_tfrecords_have_the_same_contents_checksum(tmp_path):
    samples = samples_in(tmp_path)
    packed = []
    for sample in samples:
        contents = Contents(*(Path(path).read_bytes() for path in (sample.image, sample.label)))
        packed.append(Packed(**{f.name: getattr(sample, f.name) for f in dataclasses.fields(Sample)}, packed=contents))
    expected = contents_checksum(samples)
    shutil.rmtree(tmp_path)
    assert contents_checksum(packed) == expected
    assert sizes_checksum(packed) is None


@dataclasses.dataclass(frozen=True)
class Damaged(Sample):
    """A sample whose example in a TFRecord file cannot be read."""

    def contents(self) -> Contents:
        raise TFRecordError("damaged")


def test_damaged_example_counts_as_empty(tmp_path):
    samples = samples_in(tmp_path)
    damaged = [Damaged(**{f.name: getattr(samples[0], f.name) for f in dataclasses.fields(Sample)}), *samples[1:]]
    assert contents_checksum(damaged) != contents_checksum(samples)


def test_samples_from_tfrecords_have_no_checksum_of_sizes(tmp_path):
    sample = samples_in(tmp_path, 1)[0]
    example = TFRecordSample(
        name="a", image=sample.image, label=sample.label, label_map={}, size=(1, 1), shard="s", number=0,
        place=Place(0, 1, 2),
    )  # fmt: skip
    assert sizes_checksum([example]) is None


def test_missing_file_and_no_samples(tmp_path):
    samples = samples_in(tmp_path)
    before = contents_checksum(samples)
    os.unlink(samples[0].image)
    assert contents_checksum(samples) != before
    assert sizes_checksum(samples) is None
    assert contents_checksum([]) == hashlib.sha256(b"0").hexdigest()


def test_samples_without_labels(tmp_path):
    samples = samples_in(tmp_path)
    unlabelled = [dataclasses.replace(sample, label=None) for sample in samples]
    for before, after in zip(checksums(samples, tmp_path), checksums(unlabelled, tmp_path), strict=True):
        assert before != after


@given(
    st.lists(st.sampled_from(["a", "b.png", "..", ".", "", "..c"]), max_size=5),
    st.sampled_from(["d", "d/", "./d", "/d"]),
)
def test_path_within_is_the_relative_path(parts, folder):
    path = os.path.join(folder, "/".join(parts))
    expected = os.path.relpath(path, folder)
    expected_or_none = None if expected.split(os.sep)[0] == os.pardir else expected
    assert path_within(path, folder) == expected_or_none


def test_path_within():
    assert path_within("data/a/b.png", "data") == "a/b.png"
    assert path_within("data2/b.png", "data") is None
