"""Evaluation protocols: to which sizes an image is resized, how windows are placed, and how it is mirrored.

Published scores were computed with different ones; docs/prediction.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tools.errors import FlagError
from tools.flags.protocol import ProtocolFlags, base_and_extra, overlap_fraction
from tools.prediction.scaled_sizes import (
    SCALES_MULTI,
    SCALES_SINGLE,
    FactorSizes,
    LongSideSizes,
    ScaledSizes,
    ShortSideSizes,
)
from tools.prediction.windows import BY_A_THIRD, WindowPlacing


@dataclass(frozen=True)
class EvaluationProtocol:
    """How the probabilities of an image are computed from those of windows.

    Attributes:
        sizes: to which the image is resized.
        placing: of the windows.
        flipped: what is mirrored and averaged, if anything is: `image`, or a key of `pspnet_mg.COMBINATIONS`.
    """

    sizes: ScaledSizes = FactorSizes()
    placing: WindowPlacing = BY_A_THIRD
    flipped: str = "image"

    def enlarged(self, factor: int) -> EvaluationProtocol:
        """Returns the protocol for images that are enlarged by a factor before.

        Raises:
            FlagError: the sizes do not depend on the size of the image.
        """
        if factor == 1:
            return self
        if not isinstance(self.sizes, FactorSizes):
            raise FlagError(
                f"--upsample_input {factor}, as recorded or given, enlarges images by a factor, but --base_size and "
                "--short_sides resize all images to given sizes: give --upsample_input 1, or drop the other"
            )
        return replace(self, sizes=self.sizes.enlarged(factor))


SINGLE_SCALE = EvaluationProtocol()


def at_scales(*, multi_scale: bool) -> EvaluationProtocol:
    """Returns the default protocol at the scales 0.5 to 1.75, or at 1."""
    return EvaluationProtocol(FactorSizes(SCALES_MULTI)) if multi_scale else SINGLE_SCALE


def protocol_of(config: ProtocolFlags, stride: int) -> EvaluationProtocol:
    """Returns the protocol of the flags.

    Args:
        config: flags.
        stride: of the network, see `Architecture.smallest_stride`; sides of --short_sides are multiples of it.
    """
    overlap, rounds_up = overlap_fraction(config.overlap)
    placing = WindowPlacing(overlap, rounds_up, config.window_padding == "both")
    return EvaluationProtocol(_sizes_of(config, stride), placing, config.flipped_eval)


def _sizes_of(config: ProtocolFlags, stride: int) -> ScaledSizes:
    if config.short_sides is not None:
        return ShortSideSizes(config.short_sides, config.longest_side, stride)
    scales = config.scales or (SCALES_MULTI if config.ms else SCALES_SINGLE)
    if config.base_size is None:
        return FactorSizes(scales)
    base_size, extra = base_and_extra(config.base_size)
    return LongSideSizes(base_size, scales, extra)
