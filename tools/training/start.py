"""What a training run starts from: random weights, a checkpoint of a ResNet or PSPNet, or its own snapshot."""

from __future__ import annotations

import dataclasses
import logging
import os

import tensorflow.compat.v1 as tf

from database.counts import and_of
from database.datasets import Dataset
from model.choices import ALL_FROZEN
from model.pspnet_mg import CLASSIFIER_SCOPES, in_scopes
from model.regularizers import DECAY_MODES
from model.training_options import TrainingOptions, new_layer_predicate
from tools.checkpoints.find import resolve_checkpoint
from tools.checkpoints.initialize import PretrainedInitializer, StartingPoints
from tools.download.sources import all_sources
from tools.errors import CheckpointError
from tools.flags.train import TrainConfig
from tools.runs.agreement import check_same_run, check_same_starting_points
from tools.runs.chosen_checkpoint import with_unremoved
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.origin_entries import recorded_pretrained, with_pretrained, with_pretrained_of
from tools.runs.record import BackboneRecord, ModelRecord
from tools.runs.snapshots import check_resume_step

logger = logging.getLogger(__name__)

PRETRAINED_DIR = "./z_pretrained_weights"


def default_checkpoint(config: TrainConfig) -> str:
    """Returns the default path of the ResNet checkpoint."""
    return os.path.join(PRETRAINED_DIR, f"{config.network}.ckpt")


def pretrained_checkpoint(config: TrainConfig) -> str | None:
    """Returns the prefix of the checkpoint to start from, None for random weights.

    Raises:
        CheckpointError: the checkpoint does not exist.
    """
    if config.starts_from_scratch:
        return None
    path = config.fine_tune_filename or default_checkpoint(config)
    try:
        return resolve_checkpoint(path)
    except CheckpointError as error:
        source = f" ({_source_of(config.network)})" if config.fine_tune_filename is None else ""
        raise CheckpointError(
            f"{error}: give the ResNet checkpoint with --fine_tune_filename{source}, or start from random weights with "
            "--fine_tune_filename none --weight_decay_mode 0"
        ) from error


def check_fits_start(config: TrainConfig, dataset: Dataset) -> None:
    """Checks that a new run's flags describe a network, with the record of the checkpoint that it starts from.

    This takes no time. It is done again, with the checkpoint's values, when the network is built.

    Raises:
        CheckpointError: the checkpoint does not exist.
        RecordError: it is of another network or for other channels, its activation does not allow --save_memory 2, or
            its record is damaged.
    """

    def check(prefix: str) -> None:
        ModelRecord.of_run(config, dataset, BackboneRecord.of_checkpoint(prefix))

    if config.starts_from_scratch:
        ModelRecord.of_run(config, dataset)
    else:
        with_unremoved(lambda: str(pretrained_checkpoint(config)), check)


def _require_statistics(initializer: PretrainedInitializer) -> None:
    """Checks that every batch normalization of the default graph gets its statistics from the checkpoint.

    Raises:
        CheckpointError: one does not; its statistics would stay at mean 0 and variance 1 for the whole training.
    """
    means = [variable.op.name for variable in tf.model_variables() if variable.op.name.endswith("/moving_mean")]
    missing = [name.removesuffix("/BatchNorm/moving_mean") for name in means if name not in initializer.filled]
    if missing:
        raise CheckpointError(
            f"--bn_frozen {ALL_FROZEN} keeps the statistics of all layers, and {initializer.prefix} has none of "
            f"'{missing[0]}'{and_of(len(missing) - 1, 'layer')}: start from a checkpoint of this network with its "
            "head, or give --bn_frozen 1"
        )


def _source_of(network: str) -> str:
    """Describes where to get a ResNet's weights."""
    if network in (source.name for source in all_sources()):
        return f"python -m tools.download {network} downloads the weights of TensorFlow-slim to this path"
    return "python -m tools.convert converts torchvision's weights"


def _checkpoint_of_w0(config: TrainConfig, folder: RunFolder) -> str:
    """Returns the prefix of the checkpoint from which a resumed run reads w0 of L2-SP.

    Raises:
        CheckpointError: it is not at the path of the flags.
        RecordError: the record in the folder of snapshots is damaged.
    """
    path = config.fine_tune_filename or default_checkpoint(config)
    try:
        return resolve_checkpoint(path)
    except CheckpointError as error:
        recorded = recorded_pretrained(folder)
        began = "" if recorded is None else f", which was {recorded}"
        raise CheckpointError(
            f"{error}: give the checkpoint that the run began with{began}, with --fine_tune_filename, because L2-SP "
            "needs it"
        ) from error


