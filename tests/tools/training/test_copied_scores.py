"""Scores on the hosts that keep their own snapshots: the same decisions can be made from each copy of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.tools.distributed.teams import on_team
from tests.tools.snapshot_folders import run_with
from tools.distributed.team import Team
from tools.errors import HostsError, OutputError
from tools.prediction.score_files import RecordedScore, scores_path, snapshot_header
from tools.runs.folder import RunFolder
from tools.training.best_snapshot import keep_if_best, read_best
from tools.training.copied_scores import copy_scores
from tools.training.early_stopping import EarlyStopping
from tools.training.resumed_scores import ResumedScores

SCORES = {10: 0.25, 20: 0.5, 30: 0.375}


def scored(path: Path, *steps: int) -> RunFolder:
    """A run with three snapshots, of which some were scored."""
    folder = run_with(path, *SCORES)
    for step in steps:
        values = {"run": snapshot_header(folder.snapshot(step)), "mean_iou": SCORES[step], "pixel_accuracy": 0.5}
        Path(scores_path(folder.path, step, None)).write_text(json.dumps(values))
        Path(folder.path, f"scores-{step}.txt").write_text("\u00e4")
        keep_if_best(folder, step, RecordedScore(SCORES[step], 0.5))
    return folder


def files_of_scores(folder: RunFolder) -> dict[str, str]:
    return {path.name: path.read_text() for path in Path(folder.path).glob("scores-*")}


def test_hosts_have_the_scores_the_best_and_the_end_of_rank_0(tmp_path):
    """Host 1 was killed before it got the score of step 20, host 2 lost all."""
    folders = [scored(tmp_path / "0", *SCORES), scored(tmp_path / "1", 10), scored(tmp_path / "2")]
    later = Path(folders[0].path, "scores-40.json")
    later.write_text("{}")  # of a step that is trained again

    def copy(team: Team) -> None:
        folder = folders[team.rank]
        use = ResumedScores(folder, 30, 10).choose_best
        copy_scores(team, folder, "the earlier scores", lambda step: step <= 30, use)

    assert on_team(3, copy) == [None] * 3
    later.unlink()
    assert len(files_of_scores(folders[0])) == 6
    assert files_of_scores(folders[1]) == files_of_scores(folders[2]) == files_of_scores(folders[0])
    for folder in folders:
        best = read_best(folder)
        assert best is not None
        assert best.step == 20
        assert [EarlyStopping(folder, patience, 10, {}).is_over(30) for patience in (1, 2)] == [True, False]


def test_a_copy_that_cannot_be_written_ends_all(tmp_path):
    folders = [scored(tmp_path / "0", 10), RunFolder(str(tmp_path / "file"))]
    (tmp_path / "file").touch()

    def copy(team: Team) -> None:
        copy_scores(team, folders[team.rank], "the scores of step 10", lambda step: True, lambda: None)

    first, second = on_team(2, copy)
    assert isinstance(second, OutputError)
    assert isinstance(first, HostsError)
    assert f"{tmp_path / 'file'}: cannot write" in str(first)
    assert os.path.isfile(tmp_path / "file")
