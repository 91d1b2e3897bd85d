"""Where an encoder ends, after block 2, 3 or 4, and what a network of fewer than four blocks cannot have.

It imports without TensorFlow, so that flags and records are checked quickly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from model.choices import ENCODER_PARTS, NETWORKS, OUTPUT_STRIDES, STRIDE_CONVENTIONS

# Blocks of an encoder that are built, the first ones.
ENCODER_BLOCKS = (2, 3, 4)
ALL_BLOCKS = 4

# Keys of `pspnet_mg.DECODERS` that read the last block alone; the others need all blocks.
DECODERS_OF_LAST_BLOCK = ("ppm", "ppm_1x1", "c1")

_STRIDE_OF_BLOCK_1 = 4  # of all encoders, if its own stride is 1


class Fault(NamedTuple):
    """An option that an encoder with fewer blocks cannot be combined with.

    Attributes:
        option: name of the field of `architecture.Architecture`, and of the flag.
        value: that it has.
        known: values that it can have.
    """

    option: str
    value: str | int
    known: tuple[str | int, ...]


def built_parts(encoder_blocks: int) -> tuple[str, ...]:
    """Returns the parts of `choices.ENCODER_PARTS` up to the last block, for one of `ENCODER_BLOCKS`."""
    return ENCODER_PARTS[: encoder_blocks + 1]


def largest_output_stride(convention: str, encoder_blocks: int) -> int:
    """Returns the height of an image over that of the last features if nothing is dilated.

    Args:
        convention: key of `choices.STRIDE_CONVENTIONS`.
        encoder_blocks: one of `ENCODER_BLOCKS`.
    """
    return _STRIDE_OF_BLOCK_1 * math.prod(STRIDE_CONVENTIONS[convention].block_strides[:encoder_blocks])


def has_auxiliary_features(network: str, encoder_blocks: int) -> bool:
    """Returns whether the features of the auxiliary head, `choices.Encoder.auxiliary`, are in the first blocks."""
    block = NETWORKS[network].auxiliary.partition("/")[0]
    return int(block.removeprefix("block")) <= encoder_blocks


def fault_of_end(encoder_blocks: int, decoder: str, convention: str, output_stride: int) -> Fault | None:
    """Finds an option of a network that needs more blocks than its encoder has; None if there is none.

    Args:
        encoder_blocks: one of `ENCODER_BLOCKS`.
        decoder: key of `pspnet_mg.DECODERS`.
        convention: key of `choices.STRIDE_CONVENTIONS`.
        output_stride: one of `choices.OUTPUT_STRIDES`.
    """
    if encoder_blocks < ALL_BLOCKS and decoder not in DECODERS_OF_LAST_BLOCK:
        return Fault("decoder", decoder, DECODERS_OF_LAST_BLOCK)
    largest = largest_output_stride(convention, encoder_blocks)
    if output_stride > largest:
        return Fault("output_stride", output_stride, tuple(s for s in OUTPUT_STRIDES if s <= largest))
    return None
