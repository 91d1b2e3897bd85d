"""Heights and widths of crops and windows that suit the grid of upsampling."""

from __future__ import annotations

import logging
import math

from model.architecture import Architecture
from tools.flags.limits import SMALLEST_SIDE
from tools.flags.sizes import Size, sides, size_of

logger = logging.getLogger(__name__)

# Differences up to this part are ignored, such as that of the usual 713 pixels at stride 8.
_SMALL_STRETCH = 0.02

# Heads whose networks take multiples of the output stride even where their grid aligns corners: `ppm_1x1` is that of
# segmentation_models.pytorch, which trains and predicts with such sizes only.
_HEADS_OF_MULTIPLES = ("ppm_1x1",)


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


def _takes_aligned_sizes(architecture: Architecture) -> bool:
    return architecture.resize_grid == "align_corners" and architecture.decoder not in _HEADS_OF_MULTIPLES


def whole_sizes(architecture: Architecture) -> tuple[int, int]:
    """Returns (step, rest): heights and widths of step * n + rest suit the network best."""
    return architecture.smallest_stride, int(_takes_aligned_sizes(architecture))


def stretches(size: Size, architecture: Architecture) -> tuple[float, float]:
    """Computes by how much the pixels that the smallest features cover exceed an image's: factors of height and width.

    The features are resized to the grid of the image as if they covered it exactly.

    Args:
        size: in pixels; 0 for whole images, which are padded to suit the network.
        architecture: of the network.
    """
    if size == 0:
        return 1.0, 1.0
    stride = architecture.smallest_stride
    height, width = (math.ceil(side / stride) * stride / side for side in sides(size))
    return height, width


def warn_of_stretched_crops(crops: Size, windows: Size, architecture: Architecture) -> None:
    """Logs a warning if the smallest features are stretched differently in training than in prediction.

    Most networks whose grid aligns corners have other sizes that suit them, see `warn_of_misaligned_size`.

    Args:
        crops: value of --train_image_size.
        windows: value of --test_image_size.
        architecture: of the network.
    """
    pairs = list(zip(stretches(crops, architecture), stretches(windows, architecture), strict=True))
    if _takes_aligned_sizes(architecture) or all(abs(a / b - 1) <= _SMALL_STRETCH for a, b in pairs):
        return
    stride = architecture.smallest_stride
    nearest = [(max(side // stride, 1) * stride, math.ceil(side / stride) * stride) for side in sides(crops)]
    below, above = (size_of(*suited) for suited in zip(*nearest, strict=True))
    covered = size_of(*(math.ceil(side / stride) * stride for side in sides(crops)))
    logger.warning(
        "--train_image_size %s: the smallest features, at 1/%d of the image, cover %s pixels and are resized to the "
        "crop, but not so in prediction with --test_image_size %s: crops of %s suit both",
        crops,
        stride,
        covered,
        windows,
        above if below == above else f"{below} and {above}",
    )


def warn_of_misaligned_size(name: str, size: Size, architecture: Architecture) -> None:
    """Logs a warning if the network takes sizes that align the corners of its grid, and a size does not.

    Args:
        name: of the flag, without dashes.
        size: in pixels; 0 for whole images, which suit any grid.
        architecture: of the network.
    """
    stride, pair = architecture.smallest_stride, sides(size)
    is_aligned = size == 0 or all(aligns_corners(side, stride) for side in pair)
    if is_aligned or not _takes_aligned_sizes(architecture):
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
