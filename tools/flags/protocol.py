"""Flags of evaluation protocols: scales, windows and mirrored copies, as published scores used them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.errors import FlagError
from tools.flags.definition import Need, flag
from tools.flags.limits import LARGEST_SIDE, SMALLEST_SIDE
from tools.flags.values import number, numbers_above_zero, whole_numbers

THIRD, THIRD_ROUNDED_UP = "1/3", "ceil"
FLIPPED_EVALS = ("image", "windows", "logits")
LARGEST_SCALE = 16

_BASE_SIZE = re.compile(r"([0-9]{1,9})(?:\+([0-9]{1,3}))?", re.ASCII)


def base_size(text: str) -> str:
    """Parses the long side at scale 1, such as 512, or 512+1 for a long side of scale * 512 + 1."""
    found = _BASE_SIZE.fullmatch(text)
    if found is None or not SMALLEST_SIDE <= int(found[1]) <= LARGEST_SIDE:
        raise ValueError(
            f"a long side of {SMALLEST_SIDE} to {LARGEST_SIDE}, such as 512, or 512+1 for 1 pixel more at every scale"
        )
    base, extra = base_and_extra(text)
    return f"{base}+{extra}" if extra else str(base)


def base_and_extra(text: str) -> tuple[int, int]:
    """Returns the two numbers of a value that `base_size` returns; the second is 0 if there is one."""
    base, _, extra = text.partition("+")
    return int(base), int(extra or 0)


def overlap_text(text: str) -> str:
    """Parses `1/3`, `ceil` or a fraction of 0 or more and below 1."""
    expected = f"{THIRD}, {THIRD_ROUNDED_UP}, or a fraction of 0 or more and below 1"
    if text in (THIRD, THIRD_ROUNDED_UP):
        return text
    try:
        fraction = number(text)
    except ValueError as error:
        raise ValueError(expected) from error
    if not 0 <= fraction < 1:
        raise ValueError(expected)
    return f"{fraction:g}"


def overlap_fraction(text: str) -> tuple[float, bool]:
    """Returns the fraction of a value that `overlap_text` returns, and whether the stride is rounded up."""
    return (1 / 3 if text in (THIRD, THIRD_ROUNDED_UP) else float(text)), text == THIRD_ROUNDED_UP


@dataclass(frozen=True, kw_only=True)
class ProtocolFlags:
    """How an image is resized, cut into windows and mirrored; the defaults are those of PSPNet-TF-Reproduce."""

    mirror: bool = flag(True, "average with the prediction for the mirrored image", group="prediction")
    flipped_eval: str = flag(
        "image",
        "what --mirror 1 averages: the probabilities of the image and its mirrored copy; of windows and their mirrored "
        "copies, as semseg; or logits, summed before the softmax, of windows and their mirrored copies, as PSPNet's "
        "Caffe code",
        str,
        group="prediction",
        choices=FLIPPED_EVALS,
        needs=Need(lambda config: config.mirror, "with --mirror 0: drop --mirror 0"),
    )
    ms: bool = flag(False, "average over six scales, 0.5 to 1.75, instead of predicting at scale 1", group="prediction")
    scales: tuple[float, ...] | None = flag(
        None,
        "factors by which images are resized, instead of those of --ms",
        numbers_above_zero,
        group="prediction",
        metavar="SCALE,...",
        unset="1, or six with --ms 1",
        maximum=LARGEST_SCALE,
    )
    base_size: str | None = flag(
        None,
        "long side at scale 1, such as 512 for ADE20K and VOC or 2048 for Cityscapes, as semseg; 512+1 adds 1 pixel at "
        "every scale, as PSPNet's Caffe code",
        base_size,
        group="prediction",
        metavar="PIXELS",
        unset="that of the image",
    )
    short_sides: tuple[int, ...] | None = flag(
        None,
        "short sides to which images are resized instead of scales, such as 300,375,450,525,600, as CSAILVision",
        whole_numbers,
        group="prediction",
        metavar="PIXELS,...",
        unset="none",
        maximum=LARGEST_SIDE,
    )
    longest_side: int = flag(
        1000,
        "longest side with --short_sides",
        group="prediction",
        metavar="PIXELS",
        minimum=SMALLEST_SIDE,
        maximum=LARGEST_SIDE,
        needs=Need(lambda config: config.short_sides is not None, "without short sides: add --short_sides"),
    )
    overlap: str = flag(
        THIRD,
        "fraction that neighbouring windows share; their stride is rounded down; ceil: 1/3, but the stride is "
        "ceil(2/3 of the window), as semseg and PSPNet's Caffe code",
        overlap_text,
        group="prediction",
        metavar="FRACTION",
        needs=Need(
            lambda config: getattr(config, "test_image_size", None) != 0,
            "if each image is one window (--test_image_size 0): give a size of windows",
        ),
    )
    window_padding: str = flag(
        "end",
        "where an image that is smaller than a window is padded: at its right and lower end, or on both sides, as "
        "semseg",
        str,
        group="prediction",
        choices=("end", "both"),
    )

    def check_protocol(self) -> None:
        """Checks that one flag determines the sizes of images.

        Raises:
            FlagError: several do.
        """
        if self.scales is not None and self.ms:
            raise FlagError("--ms 1 and --scales both say at which scales to predict: drop one of them")
        if self.short_sides is None:
            return
        for name, is_given in (
            ("--ms 1", self.ms),
            ("--scales", self.scales is not None),
            ("--base_size", self.base_size is not None),
        ):
            if is_given:
                raise FlagError(
                    f"--short_sides and {name} both say to which sizes images are resized: drop one of them"
                )


# Flags that change the predictions, and with them the name of the results' folder.
PROTOCOL_FLAGS = (
    "flipped_eval", "scales", "base_size", "short_sides", "longest_side", "overlap", "window_padding",
)  # fmt: skip
