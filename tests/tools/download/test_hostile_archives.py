"""Archives whose headers would exhaust memory, time or Python's recursion: refused in one line, quickly."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.tools.download.archive_files import tar_member, write_tar, write_zip
from tools.download import archives, tar_stream
from tools.download.archives import unpack
from tools.errors import ArchiveError

SECONDS = 5.0  # for what takes milliseconds here


def refusal(path: str | Path, place: str, root: str = "") -> str:
    """The one line of the refusal of an archive, after which nothing is left beside it."""
    before = sorted(os.listdir(os.path.dirname(path)))
    started = time.process_time()
    with pytest.raises(ArchiveError) as caught:
        unpack(str(path), root, place)
    assert time.process_time() - started < SECONDS
    assert sorted(os.listdir(os.path.dirname(path))) == before
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert len(line) < len(str(path)) + 700
    return line


def outcome(path: Path, place: str) -> str:
    """The line of a refusal, "" if the archive was unpacked."""
    try:
        unpack(str(path), "", place)
    except ArchiveError as error:
        return str(error)
    return ""


@pytest.fixture
def place(tmp_path) -> str:
    return str(tmp_path / "place")


def header(size: int, kind: bytes, name: bytes = b"a") -> bytes:
    """A header of 512 bytes with a valid checksum; sizes that octal digits cannot hold are binary."""
    block = bytearray(tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT))
    block[: len(name)] = name
    field = b"%011o\0" % size if 0 <= size < 8**11 else (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11)
    block[124:136] = field
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


HEADERS = {"long name": b"L", "long link": b"K", "pax": b"x", "global pax": b"g", "Solaris": b"X"}


@pytest.mark.parametrize("kind", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("size", [1 << 20, 1 << 30, 1 << 62, -512, -(1 << 62)])
def test_header_of_gigabytes(tmp_path, place, kind, size):
    """A gigabyte of zeros is a megabyte of gzip; here the first 64 MB are there."""
    path = tmp_path / "a.tar.gz"
    zeros = gzip.compress(bytes(1 << 26), 1)
    path.write_bytes(gzip.compress(header(size, kind)) + zeros)
    tracemalloc.start()
    try:
        assert "not unpacked" in refusal(path, place) or size == 1 << 20
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [-512, -1, -(1 << 40)])
def test_negative_size_of_a_file(tmp_path, place, size):
    """tarfile would read the same header again, for ever."""
    path = tmp_path / "a.tar"
    path.write_bytes(header(0, b"0", b"b") + header(size, b"0") + bytes(1024))
    refusal(path, place)


def test_chain_of_headers(tmp_path, place):
    path = tmp_path / "a.tar"
    path.write_bytes((header(8, b"x") + b"8 a=bc\n\n".ljust(512, b"\0")) * 3000 + bytes(1024))
    refusal(path, place)


@pytest.mark.parametrize(
    "record", [b"9" * 4500 + b" a=b\n", b"20 GNU.sparse.size=x\n", b"0 a=b\n", b"14 size=-512\n\n", b"9" * 20 + b" a=b"]
)
def test_pax_records_that_tarfile_does_not_expect(tmp_path, place, record):
    path = tmp_path / "a.tar"
    length = -len(record) % 512
    path.write_bytes(header(len(record), b"x") + record + bytes(length) + header(0, b"0") + bytes(1024))
    assert len(outcome(path, place)) < len(str(path)) + 700


def test_sum_of_headers(tmp_path, place, monkeypatch):
    monkeypatch.setattr(tar_stream, "MOST_BYTES_OF_HEADERS", 4000)
    path = write_tar(str(tmp_path / "a.tar.gz"), {f"{number}": b"" for number in range(8)})
    assert "the headers of the archive have more than 4000 bytes" in refusal(path, place)


@pytest.mark.parametrize("suffix", ["zip", "tar", "tgz"])
def test_number_of_members(tmp_path, place, monkeypatch, suffix):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    write = write_zip if suffix == "zip" else write_tar
    unpack(write(str(tmp_path / f"three.{suffix}"), {str(number): b"" for number in range(3)}), "", place)
    path = write(str(tmp_path / f"four.{suffix}"), {str(number): b"" for number in range(4)})
    assert "has more than 3 members" in refusal(path, f"{place}2")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tgz"])
@pytest.mark.parametrize("depth", [64, 1500, 3000, 20_000])
def test_folders_in_folders(tmp_path, place, suffix, depth):
    write = write_zip if suffix == "zip" else write_tar
    path = write(str(tmp_path / f"a.{suffix}"), {"d/" * depth + "f": b"1"})
    assert "is in more than 63 folders" in refusal(path, place)


@pytest.mark.parametrize("suffix", ["zip", "tgz"])
def test_folders_up_to_the_limit(tmp_path, place, suffix):
    write = write_zip if suffix == "zip" else write_tar
    unpack(write(str(tmp_path / f"a.{suffix}"), {"d/" * 63 + "f": b"1"}), "", place)
    assert Path(place, "d/" * 63, "f").read_bytes() == b"1"


def test_name_of_many_points(tmp_path, place):
    """Removing them one by one takes the square of their number."""
    unpack(write_tar(str(tmp_path / "a.tar.gz"), {"./" * 300_000 + "f": b"1"}), "", place)
    assert Path(place, "f").read_bytes() == b"1"


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_unusual_compression_in_a_zip(tmp_path, place, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("f", b"1" * 1000)
    assert "f is compressed by an unusual method" in refusal(tmp_path / "a.zip", place)


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.timeout(20)
def test_pipe_in_place_of_an_archive(tmp_path, place, suffix):
    os.mkfifo(tmp_path / f"a.{suffix}")
    assert "a pipe or a device" in refusal(tmp_path / f"a.{suffix}", place)


def test_members_of_no_size_are_no_error(tmp_path, place):
    unpack(write_tar(str(tmp_path / "a.tar"), {"f": b"1"}, tar_member("d", tarfile.DIRTYPE)), "", place)
    assert Path(place, "f").read_bytes() == b"1"


@pytest.mark.parametrize("suffix", ["zip", "tar", "tgz"])
def test_random_damage(tmp_path, suffix):
    """Unpacked, or refused in one line; a damaged header of a tar archive gets a valid checksum."""
    write = write_zip if suffix == "zip" else write_tar
    whole = bytearray(Path(write(str(tmp_path / f"whole.{suffix}"), {"data/a": b"a" * 700, "b": b"b"})).read_bytes())
    plain = bytearray(gzip.decompress(whole)) if suffix == "tgz" else whole
    path = tmp_path / f"a.{suffix}"
    outcomes = []
    for number in range(300):
        rng = np.random.default_rng(number)
        content = bytearray(plain)
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] = (0, 255, 0x80, 0x2F, 0x39, int(rng.integers(256)))[rng.integers(6)]
        if suffix != "zip":
            for start in (0, 512 + 1024):
                content[start + 148 : start + 156] = b" " * 8
                content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
        path.write_bytes(gzip.compress(content) if suffix == "tgz" else content)
        outcomes.append(outcome(path, str(tmp_path / f"place-{number}")))
    assert 0 < outcomes.count("") < len(outcomes)
    assert max(map(len, outcomes)) < len(str(path)) + 900
    assert set(os.listdir(tmp_path)) <= {path.name, f"whole.{suffix}", *(f"place-{number}" for number in range(300))}


def test_header_is_what_tarfile_reads():
    with tarfile.open(fileobj=io.BytesIO(header(0, b"0", b"name") + bytes(1024))) as archive:
        assert archive.getnames() == ["name"]
    assert tarfile.TarInfo.frombuf(header(-512, b"0"), "utf-8", "strict").size == -512
