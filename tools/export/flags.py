"""Flags of the export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tools.errors import FlagError
from tools.export.forms import FLOAT, FORMATS, FORMS, QUANTIZATIONS, Form, quantizations_of
from tools.flags.checks import check_effects
from tools.flags.chosen_weights import log_dir_flag, use_ema_flag, weights_ckpt_flag
from tools.flags.definition import Need, flag
from tools.flags.help import Program
from tools.flags.running import ScreenFlags
from tools.flags.sizes import Size, crop_size, sides
from tools.flags.values import file_path

# Images of the check. A quantized form is judged by its labels, of which one image shows too few.
_IMAGES, _IMAGES_IF_QUANTIZED = 1, 20


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ScreenFlags):
    """Flags of the export."""

    weights_ckpt: str | None = weights_ckpt_flag()
    log_dir: str = log_dir_flag()
    use_ema: bool = use_ema_flag("export")
    format: str | None = flag(None, "format", str, group="output", choices=FORMATS)
    quantize: str = flag(
        FLOAT,
        "shorter numbers: float16 weights (tflite, openvino), dynamic: 8-bit weights (tflite), int8: 8-bit weights and "
        "activations (openvino)",
        group="output",
        choices=QUANTIZATIONS,
    )
    size: Size | None = flag(
        None,
        "fixed size of the pictures, in pixels: one number, or height x width such as 360x480; one picture at a time",
        crop_size,
        group="output",
        metavar="SIZE",
        unset="pictures of any size, any number at a time",
    )
    out: str | None = flag(None, "folder for the export", file_path, group="output", metavar="FOLDER")
    image: str | None = flag(
        None,
        "image for the check",
        file_path,
        group="data",
        unset="validation images of the run; without its data, a generated street scene, except with --quantize "
        "dynamic or int8",
    )
    check_images: int | None = flag(
        None,
        "number of validation images for the check",
        int,
        group="data",
        minimum=1,
        unset=f"{_IMAGES}, with --quantize dynamic or int8 {_IMAGES_IF_QUANTIZED}",
        needs=Need(lambda config: config.image is None, "with --image, the only one that is checked: drop --image"),
    )
    data_dir: str | None = flag(
        None,
        "folder of the run's dataset",
        file_path,
        group="data",
        metavar="FOLDER",
        unset="as recorded beside the checkpoint",
    )
    calibration_images: int = flag(
        100,
        "number of training images that set the ranges of 8-bit activations",
        group="data",
        minimum=1,
        needs=Need(lambda config: config.quantize == "int8", "without --quantize int8: add it"),
    )

    program: ClassVar[Program] = Program(
        "python -m tools.export",
        "--format NAME --out FOLDER [--weights_ckpt RUN]",
        (
            "--format savedmodel --out exported",
            "--weights_ckpt log/Cityscapes/my_run --format onnx --size 713 --out exported",
            "--format openvino --quantize int8 --out exported",
        ),
    )

    def __post_init__(self) -> None:
        for name in ("format", "out"):
            if getattr(self, name) is None:
                expected = f"one of {', '.join(FORMATS)}" if name == "format" else "a folder"
                raise FlagError(f"--{name} is missing: give {expected}")
        if (self.format, self.quantize) not in FORMS:
            known = quantizations_of(str(self.format))
            raise FlagError(
                f"--format {self.format} has no --quantize {self.quantize}: use {' or '.join(known)}, or another format"
            )
        if self.image is not None and self.form.is_quantized:
            raise FlagError(
                f"--image has no label, and --quantize {self.quantize} is judged by the mIoU of validation images: "
                "drop --image"
            )
        check_effects(self)

    @property
    def form(self) -> Form:
        """The form that is exported."""
        return FORMS[str(self.format), self.quantize]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of the pictures; None if they may have any."""
        return None if self.size is None else sides(self.size)

    @property
    def name(self) -> str:
        """The name of the exported file or folder."""
        return self.form.name(self.fixed_size)

    @property
    def number_of_check_images(self) -> int:
        """The number of validation images for the check."""
        return self.check_images or (_IMAGES_IF_QUANTIZED if self.form.is_quantized else _IMAGES)
