"""Disks, folders and files that fail in the middle of training: one line, exit code 2, and earlier snapshots intact."""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from database.datasets import find_samples, get_dataset
from model import resnet
from tests.tools.toy_runs import NARROW, NETWORK, csv_rows, smallest_config, toy_record
from tests.tools.training.trainers import trainer_of
from tools.checkpoints.files import fault_of
from tools.console import EXIT_USER_FAULT, run_script
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.snapshots import snapshot_steps
from tools.runtime import devices as cluster
from tools.training.build import build_graph
from tools.training.settings import options_of
from tools.training.start import TrainingStart

_CAPABILITIES_3 = 0x20080522  # of linux/capability.h
_CAP_DAC_OVERRIDE = 1


class Training:
    """A session on one training graph, in which runs are begun again and again."""

    def __init__(self, data_dir: str) -> None:
        self.data_dir = data_dir
        self._dataset = get_dataset("Toy")
        self._config = smallest_config(data_dir, "log", decoder="c1", has_aux_loss=False, train_max_iter=60)
        self.samples = find_samples(self._dataset, data_dir, ["train"])
        self._record = toy_record(self._config)
        devices = cluster.tower_devices(1)
        self._built = build_graph(
            self._config, options_of(self._config, None), self._record, self.samples, devices,
            TrainingStart(0, None, None),
        )  # fmt: skip
        self._session = cluster.open_session(self._built.graph, devices)

    def run(self, folder: RunFolder, fault: Callable[[], object], **flags: object) -> int:
        """The exit code of a run in which something happens after the snapshot of step 2."""
        config = TrainConfig(**{**vars(self._config), "val_every": 2, **flags})
        before: dict[str, str] = {}

        def happen(step: int) -> None:
            if step == 2:
                before.update(checksums(folder))
                fault()

        def main(arguments: object) -> None:
            os.makedirs(folder.path)
            self._session.run(self._built.initial.initializers)
            trainer = trainer_of(
                self._session, self._built.train, self._built.batches, self.samples, self._dataset, config, folder,
                self._built.saver, self._record, happen,
            )  # fmt: skip
            with self._built.graph.as_default():
                trainer.run(0)

        self._built.batches.loader.faults.clear()
        code = run_script(main, [])
        assert before
        assert {path: checksum for path, checksum in checksums(folder).items() if path in before} == before
        assert fault_of(folder.snapshot(2)) is None
        return code

    def close(self) -> None:
        self._session.close()


def checksums(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of the files of each snapshot."""
    paths = [path for path in Path(folder.snapshots).iterdir() if ".ckpt-" in path.name]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def training(toy_dir: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    data_dir = tmp_path_factory.mktemp("faults") / "toy"
    shutil.copytree(toy_dir, data_dir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        training = Training(str(data_dir))
    yield training
    training.close()
    shutil.rmtree(data_dir.parent)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    yield RunFolder(str(tmp_path / "run"))
    shutil.rmtree(tmp_path)


def the_error(capfd: pytest.CaptureFixture) -> str:
    """The one line of an error."""
    said = capfd.readouterr().err.replace("\r", "\n")
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def require_cannot_write(capfd: pytest.CaptureFixture, folder: RunFolder, why: str, advice: str) -> None:
    """Checks the one line of an error about a run's folder that cannot be written to."""
    error = the_error(capfd)
    assert error.startswith(f"error: {folder.path}: cannot write (")
    assert why in error
    assert error.endswith(f": {advice}")


def test_snapshot_that_is_cut_off(training, folder, capfd):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        code = training.run(
            folder,
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard)),
            snapshot=100, show_period=100,
        )  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == EXIT_USER_FAULT
    require_cannot_write(capfd, folder, "File too large", "change --log_dir")
    assert snapshot_steps(folder) == [2]
    assert not os.path.exists(os.path.join(folder.snapshots, ".writing"))


@pytest.mark.parametrize("name", ["training.csv", "events.out.tfevents"])
def test_disk_that_is_full_at_a_summary(training, folder, capfd, name):
    """The open file is turned into one on a full disk."""

    def fill() -> None:
        links = {link: os.readlink(link) for link in map("/proc/self/fd/{}".format, os.listdir("/proc/self/fd"))
                 if os.path.exists(link)}  # fmt: skip
        [link] = [link for link, target in links.items() if target.startswith(os.path.join(folder.path, name))]
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, int(os.path.basename(link)))
        os.close(full)

    assert training.run(folder, fill, snapshot=100, show_period=1) == EXIT_USER_FAULT
    require_cannot_write(capfd, folder, "No space left on device", "free space, or change --log_dir")
    assert [row["step"] for row in csv_rows(folder)][:2] == [1, 2]


@contextmanager
def an_ordinary_user() -> Iterator[None]:
    """This thread minds permissions, also of the one who may do everything."""

    class Header(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]

    libc, header, sets = ctypes.CDLL(None, use_errno=True), Header(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(ctypes.byref(header), ctypes.byref(sets)) == 0
    effective = sets[0]
    sets[0] &= ~(1 << _CAP_DAC_OVERRIDE)
    assert libc.capset(ctypes.byref(header), ctypes.byref(sets)) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(ctypes.byref(header), ctypes.byref(sets)) == 0


def test_log_folder_that_may_not_be_written_to_any_more(training, folder, capfd):
    with an_ordinary_user():
        code = training.run(folder, lambda: os.chmod(folder.snapshots, 0o500), snapshot=100, show_period=100)
        os.chmod(folder.snapshots, 0o700)
    assert code == EXIT_USER_FAULT
    require_cannot_write(capfd, folder, "Permission denied", "change --log_dir")
    assert snapshot_steps(folder) == [2]


def test_folder_of_data_that_vanishes(training, folder, capfd):
    away = training.data_dir + ".away"
    try:
        code = training.run(folder, lambda: os.rename(training.data_dir, away), snapshot=100, show_period=100)
    finally:
        os.rename(away, training.data_dir)
    assert code == EXIT_USER_FAULT
    error = the_error(capfd)
    files = [path for sample in training.samples for path in (sample.image, sample.label)]
    assert any(error.startswith(f"error: {path}: ") for path in files)


def test_image_that_cannot_be_read_any_more(training, folder, capfd):
    image = training.samples[4].image
    content = Path(image).read_bytes()
    try:
        code = training.run(folder, lambda: os.truncate(image, len(content) // 2), snapshot=100, show_period=100)
    finally:
        Path(image).write_bytes(content)
    assert code == EXIT_USER_FAULT
    assert the_error(capfd).startswith(f"error: {image}: not an image that can be read")
