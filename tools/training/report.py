"""Logs a summary of a run in about 15 lines before its first step."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator

import tensorflow.compat.v1 as tf

from database.channels import USUAL_DEVIATION, Channels
from database.counts import number_of
from model.architecture import Architecture
from model.choices import ALL_FROZEN, DILATED_PARTS, ENCODER_PARTS, FLOAT_TYPES, IN_PLACE, RECOMPUTED
from model.encoder_end import ALL_BLOCKS, built_parts
from model.loss_terms import LossTerm, loss_terms, loss_text
from model.regularizers import DECAY_MODES
from tools.checkpoints.find import newest_sound
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.flags.choices import BEST
from tools.flags.sizes import in_words
from tools.flags.train import TrainConfig
from tools.prediction.grid_sizes import warn_of_misaligned_size, warn_of_stretched_crops
from tools.runs.folder import RunFolder, folder_of_run
from tools.runs.record import ModelRecord
from tools.runs.snapshots import snapshot_steps
from tools.runs.writing import free_space, room_warning
from tools.runtime.devices import devices_in_words
from tools.runtime.flops import flops_per_image
from tools.training.build import BuiltGraph
from tools.training.samples import RunData
from tools.training.variable_report import decay_lines

logger = logging.getLogger(__name__)

_NAME_WIDTH = 14
_MEMORY_MODES = {
    RECOMPUTED: "activations of the encoder are computed again in the backward pass",
    IN_PLACE: "only activations after batch normalization are kept",
}
# Names of losses that --loss_type understands too, and that say more.
_SHOWN_LOSSES = {"normal": "ce"}


def log_run(
    config: TrainConfig, record: ModelRecord, data: RunData, built: BuiltGraph, devices: list[str], folder: RunFolder
) -> None:
    """Logs the summary, and warnings for unsuitable image sizes and a full disk.

    Args:
        config: flags.
        record: of the network.
        data: of the run.
        built: training graph.
        devices: of the towers.
        folder: of the run.
    """
    lines = [
        ("data", _data(config, data)),
        ("input", _input(config, record)),
        ("network", _network(config, record, built)),
        ("weights", _weights(config, built)),
        ("batch", _batch(config)),
        *_normalization(config),
        ("optimizer", f"{config.optimizer}, {_schedule(config)}{_multipliers(config)}{_averages(config)}"),
        ("loss", _loss(config)),
        *_weight_decay(config, built),
        ("length", _length(config, len(data.training), built.initial.start.step)),
        ("snapshots", _snapshots(config)),
        ("disk", f"{_gigabytes(free_space(config.log_dir))} free, {_gigabytes(_snapshot_bytes(built))} per snapshot"),
        ("precision", FLOAT_TYPES[config.float_type]),
        *_memory(config),
        ("devices", devices_in_words(devices, config.device)),
        ("run folder", folder.path),
    ]
    for name, text in lines:
        logger.info("%-*s%s", _NAME_WIDTH, name, text)
    if not config.dynamic_size:
        warn_of_misaligned_size("train_image_size", config.train_image_size, record.architecture)
        warn_of_stretched_crops(config.train_image_size, config.test_image_size, record.architecture)
    warn_of_misaligned_size("test_image_size", config.test_image_size, record.architecture)
    if config.accumulate > 1 and not config.bn_frozen:
        images = config.total_batch_size if config.sync_bn else config.batch_size
        logger.info("batch normalization sees one batch of %d images at a time%s", images, _other_way(config))
    _warn_of_frozen_activation(config, record, built)
    _warn_of_long_warmup(config)
    _warn_of_flags_without_effect(config, record.architecture)
    _warn_of_full_disk(config, built, folder)


def _other_way(config: TrainConfig) -> str:
    if config.save_memory:
        return ""
    return "; --save_memory 1 is the other way to train with more images than fit, and normalizes over all of them"


def _warn_of_flags_without_effect(config: TrainConfig, network: Architecture) -> None:
    """Warns of flags whose effect the length of the training, or a flag that is missing, prevents."""
    dilated = [part for part in DILATED_PARTS if part in built_parts(network.encoder_blocks)]
    if config.consider_dilated and set(dilated) <= set(config.freeze or ()):
        blocks = " and ".join(dilated)
        logger.warning("--consider_dilated 1 has no effect with --freeze, which does not train %s", blocks)
    if config.schedule_name == "step" and config.lr_step is None:
        logger.warning("the learning rate is constant: give the steps at which it falls with --lr_step")
    if config.patience is not None and not _may_end_early(config):
        logger.warning(
            "--patience %d cannot end the training, which has %d scores before its last step: lower --patience or "
            "--val_every",
            config.patience,
            _scores_before_the_last(config),
        )


def _scores_before_the_last(config: TrainConfig) -> int:
    return 0 if config.val_every is None else (config.train_max_iter - 1) // config.val_every


def _may_end_early(config: TrainConfig) -> bool:
    """Returns whether there are enough scores: a best one, and as many after it as `--patience` says."""
    return config.patience is not None and _scores_before_the_last(config) > config.patience


def _data(config: TrainConfig, data: RunData) -> str:
    splits = " and ".join(config.subsets_for_training)
    return (
        f"{data.dataset.name}, {data.dataset.num_classes} classes; {len(data.training)} training images ({splits}), "
        f"{len(data.validation)} validation images"
    )


def _input(config: TrainConfig, record: ModelRecord) -> str:
    size = f"crops of {in_words(config.train_image_size)}"
    if config.dynamic_size:
        size = (
            f"whole images of up to {config.dynamic_max_size} pixels, short sides {_listed(config.dynamic_short_sides)}"
        )
    if record.channels is not None:
        return f"{size}; {_channels(record.channels)}"
    mean = ", ".join(f"{value:.4g}" for value in record.image_mean)
    return f"{size}; {'BGR' if record.color_switch else 'RGB'} minus ({mean})"


def _channels(channels: Channels) -> str:
    mean = ", ".join(f"{value:.4g}" for value in channels.offset)
    deviation = "not scaled"
    if channels.deviation is not None:
        deviation = f"over ({', '.join(f'{value:.4g}' for value in channels.deviation)}), times {USUAL_DEVIATION:g}"
    return f"{channels.count} channels minus ({mean}), {deviation}"


def _network(config: TrainConfig, record: ModelRecord, built: BuiltGraph) -> str:
    network = record.architecture
    parts = [network.network, f"decoder {network.decoder}", f"output stride {network.output_stride}"]
    parts += [
        f"{name.replace('_', ' ')} {getattr(network, name)}"
        for name in ("stride_convention", "resize_grid")
        if getattr(network, name) != getattr(Architecture, name)
    ]
    parts += [f"ends after block {network.encoder_blocks}"] if network.encoder_blocks < ALL_BLOCKS else []
    parts += [f"filter scale {network.filter_scale:g}"] if network.filter_scale != Architecture.filter_scale else []
    parts += [f"{len(network.filters)} pruned layers"] if network.filters else []
    parts += ["auxiliary head"] if config.has_aux_loss else []
    if _differs_in_activation(record, built):
        parts.append(f"{network.activation} (the checkpoint: {_activation_of_start(built)})")
    elif network.activation != Architecture.activation:
        parts.append(network.activation)
    flops = flops_per_image(built.train.endpoints["logits"])
    cost = "" if flops is None else f", {flops / 1e9:.4g} GFLOP per image"
    return f"{', '.join(parts)}; {_parameters(config, built)}{cost}"


def _multipliers(config: TrainConfig) -> str:
    if not config.train_like_in_caffe:
        return ""
    layers, biases = config.new_layer_multiplier, config.new_bias_multiplier
    return f", new layers at {layers:g} times the rate, their biases at {biases:g}"


def _parameters(config: TrainConfig, built: BuiltGraph) -> str:
    """Returns the size of the network, and of what is trained if that is less."""
    with built.graph.as_default():
        all_of_network = tf.trainable_variables()
    total, trained = (_parameter_count(variables) for variables in (all_of_network, built.trained_variables))
    text = f"{total / 1e6:.1f} million parameters"
    if trained != total:
        text += f", {trained / 1e6:.1f} trained"
    if config.freeze:
        text += f"; frozen: {'encoder' if config.freeze == ENCODER_PARTS else ', '.join(config.freeze)}"
    return text


def _parameter_count(variables: Iterable[tf.Variable]) -> int:
    return sum(variable.shape.num_elements() for variable in variables)


def _activation_of_start(built: BuiltGraph) -> str | None:
    """Returns the activation that the weights of a new run were trained with; None for random weights."""
    start = built.initial.start
    if start.resumed is not None or start.pretrained is None:
        return None
    backbone = start.backbone()
    return Architecture.activation if backbone is None else backbone.activation


def _differs_in_activation(record: ModelRecord, built: BuiltGraph) -> bool:
    return _activation_of_start(built) not in (None, record.architecture.activation)


def _warn_of_frozen_activation(config: TrainConfig, record: ModelRecord, built: BuiltGraph) -> None:
    """Warns if frozen layers get another activation than they were trained with."""
    if config.freeze and _differs_in_activation(record, built):
        logger.warning(
            "--activation %s: the frozen layers (--freeze %s) were trained with %s and cannot adapt, so their features "
            "differ from the checkpoint's: drop --freeze or --activation",
            record.architecture.activation,
            "encoder" if config.freeze == ENCODER_PARTS else ",".join(config.freeze),
            _activation_of_start(built),
        )


def _warn_of_long_warmup(config: TrainConfig) -> None:
    """Warns if the training ends before the learning rate has reached that of the flags."""
    if config.warmup_steps > config.train_max_iter:
        logger.warning(
            "--warmup_steps %d is more than the %d steps of the training, so the learning rate never reaches "
            "--lrn_rate %g: lower --warmup_steps",
            config.warmup_steps,
            config.train_max_iter,
            config.lrn_rate,
        )


def _weights(config: TrainConfig, built: BuiltGraph) -> str:
    start = built.initial.start
    if start.resumed is not None:
        return f"resumed from {start.resumed}"
    return "random" if start.pretrained is None else f"from {start.pretrained}{_best_beside(config, start.pretrained)}"


def _best_beside(config: TrainConfig, prefix: str) -> str:
    """Says that a run has a best snapshot if --fine_tune_filename names the run, which means its newest."""
    path = config.fine_tune_filename or ""
    run = folder_of_run(prefix)
    is_newest = os.path.isdir(path) and os.path.dirname(os.path.abspath(prefix)) == run.snapshots
    best = newest_sound(run.best) if is_newest else None
    if best is None or checkpoint_step(best) == checkpoint_step(prefix):
        return ""
    return f", the newest of the run; its best is {best}: --fine_tune_filename {os.path.join(run.path, BEST)}"


def _batch(config: TrainConfig) -> str:
    towers = f"{config.gpu_num} towers of {config.batch_size}" if config.gpu_num > 1 else "one tower"
    if config.host_count > 1:
        towers = f"{config.host_count} hosts with {config.gpu_num} x {config.batch_size} each"
    if config.accumulate == 1:
        return f"{number_of(config.total_batch_size, 'image')} per step, {towers}"
    return f"{config.images_per_step} images per step, in {config.accumulate} batches: {towers}"


def _normalization(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yields a line if batch normalization does not use the moments of the whole batch."""
    if not config.sync_bn:
        yield (
            "normalization",
            f"moments of the {config.batch_size} images of each tower alone (--sync_bn 0); the running averages are "
            "those of the first tower",
        )
    if config.bn_frozen == ALL_FROZEN:
        yield "normalization", f"pre-trained running averages in all layers (--bn_frozen {ALL_FROZEN})"


