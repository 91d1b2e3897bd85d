"""A training run, in order: data, folder, network, steps with snapshots and scores, score of the last snapshot."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial

from database.images import set_max_pixels
from tools.checkpoints.files import fault_of
from tools.distributed.agreement import agree
from tools.distributed.output import as_one_program
from tools.distributed.team import ALONE, Hosted, Team, start_team
from tools.errors import DivergedError, UserError
from tools.flags.choices import LATEST
from tools.flags.chosen_dataset import training_dataset
from tools.flags.train import TrainConfig
from tools.prediction.metrics import Scores
from tools.runs.agreement import check_same_flags, check_same_run
from tools.runs.chosen_checkpoint import with_unremoved
from tools.runs.folder import RunFolder
from tools.runs.lock import LOCK_NAME, run_lock
from tools.runs.origin_entries import recorded_pretrained
from tools.runs.own_folders import require_own_folders
from tools.runs.snapshots import has_snapshots, snapshot_to_score, step_to_resume
from tools.runs.writing import check_log_dir, writing_to
from tools.runtime.devices import CPU, require_determinism, tower_devices
from tools.runtime.half_precision import avoid_faulty_amx
from tools.runtime.hosts import Hosts
from tools.runtime.memory import free_closed_sessions
from tools.training.agreed_subjects import subjects_of
from tools.training.attempt import Attempt
from tools.training.best_snapshot import require_same_scoring
from tools.training.class_weights import class_weights, log_class_weights
from tools.training.converted_start import with_converted_weights
from tools.training.identity import choose_run
from tools.training.inherited_channels import with_inherited_channels
from tools.training.preflight import check_training_data
from tools.training.rollback import roll_back
from tools.training.samples import RunData
from tools.training.sampling import sampling_of
from tools.training.settings import early_stopping_of, with_steps
from tools.training.start import TrainingStart, check_fits_start
from tools.training.validation import scoring_settings, validate

logger = logging.getLogger(__name__)


@contextmanager
def together(config: TrainConfig) -> Iterator[Hosted]:
    """Meets the other hosts of `--hosts`, before anything can fail on one of them only.

    Yields:
        This host among them; without `--hosts`, or with `--eval_only`, the only process, which opens no port.

    Raises:
        HostsError: the hosts differ, or the server of this one cannot be started.
        LostHostError: another host does not start.
        UserError: a device of `--gpu_num` is missing.
    """
    if config.host_count == 1 or config.eval_only:
        yield ALONE
        return
    assert isinstance(config.hosts, tuple)
    hosts = Hosts(config.hosts, config.host_rank or 0)
    team = start_team(hosts, _devices_of_server(config), config.host_timeout)
    agree(team, subjects_of(config))
    team.on_each("finding the devices", lambda: tower_devices(config.gpu_num, config.device))
    logger.info("%d hosts have the same program and flags; %s writes the run", team.count, team.named(0))
    with as_one_program(team):
        yield team


def _devices_of_server(config: TrainConfig) -> list[str]:
    """Returns the devices of the towers; if they are missing, one with which the other hosts can be told so."""
    try:
        return tower_devices(config.gpu_num, config.device)
    except UserError:
        return [CPU]


def read_data(config: TrainConfig, hosts: Hosted = ALONE) -> tuple[TrainConfig, RunData]:
    """Checks devices and `--log_dir`, then finds the samples of the training and validation splits.

    Several hosts compare them.

    Returns:
        The flags, with the number of steps in place of `--epochs` and the channels of the run that it starts from, and
        the data.

    Raises:
        DataError, UserError: a subclass per kind of fault.
        HostsError: another host found an error, or its data differ.
    """
    config, data = hosts.on_each("reading the data", lambda: _read_data(config, hosts))
    if isinstance(hosts, Team):
        agree(hosts, subjects_of(config, data))
        logger.info("%d hosts have the same data", hosts.count)
    return config, data


def _read_data(config: TrainConfig, hosts: Hosted) -> tuple[TrainConfig, RunData]:
    set_max_pixels(config.max_pixels)
    tower_devices(config.gpu_num, config.device)  # missing devices are reported before the data are read
    config = with_inherited_channels(config)
    dataset, data_dir = training_dataset(config)
    if hosts.is_chief or config.snapshot_on == "all":  # the other hosts write nothing there
        check_log_dir(config.log_dir)
    data = RunData.find(config, dataset, data_dir)
    if config.is_found_by_flags:
        config = with_steps(config, len(data.training))
    return config, data


def convert_weights(config: TrainConfig, hosts: Hosted = ALONE) -> TrainConfig:
    """Returns the flags with a converted checkpoint in place of weights of another project; rank 0 converts them.

    Raises:
        UserError: see `converted_start.with_converted_weights`.
    """
    converted = hosts.on_chief("the converted weights", lambda: with_converted_weights(config))
    return converted or config  # the others get their values from rank 0


def choose_folder(config: TrainConfig, data: RunData, hosts: Hosted = ALONE) -> RunFolder:
    """Returns the folder of the run, below `--log_dir`; the host of rank 0 chooses its name.

    Raises:
        UserError: see `identity.choose_run`.
    """

    def choose() -> str:
        return choose_run(config, data.dataset, None if config.eval_only else data.training_checksums).path

    chosen = hosts.from_chief("the name of the run", choose)
    if not hosts.is_chief:  # its --log_dir may be another one
        return RunFolder(os.path.join(config.log_dir, config.database, os.path.basename(chosen)))
    if config.eval_only:  # otherwise the summary logs it
        logger.info("run: %s", chosen)
    return RunFolder(chosen)


@contextmanager
def locked(config: TrainConfig, folder: RunFolder, hosts: Hosted = ALONE) -> Iterator[None]:
    """Keeps other processes from training the same run; with `--eval_only` nothing is locked.

    Of several hosts, those lock the folder that write to it.

    Raises:
        HostsError: another host could not lock its folder, or two hosts that write have one folder.
        OutputError: the lock cannot be written.
        UserError: another process trains this run.
    """
    with ExitStack() as held:

        def lock() -> None:
            with writing_to(folder):
                held.enter_context(run_lock(folder.path))
            # Another machine, on which the run may be started again, could not tell that this process has ended.
            held.enter_context(hosts.cleaning_up(partial(os.unlink, os.path.join(folder.path, LOCK_NAME))))

        if not config.eval_only:
            if config.snapshot_on == "all":
                require_own_folders(folder, hosts)
            on_hosts = hosts.on_each if config.snapshot_on == "all" else hosts.on_chief
            on_hosts("locking the folder of the run", lock)
        yield


def check_data(config: TrainConfig, data: RunData, folder: RunFolder, hosts: Hosted = ALONE) -> None:
    """Checks flags against the run or checkpoint that they continue, then labels, as set by `--check_data`.

    Raises:
        FlagError: a resumed run was started with other flags.
        CheckpointError, RecordError: the checkpoint to start from does not exist, or does not fit the flags.
        DataError, PreflightError: see `preflight.check_training_data`.
        HostsError: another host found an error.
    """

    def check() -> None:
        if hosts.is_chief:
            if config.resumes and has_snapshots(folder):
                check_same_flags(folder, config)
            elif config.resume_step is None:
                check_fits_start(config, data.dataset)
        check_training_data(config, data.dataset, data.training, data.validation, folder)

    hosts.on_each("checking flags and labels", check)


class Training:
    """Trains from the first step, or from the snapshot that the flags select, to the last.

    Attributes:
        last_snapshot: prefix of the run's last snapshot, after the attempts; None before.
    """

    def __init__(self, config: TrainConfig, data: RunData, folder: RunFolder, hosts: Hosted = ALONE) -> None:
        """Takes the parts of the run.

        Args:
            config: flags.
            data: of the run; the validation samples are those of `--val_every`.
            folder: for the results. An earlier run there is set aside, unless it is resumed, or `--auto_resume` finds
                that it has no snapshot.
            hosts: this host among those that train together.
        """
        self._config = config
        self._data = data
        self._folder = folder
        self._hosts = hosts
        self.last_snapshot: str | None = None

    def attempts(self) -> Iterator[Attempt]:
        """Yields one attempt; with `--on_nan rollback` another one after each that ended with NaN or infinity.

        A further attempt resumes from the last intact snapshot. There is none with `--auto_resume` or `--resume_step
        latest` if the run is finished.

        Raises:
            DataError, ModelError, UserError: a subclass per kind of fault; see the `errors` module of each package.
        """
        config, data, folder, hosts = self._config, self._data, self._folder, self._hosts
        step, is_finished = hosts.from_chief("the step to resume from", self._step_to_resume)
        if is_finished and step is not None:
            logger.info("%s: the run is finished; its last snapshot is of step %d", folder.path, step)
            self.last_snapshot = folder.snapshot(step)
            return
        config = dataclasses.replace(config, resume_step=step, auto_resume=config.auto_resume and step is None)
        devices = _devices(config)
        weights = cache(partial(_class_weights, config, data))  # the first call may count the pixels of all labels
        sampling = cache(partial(sampling_of, config, data.dataset, data.training))  # so may this
        while True:
            start = self._start(config)
            attempt = Attempt(start, config, data, folder, devices, weights, sampling, hosts)
            yield attempt
            if attempt.diverged is None:
                break
            step = hosts.from_chief("the rollback", partial(_rolled_back, folder, attempt.diverged, start.step))
            free_closed_sessions()
            config = _resuming(config, step, attempt.start, folder)
        self.last_snapshot = folder.snapshot(attempt.last_step)

    def _step_to_resume(self) -> tuple[int | None, bool]:
        """Returns the step to resume from, None to begin, and whether it ends the training."""
        config, folder = self._config, self._folder
        step = step_to_resume(config, folder)
        early = early_stopping_of(config, folder, scoring_settings(config, self._data.validation_checksums))
        asks_for_newest = config.auto_resume or config.resume_step == LATEST
        if asks_for_newest and step is not None and (step >= config.train_max_iter or early.is_over(step)):
            self._check_finished()
            return step, True
        return step, False

    def _start(self, config: TrainConfig) -> TrainingStart:
        """Returns what the run starts from; the hosts other than rank 0 get its values from there."""
        data = self._data

        def start() -> int:
            found.append(TrainingStart.of(config, self._folder, data.dataset, data.training_checksums))
            return found[0].step

        found: list[TrainingStart] = []
        step = self._hosts.from_chief("what the run starts from", start)
        if found:
            return found[0]
        own = self._folder.snapshot(step)  # with --snapshot_on all; others are not kept here
        has_copy = config.snapshot_on == "all" and os.path.exists(f"{own}.index") and fault_of(own) is None
        return TrainingStart(step, own if has_copy and config.resume_step is not None else None, None)

    def _check_finished(self) -> None:
        """Checks flags and data of a finished run as if it was resumed, because its last snapshot is scored again."""
        config, data, folder = self._config, self._data, self._folder
        check_same_run(folder, config, data.dataset, data.training_checksums)
        if config.val_every is not None:
            require_same_scoring(folder, scoring_settings(config, data.validation_checksums))


def _rolled_back(folder: RunFolder, diverged: DivergedError, first_step: int) -> int:
    """Returns the step to resume from after a rollback."""
    with writing_to(folder):
        return roll_back(folder, diverged, first_step)


def score(
    config: TrainConfig, data: RunData, folder: RunFolder, trained: str | None, hosts: Hosted = ALONE
) -> Scores | None:
    """Scores the last snapshot, or the one that the flags select, on the validation split; see `validation.validate`.

    Of several hosts, that of rank 0 scores, and the others wait and return None.

    With `--eval_only`, another process may train the run: if it removes the snapshot before it is read, the next is
    scored.

    Args:
        config, data, folder: of the run.
        trained: prefix of the last snapshot of `Training`; None with `--eval_only`.
        hosts: this host among those that train together.

    Raises:
        HostsError: rank 0 could not score.
        UserError: a subclass per kind of fault.
    """

    def score_last() -> Scores | None:
        return with_unremoved(
            lambda: snapshot_to_score(config, folder, trained), lambda prefix: validate(config, data, folder, prefix)
        )

    return hosts.on_chief("the scores of the last snapshot", score_last)


def _devices(config: TrainConfig) -> list[str]:
    """Returns the devices of the towers, after setting up this process for half precision and determinism."""
    if config.float_type != "32":
        avoid_faulty_amx()
    devices = tower_devices(config.gpu_num, config.device)
    if config.deterministic:
        require_determinism(devices)
    return devices


def _resuming(config: TrainConfig, step: int, start: TrainingStart, folder: RunFolder) -> TrainConfig:
    """Returns the flags that resume a run from its snapshot of a step.

    If the run started from a checkpoint of the run that it set aside, the flags have the checkpoint's new path.
    """
    recorded = recorded_pretrained(folder)
    if start.resumed is None and recorded not in (None, start.pretrained):
        config = dataclasses.replace(config, fine_tune_filename=recorded)
    return dataclasses.replace(config, resume_step=step, auto_resume=False)


def _class_weights(config: TrainConfig, data: RunData) -> tuple[float, ...] | None:
    if config.class_weights is None:
        return None
    dataset = data.dataset
    weights = class_weights(config.class_weights, data.training, dataset.num_classes, dataset.expected_classes)
    log_class_weights(weights, dataset.class_names)
    return weights
