"""Converts the weights of another project to a checkpoint of this package with its configuration.

python -m tools.convert pspnet50.pth --out converted
python -m tools.convert encoder.pth --decoder decoder.pth --out converted
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import argparse
import dataclasses
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from database.regular_files import file_checksum
from tools.console import import_tensorflow, run_script, set_up_logging
from tools.convert.files import Weights, read_meta, read_weights
from tools.convert.layouts import WEIGHT_MAPS, WeightMap
from tools.convert.settings import SETTINGS, settled
from tools.errors import FlagError, WeightFileError
from tools.flags.dataset import DATABASES
from tools.flags.parsing import OneLineParser, one_of
from tools.flags.sizes import Size, crop_size
from tools.flags.values import file_path, shown_value

logger = logging.getLogger(__name__)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    formats = "; ".join(f"{name}: {weight_map.project}" for name, weight_map in WEIGHT_MAPS.items())
    parser = OneLineParser(
        prog="python -m tools.convert", description="Convert weights of other projects.", allow_abbrev=False
    )
    parser.add_argument("source", type=file_path, help=".pth, .pth.tar, .pt, .bin, .safetensors or .npy file")
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
    group = parser.add_argument_group("mmsegmentation, for files without the configuration of their training")
    for name, setting in SETTINGS.items():
        group.add_argument(f"--{name}", type=_checked(setting.parse), help=f"{setting.help} (usual: {setting.usual})")
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


def read_source(source: str, decoder: str | None) -> Weights:
    """Reads the tensors of a file, or of an encoder's and a decoder's.

    Raises:
        WeightFileError: see `read_weights`; or both files have a tensor of the same name.
    """
    weights = read_weights(source)
    if decoder is None:
        return weights
    more = read_weights(decoder)
    shared = sorted(weights.keys() & more.keys())
    if shared:
        raise WeightFileError(f"{decoder}: '{shared[0]}' is also in {source}, expected only the decoder's tensors")
    return {**weights, **more}


def main(arguments: Sequence[str]) -> None:
    """Converts one network."""
    options = _parse(arguments)
    # TensorFlow is imported late: this takes seconds, and errors in flags are reported before.
    import_tensorflow()
    from tools.convert.checkpoint import backbone_record, dataset_of, model_record, write_converted
    from tools.convert.conversion import examine
    from tools.runs.record import BackboneRecord, ModelRecord

    weights, weight_map, window = _read(options)
    source = examine(weights, weight_map)
    logger.info("%s: %s, %s", options.source, weight_map.project, source.architecture.network)
    if not source.has_heads:
        _refuse_flags_of_heads(options)
    if source.has_heads:
        dataset = dataset_of(source, options.database)
        if options.database is None:
            logger.info("dataset %s, by the number of classes (%d)", dataset.name, dataset.num_classes)
        record: ModelRecord | BackboneRecord = model_record(source, dataset, options.test_image_size or window)
    else:
        record = backbone_record(source)
    origin = [f"{weight_map.project}, {source.architecture.network}", *_checksums(options.source, options.decoder)]
    conversion = write_converted(source, record, options.out, origin)
    logger.info("used %d of %d tensors", len(conversion.used), len(weights))
    _log_skipped(conversion.left)
    logger.info("wrote the checkpoint to %s; conversion.txt there lists every tensor", options.out)


def _checksums(*paths: str | None) -> Iterator[str]:
    """Yields path and SHA-256 of the files of weights; a folder has none."""
    for path in paths:
        if path is not None and os.path.isfile(path):
            yield f"{os.path.abspath(path)}: SHA-256 {file_checksum(path)}"


def _read(options: argparse.Namespace) -> tuple[Weights, WeightMap, Size | None]:
    """Reads the weights, and determines their layout and, if the file says so, the size of windows."""
    from tools.convert.conversion import network_of
    from tools.convert.mmseg_config import check_backbone, config_of, settings_of, window_of
    from tools.convert.other_networks import refuse_other_networks
    from tools.convert.prefixes import identify

    weights = read_source(options.source, options.decoder)
    refuse_other_networks(weights, options.source)
    weights, weight_map = identify(weights, options.format)
    weight_map = _with_skipped(weight_map, options.skip, weights)
    config, recorded = config_of(read_meta(options.source), options.source), {}
    if config is not None and weight_map.needs_settings:
        recorded = settings_of(config, options.source, network_of(weights, weight_map))
    elif config is not None:
        check_backbone(config, options.source, weight_map, network_of(weights, weight_map))
    given = {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    weight_map, used = settled(weight_map, options.source, recorded, given)
    for name, value in used.items():
        logger.info("%s %s, %s", name, shown_value(value), "from meta" if name in recorded else f"from --{name}")
    return weights, weight_map, window_of(config) if config and weight_map.needs_settings else None


def _with_skipped(weight_map: WeightMap, pattern: str | None, names: Iterable[str]) -> WeightMap:
    """Adds the tensors of --skip to those that may be skipped."""
    if pattern is None:
        return weight_map
    if not any(re.fullmatch(pattern, name) for name in names):
        raise FlagError(f"--skip {pattern} matches the whole name of no tensor: drop it, or write .* around it")
    return dataclasses.replace(weight_map, left={**weight_map.left, pattern: "--skip"})


def _refuse_flags_of_heads(options: argparse.Namespace) -> None:
    for name in ("database", "test_image_size"):
        value = getattr(options, name)
        if value is not None:
            raise FlagError(
                f"--{name} {value} needs a PSPNet, but {options.source} is a ResNet without heads: drop --{name} here "
                "and give it to train.py"
            )


def _log_skipped(left: Mapping[str, str]) -> None:
    """Logs one line per reason, with the first name and the number of the others."""
    for reason, count in Counter(left.values()).items():
        name = next(name for name, why in left.items() if why == reason)
        logger.info("skipped %s%s: %s", name, f" and {count - 1} more" if count > 1 else "", reason)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
