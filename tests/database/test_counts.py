"""Tests counts with their nouns."""

from __future__ import annotations

from database.counts import and_of, number_of


def test_number_of():
    assert [number_of(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [number_of(count, "class", "classes") for count in (1, 3)] == ["1 class", "3 classes"]


def test_and_of():
    assert [and_of(count, "file") for count in (0, 1, 2)] == ["", " and 1 more file", " and 2 more files"]
    assert and_of(2, "class", "classes") == " and 2 more classes"