def _schedule(config: TrainConfig) -> str:
    rate = f"learning rate {config.lrn_rate:g}"
    for part, of_part in (("encoder", config.lrn_rate_encoder), ("decoder", config.lrn_rate_decoder)):
        rate += "" if of_part is None else f", {of_part:g} in the {part}"
    warmup = f", after a warm-up of {config.warmup_steps} steps" if config.warmup_steps else ""
    if config.schedule_name != "step":
        return f"{rate}, {config.schedule_name} schedule{warmup}"
    if config.lr_step is None:
        return f"{rate}, constant{warmup}"
    return f"{rate}, times {config.step_size:g} at steps {_listed(config.lr_step)}{warmup}"


def _averages(config: TrainConfig) -> str:
    if not config.ema_decay:
        return ""
    scored = "scored" if config.use_ema else "kept, the weights of the step are scored"
    return f"; averages of the weights with decay {config.ema_decay:g} are {scored}"


def _loss(config: TrainConfig) -> str:
    weights = "" if config.class_weights is None else f", class weights {config.class_weights}"
    smoothing = f", label smoothing {config.label_smoothing:g}" if config.label_smoothing else ""
    terms = [LossTerm(term.factor, _SHOWN_LOSSES.get(term.name, term.name)) for term in loss_terms(config.loss_type)]
    is_usual = config.aux_weight == TrainConfig.aux_weight or not config.has_aux_loss
    auxiliary = "" if is_usual else f"; auxiliary loss times {config.aux_weight:g}"
    return f"{loss_text(terms)}{smoothing}{weights}{auxiliary}"


