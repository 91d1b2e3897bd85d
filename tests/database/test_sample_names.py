"""Tests that there are as many names as samples, whatever the files are called."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from database.datasets import custom_dataset, find_samples
from database.lists import Entry
from database.sample_names import sample_names
from tests.database.dataset_files import touch


def entries_of(*paths: str) -> list[Entry]:
    return [Entry(os.path.splitext(path)[0], f"/data/{path}", None) for path in sorted(paths)]


def names_of_before(entries: list[Entry]) -> list[str]:
    """Names samples by the previous rule: not always unique, but kept where the names are unique."""
    stems = Counter(os.path.basename(entry.key) for entry in entries)
    whole = Counter(entry.key for entry in entries)
    names = []
    for entry in entries:
        name = os.path.basename(entry.key)
        if stems[name] > 1:
            suffix = os.path.splitext(entry.image)[1].replace(".", "_") if whole[entry.key] > 1 else ""
            name = entry.key.replace("/", "__") + suffix
        names.append(name)
    return names


PARTS = st.text(st.sampled_from("ab_-.é"), min_size=1, max_size=4).filter(lambda part: part.strip("."))
PATHS = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem]) + suffix,
    st.lists(PARTS, max_size=2),
    st.one_of(PARTS, st.sampled_from(["x__a", "x__a_png", "a_png", "a" * 236, "é" * 119])),
    st.sampled_from([".png", ".jpg"]),
)


@settings(deadline=None, max_examples=300)
@given(st.sets(PATHS, min_size=1, max_size=8))
@example({"x/a.png", "y/a.png", "z/x__a.png"})
@example({"p/b.png", "p/b.jpg", "q/p__b_png.png"})
@example({"a/" + "b" * 150 + "/" + "c" * 100 + ".png", "d/" + "b" * 150 + "/" + "c" * 100 + ".png"})
def test_as_many_names_as_samples(paths):
    entries = entries_of(*paths)
    names = sample_names(entries)
    assert len(set(names)) == len(entries)
    assert not any("/" in name for name in names)
    assert all(len(os.fsencode(f"{name}_prediction.png")) <= 255 for name in names)
    before = names_of_before(entries)
    counts = Counter(before)
    for name, earlier in zip(names, before, strict=True):
        if counts[earlier] == 1 and len(os.fsencode(f"{earlier}_prediction.png")) <= 255:
            assert name == earlier


@given(st.sets(PATHS, min_size=2, max_size=6), st.randoms())
def test_names_do_not_depend_on_the_order(paths, random):
    entries = entries_of(*paths)
    named = dict(zip(entries, sample_names(entries), strict=True))
    random.shuffle(entries)
    assert dict(zip(entries, sample_names(entries), strict=True)) == named


def test_files_of_one_path_in_two_folders():
    """A list may contain both /a.png in the root folder and a.png in the dataset."""
    names = sample_names([Entry("a", "/a.png", None), Entry("a", "/data/a.png", None)])
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    "images", [("x/a.png", "y/a.png", "z/x__a.png"), ("p/c.png", "q/c.png", "r/p__c.png", "s/r__p__c.png")]
)
def test_samples_in_folders(tmp_path, images):
    for image in images:
        touch(tmp_path, f"images/val/{image}", f"labels/val/{image}")
    samples = find_samples(custom_dataset(2), str(tmp_path), ["val"])
    assert len({sample.name for sample in samples}) == len(images)


def test_names_of_servers_stay():
    entries = entries_of("berlin/berlin_000000_000019.png", "bonn/bonn_000000_000019.png")
    assert sample_names(entries) == ["berlin_000000_000019", "bonn_000000_000019"]
    assert sample_names(entries_of("000000_10.png", "000001_10.png")) == ["000000_10", "000001_10"]
