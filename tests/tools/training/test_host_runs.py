"""Runs of train.py on several hosts, each a process on this machine."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from database.synthetic import write_dataset
from tests.tools.host_processes import HostProcess, HostProcesses
from tests.tools.toy_runs import resnet_values, tensors_in, write_checkpoint
from tools.console import EXIT_STOPPED, EXIT_USER_FAULT
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runtime.ports import free_addresses
from tools.training.best_snapshot import read_best
from tools.training.rollback import Rollback, read_rollbacks, write_rollbacks

# Each test starts several processes that build a network.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RUN = "Toy/hosts"
ENDLESS = 100_000


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("toy"))
    write_dataset(folder, train=6, val=2, test=1, height=48, width=96)
    return folder


@pytest.fixture(scope="module")
def processes() -> Iterator[HostProcesses]:
    with HostProcesses() as running:
        yield running


def flags_of(toy: str, place: Path, steps: int, **changes: object) -> list[str]:
    """Flags of a small run in `place`/log, with a snapshot at the end and curves of each step."""
    values: dict[str, object] = {
        "database": "Toy", "data_dir": toy, "log_dir": place / "log", "run_name": "hosts", "network": "resnet_v1_18",
        "decoder": "c1", "has_aux_loss": 0, "batch_size": 1, "train_image_size": 32, "test_image_size": 32,
        "train_max_iter": steps, "snapshot": 1000, "show_period": 1, "weight_decay_mode": 0, "lr_schedule": "step",
        "lrn_rate": 0.001, "fine_tune_filename": "none", "deterministic": 1, "device": "cpu", **changes,
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in values.items()]


def codes(hosts: list[HostProcess]) -> list[int]:
    return [host.exit_code() for host in hosts]


def run_of(place: Path) -> RunFolder:
    return RunFolder(str(place / "log" / RUN))


def steps_taken(place: Path) -> int:
    csv = Path(run_of(place).csv)
    return csv.read_text().count("\n") - 1 if csv.exists() else 0


def largest_difference(found: str, expected: str) -> float:
    """Compares two snapshots; relative to the largest value of each variable."""
    values, others = tensors_in(found), tensors_in(expected)
    assert values.keys() == others.keys()
    return max(
        float(np.abs(value - others[name]).max() / max(np.abs(others[name]).max(), 1e-6))
        for name, value in values.items()
        if value.dtype == np.float32
    )


def test_hosts_of_one_tower_have_the_bits_of_one_process(toy, processes, tmp_path):
    """With `--deterministic 1`: weights, running averages and momentum of a PSPNet, trained with all of the below."""
    prefix = write_checkpoint(str(tmp_path / "resnet.ckpt"), resnet_values())
    weights = tmp_path / "weights.txt"
    weights.write_text("\n".join("12" * 9 + "1"))
    flags = {
        "decoder": "ppm", "has_aux_loss": 1, "batch_size": 2, "weight_decay_mode": 1, "loss_type": "ohem+0.5*dice",
        "ohem_min_kept": 500, "class_weights": weights, "clip_norm": 5, "fine_tune_filename": prefix, "lrn_rate": 0.01,
    }  # fmt: skip
    one = processes.start(flags_of(toy, tmp_path / "one", 3, gpu_num=2, **flags), str(tmp_path / "one.txt"))
    assert one.exit_code() == 0, one.text()
    hosts = processes.start_all(2, flags_of(toy, tmp_path / "two", 3, **flags), str(tmp_path / "host"))
    assert codes(hosts) == [0, 0], [host.text() for host in hosts]
    found, expected = (tensors_in(run_of(tmp_path / name).snapshot(3)) for name in ("two", "one"))
    assert found.keys() == expected.keys()
    assert any("Momentum" in name for name in found)
    assert [name for name in found if found[name].tobytes() != expected[name].tobytes()] == []


def test_hosts_train_as_one_process(toy, processes, tmp_path, record_property):
    """With augmentation, L2-SP, hard pixels and class weights; the checkpoint to start from is on one host only."""
    prefix = write_checkpoint(str(tmp_path / "resnet.ckpt"), resnet_values())
    weights = tmp_path / "weights.txt"
    weights.write_text("\n".join("12" * 9 + "1"))
    flags = {"weight_decay_mode": 1, "loss_type": "ohem", "ohem_min_kept": 500, "class_weights": weights}
    one = processes.start(
        flags_of(toy, tmp_path / "one", 3, gpu_num=4, fine_tune_filename=prefix, **flags), str(tmp_path / "one.txt")
    )
    assert one.exit_code() == 0, one.text()
    started = flags_of(toy, tmp_path / "two", 3, gpu_num=2, check_hosts=1, **flags)
    addresses = ",".join(free_addresses(2))
    hosts = [
        processes.start(
            [*started, f"--fine_tune_filename={path}", "--hosts", addresses, "--host_rank", str(rank)],
            str(tmp_path / f"host{rank}.txt"),
        )
        for rank, path in enumerate([prefix, str(tmp_path / "elsewhere.ckpt")])
    ]
    assert codes(hosts) == [0, 0], [host.text() for host in hosts]
    difference = largest_difference(run_of(tmp_path / "two").snapshot(3), run_of(tmp_path / "one").snapshot(3))
    record_property("weights after three steps", difference)
    assert difference < 1e-4
    rows = [Path(run_of(tmp_path / name).csv).read_text().splitlines() for name in ("one", "two")]
    for expected, found in zip(*rows, strict=True):
        assert found.split(",")[:6] == expected.split(",")[:6]  # losses, rate and mIoU; not images per second
    assert "host 0" in hosts[1].text()
    assert "step 3 of 3" in hosts[0].text()
    assert "step 3 of 3" not in hosts[1].text()


def changes_by_kind(folder: RunFolder) -> dict[str, np.ndarray]:
    """What three steps changed, by the last parts of a variable's name, such as `weights` or `weights/average`."""
    first, last = (tensors_in(folder.snapshot(step)) for step in (0, 3))
    kinds: dict[str, list[np.ndarray]] = {}
    for name in sorted(first):
        *_, kind, slot = ["", *name.split("/")]
        kind = f"{kind}/{slot}" if slot in ("average", "Momentum") else slot
        kinds.setdefault(kind, []).append((last[name] - first[name]).astype(np.float64).ravel())
    return {kind: np.concatenate(arrays) for kind, arrays in kinds.items()}


