"""Trains a run from its start, or from a snapshot, until the last step or until NaN or infinity."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import tensorflow.compat.v1 as tf

from database.class_sampling import Sampling
from tools.distributed.team import ALONE, LONG_WORK, Hosted
from tools.errors import DivergedError
from tools.flags.sizes import in_words
from tools.flags.train import TrainConfig
from tools.runs.chosen_checkpoint import with_unremoved
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runs.writing import writing_to
from tools.runtime.devices import open_session
from tools.runtime.memory import free_closed_sessions
from tools.runtime.session_errors import memory_limits_named
from tools.training.build import BuiltGraph, build_graph
from tools.training.copied_scores import copy_scores
from tools.training.loop import Trainer
from tools.training.other_channels import warn_of_other_channels
from tools.training.outputs import CurveWriter, HostSnapshots, SnapshotWriter
from tools.training.report import log_run
from tools.training.resumed_scores import ResumedScores
from tools.training.rollback import Rollback, read_rollbacks, write_rollbacks
from tools.training.run_files import ClassWeights, prepare_folder, record_of_run
from tools.training.samples import RunData
from tools.training.settings import early_stopping_of, learning_rate_at, options_of, plan_of
from tools.training.start import TrainingStart, pretrained_checkpoint
from tools.training.step import StepRunner
from tools.training.validation import scoring_settings, validate
from tools.training.variable_report import write_variables

logger = logging.getLogger(__name__)


class Attempt:
    """Trains a run from its start, or from a snapshot, to its last step or to NaN or infinity.

    Attributes:
        start: what the run starts from; `trainer` chooses the checkpoint again if another run removed it.
        diverged: after `trainer`, with `--on_nan rollback`: the error about NaN or infinity, otherwise None.
        last_step: after `trainer`, the number of steps done, unless it diverged.
    """

    def __init__(
        self,
        start: TrainingStart,
        config: TrainConfig,
        data: RunData,
        folder: RunFolder,
        devices: list[str],
        class_weights: ClassWeights,
        sampling: Callable[[], Sampling | None] = lambda: None,
        hosts: Hosted = ALONE,
    ) -> None:
        """Takes what the run starts from, flags, data, folder, devices of the towers; see `record_of_run`.

        `sampling` returns how images are chosen, see `sampling.sampling_of`. `hosts` is this host among those that
        train together.
        """
        self.start = start
        self._config = config
        self._data = data
        self._folder = folder
        self._devices = devices
        self._class_weights = class_weights
        self._sampling = sampling
        self._hosts = hosts
        self.diverged: DivergedError | None = None
        self.last_step = start.step

    @contextmanager
    def trainer(self) -> Iterator[Trainer]:
        """Builds the network over the towers, opens a session and initializes the weights for a block that trains.

        Yields:
            The trainer, ready for the first step.

        Raises:
            DataError, ModelError, UserError: a subclass per kind of fault; see the `errors` module of each package.
        """
        config, hosts = self._config, self._hosts
        rollbacks = self._rollbacks()
        record, built = self._built()
        start = self.start
        if hosts.is_chief:
            log_run(config, record, self._data, built, self._devices, self._folder)
        if start.resumed is None and start.pretrained is not None:
            warn_of_other_channels(start.pretrained, record)
        with (
            _memory_limits_named(config),
            open_session(built.graph, self._devices, server=hosts.server) as session,
        ):
            record, on_first_snapshot = self._prepared(record, built, rollbacks)
            with hosts.running("copying the first values", LONG_WORK):
                built.initial.assign(session)
            rate = partial(learning_rate_at, config, rollbacks=rollbacks)
            steps = StepRunner(session, built.train, built.batches, self._data.training, rate, hosts, built.notices)
            whole = self._trainer_of(session, steps, record, built, on_first_snapshot)
            try:
                with whole.running(start.step) as trainer:
                    yield trainer
                self.last_step = trainer.last_step
            except DivergedError as error:
                if config.on_nan != "rollback":
                    raise
                self.diverged = error.with_traceback(None)  # a traceback would keep the graph in memory
                return
            _log_skipped(steps.skipped_steps(), config.train_max_iter)

    def _trainer_of(
        self,
        session: tf.Session,
        steps: StepRunner,
        record: ModelRecord,
        built: BuiltGraph,
        on_first_snapshot: Callable[[], None] | None,
    ) -> Trainer:
        """Puts the parts of the loop together."""
        config, folder, hosts = self._config, self._folder, self._hosts
        writer = SnapshotWriter(
            session, built.saver, built.train.weights, record, folder, config.keep, on_first_snapshot
        )
        compare = steps.compare_hosts if config.check_hosts and hosts.count > 1 else None
        snapshots = HostSnapshots(writer, hosts, on_all=self._has_copies, compare=compare)
        curves = CurveWriter(
            folder, self._data.dataset, record, built.graph, has_aux_loss=config.has_aux_loss, hosts=hosts
        )
        plan = plan_of(config, self.start.step)
        return Trainer(plan, folder, steps, snapshots, curves, self._score, self._ends_early)

    def _built(self) -> tuple[ModelRecord, BuiltGraph]:
        """Returns the record of the run, and its graph with the values of the checkpoint to start from."""
        config = self._config

        def build(pretrained: str | None) -> tuple[ModelRecord, BuiltGraph]:
            self.start = dataclasses.replace(self.start, pretrained=pretrained)
            record = self._record()
            weights = self._hosts.from_chief("the weights of the classes", self._class_weights)
            options = options_of(config, None if weights is None else tuple(weights))
            samples, devices, hosts = self._data.training, self._devices, self._hosts
            graph = hosts.on_each(
                "building the network",
                lambda: build_graph(
                    config, options, record, samples, devices, self.start, self._sampling(), hosts.group
                ),
            )
            return record, graph

        if self._hosts.count > 1 or self.start.resumed is not None or self.start.pretrained is None:
            return build(self.start.pretrained)
        # It may be the newest snapshot of a run that goes on. Its values are in memory before anything is written.
        return with_unremoved(lambda: str(pretrained_checkpoint(config)), build)

    def _rollbacks(self) -> tuple[Rollback, ...]:
        """Returns the rollbacks of the run, which lower the learning rate on all hosts."""
        found = self._hosts.from_chief(
            "the rollbacks of the run",
            lambda: (
                []
                if self.start.resumed is None
                else [dataclasses.asdict(rollback) for rollback in read_rollbacks(self._folder)]
            ),
        )
        return tuple(Rollback(**values) for values in found)

    def _record(self) -> ModelRecord:
        """Returns the record of the run; the host of rank 0 sends it to the others, which need no checkpoint."""
        config, data, folder = self._config, self._data, self._folder
        found: list[ModelRecord] = []

        def values() -> dict[str, Any]:
            found.append(record_of_run(self.start, config, data, folder, self._class_weights))
            return found[0].values()

        sent = self._hosts.from_chief("the record of the run", values)
        return found[0] if found else ModelRecord.of_values(sent, self._hosts.named(0))

    @property
    def _has_copies(self) -> bool:
        """Whether each host keeps its own copy of the run."""
        return self._config.snapshot_on == "all"

    def _prepared(
        self, record: ModelRecord, built: BuiltGraph, rollbacks: tuple[Rollback, ...]
    ) -> tuple[ModelRecord, Callable[[], None] | None]:
        """Writes the files of the run before its first step.

        Returns:
            The record for the snapshots of this host, and what to call when the first one is written.
        """
        config, folder, start, hosts = self._config, self._folder, self.start, self._hosts
        prepared: list[tuple[ModelRecord, ResumedScores | None]] = []

        def prepare() -> None:
            written = prepare_folder(start, config, self._data, folder, record)
            with writing_to(folder):
                write_variables(folder.path, built.variables, built.train.decayed)
                if not hosts.is_chief:  # the run may go on from this copy
                    write_rollbacks(folder, rollbacks)
            prepared.append((written, self._make_up_scores()))

        if not self._has_copies:
            hosts.on_chief("preparing the folder of the run", prepare)
        else:
            hosts.on_each("preparing the folders of the run", prepare)
            self._copy_earlier_scores(prepared[0][1])
        if not prepared:
            return record, None
        written, resumed = prepared[0]
        return written, None if resumed is None else resumed.give_up_later

    def _make_up_scores(self) -> ResumedScores | None:
        """Scores the snapshot to resume from, on rank 0, if an interruption prevented that; None for a new run."""
        if self.start.resumed is None:
            return None
        resumed = self._scores_from(self.start.step)
        resumed.make_up(self._validate if self._data.validation and self._hosts.is_chief else None)
        return resumed

    def _scores_from(self, step: int) -> ResumedScores:
        config = self._config
        settings = scoring_settings(config, self._data.validation_checksums)
        return ResumedScores(self._folder, step, config.val_every, config.test_max_iter, settings)

    def _copy_earlier_scores(self, resumed: ResumedScores | None) -> None:
        """Copies the scores up to the first step to the other hosts, which may lack some."""
        step = self.start.step

        def choose_best() -> None:
            if resumed is not None:
                resumed.choose_best()

        copy_scores(self._hosts, self._folder, "the earlier scores", lambda scored: scored <= step, choose_best)

    def _score(self, step: int) -> None:
        """Scores a snapshot; with several hosts, that of rank 0 does, which has the snapshot, and the others wait."""
        hosts = self._hosts
        hosts.on_chief(f"the scores of step {step}", lambda: self._validate(step))
        if self._has_copies:
            keep = partial(self._scores_from(step).reconsider, step)
            copy_scores(hosts, self._folder, f"the scores of step {step}", lambda scored: scored == step, keep)

    def _validate(self, step: int) -> None:
        validate(self._config, self._data, self._folder, self._folder.snapshot(step))
        free_closed_sessions()

    def _ends_early(self, step: int) -> bool:
        """Returns whether the training ends after a step, by the scores in the folder of rank 0."""
        config = self._config
        if config.patience is None:
            return False
        settings = scoring_settings(config, self._data.validation_checksums)
        early = early_stopping_of(config, self._folder, settings)
        return bool(self._hosts.from_chief(f"the end of the training after step {step}", lambda: early.is_over(step)))


def _log_skipped(skipped: int, steps: int) -> None:
    if skipped:
        logger.info("%d of %d steps were skipped because their gradients overflowed", skipped, steps)


def _memory_limits_named(config: TrainConfig) -> AbstractContextManager[None]:
    what, flag = f"crops of {in_words(config.train_image_size)}", "--train_image_size"
    if config.dynamic_size:
        what, flag = f"images of up to {config.dynamic_max_size} pixels", "--dynamic_short_sides"
    return memory_limits_named(
        f"{config.batch_size} {what} per tower",
        f"lower --batch_size or {flag}" + ("" if config.save_memory else ", or add --save_memory 1"),
    )