def _weight_decay(config: TrainConfig, built: BuiltGraph) -> Iterator[tuple[str, str]]:
    mode, is_first = DECAY_MODES[config.weight_decay_mode], True
    if mode.needs_start and all(entry.mode != mode.name for entry in built.train.decayed):
        yield "weight decay", f"{mode.name}: nothing, as no pre-trained weight is trained; of the new layers:"
        is_first = False
    for line in decay_lines(built.trained_variables, built.train.decayed):
        yield "weight decay" if is_first else "", line
        is_first = False


def _memory(config: TrainConfig) -> Iterator[tuple[str, str]]:
    if config.save_memory:
        yield "memory", f"--save_memory {int(config.save_memory)}: {_MEMORY_MODES[config.save_memory]}"


def _length(config: TrainConfig, images: int, done: int) -> str:
    epochs = config.train_max_iter * config.images_per_step / images
    ends = f", fewer after {config.patience} scores without a new best" if _may_end_early(config) else ""
    left = f"; {number_of(config.train_max_iter - done, 'step is', 'steps are')} left" if done else ""
    return f"{number_of(config.train_max_iter, 'step')}, {epochs:.1f} epochs{ends}{left}"


def _steps(period: int) -> str:
    return "step" if period == 1 else f"{period} steps"


def _snapshots(config: TrainConfig) -> str:
    often = f"every {_steps(config.snapshot)}"
    often += f" and after {config.snapshot_minutes:g} minutes" if config.snapshot_minutes else ""
    scored = "" if config.val_every is None else f", scored every {_steps(config.val_every)}"
    return f"{often}{scored}; the newest {config.keep} are kept"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def _snapshot_bytes(built: BuiltGraph) -> int:
    return sum(variable.shape.num_elements() * variable.dtype.size for variable in built.variables)


def _warn_of_full_disk(config: TrainConfig, built: BuiltGraph, folder: RunFolder) -> None:
    """Logs a warning if the planned snapshots will not fit on the disk."""
    resumed = built.initial.start.resumed
    there_already = 0 if resumed is None else min(len(snapshot_steps(folder)), config.keep)
    warning = room_warning(
        config.log_dir,
        _snapshot_bytes(built),
        keep=config.keep,
        keeps_best=config.val_every is not None,
        there_already=there_already,
    )
    if warning is not None:
        logger.warning("%s", warning)
