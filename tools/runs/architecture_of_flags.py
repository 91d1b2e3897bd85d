"""The network that flags and the record of the starting checkpoint describe together."""

from __future__ import annotations

import dataclasses

from model import choices
from model.architecture import Architecture
from model.channel_groups import known_filters
from model.encoder_end import built_parts, fault_of_end, has_auxiliary_features
from model.pspnet_mg import DECODERS
from tools.errors import FlagError, RecordError
from tools.flags.checks import is_at_default, refuse_without_effect
from tools.flags.train import TrainConfig

# Flags that are refused with --has_aux_loss 0, but for that of cascades, which do not get there.
_OF_AUXILIARY_HEAD = ("aux_weight", "auxiliary_depth")


def architecture_of_flags(config: TrainConfig, recorded: Architecture, *, is_bgr: bool) -> Architecture:
    """Returns the network of flags; unset flags get the values of the starting checkpoint.

    Args:
        config: flags.
        recorded: the network of the checkpoint, with the number of classes of the new one.
        is_bgr: whether the checkpoint's input is BGR.

    Raises:
        FlagError: the flags have weights of ICNet's losses, and the decoder is another; or the encoder ends before a
            block that they need.
        RecordError: the starting checkpoint is of another network, for other channels or of another filter scale, or
            its activation has no inverse and --save_memory 2 needs one.
    """
    _check_channels(config, recorded.input_channels, is_bgr=is_bgr)
    if recorded.network != config.network:
        raise RecordError(
            f"--network is {config.network} and --fine_tune_filename is recorded as {recorded.network}: give "
            f"--network {recorded.network} or another checkpoint"
        )
    if config.filter_scale not in (None, recorded.filter_scale):
        raise RecordError(
            f"--filter_scale is {config.filter_scale} and --fine_tune_filename is recorded with "
            f"{recorded.filter_scale}: drop --filter_scale, or give another checkpoint"
        )
    decoder = config.decoder or recorded.decoder
    _check_head(config, decoder, recorded)
    activation = config.activation or recorded.activation
    if config.save_memory == choices.IN_PLACE and not choices.ACTIVATIONS[activation]:
        raise RecordError(
            f"--save_memory 2 recovers the input of an activation from its output, which {activation} does not allow: "
            "add --activation leaky_relu, or give --save_memory 1"
        )
    architecture = Architecture(
        config.network,
        recorded.num_classes,
        decoder=decoder,
        output_stride=config.output_stride or _output_stride(recorded, decoder),
        stride_convention=config.stride_convention or recorded.stride_convention,
        resize_grid=config.resize_grid or recorded.resize_grid,
        stem=_stem(config, recorded),
        pool_padding=config.pool_padding or recorded.pool_padding,
        pyramid_depth=config.pyramid_depth or recorded.pyramid_depth,
        head_depth=config.head_depth or recorded.head_depth,
        auxiliary_depth=config.auxiliary_depth or recorded.auxiliary_depth,
        pyramid_order=recorded.pyramid_order,
        activation=activation,
        bounded_head=recorded.bounded_head and decoder == recorded.decoder,
        input_channels=config.input_channels or Architecture.input_channels,
        filter_scale=recorded.filter_scale,
        encoder_blocks=config.encoder_blocks or recorded.encoder_blocks,
    )
    _check_end(config, architecture)
    return dataclasses.replace(architecture, filters=known_filters(recorded.filters, architecture))


def _check_channels(config: TrainConfig, recorded: int, *, is_bgr: bool) -> None:
    """Rejects a starting checkpoint whose first layer neither fits the channels nor can be adapted to them."""
    count = config.input_channels
    if recorded not in (Architecture.input_channels, count):
        raise RecordError(
            f"--input_channels is {count or 'not given'} and --fine_tune_filename is recorded with {recorded} channels:"
            f" give --input_channels {recorded} or another checkpoint"
        )
    if count is not None and is_bgr:
        raise RecordError(
            f"--input_channels {count} and --fine_tune_filename, which is recorded with BGR: give a checkpoint for RGB"
        )


