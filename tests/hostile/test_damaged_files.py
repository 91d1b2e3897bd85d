"""Every kind of file that is read from users, cut off, changed by a bit or of another kind, through what reads it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from database.images import read_image, read_label
from tests.hostile import loaders
from tests.hostile.damage import DAMAGES, flip_bit, flip_bit_of_the_header
from tests.hostile.fuzz import fuzz
from tests.hostile.loaders import LOADERS, TooSlowError, outcome
from tests.hostile.seeds import Seed, write_seeds
from tools.errors import CheckpointError


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[Seed]:
    """One whole file of every kind and format; a test that damages one puts it back."""
    return write_seeds(tmp_path_factory.mktemp("seeds"))


def outcomes(seed: Seed, contents: list[bytes]) -> list:
    """What becomes of a file with other bytes in it."""
    whole = seed.path.read_bytes()
    try:
        found = []
        for content in contents:
            seed.path.write_bytes(content)
            found.append(outcome(seed.kind, seed.path))
        return found
    finally:
        seed.path.write_bytes(whole)


def test_whole_files_are_read(seeds):
    assert {seed.kind for seed in seeds} == set(LOADERS)
    for seed in seeds:
        if seed.path.parent.name != "resnet":  # whose record is refused where a PSPNet's is wanted
            assert not isinstance(outcome(seed.kind, seed.path), str), seed.path


def test_files_that_are_cut_off(seeds):
    """Text may end anywhere; of the others, nothing but what is beside the pixels may be missing."""
    count = 0
    for seed in seeds:
        whole = seed.path.read_bytes()
        size = len(whole)
        lengths = sorted({0, 1, 2, 8, 33, size // 3, size // 2, size * 3 // 4, size - 12, size - 1} & set(range(size)))
        for length, found in zip(lengths, outcomes(seed, [whole[:length] for length in lengths]), strict=True):
            count += 1
            if seed.kind in ("image", "label", "weights", "checkpoint", "tfrecord") and not isinstance(found, str):
                assert seed.kind in ("image", "label"), (seed.path, length)
                read = read_image if seed.kind == "image" else read_label
                np.testing.assert_array_equal(found, read(str(seed.path)), err_msg=f"{seed.path} cut off at {length}")
    assert count > 250


@pytest.mark.parametrize("flip", [flip_bit, flip_bit_of_the_header])
def test_files_with_a_bit_changed(seeds, flip):
    """What has checksums is refused or unharmed, see `loaders`; other files may say something else that is in order."""
    for number, seed in enumerate(seeds):
        whole = seed.path.read_bytes()
        rng = np.random.default_rng([number, 5])
        outcomes(seed, [bytes(flip(bytearray(whole), rng)) for _ in range(8)])


def test_files_of_another_kind(seeds):
    """Each under the name of every other kind; what a loader can do with it, it may."""
    one_of_a_kind = {seed.kind: seed.path.read_bytes() for seed in seeds}
    for seed in {seed.kind: seed for seed in seeds}.values():
        others = [content for kind, content in one_of_a_kind.items() if kind != seed.kind]
        found = outcomes(seed, others)
        if seed.kind not in ("image", "label", "list"):
            assert all(isinstance(line, str) for line in found), seed.kind


def test_random_damage(tmp_path):
    counts, faults = fuzz(tmp_path, cases=300, seed=0)
    assert not faults, "\n".join(faults)
    assert sum(counts.values()) == 300
    assert {kind for kind, _ in counts} == set(LOADERS)


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("palette", "p.txt", b"9" * 5000 + b" 0 0\n1 1 1\n"),
        ("palette", "p.json", b"[" * 100_000),
        ("palette", "p.json", b'[{"color": [' + b"9" * 5000 + b", 0, 0]}]"),
        ("label_map", "m.txt", b"9" * 5000 + b" 0\n"),
        ("label_map", "m.txt", b"0 " + b"9" * 5000),
        ("label_map", "m.json", b"[" * 100_000),
        ("label_map", "m.json", b'{"0": ' + b"9" * 5000 + b"}"),
        ("class_weights", "w.txt", b"9" * 5000 + b"x"),
        ("record", "config.json", b"[" * 100_000),
        ("list", "l.txt", b"x" * 5000 + b" y\n"),
        ("list", "l.odgt", b'{"fpath_img": [' + b"1," * 5000 + b"1]}"),
        ("flags", "f.yaml", b"seed: 0x" + b"f" * 5000),
        ("flags", "f.yaml", b"seed: [0x" + b"f" * 5000 + b"]"),
        ("flags", "f.yaml", b"seed: !!bool x"),
        ("flags", "f.yaml", b"seed: !!int ''"),
        ("flags", "f.yaml", b"seed: !!timestamp x"),
        ("flags", "f.yaml", b"seed: !!binary aaaa"),
        ("flags", "f.yaml", b"seed: 2020-13-45"),
        ("flags", "f.yaml", b"seed: &a [*a]"),
        ("flags", "f.yaml", b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nseed: [*b,*b,*b,*b,*b,*b]"),
        ("flags", "f.yaml", b"seed: !!python/object/apply:os.getcwd []"),
    ],
)  # fmt: skip
def test_text_that_parsers_stumble_over(tmp_path, kind, name, content):
    (tmp_path / name).write_bytes(content)
    assert isinstance(outcome(kind, tmp_path / name), str)


def test_names_of_classes_are_of_one_line(tmp_path):
    (tmp_path / "p.json").write_text('[{"name": "traffic\\nlight", "color": [1, 2, 3]}, {"color": [4, 5, 6]}]')
    names, _ = outcome("palette", tmp_path / "p.json")
    assert names == ("traffic light", "class_1")


@pytest.mark.parametrize("kind", LOADERS)
def test_folders_and_nothing_in_the_place_of_files(tmp_path, kind):
    name = {
        "record": "config.json",
        "tfrecord": "train.index.json",
        "weights": "weights.npy",
    }.get(kind, "file")
    (tmp_path / "folder" / name).mkdir(parents=True)
    assert isinstance(outcome(kind, tmp_path / "folder" / name), str)
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle" / name).symlink_to(tmp_path / "circle" / name)
    if kind != "record":  # a record that is not there is none
        assert isinstance(outcome(kind, tmp_path / "absent" / name), str)
        assert isinstance(outcome(kind, tmp_path / "circle" / name), str)


def test_what_the_tests_above_would_not_let_pass(tmp_path, monkeypatch):
    def check(loader) -> None:
        monkeypatch.setitem(LOADERS, "list", loader)
        outcome("list", tmp_path / "list.txt")

    def endless(path: Path) -> None:
        while True:
            with suppress(Exception):  # as a loader might
                path.is_file()

    def of_another_file(path: Path) -> None:
        raise CheckpointError("other.txt: is damaged")

    with pytest.raises(AssertionError, match="does not name"):
        check(of_another_file)
    with pytest.raises(KeyError):
        check(lambda path: {}["absent"])
    monkeypatch.setattr(loaders, "SECONDS", 0.1)
    with pytest.raises(TooSlowError):
        check(endless)


def test_damages_change_bytes_and_are_the_same_again():
    for damage in DAMAGES:
        first, second = (damage(bytearray(range(200)), np.random.default_rng(3)) for _ in range(2))
        assert first == second
        assert damage(bytearray(), np.random.default_rng(0)) is not None
        assert any(damage(bytearray(range(200)), np.random.default_rng(seed)) != bytes(range(200)) for seed in range(9))
