"""Converts the weights of another project to a checkpoint of this package with its configuration.

python -m tools.convert pspnet50.pth --out converted
python -m tools.convert encoder.pth --decoder decoder.pth --out converted
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import argparse
import logging
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.convert.layouts import WEIGHT_MAPS
from tools.convert.settings import SETTINGS
from tools.flags.dataset import DATABASES
from tools.flags.parsing import OneLineParser, one_of
from tools.flags.sizes import crop_size
from tools.flags.values import file_path

logger = logging.getLogger(__name__)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    formats = "; ".join(f"{name}: {weight_map.project}" for name, weight_map in WEIGHT_MAPS.items())
    parser = OneLineParser(
        prog="python -m tools.convert", description="Convert weights of other projects.", allow_abbrev=False
    )
    parser.add_argument(
        "source",
        type=file_path,
        help=".pth, .pth.tar, .pt, .bin, .safetensors, .npy or .h5 file, TensorFlow checkpoint, folder of transformers",
    )
    parser.add_argument("--out", required=True, type=file_path, help="folder for the checkpoint and its config.json")
    parser.add_argument(
        "--format",
        type=one_of("format", tuple(WEIGHT_MAPS)),
        choices=WEIGHT_MAPS,
        help=f"layout (default: detected from the names of the tensors). {formats}",
    )
    parser.add_argument("--decoder", type=file_path, help="CSAILVision: the decoder's file, SOURCE being the encoder's")
    parser.add_argument(
        "--database",
        type=one_of("database", DATABASES),
        choices=DATABASES,
        help="dataset of the classes (default: by their number)",
    )
    parser.add_argument(
        "--test_image_size",
        type=_checked(crop_size),
        help="size of windows: one number, or height x width such as 360x480 (default: the project's)",
    )
    parser.add_argument("--skip", type=_regular_expression, help="regular expression of tensors that no layer takes")
    inputs = parser.add_argument_group("inputs, where weights were not trained with those of their project")
    group = parser.add_argument_group("mmsegmentation and transformers, for weights without their configuration")
    for name, setting in SETTINGS.items():
        (inputs if setting.is_of_input else group).add_argument(
            f"--{name}", type=_checked(setting.parse), help=f"{setting.help} (usual: {setting.usual})"
        )
    return parser.parse_args(list(arguments))


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Returns a parse function for argparse whose errors name the expected value."""

    def checked(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{text}' is not {error}") from error

    return checked


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a regular expression ({error})") from error
    return text


def main(arguments: Sequence[str]) -> None:
    """Converts one network."""
    options = _parse(arguments)
    # TensorFlow is imported late: this takes seconds, and errors in flags are reported before.
    import_tensorflow()
    from tools.convert.converting import Request, convert_weights

    given = {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    request = Request(options.source, options.decoder, options.format, options.skip, given)
    convert_weights(request, options.out, options.database, options.test_image_size)
    logger.info("wrote the checkpoint to %s; conversion.txt there lists every tensor", options.out)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
