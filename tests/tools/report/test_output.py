"""Where a report goes, and that it replaces only a report of the same runs."""

from __future__ import annotations

import os

import pytest

from tests.tools.report.written_run import write_run
from tools.errors import FlagError
from tools.pages.page import identity_line
from tools.report.output import check_replaceable, default_path, identity_of, write_page
from tools.report.reported_run import read_reported_runs


def runs_of(tmp_path, *names):
    for name in names:
        if not (tmp_path / "CamVid" / name).exists():
            write_run(tmp_path, name, lrn_rate=0.1 + len(name))
    return read_reported_runs([str(tmp_path / "CamVid" / name) for name in names], "none")


def test_identity(tmp_path):
    one, both = identity_of(runs_of(tmp_path, "a")), identity_of(runs_of(tmp_path, "a", "bb"))
    assert both == identity_of(runs_of(tmp_path, "bb", "a")) != one
    os.rename(tmp_path / "CamVid" / "a", tmp_path / "CamVid" / "moved")
    assert identity_of(runs_of(tmp_path, "moved")) == one


def test_default_path(tmp_path):
    assert default_path(runs_of(tmp_path, "a")) == os.path.join(".", "reports", "CamVid", "a.html")
    both = default_path(runs_of(tmp_path, "a", "bb"))
    assert both.startswith(os.path.join(".", "reports", "CamVid", "a-and-1-more-"))
    long = default_path(runs_of(tmp_path, "é" * 120, "bb"))
    assert len(os.fsencode(os.path.basename(long))) < 200


def test_same_report_may_be_replaced(tmp_path):
    path = str(tmp_path / "x" / "report.html")
    check_replaceable(path, "01")
    write_page(path, f"<!doctype html>{identity_line('01')}\udcff")
    check_replaceable(path, "01")
    write_page(path, f"<!doctype html>{identity_line('01')}again")
    assert "again" in (tmp_path / "x" / "report.html").read_text()
    assert os.listdir(tmp_path / "x") == ["report.html"]


def test_other_files_are_not_replaced(tmp_path):
    path = tmp_path / "report.html"
    for content in (identity_line("02"), "a letter", " " * 5000 + identity_line("01")):
        path.write_text(content)
        with pytest.raises(FlagError, match="exists and is not a report of these runs"):
            check_replaceable(str(path), "01")
        assert path.read_text() == content
    for name in ("folder", "pipe"):
        os.mkdir(tmp_path / name) if name == "folder" else os.mkfifo(tmp_path / name)
        with pytest.raises(FlagError, match="cannot be replaced"):
            check_replaceable(str(tmp_path / name), "01")


def test_page_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FlagError, match="cannot be written"):
        write_page(str(tmp_path / "file" / "report.html"), "")