def test_half_precision_accumulated_and_averaged_on_two_hosts_as_in_one_process(
    toy, processes, tmp_path, record_property
):
    """With clipping. Half precision rounds so much that one tower is compared with two of one process, for scale."""
    flags = {"float_type": "16", "accumulate": 2, "ema_decay": 0.9, "clip_norm": 1.0, "save_first_iteration": 1}
    flags |= {"check_data": "none", "mirror": 0}
    for name, towers in (("one", {"gpu_num": 2}), ("wide", {"batch_size": 2})):
        process = processes.start(flags_of(toy, tmp_path / name, 3, **towers, **flags), str(tmp_path / f"{name}.txt"))
        assert process.exit_code() == 0, process.text()
    hosts = processes.start_all(2, flags_of(toy, tmp_path / "two", 3, check_hosts=1, **flags), str(tmp_path / "log"))
    assert codes(hosts) == [0, 0], [host.text() for host in hosts]
    expected, others, found = (changes_by_kind(run_of(tmp_path / name)) for name in ("one", "wide", "two"))
    assert found.keys() == expected.keys() >= {"weights", "weights/average", "weights/Momentum", "skipped_steps"}
    for kind, change in expected.items():
        size = max(float(np.linalg.norm(change)), 1e-6)
        difference, scale = (float(np.linalg.norm(each[kind] - change)) / size for each in (found, others))
        record_property(kind, difference)
        assert difference <= 2 * scale + 1e-4, kind
        assert difference < 0.2, kind


