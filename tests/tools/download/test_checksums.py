"""The SHA-256 of a download: logged, kept, and compared when the file is downloaded again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tools.download.archive_files import write_zip
from tests.tools.download.server import Served, serving
from tools.download import __main__ as download
from tools.download import checksums, sources
from tools.download.sources import Source, find_source
from tools.errors import ArchiveError, DownloadError

KEPT = Path("KITTI.download.json")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """KITTI's archive on a server, whose checksum is not published; yields what is served."""
    monkeypatch.chdir(tmp_path)
    served = Served(Path(write_zip("data.zip", {"training/a.png": b"a"})).read_bytes())
    os.unlink("data.zip")
    with serving({"/a.zip": served}):
        source = replace(find_source("KITTI"), url=served.address, place="./place", note="")
        monkeypatch.setitem(sources._SOURCES, "KITTI", source)
        yield served


def other_archive(served: Served, **files: bytes) -> str:
    """Puts another archive on the server; returns its SHA-256."""
    served.content = Path(write_zip("other.zip", files or {"training/a.png": b"b"})).read_bytes()
    os.unlink("other.zip")
    return hashlib.sha256(served.content).hexdigest()


def test_sum_is_logged_and_kept(served, caplog):
    caplog.set_level("INFO")
    download.main(["KITTI"])
    sha256 = hashlib.sha256(served.content).hexdigest()
    assert f"a.zip: SHA-256 {sha256}" in caplog.text
    assert json.loads(KEPT.read_text()) == {"url": served.address, "size": len(served.content), "sha256": sha256}
    assert "KITTI: no checksum of this file is published, and it comes over http" in caplog.text


def test_equal_file_is_downloaded_again(served):
    download.main(["KITTI"])
    shutil.rmtree("place")
    download.main(["KITTI"])
    assert Path("place/training/a.png").read_bytes() == b"a"


def test_other_file_is_rejected_with_both_sums(served):
    download.main(["KITTI"])
    before = json.loads(KEPT.read_text())
    shutil.rmtree("place")
    sha256 = other_archive(served)
    with pytest.raises(DownloadError) as caught:
        download.main(["KITTI"])
    line = str(caught.value)
    assert f"SHA-256 is {sha256}, but was {before['sha256']}" in line
    assert str(KEPT.resolve()) in line
    assert os.listdir() == [KEPT.name]
    assert json.loads(KEPT.read_text()) == before
    KEPT.unlink()
    download.main(["KITTI"])
    assert Path("place/training/a.png").read_bytes() == b"b"


def test_archive_that_was_there_is_compared_and_stays(served):
    download.main(["KITTI", "--keep_archive"])
    shutil.rmtree("place")
    write_zip("a.zip", {"training/a.png": b"b"})
    with pytest.raises(DownloadError, match="but was .* at the download before"):
        download.main(["KITTI"])
    assert os.path.exists("a.zip")


def test_file_packed_on_demand_may_differ(served, monkeypatch, caplog):
    monkeypatch.setitem(sources._SOURCES, "KITTI", replace(find_source("KITTI"), made_on_demand=True))
    download.main(["KITTI"])
    shutil.rmtree("place")
    sha256 = other_archive(served)
    download.main(["KITTI"])
    assert "the server packs it on request" in caplog.text
    assert json.loads(KEPT.read_text())["sha256"] == sha256


def test_sum_of_a_rejected_archive_is_not_kept(served):
    other_archive(served, **{"../out": b""})
    with pytest.raises(ArchiveError):
        download.main(["KITTI"])
    assert not KEPT.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 5}', '{"sha256": "a\\u001b"}', "[" * 100_000, "\udcff"])
def test_damaged_sum(served, text):
    KEPT.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DownloadError, match="KITTI.download.json: not the checksum of a download"):
        download.main(["KITTI"])


def test_sum_that_cannot_be_written(served):
    KEPT.mkdir()
    (KEPT / "x").touch()
    with pytest.raises(DownloadError, match="not the checksum"):
        download.main(["KITTI"])
    with pytest.raises(DownloadError, match="the checksum cannot be written"):
        checksums.keep(find_source("KITTI"), "a.zip", "0" * 64, str(KEPT))


def test_archive_that_cannot_be_read():
    with pytest.raises(DownloadError, match="none.zip: the file cannot be read"):
        checksums.sha256_of("none.zip")


def test_sources_without_a_published_sum_say_so(caplog):
    silent = []
    for source in sources.all_sources():
        caplog.clear()
        if isinstance(source, Source):
            checksums.warn_of_no_checksum(source)
            silent += [] if caplog.messages else [source.name]
            assert ("http, where" in caplog.text) == source.name.startswith("resnet")
    assert silent == [name for name in ("ADE", "CamVid", "SBD", "VOC2012")]
