"""Unpacking, and archives that would write where they must not."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.tools.download.archive_files import tar_member, write_tar, write_zip
from tools.download import archives
from tools.download.archives import unpack
from tools.errors import ArchiveError

FILES = {"data/a.txt": b"a", "data/deep/b.txt": b"bb", "readme": b"r"}
WRITERS = {"zip": write_zip, "tar": write_tar, "tar.gz": write_tar, "tgz": write_tar}


@pytest.fixture
def place(tmp_path) -> str:
    return str(tmp_path / "below" / "place")


def tree(folder: str) -> dict[str, bytes]:
    """Every file and link below a folder."""
    paths = [path for path in Path(folder).rglob("*") if not path.is_dir() or path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refused(path: str, place: str, words: str, root: str = "") -> None:
    """Holds that an archive is refused and nothing is written."""
    around = {name: content for name, content in tree(os.path.dirname(path)).items() if name != os.path.basename(path)}
    with pytest.raises(ArchiveError, match=words) as caught:
        unpack(path, root, place)
    assert "\n" not in str(caught.value)
    assert not os.path.exists(place)
    left = {name: content for name, content in tree(os.path.dirname(path)).items() if name != os.path.basename(path)}
    assert left == around


@pytest.mark.parametrize("suffix", WRITERS)
def test_all_of_an_archive(tmp_path, place, suffix):
    unpack(WRITERS[suffix](str(tmp_path / f"a.{suffix}"), FILES), "", place)
    assert tree(place) == FILES
    assert os.listdir(os.path.dirname(place)) == ["place"]


@pytest.mark.parametrize("suffix", WRITERS)
def test_one_folder_of_an_archive(tmp_path, place, suffix):
    files = {f"./{name}": content for name, content in FILES.items()} | {"database/c.txt": b"c"}
    unpack(WRITERS[suffix](str(tmp_path / f"a.{suffix}"), files), "data", place)
    assert tree(place) == {"a.txt": b"a", "deep/b.txt": b"bb"}


@pytest.mark.parametrize("suffix", WRITERS)
def test_one_file_of_an_archive(tmp_path, place, suffix):
    os.makedirs(place)
    with open(os.path.join(place, "other.ckpt"), "wb") as file:
        file.write(b"other")
    unpack(WRITERS[suffix](str(tmp_path / f"a.{suffix}"), FILES), "data/a.txt", os.path.join(place, "model.ckpt"))
    assert tree(place) == {"other.ckpt": b"other", "model.ckpt": b"a"}


def test_empty_folder_is_filled(tmp_path, place):
    os.makedirs(place)
    unpack(write_zip(str(tmp_path / "a.zip"), FILES), "", place)
    assert tree(place) == FILES


def test_folder_with_files_is_kept(tmp_path, place):
    os.makedirs(place)
    Path(place, "mine").write_bytes(b"mine")
    with pytest.raises(ArchiveError, match="place: the folder already contains files"):
        unpack(write_zip(str(tmp_path / "a.zip"), FILES), "", place)
    assert tree(place) == {"mine": b"mine"}


OUTSIDE = ["../out", "data/../../out", "/tmp/out", "C:/out", "..\\out", "data\\..\\..\\out", "\\out", ".."]


@pytest.mark.parametrize("suffix", ["zip", "tar", "tgz"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_member_outside(tmp_path, place, suffix, name):
    """Also where it is not among what is wanted, and after members that are."""
    path = WRITERS[suffix](str(tmp_path / f"a.{suffix}"), {**FILES, name: b"hostile"})
    for root in ("", "data"):
        refused(path, place, "leads outside the folder: not unpacked", root)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc", "../../out", "../../../../../../etc/passwd"])
def test_link_outside_in_a_tar(tmp_path, place, kind, target):
    """The file behind the link would be written through it."""
    path = write_tar(
        str(tmp_path / "a.tar"), FILES, tar_member("data/link", kind, target), tar_member("data/link/f", b"0")
    )
    refused(path, place, "data/link -> .*leads outside the folder")


@pytest.mark.parametrize("target", ["/etc", "../../out"])
def test_link_outside_in_a_zip(tmp_path, place, target):
    path = write_zip(str(tmp_path / "a.zip"), FILES, {"data/link": target})
    refused(path, place, "data/link -> .*leads outside the folder")


def test_links_inside_are_skipped(tmp_path, place, caplog):
    links = [tar_member("data/link", tarfile.SYMTYPE, "../readme"), tar_member("data/hard", tarfile.LNKTYPE, "readme")]
    unpack(write_tar(str(tmp_path / "a.tar"), FILES, *links), "data", place)
    assert tree(place) == {"a.txt": b"a", "deep/b.txt": b"bb"}
    assert "skipped 2 links" in caplog.text
    shutil.rmtree(place)
    unpack(write_zip(str(tmp_path / "a.zip"), FILES, {"data/link": "../readme"}), "", place)
    assert tree(place) == FILES


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_device(tmp_path, place, kind):
    path = write_tar(str(tmp_path / "a.tar"), FILES, tar_member("data/device", kind))
    refused(path, place, "its member data/device is not a file: not unpacked")


def test_encrypted_member(tmp_path, place):
    path = write_zip(str(tmp_path / "a.zip"), FILES)
    content = bytearray(Path(path).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of the first member in the directory
    Path(path).write_bytes(content)
    refused(path, place, "its member data/a.txt is encrypted: not unpacked")


@pytest.mark.parametrize("suffix", ["zip", "tgz"])
def test_archive_that_unpacks_to_too_much(tmp_path, place, suffix):
    path = WRITERS[suffix](str(tmp_path / f"a.{suffix}"), {**FILES, "other/zeros": bytes(archives.HARMLESS_SIZE)})
    refused(path, place, "unpacks to more than 16777216 bytes", "data")


def test_large_archive_that_unpacks_to_a_little_more(tmp_path, place, monkeypatch):
    monkeypatch.setattr(archives, "HARMLESS_SIZE", 10)
    noise = np.random.default_rng(0).bytes(5000)
    path = write_zip(str(tmp_path / "a.zip"), {"a": noise, "zeros": bytes(19 * 5000)})
    unpack(path, "", place)
    assert tree(place)["a"] == noise
    path = write_zip(str(tmp_path / "b.zip"), {"a": noise, "zeros": bytes(25 * 5000)})
    refused(path, place + "2", "unpacks to more than")


def test_disk_without_room(tmp_path, place, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 7, 2))
    path = write_zip(str(tmp_path / "a.zip"), FILES)
    refused(path, place, "4 bytes are needed but 2 are free")


@pytest.mark.parametrize("suffix", WRITERS)
def test_archive_without_what_is_wanted(tmp_path, place, suffix):
    path = WRITERS[suffix](str(tmp_path / f"a.{suffix}"), FILES)
    refused(path, place, "found no dat in the archive", "dat")


@pytest.mark.parametrize("suffix", WRITERS)
def test_web_page_in_place_of_an_archive(tmp_path, place, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_text("<html>log in first</html>" * 100)
    refused(str(path), place, "not an archive or is damaged")


@pytest.mark.parametrize("suffix", WRITERS)
def test_truncated_archive(tmp_path, place, suffix):
    path = WRITERS[suffix](str(tmp_path / f"a.{suffix}"), {"a": np.random.default_rng(0).bytes(30_000), "b": b"b"})
    os.truncate(path, 20_000)
    refused(path, place, "not an archive or is damaged")


def test_damaged_member(tmp_path, place):
    path = write_zip(str(tmp_path / "a.zip"), {"a": b"a", "b": np.random.default_rng(0).bytes(30_000)})
    content = bytearray(Path(path).read_bytes())
    content[20_000] ^= 255
    Path(path).write_bytes(content)
    refused(path, place, "not an archive or is damaged")


def test_two_members_of_one_name(tmp_path, place):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b"2")
    refused(str(tmp_path / "a.zip"), place, r"cannot be unpacked to .*place \(File exists\)")


def test_missing_archive(tmp_path, place):
    refused(str(tmp_path / "none.zip"), place, "none.zip: the archive cannot be unpacked .*No such file")