def test_run_of_two_hosts_goes_on_with_one_and_with_four(toy, processes, tmp_path, record_property):
    untouched = processes.start(flags_of(toy, tmp_path / "one", 6, gpu_num=4), str(tmp_path / "one.txt"))
    assert untouched.exit_code() == 0, untouched.text()
    for steps, count in ((2, 2), (4, 1), (6, 4)):
        flags = flags_of(toy, tmp_path / "many", steps, gpu_num=4 // count, auto_resume=1)
        log = str(tmp_path / f"hosts{count}")
        hosts = processes.start_all(count, flags, log) if count > 1 else [processes.start(flags, f"{log}-0.txt")]
        assert codes(hosts) == [0] * count, [host.text() for host in hosts]
    folder = run_of(tmp_path / "many")
    difference = largest_difference(folder.snapshot(6), run_of(tmp_path / "one").snapshot(6))
    record_property("weights after six steps", difference)
    assert difference < 1e-4
    record = ModelRecord.read(folder.path)
    assert record is not None
    assert (record.flags["gpu_num"], record.flags["hosts"]) == (4, TrainConfig.hosts)


def test_a_signal_to_one_host_stops_all_with_a_snapshot(toy, processes, tmp_path):
    hosts = processes.start_all(2, flags_of(toy, tmp_path, ENDLESS), str(tmp_path / "log"))
    hosts[0].wait_until(lambda: steps_taken(tmp_path) >= 2)
    hosts[1].send(signal.SIGTERM)
    assert codes(hosts) == [EXIT_STOPPED] * 2, [host.text() for host in hosts]
    steps = steps_taken(tmp_path)
    for host in hosts:
        assert f"SIGTERM on host 1 after step {steps}" in host.text()
    assert Path(f"{run_of(tmp_path).snapshot(steps)}.index").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_missing_is_named_by_the_others(number, toy, processes, tmp_path):
    timeout = 10
    hosts = processes.start_all(3, flags_of(toy, tmp_path, ENDLESS, host_timeout=timeout), str(tmp_path / "log"))
    hosts[0].wait_until(lambda: steps_taken(tmp_path) >= 2)
    began = time.monotonic()
    hosts[1].send(number)
    assert [hosts[rank].exit_code() for rank in (0, 2)] == [EXIT_STOPPED] * 2, hosts[0].text()
    seconds = time.monotonic() - began
    fault = "has ended" if number == signal.SIGKILL else "does not answer"
    for rank in (0, 2):
        [line] = [line for line in hosts[rank].text().splitlines() if line.startswith("stopped: ")]
        assert re.search(rf"host {rank} \(\S+\): host 1 \(\S+\) {fault}", line)
        assert f"host {2 - rank} (" not in line
    assert seconds < timeout + 10  # and time for the others to ask
    if number == signal.SIGSTOP:
        hosts[1].send(signal.SIGCONT)
        assert hosts[1].exit_code() == EXIT_STOPPED
    else:
        assert hosts[1].exit_code() == -signal.SIGKILL


def test_a_stopped_host_of_rank_0_keeps_the_run_until_it_ends(toy, processes, tmp_path):
    """The others name it. A new start names the stopped process, and goes on from its snapshot once it has ended."""
    flags = flags_of(toy, tmp_path, ENDLESS, host_timeout=10, snapshot=2, auto_resume=1)
    hosts = processes.start_all(2, flags, str(tmp_path / "log"))
    hosts[0].wait_until(lambda: steps_taken(tmp_path) >= 3)
    hosts[0].send(signal.SIGSTOP)
    assert hosts[1].exit_code() == EXIT_STOPPED, hosts[1].text()
    assert re.search(r"^stopped: .*: host 0 \(\S+\) does not answer", hosts[1].text(), re.MULTILINE)
    others = processes.start_all(2, flags, str(tmp_path / "again"))
    assert codes(others) == [EXIT_USER_FAULT] * 2, [host.text() for host in others]
    assert all(f"it is stopped: continue it with kill -CONT {hosts[0].pid}" in host.text() for host in others)
    hosts[0].send(signal.SIGCONT)
    assert hosts[0].exit_code() == EXIT_STOPPED, hosts[0].text()
    assert not Path(run_of(tmp_path).path, "lock").exists()
    others = processes.start_all(2, flags, str(tmp_path / "last"))
    others[0].wait_until(lambda: "step 5 of" in others[0].text())
    others[0].send(signal.SIGTERM)
    assert codes(others) == [EXIT_STOPPED] * 2, [host.text() for host in others]
    assert "the newest intact snapshot is of step " in others[0].text()


@pytest.mark.parametrize(
    ("flag", "words"),
    [("lrn_rate", "--lrn_rate (0.001 and 0.5)"), ("data_dir", "the contents of the training files (")],
)
def test_hosts_that_differ_do_not_start(flag, words, toy, processes, tmp_path):
    other = tmp_path / "other"
    write_dataset(str(other), train=6, val=2, test=1, height=48, width=96, seed=9)
    changed = {"lrn_rate": 0.5, "data_dir": other}[flag]
    flags, addresses = flags_of(toy, tmp_path, 3), ",".join(free_addresses(2))
    hosts = [
        processes.start(
            [*flags, *more, "--hosts", addresses, "--host_rank", str(rank)], str(tmp_path / f"log-{rank}.txt")
        )
        for rank, more in enumerate([[], [f"--{flag}={changed}"]])
    ]
    assert codes(hosts) == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
    for host in hosts:
        assert f"differ in {words}" in host.text()
        assert "host 0 (127.0.0.1:" in host.text()
        assert "host 1 (127.0.0.1:" in host.text()
    assert not (tmp_path / "log").exists()


def test_an_error_of_the_host_that_writes_ends_the_others_with_its_message(toy, processes, tmp_path):
    missing = str(tmp_path / "missing.ckpt")
    hosts = processes.start_all(2, flags_of(toy, tmp_path, 3, fine_tune_filename=missing), str(tmp_path / "log"))
    assert codes(hosts) == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
    assert "error: host 0 (127.0.0.1:" in hosts[1].text()
    for host in hosts:
        assert missing in host.text()


def start_with_copies(toy: str, processes: HostProcesses, places: list[Path], log: str, **flags: object) -> None:
    """Trains to the end on hosts that keep their own snapshots."""
    addresses = ",".join(free_addresses(len(places)))
    hosts = [
        processes.start(
            [*flags_of(toy, place, **{"snapshot_on": "all", **flags}), "--hosts", addresses, f"--host_rank={rank}"],
            str(places[0].parent / f"{log}-{rank}.txt"),
        )
        for rank, place in enumerate(places)
    ]
    assert codes(hosts) == [0] * len(places), [host.text() for host in hosts]


def assert_same_weights(found: str, expected: str) -> None:
    values, others = tensors_in(found), tensors_in(expected)
    assert values.keys() == others.keys()
    assert [name for name, value in values.items() if value.tobytes() != others[name].tobytes()] == []


def scores_by_step(folder: RunFolder) -> dict[str, object]:
    paths = sorted(Path(folder.path).glob("scores-*.json"))
    return {path.name: json.loads(path.read_text())["classes"] for path in paths}


def test_a_run_goes_on_from_the_copy_of_any_host(toy, processes, tmp_path):
    """The copies have snapshots, scores, the best snapshot and rollbacks: what follows is equal in every bit."""
    places = [tmp_path / "first", tmp_path / "second"]
    folders = [run_of(place) for place in places]
    scoring = {"val_every": 1, "mirror": 0, "check_data": "none", "keep": 9, "on_nan": "rollback"}
    start_with_copies(toy, processes, places, "begun", steps=3, **scoring)
    assert_same_weights(folders[1].snapshot(3), folders[0].snapshot(3))
    assert ModelRecord.read(folders[1].snapshots) is not None
    rollbacks = (Rollback(4, "the loss is not finite", 3),)
    write_rollbacks(folders[0], rollbacks)
    start_with_copies(toy, processes, places, "resumed", steps=5, resume_step="latest", **scoring)
    assert read_rollbacks(folders[1]) == read_rollbacks(folders[0]) == rollbacks
    assert scores_by_step(folders[1]).keys() == {f"scores-{step}.json" for step in range(1, 5)}
    for place in places:  # the host is now the only one
        flags = flags_of(toy, place, 7, gpu_num=2, resume_step="latest", **scoring)
        one = processes.start(flags, str(tmp_path / f"{place.name}.txt"))
        assert one.exit_code() == 0, one.text()
        assert "the newest intact snapshot is of step 5" in one.text()
    assert_same_weights(folders[1].snapshot(7), folders[0].snapshot(7))
    assert scores_by_step(folders[1]) == scores_by_step(folders[0])
    first, second = map(read_best, folders)
    assert first is not None
    assert second is not None
    assert (first.step, first.checksum) == (second.step, second.checksum)


def test_copies_of_the_snapshots_in_one_folder_are_rejected(toy, processes, tmp_path):
    hosts = processes.start_all(2, flags_of(toy, tmp_path, 2, snapshot_on="all"), str(tmp_path / "log"))
    assert codes(hosts) == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
    for host in hosts:
        assert "--snapshot_on all: host 0 (127.0.0.1:" in host.text()
        assert f"have one folder, {run_of(tmp_path).path}: give each host a --log_dir of its own" in host.text()
    assert not (tmp_path / "log").exists()


def test_hosts_go_back_together_after_infinity(toy, processes, tmp_path):
    """With a rate that half of it three times is still too high."""
    flags = flags_of(toy, tmp_path, 20, lrn_rate=1e30, on_nan="rollback", save_first_iteration=1)
    hosts = processes.start_all(2, flags, str(tmp_path / "log"))
    assert codes(hosts) == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
    assert hosts[0].text().count("back to snapshot") == 3
    for host in hosts:
        assert "the run was rolled back 3 times already" in host.text()


def started_with(processes: HostProcesses, tmp_path: Path, *each: list[str]) -> list[HostProcess]:
    """Starts hosts with flags of their own; the log of rank n is `log-n.txt`."""
    addresses = ",".join(free_addresses(len(each)))
    return [
        processes.start([*flags, "--hosts", addresses, "--host_rank", str(rank)], str(tmp_path / f"log-{rank}.txt"))
        for rank, flags in enumerate(each)
    ]


@pytest.mark.parametrize("rank", [0, 1])
def test_hosts_with_lists_in_another_order_are_rejected_by_both(rank, toy, processes, tmp_path):
    first, second = free_addresses(2)
    flags = [*flags_of(toy, tmp_path, 3), "--host_rank", str(rank)]
    hosts = [
        processes.start([*flags, "--hosts", addresses], str(tmp_path / f"log-{number}.txt"))
        for number, addresses in enumerate([f"{first},{second}", f"{second},{first}"])
    ]
    assert codes(hosts) == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
    for host in hosts:
        assert "the same addresses in another order" in host.text()
    assert not (tmp_path / "log").exists()


def test_an_error_while_the_data_are_read_reaches_the_others(toy, processes, tmp_path):
    flags, missing = flags_of(toy, tmp_path, 3), str(tmp_path / "missing")
    hosts = started_with(processes, tmp_path, flags, [*flags, f"--data_dir={missing}"])
    assert codes(hosts) == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
    assert "error: host 1 (127.0.0.1:" in hosts[0].text()
    for host in hosts:
        assert missing in host.text()


def test_only_the_host_that_writes_needs_a_log_dir(toy, processes, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("")
    flags = flags_of(toy, tmp_path, 2)
    hosts = started_with(processes, tmp_path, flags, [*flags, f"--log_dir={occupied}"])
    assert codes(hosts) == [0, 0], [host.text() for host in hosts]


def test_an_error_in_the_last_scores_reaches_the_others(processes, tmp_path):
    damaged = str(tmp_path / "toy")
    write_dataset(damaged, train=6, val=2, test=1, height=48, width=96)
    [image, *_] = sorted(
        path for path in Path(damaged).rglob("*.png") if "val" in str(path) and "label" not in path.name
    )
    image.write_bytes(image.read_bytes()[:200])
    hosts = processes.start_all(2, flags_of(damaged, tmp_path, 2, check_data="none"), str(tmp_path / "log"))
    assert codes(hosts) == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
    assert steps_taken(tmp_path) == 2
    assert "error: host 0 (127.0.0.1:" in hosts[1].text()
    for host in hosts:
        assert image.name in host.text()


def test_a_host_whose_step_fails_is_named_by_the_others(toy, processes, tmp_path):
    own = tmp_path / "own"
    write_dataset(str(own), train=6, val=2, test=1, height=48, width=96)
    hosts = started_with(processes, tmp_path, flags_of(toy, tmp_path, ENDLESS), flags_of(str(own), tmp_path, ENDLESS))
    hosts[0].wait_until(lambda: steps_taken(tmp_path) >= 2)
    for image in own.rglob("*.png"):
        image.write_bytes(b"")
    assert codes(hosts) == [EXIT_STOPPED, EXIT_USER_FAULT], [host.text() for host in hosts]
    assert re.search(r"stopped: .*host 1 \(\S+\) has ended", hosts[0].text())
