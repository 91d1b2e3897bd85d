"""A training run from flags to validated snapshot: builds graph and session, trains, scores."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from database.augment import Augmentation
from database.datasets import Dataset, find_samples
from database.layouts import Sample
from database.reader import Batches, training_batches
from model import pspnet_mg
from model.pspnet_mg import TrainGraph, TrainingOptions
from model.regularizers import DECAY_MODES
from tools import checkpoint, cluster, tables
from tools.checkpoint import CheckpointError, ResNetInitializer, StartingPoints
from tools.evaluation import Predictor, evaluate
from tools.flags import TrainConfig
from tools.metrics import Scores
from tools.run_folder import ModelRecord, RunFolder
from tools.snapshots import check_resume_step, check_same_run, snapshot_steps
from tools.training import Trainer, writing_to

logger = logging.getLogger(__name__)

MAX_ROTATION = 10.0
PRETRAINED_DIR = "./z_pretrained_weights"


def augmentation_of(config: TrainConfig) -> Augmentation:
    """The augmentation that the flags describe."""
    return Augmentation(
        crop_size=(config.train_image_size, config.train_image_size),
        scale_range=(config.scale_min, config.scale_max) if config.random_scale else (1.0, 1.0),
        max_rotation=MAX_ROTATION if config.random_rotate else 0.0,
        mirror=config.random_mirror,
        jitter_colors=config.random_blur,
        gaussian_blur=config.gaussian_blur,
    )


def options_of(config: TrainConfig) -> TrainingOptions:
    """The training options among the flags: those of the same name."""
    names = [field.name for field in dataclasses.fields(TrainingOptions) if hasattr(config, field.name)]
    return TrainingOptions(**{name: getattr(config, name) for name in names})


def pretrained_checkpoint(config: TrainConfig) -> str | None:
    """The prefix of the ResNet checkpoint to start from, None for random weights.

    Raises:
        CheckpointError: there is none.
    """
    if config.starts_from_scratch:
        return None
    path = config.fine_tune_filename or os.path.join(PRETRAINED_DIR, f"{config.network}.ckpt")
    try:
        return checkpoint.resolve_checkpoint(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}: give the ResNet checkpoint with --fine_tune_filename, or start from random weights with "
            "--fine_tune_filename none --weight_decay_mode 0"
        ) from error


@dataclasses.dataclass(frozen=True)
class _Built:
    """A finalized training graph with what a session needs."""

    graph: tf.Graph
    train: TrainGraph
    batches: Batches
    saved_variables: list[tf.Variable]
    saver: tf.train.Saver
    resnet: ResNetInitializer | None
    initializers: list[tf.Operation]


def _build(
    config: TrainConfig,
    record: ModelRecord,
    samples: Sequence[Sample],
    devices: list[str],
    start: int,
    pretrained: str | None,
) -> _Built:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(config.seed)
        batches = training_batches(
            samples,
            batch_size=config.batch_size,
            tower_devices=devices,
            augmentation=augmentation_of(config),
            image_mean=record.image_mean,
            color_switch=config.color_switch,
            seed=config.seed,
            first_sample=start * config.total_batch_size,
        )
        starting_points = StartingPoints()
        with tf.device(devices[0]):
            train = pspnet_mg.train_graph(
                batches.images, batches.labels, record.architecture, options_of(config), starting_points
            )
        resnet = None
        if pretrained is not None:
            resnet = ResNetInitializer(pretrained, _backbone_variables(record, config), starting_points.variables)
        saved_variables = tf.global_variables()
        saver = tf.train.Saver(saved_variables, max_to_keep=config.keep)
        initializers = [
            tf.global_variables_initializer(),
            tf.local_variables_initializer(),
            batches.initializer,
        ]
        graph.finalize()
    return _Built(graph, train, batches, saved_variables, saver, resnet, initializers)


def _backbone_variables(record: ModelRecord, config: TrainConfig) -> list[tf.Variable]:
    is_new = pspnet_mg.new_layer_predicate(record.architecture, options_of(config))
    model_variables = tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)
    return [variable for variable in model_variables if not is_new(variable.op.name)]


def train(config: TrainConfig, dataset: Dataset, samples: Sequence[Sample], folder: RunFolder) -> None:
    """Trains from the first step, or from the snapshot that the flags name, to the last.

    Args:
        config: flags.
        dataset: to train on.
        samples: of the training splits.
        folder: where results go; an earlier run there is set aside, unless it is continued.

    Raises:
        What `tools.faults.USER_FAULTS` lists.
    """
    if config.float_type != "32":
        cluster.avoid_faulty_amx()
    devices = cluster.tower_devices(config.gpu_num)
    start = config.resume_step or 0
    resumed = None
    if config.resume_step is not None:
        resumed = check_resume_step(folder, config.resume_step, config.train_max_iter)
        check_same_run(folder, config)
    record = ModelRecord.of_run(config, dataset)
    needs_resnet = resumed is None or DECAY_MODES[config.weight_decay_mode].needs_start
    pretrained = pretrained_checkpoint(config) if needs_resnet else None
    built = _build(config, record, samples, devices, start, pretrained)
    if resumed is not None:
        checkpoint.require_match(resumed, built.saved_variables, "resume with the flags of the run")
    _report(config, built, samples, devices)
    logger.info("weights start from: %s", resumed or pretrained or "random weights")
    with writing_to(folder):
        if resumed is None:
            folder.set_aside_earlier_run()
        record.write(folder.path)
    with tf.Session(graph=built.graph, config=cluster.session_config(devices)) as session:
        session.run(built.initializers)
        if resumed is not None:
            built.saver.recover_last_checkpoints([folder.snapshot(step) for step in snapshot_steps(folder)])
            checkpoint.restore(session, resumed, built.saver)
        if built.resnet is not None:
            built.resnet.run(session, resumed=resumed is not None)
        Trainer(session, built.train, built.batches, samples, dataset, config, folder, built.saver, record).run(start)


def _report(config: TrainConfig, built: _Built, samples: Sequence[Sample], devices: list[str]) -> None:
    for name, towers in built.train.endpoints.items():
        logger.info("  %-8s %s", name, " ".join(str(x.shape) for x in towers))
    for line in built.train.decay_report:
        logger.info("  %-28s rate %-8g %s", line.mode, line.rate, line.name)
    logger.info("towers: %s", ", ".join(devices))
    logger.info(
        "batch: %d images per tower x %d towers = %d; %d training images",
        config.batch_size,
        config.gpu_num,
        config.total_batch_size,
        len(samples),
    )


def validation_samples(config: TrainConfig, dataset: Dataset, data_dir: str) -> list[Sample]:
    """The validation split; empty for own data in lists of which none is for validation.

    Raises:
        DatasetError: the split is missing or incomplete.
    """
    if config.train_list is not None and config.val_list is None:
        logger.info("no --val_list: this run is not scored")
        return []
    return find_samples(dataset, data_dir, ["val"])


def validate(
    config: TrainConfig, dataset: Dataset, samples: Sequence[Sample], prefix: str, folder: RunFolder
) -> Scores | None:
    """Scores a snapshot on the validation split and writes the tables beside the run.

    The network is the one recorded beside the snapshot; windows, mirror and float type are those of the flags.

    Returns:
        The scores, None if there are no samples.
    """
    if not samples:
        return None
    record = ModelRecord.read(os.path.dirname(prefix)) or ModelRecord.of_run(config, dataset)
    record = dataclasses.replace(record, test_image_size=config.test_image_size)
    with Predictor(prefix, record, mirror=config.mirror, float_type=config.float_type) as predictor:
        scores = evaluate(predictor, samples[: config.test_max_iter], dataset.num_classes, title="validate")
    if scores is not None:
        step = checkpoint.checkpoint_step(prefix)
        header = {"checkpoint": prefix, "step": step, "split": "val", "mirror": int(config.mirror)}
        paths = tables.write_tables(scores, dataset.class_names, folder.path, f"scores-{step}", header)
        logger.info("scores written to %s", ", ".join(paths))
    return scores
