"""Builds the network and the training step of a run, and initializes or restores the variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from database.class_sampling import Sampling
from database.layouts import Sample
from database.reader import Batches
from model.host_group import HostGroup
from model.training_graph import TrainGraph, train_graph
from model.training_options import TrainingOptions
from tools.checkpoints.compare import require_match, without_later_additions
from tools.checkpoints.initialize import PretrainedInitializer, StartingPoints
from tools.checkpoints.reading import restore
from tools.checkpoints.values import require_usable
from tools.flags.train import TrainConfig
from tools.runs.record import ModelRecord
from tools.training.notices import Notices
from tools.training.settings import batches_of
from tools.training.start import TrainingStart


@dataclasses.dataclass(frozen=True)
class InitialValues:
    """Initializes or restores the variables of a graph.

    Attributes:
        initializers: operations that initialize every variable.
        start: what the run starts from.
        restored: variables that exist in the snapshot to resume from.
        restorer: restores them.
        pretrained: fills variables from the checkpoint that the run started from; None without one.
        from_chief: copies all variables from the host of rank 0; None with one host.
    """

    initializers: list[tf.Operation]
    start: TrainingStart
    restored: list[tf.Variable]
    restorer: tf.train.Saver
    pretrained: PretrainedInitializer | None
    from_chief: tf.Operation | None = None

    def check(self) -> None:
        """Checks that the snapshot to resume from fits the graph.

        Raises:
            CheckpointError: it does not fit, or contains NaN or infinity.
        """
        resumed = self.start.resumed
        if resumed is not None:
            require_match(resumed, self.restored, "resume with the flags of the run")
            require_usable(resumed, self.restored, "resume from an earlier snapshot with --resume_step")

    def assign(self, session: tf.Session) -> None:
        """Initializes or restores every variable; with several hosts, all get the values of rank 0."""
        resumed = self.start.resumed
        session.run(self.initializers)
        if resumed is not None:
            restore(session, resumed, self.restorer)
        if self.pretrained is not None:
            self.pretrained.run(session, resumed=resumed is not None)
        if self.from_chief is not None:
            session.run(self.from_chief)


@dataclasses.dataclass(frozen=True)
class BuiltGraph:
    """A finalized training graph, and the parts that a session needs.

    Attributes:
        graph: finalized.
        train: the training step in it.
        batches: its input.
        saver: of all variables.
        initial: initializes or restores the variables.
        notices: what the hosts tell each other in every step; None with one host.
    """

    graph: tf.Graph
    train: TrainGraph
    batches: Batches
    saver: tf.train.Saver
    initial: InitialValues
    notices: Notices | None = None

    @property
    def variables(self) -> list[tf.Variable]:
        """Returns all variables, which are those in a snapshot."""
        return self.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)

    @property
    def trained_variables(self) -> list[tf.Variable]:
        """Returns the variables that the optimizer updates."""
        return self.train.trained


def build_graph(
    config: TrainConfig,
    options: TrainingOptions,
    record: ModelRecord,
    samples: Sequence[Sample],
    devices: list[str],
    start: TrainingStart,
    sampling: Sampling | None = None,
    hosts: HostGroup | None = None,
) -> BuiltGraph:
    """Builds input, network, losses, gradients and update over all towers.

    Args:
        config: flags.
        options: of the training step.
        record: of the network.
        samples: to train on.
        devices: one for each tower.
        start: what the run starts from.
        sampling: see `settings.batches_of`.
        hosts: this host among those that train together; None for one process.

    Raises:
        CheckpointError: the checkpoint or snapshot to start from does not fit, or is damaged.
        RecordError: its record is damaged.
    """
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(config.seed)
        batches = batches_of(config, record, samples, devices, start.step, sampling)
        starting_points = StartingPoints()
        with tf.device(devices[0]):
            train = train_graph(batches.images, batches.labels, record.architecture, options, starting_points, hosts)
        notices = None if hosts is None else Notices.of(hosts)
        pretrained = start.initializer(record, options, starting_points)
        saver = tf.train.Saver(tf.global_variables())
        initial = _initial_values(start, saver, batches, pretrained)
        if hosts is not None:
            copied = [*tf.global_variables(), *tf.local_variables()]
            initial = dataclasses.replace(initial, from_chief=hosts.copy_from_first(copied, "first_values"))
        graph.finalize()
    initial.check()
    return BuiltGraph(graph, train, batches, saver, initial, notices)


def _initial_values(
    start: TrainingStart, saver: tf.train.Saver, batches: Batches, pretrained: PretrainedInitializer | None
) -> InitialValues:
    """Adds the operations that initialize or restore the variables to the default graph."""
    restored, restorer = tf.global_variables(), saver
    if start.resumed is not None:
        restored = without_later_additions(start.resumed, restored)
        if len(restored) < len(tf.global_variables()):
            restorer = tf.train.Saver(restored)
    initializers = [tf.global_variables_initializer(), tf.local_variables_initializer(), batches.initializer]
    return InitialValues(initializers, start, restored, restorer, pretrained)
