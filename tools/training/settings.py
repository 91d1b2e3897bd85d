"""Turns the flags of a training run into its parts: augmentation, batches, options of the graph, plan of the loop."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from database.augment import Augmentation
from database.class_sampling import Sampling
from database.dynamic_batches import dynamic_batches
from database.dynamic_sizes import DynamicSizes
from database.layouts import Sample
from database.reader import Batches, training_batches
from model.architecture import Architecture
from model.schedules import Schedule
from model.training_options import TrainingOptions
from tools.flags.sizes import sides
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.training.early_stopping import EarlyStopping
from tools.training.plan import Plan
from tools.training.rollback import Rollback, learning_rate_factor

logger = logging.getLogger(__name__)

MAX_ROTATION = 10.0

# `class_weights` has the numbers, the flag of this name their source; `dropout` is always on in training; the
# multipliers come from three flags.
_OPTIONS_WITHOUT_FLAG = {"class_weights", "dropout", "encoder_multiplier", "decoder_multiplier"}


def augmentation_of(config: TrainConfig) -> Augmentation:
    """Returns the augmentation that the flags describe.

    Enlarging (`--upsample_input`) and scaling are one operation, so that pixels are interpolated once instead of twice.
    Frames, crops and labels are those of images that are first enlarged and then scaled.
    """
    low, high = (config.scale_min, config.scale_max) if config.random_scale else (1.0, 1.0)
    return Augmentation(
        crop_size=sides(config.train_image_size),
        scale_range=(low * config.upsample_input, high * config.upsample_input),
        max_rotation=MAX_ROTATION if config.random_rotate else 0.0,
        mirror=config.random_mirror,
        jitter_colors=config.random_blur and config.input_channels is None,
        gaussian_blur=config.gaussian_blur,
        color_jitter=config.color_jitter,
        cutout=config.cutout,
    )


def dynamic_sizes_of(config: TrainConfig, architecture: Architecture) -> DynamicSizes:
    """Returns the sizes of whole images that the flags describe, padded to a multiple of the network's stride."""
    return DynamicSizes(
        short_sides=config.dynamic_short_sides,
        max_size=config.dynamic_max_size,
        multiple=architecture.smallest_stride,
        mirror=config.random_mirror,
        jitter_colors=config.random_blur and config.input_channels is None,
        gaussian_blur=config.gaussian_blur,
    )


def options_of(config: TrainConfig, class_weights: tuple[float, ...] | None = None) -> TrainingOptions:
    """Returns the training options: the flags of the same names, and the class weights."""
    names = {field.name for field in dataclasses.fields(TrainingOptions)} - _OPTIONS_WITHOUT_FLAG
    return TrainingOptions(
        **{name: getattr(config, name) for name in names},
        class_weights=class_weights,
        encoder_multiplier=(config.lrn_rate_encoder or config.lrn_rate) / config.lrn_rate,
        decoder_multiplier=(config.lrn_rate_decoder or config.lrn_rate) / config.lrn_rate,
    )


def batches_of(
    config: TrainConfig,
    record: ModelRecord,
    samples: Sequence[Sample],
    devices: list[str],
    first_step: int,
    sampling: Sampling | None = None,
) -> Batches:
    """Returns the batches of a run from a step on, augmented as set by the flags and normalized as recorded.

    Args:
        config: flags.
        record: of the network.
        samples: to train on.
        devices: one for each tower.
        first_step: the number of steps done.
        sampling: how images are chosen, see `sampling.sampling_of`.
    """
    common: dict[str, Any] = {
        "batch_size": config.batch_size,
        "tower_devices": devices,
        "image_mean": record.image_mean,
        "color_switch": record.color_switch,
        "seed": config.seed,
        "max_bad_files": config.max_bad_files,
        "host_rank": config.host_rank or 0,
        "host_count": config.host_count,
    }
    if config.dynamic_size:
        sizes = dynamic_sizes_of(config, record.architecture)
        return dynamic_batches(samples, sizes=sizes, first_step=first_step * config.accumulate, **common)
    first_sample = first_step * config.images_per_step
    return training_batches(
        samples, augmentation=augmentation_of(config), sampling=sampling, first_sample=first_sample, **common
    )


def plan_of(config: TrainConfig, first_step: int = 0) -> Plan:
    """Returns the plan of the loop, from the number of steps done."""
    return Plan(
        train_max_iter=config.train_max_iter,
        show_period=config.show_period,
        snapshot=config.snapshot,
        snapshot_minutes=config.snapshot_minutes,
        val_every=config.val_every,
        save_first_iteration=config.save_first_iteration,
        log_memory=config.log_memory,
        images_per_step=config.images_per_step,
        histograms_every=config.histograms_every,
        check_hosts=config.check_hosts if config.host_count > 1 else 0,
        first_step=first_step,
    )


def learning_rate_at(config: TrainConfig, step: int, rollbacks: Sequence[Rollback] = ()) -> float:
    """Returns the learning rate of a step, counted from 0: the schedule of the flags, times the run's rollbacks."""
    return schedule_of(config).rate(step) * learning_rate_factor(rollbacks, step)


def early_stopping_of(config: TrainConfig, folder: RunFolder, settings: Mapping[str, Any]) -> EarlyStopping:
    """Returns when the training of a run ends before the last step.

    Args:
        config: flags.
        folder: of the run.
        settings: of the scoring, see `validation.scoring_settings`.
    """
    return EarlyStopping(folder, config.patience, config.val_every, settings)


def schedule_of(config: TrainConfig) -> Schedule:
    """Returns the learning-rate schedule that the flags describe."""
    return Schedule(
        name=config.schedule_name,
        base=config.lrn_rate,
        max_steps=config.train_max_iter,
        power=config.lr_power,
        boundaries=config.lr_step or (),
        factor=config.step_size,
        warmup_steps=config.warmup_steps,
        warmup_factor=config.warmup_factor,
    )


def with_steps(config: TrainConfig, images: int) -> TrainConfig:
    """Replaces `--epochs` by the number of steps.

    Args:
        config: flags.
        images: number of training images.
    """
    if config.epochs is None:
        return config
    steps = math.ceil(config.epochs * images / config.images_per_step)
    logger.info("--epochs %g: %d steps of %d images", config.epochs, steps, config.images_per_step)
    return dataclasses.replace(config, train_max_iter=steps, epochs=None)
