"""Which heights and widths of crops and windows a grid of upsampling is made for."""

from __future__ import annotations

import logging

from model.pspnet_mg import Architecture

logger = logging.getLogger(__name__)

SMALLEST_SIZE = 8  # that flags take


def aligns_corners(size: int, output_stride: int) -> bool:
    """Whether the first and the last feature lie on the first and the last pixel: size = output_stride * n + 1.

    That is where a grid with aligned corners takes them to be. On other sizes it puts the last one up to
    output_stride - 1 pixels from where it is. (Zhao et al., "Pyramid Scene Parsing Network", use 473 and 713.)

    Args:
        size: height or width in pixels.
        output_stride: input size over feature size.
    """
    return size % output_stride == 1


def nearest_aligned_sizes(size: int, output_stride: int) -> tuple[int, int]:
    """The nearest sizes below and above one that does not align corners; from `SMALLEST_SIZE` on, both above it.

    Args:
        size, output_stride: see `aligns_corners`.
    """
    below = (size - 1) // output_stride * output_stride + 1
    if below < SMALLEST_SIZE:
        below += output_stride
    return below, below + output_stride


def whole_sizes(architecture: Architecture) -> tuple[int, int]:
    """(step, rest) of the heights and widths, step * n + rest, that suit a network best."""
    return architecture.smallest_stride, int(architecture.resize_grid == "align_corners")


def warn_of_misaligned_size(name: str, size: int, architecture: Architecture) -> None:
    """Logs a warning where the network's grid aligns corners and a size is not made for that.

    Args:
        name: of the flag, without dashes.
        size: height and width in pixels; 0 for whole images, which suit any grid.
        architecture: of the network.
    """
    stride = architecture.smallest_stride
    if size == 0 or architecture.resize_grid != "align_corners" or aligns_corners(size, stride):
        return
    below, above = nearest_aligned_sizes(size, stride)
    logger.warning(
        "--%s %d does not suit --resize_grid align_corners, which at stride %d is made for sizes %dn+1: the "
        "nearest are %d and %d",
        name,
        size,
        stride,
        stride,
        below,
        above,
    )
