"""Tests the search for images that are byte copies of images of another split."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from database import copies
from database.copies import copied_images, copies_fault
from database.layouts import Sample


def samples(folder: Path, **contents: bytes) -> list[Sample]:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [Sample(name, str(folder / name), None, {}) for name in contents]


def test_copies_are_found_by_their_bytes(tmp_path):
    body = bytes(10_000)
    train = samples(tmp_path / "train", a=body, b=b"1" + body, c=b"other", empty=b"")
    val = samples(tmp_path / "val", x=b"1" + body, y=body, z=b"2" + body, other=b"OTHER", empty=b"")
    pairs = copied_images(train, val)
    assert pairs == [(val[0].image, train[1].image), (val[1].image, train[0].image)]
    words = copies_fault(pairs, "val", "train")
    assert words.startswith(f"2 images are in both train and val ({val[0].image} is a copy of {train[1].image}): ")
    assert copied_images(train, val[2:]) == []


def test_only_files_of_equal_size_are_opened_and_only_those_of_equal_parts_are_read(tmp_path, monkeypatch):
    opened: list[tuple[str, str]] = []
    for kind in ("_part", "file_checksum"):
        read = getattr(copies, kind)
        monkeypatch.setattr(
            copies, kind, lambda path, kind=kind, read=read: opened.append((kind, os.path.basename(path))) or read(path)
        )
    train = samples(tmp_path / "train", a=b"abc", b=b"long", c=b"12345")
    copied_images(train, samples(tmp_path / "val", x=b"abd", y=b"12345", z=b"longer than others"))
    assert sorted(opened) == [
        ("_part", "a"), ("_part", "c"), ("_part", "x"), ("_part", "y"), ("file_checksum", "c"), ("file_checksum", "y"),
    ]  # fmt: skip


@pytest.mark.timeout(10)
def test_links_and_what_is_no_file_are_no_copies(tmp_path):
    train = samples(tmp_path / "train", a=b"abc", gone=b"x")
    val = samples(tmp_path / "val", gone=b"x")
    os.unlink(val[0].image)
    (tmp_path / "link").symlink_to(train[0].image)
    os.mkfifo(tmp_path / "pipe")
    named = [Sample(name, str(tmp_path / name), None, {}) for name in ("link", "pipe")]
    assert copied_images([*train, named[1]], [*val, *named]) == []
