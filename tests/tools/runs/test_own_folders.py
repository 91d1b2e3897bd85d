"""Hosts that share the folder of a run."""

from __future__ import annotations

import os
from pathlib import Path

from tests.tools.distributed.teams import on_team
from tools.distributed.team import ALONE, Team
from tools.errors import HostsError, OutputError
from tools.runs.folder import RunFolder
from tools.runs.own_folders import require_own_folders


def test_separate_folders_stay_as_they_are(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "file").write_text("kept")

    def check(team: Team) -> None:
        require_own_folders(RunFolder(str(tmp_path / str(team.rank) / ("run" if team.rank == 0 else ""))), team)

    assert on_team(2, check) == [None, None]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["1", "1/file"]
    require_own_folders(RunFolder(str(tmp_path / "alone")), ALONE)


def test_hosts_with_one_folder_are_named_to_all(tmp_path):
    """Also if the paths differ, and to a host that has a folder of its own."""
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    (tmp_path / "shared").mkdir()
    names = ["own", "shared", "link"]
    found = on_team(3, lambda team: require_own_folders(RunFolder(str(tmp_path / names[team.rank] / "run")), team))
    for error in found:
        assert isinstance(error, HostsError)
        assert "--snapshot_on all: host 1 (127.0.0.1:" in str(error)
        assert "and host 2 (127.0.0.1:" in str(error)
        assert "give each host a --log_dir of its own" in str(error)
    assert sorted(os.listdir(tmp_path)) == ["link", "shared"]
    assert os.listdir(tmp_path / "shared") == []


def test_a_folder_that_cannot_be_written_ends_all(tmp_path: Path):
    (tmp_path / "1").write_text("a file")
    first, second = on_team(2, lambda team: require_own_folders(RunFolder(str(tmp_path / str(team.rank))), team))
    assert isinstance(first, HostsError)
    assert isinstance(second, OutputError)
    assert str(second) in str(first)