def _check_head(config: TrainConfig, decoder: str, recorded: Architecture) -> None:
    """Rejects settings of layers that the recorded head lacks or whose channels are recorded one by one.

    The flags check the decoder that they give.

    Raises:
        FlagError: the flags have weights of ICNet's losses, and the decoder is another.
        RecordError: another setting has no effect.
    """
    has_cascade = decoder in choices.CASCADES
    if not has_cascade:
        why = f"with --decoder {decoder}, which has no cascade: give --decoder {' or '.join(choices.CASCADES)}"
        refuse_without_effect(config, "cascade_loss_weights", why)
    absent = {
        "pyramid_depth": decoder == "c1" or recorded.pyramid_order == "add",
        "auxiliary_depth": has_cascade,
        "aux_weight": has_cascade,
    }
    for name, is_absent in absent.items():
        value = getattr(config, name)
        if is_absent and not is_at_default(config, name):
            raise RecordError(
                f"--{name} {value} has no effect with the decoder {decoder} as --fine_tune_filename records it: drop "
                f"--{name}, or give another --decoder"
            )
    for name in ("pyramid_depth", "head_depth", "auxiliary_depth"):
        if recorded.filters and getattr(config, name) is not None:
            raise RecordError(
                f"--{name} {getattr(config, name)} has no effect on a pruned network, whose record has the channels of "
                f"each layer: drop --{name}"
            )


def _check_end(config: TrainConfig, architecture: Architecture) -> None:
    """Rejects what needs a block after the one with which the encoder ends.

    Raises:
        FlagError: decoder, output stride, auxiliary head or frozen parts need such a block, or weight decay does.
    """
    blocks, network = architecture.encoder_blocks, architecture.network
    end = f"--encoder_blocks {blocks}"
    fault = fault_of_end(blocks, architecture.decoder, architecture.stride_convention, architecture.output_stride)
    if fault is not None:
        raise FlagError(
            f"--{fault.option} {fault.value} needs more blocks than {end} has: give --{fault.option} "
            f"{' or '.join(map(str, fault.known))}, or a network with more blocks"
        )
    if config.has_aux_loss and not has_auxiliary_features(network, blocks):
        of_it = [f"--{name}" for name in _OF_AUXILIARY_HEAD if not is_at_default(config, name)]
        raise FlagError(
            f"--has_aux_loss 1 needs {choices.NETWORKS[network].auxiliary} of {network}, and {end} ends before it: "
            f"give --has_aux_loss 0{' and drop ' if of_it else ''}{' and '.join(of_it)}"
        )
    _check_frozen_parts(config.freeze or (), blocks)
    if not set(choices.DILATED_PARTS) & set(built_parts(blocks)):
        refuse_without_effect(config, "consider_dilated", f"with {end}, which has no block 3: give more blocks")


def _check_frozen_parts(freeze: tuple[str, ...], blocks: int) -> None:
    """Rejects frozen blocks that are not built, and all that are built by their names, as `encoder` says the same."""
    if freeze == choices.ENCODER_PARTS:
        return
    parts = built_parts(blocks)
    absent = [part for part in freeze if part not in parts]
    if absent:
        raise FlagError(
            f"--freeze {absent[0]} has no effect with --encoder_blocks {blocks}, which ends before it: drop {absent[0]}"
        )
    if freeze == parts:
        raise FlagError(
            f"--freeze {','.join(freeze)} is the whole encoder with --encoder_blocks {blocks}: give --freeze encoder"
        )


def _stem(config: TrainConfig, recorded: Architecture) -> str:
    """Returns the checkpoint's stem, unless --three_convs_beginning asks for another."""
    three_convs = config.three_convs_beginning
    if three_convs is None or choices.has_three_convolutions(recorded.stem) == three_convs:
        return recorded.stem
    return choices.stem_of(config.network, three_convs) or recorded.stem  # the flags reject a stem that is not built


def _output_stride(recorded: Architecture, decoder: str) -> int:
    """Returns the checkpoint's output stride, or the default of the decoder if the checkpoint has another decoder."""
    return recorded.output_stride if decoder == recorded.decoder else DECODERS[decoder].output_stride
