"""Flags of train.py for the augmentation of training images."""

from __future__ import annotations

from dataclasses import dataclass

from tools.flags.channels import NEEDS_RGB
from tools.flags.choices import UPSAMPLINGS
from tools.flags.definition import Need, flag
from tools.flags.limits import LARGEST_SIDE
from tools.flags.sizes import Size, crop_size
from tools.flags.values import whole_numbers

_NEEDS_CROPS = Need(
    lambda config: not config.dynamic_size,
    "with --dynamic_size 1, which draws sizes from a list: drop --dynamic_size 1",
)
_NEEDS_CLASS_CROPS = Need(lambda config: config.class_crops > 0, "if no class is drawn: add --class_crops 0.5")
_NEEDS_IMAGES_IN_ORDER = Need(
    lambda config: config.class_crops < 1, "with --class_crops 1, which draws every image by its classes: lower it"
)
_NEEDS_DYNAMIC_SIZE = Need(lambda config: config.dynamic_size, "on crops of one size: add --dynamic_size 1")
_NEEDS_SCALING = Need(lambda config: config.random_scale, "without scaling: drop --random_scale 0")


@dataclass(frozen=True, kw_only=True)
class AugmentationFlags:
    """Crops, scales, colours and sizes of training images."""

    train_image_size: Size = flag(
        480,
        "size of training crops, in pixels: one number, or height x width such as 360x480",
        crop_size,
        group="augmentation",
        metavar="SIZE",
        needs=_NEEDS_CROPS,
    )
    random_scale: bool = flag(
        True,
        "scale images",
        group="augmentation",
        needs=Need(
            lambda config: not config.dynamic_size,
            "with --dynamic_size 1, which draws the short sides: give a single one with --dynamic_short_sides",
        ),
    )
    scale_min: float = flag(
        0.5, "smallest scale", group="augmentation", metavar="FACTOR", above=0, needs=(_NEEDS_CROPS, _NEEDS_SCALING)
    )
    scale_max: float = flag(
        2.0, "largest scale", group="augmentation", metavar="FACTOR", above=0, needs=(_NEEDS_CROPS, _NEEDS_SCALING)
    )
    random_mirror: bool = flag(True, "mirror images", group="augmentation")
    random_rotate: bool = flag(
        True,
        "rotate images by -10 to 10 degrees",
        group="augmentation",
        needs=Need(
            lambda config: not (config.dynamic_size and config.random_rotate),
            "with --dynamic_size 1, which rotates nothing: give --random_rotate 0",
            even_default=True,
        ),
    )
    random_blur: bool = flag(
        True,
        "change brightness, saturation and contrast, except of images with a number of input channels",
        group="augmentation",
        aliases=["blur"],
        needs=Need(
            lambda config: config.input_channels is None or not config.random_blur,
            "with --input_channels, whose channels need not be colours: give --random_blur 0",
            even_default=True,
        ),
    )
    gaussian_blur: bool = flag(False, "blur images", group="augmentation")
    color_jitter: float = flag(
        0.0,
        "strength of changes of brightness, contrast, saturation and hue; usually with --random_blur 0",
        group="augmentation",
        metavar="STRENGTH",
        minimum=0,
        maximum=1,
        needs=(_NEEDS_CROPS, NEEDS_RGB),
    )
    cutout: float = flag(
        0.0,
        "side of a square that is cut out of each crop and ignored, as a fraction of the crop's shorter side",
        group="augmentation",
        metavar="FRACTION",
        minimum=0,
        maximum=1,
        needs=_NEEDS_CROPS,
    )
    class_mix: float = flag(
        0.0,
        "fraction of the crops onto which half of the classes of another crop are pasted",
        group="augmentation",
        metavar="FRACTION",
        minimum=0,
        maximum=1,
        needs=_NEEDS_CROPS,
    )
    class_crops: float = flag(
        0.0,
        "fraction of the crops for which a class is drawn, rare ones more often; the crop is placed on one of its "
        "pixels",
        group="augmentation",
        metavar="FRACTION",
        minimum=0,
        maximum=1,
        needs=_NEEDS_CROPS,
    )
    class_temperature: float = flag(
        0.01,
        "temperature of the classes of --class_crops; a high one draws all classes equally often",
        group="augmentation",
        metavar="TEMPERATURE",
        above=0,
        needs=_NEEDS_CLASS_CROPS,
    )
    repeat_rare: float = flag(
        0.0,
        "repeat images with rare classes: those that less than this fraction of the images show",
        group="augmentation",
        metavar="FRACTION",
        minimum=0,
        maximum=1,
        needs=(_NEEDS_CROPS, _NEEDS_IMAGES_IN_ORDER),
    )
    upsample_input: int = flag(
        1,
        "factor by which images are enlarged before they are cropped or predicted",
        group="augmentation",
        choices=UPSAMPLINGS,
        identity=False,
        recorded="upsample_input",
        needs=_NEEDS_CROPS,
    )
    dynamic_size: bool = flag(
        False,
        "train on whole images instead of crops: the short side is drawn from a list, each tower is padded to its own "
        "size",
        group="augmentation",
    )
    dynamic_short_sides: tuple[int, ...] = flag(
        (300, 375, 450, 525, 600),
        "short sides with --dynamic_size 1, in pixels",
        whole_numbers,
        group="augmentation",
        metavar="PIXELS,...",
        needs=_NEEDS_DYNAMIC_SIZE,
        maximum=LARGEST_SIDE,
    )
    dynamic_max_size: int = flag(
        1000,
        "longest side with --dynamic_size 1, in pixels",
        group="augmentation",
        metavar="PIXELS",
        minimum=8,
        needs=_NEEDS_DYNAMIC_SIZE,
        maximum=LARGEST_SIDE,
    )
