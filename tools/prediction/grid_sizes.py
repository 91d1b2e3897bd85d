"""Heights and widths of crops and windows that suit the grid of upsampling."""

from __future__ import annotations

import logging

from model.pspnet_mg import Architecture
from tools.flags.limits import SMALLEST_SIDE
from tools.flags.sizes import Size, sides, size_of

logger = logging.getLogger(__name__)


def aligns_corners(size: int, output_stride: int) -> bool:
    """Returns whether the first and the last feature lie on the first and the last pixel: size = output_stride * n + 1.

    A grid with aligned corners assumes this. For other sizes it misplaces the last feature by up to output_stride - 1
    pixels. Zhao et al., "Pyramid Scene Parsing Network" (CVPR 2017), use 473 and 713.

    Args:
        size: height or width in pixels.
        output_stride: input size over feature size.
    """
    return size % output_stride == 1


def nearest_aligned_sizes(size: int, output_stride: int) -> tuple[int, int]:
    """Returns the nearest aligned sizes below and above; both are above if the first would be under `SMALLEST_SIDE`.

    Args:
        size, output_stride: see `aligns_corners`.
    """
    below = (size - 1) // output_stride * output_stride + 1
    if below < SMALLEST_SIDE:
        below += output_stride
    return below, below + output_stride


def whole_sizes(architecture: Architecture) -> tuple[int, int]:
    """Returns (step, rest): heights and widths of step * n + rest suit the network best."""
    return architecture.smallest_stride, int(architecture.resize_grid == "align_corners")


def warn_of_misaligned_size(name: str, size: Size, architecture: Architecture) -> None:
    """Logs a warning if the network's grid aligns corners and a size does not suit it.

    Args:
        name: of the flag, without dashes.
        size: in pixels; 0 for whole images, which suit any grid.
        architecture: of the network.
    """
    stride, pair = architecture.smallest_stride, sides(size)
    is_aligned = size == 0 or all(aligns_corners(side, stride) for side in pair)
    if is_aligned or architecture.resize_grid != "align_corners":
        return
    # A side that suits the grid remains.
    nearest = [(side, side) if aligns_corners(side, stride) else nearest_aligned_sizes(side, stride) for side in pair]
    below, above = (size_of(*suited) for suited in zip(*nearest, strict=True))
    logger.warning(
        "--%s %s does not suit --resize_grid align_corners, which needs sizes of %dn+1: the nearest are %s and %s",
        name,
        size,
        stride,
        below,
        above,
    )