@dataclasses.dataclass(frozen=True)
class TrainingStart:
    """What a run starts from.

    Attributes:
        step: number of steps done already.
        resumed: prefix of the snapshot to resume from, None for a new run.
        pretrained: prefix of the checkpoint for the weights of a new run and for L2-SP, None without one.
    """

    step: int
    resumed: str | None
    pretrained: str | None

    @classmethod
    def of(cls, config: TrainConfig, folder: RunFolder, dataset: Dataset, data: DataChecksums) -> TrainingStart:
        """Determines the start from the flags.

        Args:
            config: flags; `resume_step` is a number or None, see `snapshots.step_to_resume`.
            folder: of the run.
            dataset, data: of the training, see `agreement.check_same_run`.

        Raises:
            CheckpointError: the snapshot does not exist or is damaged, or the starting checkpoint does not exist.
            FlagError: the run was started with other flags, or from another checkpoint than w0 is read from.
            RecordError: the record in the folder of snapshots is damaged.
        """
        if config.resume_step is None:
            return cls(0, None, pretrained_checkpoint(config))
        step = int(config.resume_step)
        resumed = check_resume_step(folder, step, config.train_max_iter)
        check_same_run(folder, config, dataset, data)
        if not DECAY_MODES[config.weight_decay_mode].needs_start:
            return cls(step, resumed, None)
        pretrained = _checkpoint_of_w0(config, folder)
        check_same_starting_points(folder, pretrained)
        return cls(step, resumed, pretrained)

    def backbone(self) -> BackboneRecord | None:
        """Returns the record of the checkpoint to start from, None if it has none.

        Raises:
            RecordError: the record is damaged.
        """
        prefix = self.resumed or self.pretrained
        return None if prefix is None else BackboneRecord.of_checkpoint(prefix)

    def named_in(self, record: ModelRecord, folder: RunFolder) -> ModelRecord:
        """Adds the checkpoint that the run started from to its record.

        Raises:
            CheckpointError: the checkpoint cannot be read.
            RecordError: the record in the folder of snapshots is damaged.
        """
        if self.pretrained is not None:
            return with_pretrained(record, self.pretrained)
        return record if self.resumed is None else with_pretrained_of(record, folder)

    def initializer(
        self, record: ModelRecord, options: TrainingOptions, starting_points: StartingPoints
    ) -> PretrainedInitializer | None:
        """Returns what fills the default graph from the starting checkpoint, None without one.

        It fills the backbone, and the head from a PSPNet's checkpoint unless the options name new layers. Classifiers
        for other classes stay new.

        Args:
            record: of the run.
            options: of its graph.
            starting_points: of its graph.

        Raises:
            CheckpointError: the checkpoint does not fit or is damaged.
            RecordError: the checkpoint's record is damaged.
        """
        if self.pretrained is None:
            return None
        is_new = new_layer_predicate(record.architecture, options)
        backbone = [variable for variable in tf.model_variables() if not is_new(variable.op.name)]
        head = [variable for variable in tf.model_variables() if is_new(variable.op.name)]
        if options.new_layer_names is not None:
            head = []
        elif self.resumed is None:
            head = self._without_other_classifiers(head, record)
        initializer = PretrainedInitializer(self.pretrained, backbone, starting_points.variables, head)
        if options.bn_frozen == ALL_FROZEN and self.resumed is None:
            _require_statistics(initializer)
        return initializer

    def _without_other_classifiers(self, head: list[tf.Variable], record: ModelRecord) -> list[tf.Variable]:
        """Returns the head, without its classifiers if the checkpoint has as many classes but different ones.

        If the numbers differ, so do the shapes, and the variables are skipped anyway.
        """
        backbone = self.backbone()
        recorded = None if backbone is None else backbone.class_names
        if recorded is None or len(recorded) != len(record.class_names) or recorded == record.class_names:
            return head
        pairs = zip(recorded, record.class_names, strict=True)
        there, here = next(pair for pair in pairs if pair[0] != pair[1])
        logger.info(
            "%s has other classes ('%s' where this run has '%s'), so its classifiers are not used",
            self.pretrained,
            there,
            here,
        )
        is_classifier = in_scopes(record.architecture.network, CLASSIFIER_SCOPES)
        return [variable for variable in head if not is_classifier(variable.op.name)]
