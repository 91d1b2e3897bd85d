"""Messages between hosts, and work that one of them does for all."""

from __future__ import annotations

import numpy as np
import PIL
import pytest

from tests.tools.distributed.teams import on_team
from tools.distributed import agreement
from tools.distributed.agreement import agree, versions
from tools.distributed.team import ALONE, Team
from tools.errors import CheckpointError, HostsError
from tools.prediction.metrics import ConfusionMatrix, MeanLoss
from tools.prediction.shared_scores import add_loss_over_hosts, add_over_hosts
from tools.runtime.stop_requests import StoppedError


def test_messages_of_any_length_reach_all_hosts():
    messages = [b"", b"short", bytes(range(256)) * 40]
    for shift in range(2):
        sent = messages[shift:] + messages[:shift]
        assert on_team(3, lambda team, sent=sent: team.gather("test", sent[team.rank])) == [sent] * 3
    assert on_team(3, lambda team: team.gather("nothing")) == [[b""] * 3] * 3


def test_the_host_of_rank_0_computes_for_all():
    computed = []

    def compute(team: Team) -> object:
        return team.from_chief("test", lambda: computed.append(team.rank) or {"step": 3, "names": ["a"]})

    assert on_team(2, compute) == [{"step": 3, "names": ["a"]}] * 2
    assert computed == [0]


def test_values_stay_on_their_host_if_they_are_not_sent():
    value = object()
    assert on_team(2, lambda team: team.on_chief("test", lambda: value)) == [value, None]
    assert on_team(2, lambda team: team.on_each("test", lambda: (value, team.rank))) == [(value, 0), (value, 1)]


def test_hosts_that_do_different_things_are_named():
    """Also after a long name, and the next messages are read as before."""
    names = ["the snapshot of step 3", "the rollback" + "." * 300]
    found = on_team(2, lambda team: team.gather(names[team.rank], b"message"))
    for error in found:
        assert isinstance(error, HostsError)
        assert "host 0 (127.0.0.1:" in str(error)
        assert "is at the snapshot of step 3, and host 1 (127.0.0.1:" in str(error)
        assert "at the rollback.." in str(error)
    assert on_team(2, lambda team: team.gather("test", b"a")) == [[b"a"] * 2] * 2


@pytest.mark.parametrize(
    ("error", "of_others"),
    [(CheckpointError("no snapshot"), HostsError), (StoppedError("SIGUSR1 while scoring"), StoppedError)],
)
def test_an_error_of_one_host_ends_all(error, of_others):
    def fail(team: Team) -> None:
        if team.rank == 1:
            raise error

    def work(team: Team) -> object:
        return team.on_each("test", lambda: fail(team))

    first, second = on_team(2, work)
    assert second is error
    assert type(first) is of_others
    assert str(error) in str(first)
    assert "host 1 (127.0.0.1:" in str(first)


def test_equal_subjects_are_agreed_on():
    assert on_team(2, lambda team: agree(team, {"--batch_size": 2, **versions()})) == [None, None]


def test_versions_are_of_all_that_computes(tmp_path, monkeypatch):
    found = versions()
    assert found["the version of pillow"] == PIL.__version__
    assert found["the version of numpy"] == np.__version__
    for name in ("model", "database", "tools"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text("")
    monkeypatch.setattr(agreement, "_ROOT", tmp_path)
    checksums = {agreement._source_checksum()}
    for path in ("tools/module.py", "train.py", "predict.py"):
        (tmp_path / path).write_text("changed = True")
        checksums.add(agreement._source_checksum())
    assert len(checksums) == 4


def test_what_differs_is_named_on_all_hosts():
    def differ(team: Team) -> None:
        agree(team, {"--batch_size": 2 + team.rank, "--lrn_rate": 0.1, "the contents of the training files": "abc"})

    first, second = on_team(2, differ)
    assert isinstance(first, HostsError)
    assert isinstance(second, HostsError)
    assert str(first) == str(second)
    assert "host 0 (127.0.0.1:" in str(first)
    assert "host 1 (127.0.0.1:" in str(first)
    assert "differ in --batch_size (2 and 3):" in str(first)


def test_confusion_matrices_are_added():
    def count(team: Team) -> ConfusionMatrix:
        matrix = ConfusionMatrix(2)
        matrix.process(np.array([[0, 1, 255]]), np.array([[team.rank, 1, 0]]))
        add_over_hosts(matrix, team, "test")
        return matrix

    expected = ConfusionMatrix(2)
    expected.process(np.array([[[0, 1, 255]]] * 2), np.array([[[0, 1, 0]], [[1, 1, 0]]]))
    for found in on_team(2, count):
        assert found.evaluate() == expected.evaluate()


def test_losses_are_added():
    def count(team: Team) -> float | None:
        loss = MeanLoss()
        loss.process(np.array([[0, 255]]), np.array([[0.5 / (1 + team.rank), 0.1]], np.float32))
        add_loss_over_hosts(loss, team, "test")
        return loss.value

    assert on_team(2, count) == [pytest.approx((np.log(2) + np.log(4)) / 2)] * 2


def test_one_process_does_all_itself():
    assert ALONE.gather("test", b"message") == [b"message"]
    assert (
        ALONE.from_chief("test", lambda: 3)
        == ALONE.on_each("test", lambda: 3)
        == ALONE.on_chief("test", lambda: 3)
        == 3
    )
    with ALONE.running("test"):
        pass
