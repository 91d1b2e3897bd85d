"""Converts the weights of another project to a checkpoint with its record: from the files to a folder."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from database.counts import number_of
from database.regular_files import file_checksum
from tools.checkpoints.find import resolve_checkpoint
from tools.checkpoints.reading import checkpoint_checksum
from tools.convert.checkpoint import backbone_record, dataset_of, model_record, write_converted
from tools.convert.conversion import Source, examine, network_of
from tools.convert.files import Weights, read_meta, read_weights
from tools.convert.input_scale import warn_of_other_inputs
from tools.convert.mmseg_config import check_backbone, config_of, settings_of, window_of
from tools.convert.other_networks import refuse_other_networks
from tools.convert.prefixes import identify
from tools.convert.settings import settled
from tools.convert.smp_config import check_smp_config
from tools.convert.transformers_config import weights_in, with_transformers_config
from tools.convert.weight_map import WeightMap
from tools.errors import FlagError, WeightFileError
from tools.flags.sizes import Size
from tools.flags.values import shown_value
from tools.runs.record import BackboneRecord, ModelRecord

logger = logging.getLogger(__name__)

# Raised when the same weights become another network, so that a conversion of before is not taken for it.
CONVERSION_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Request:
    """What to convert.

    Attributes:
        source: file, checkpoint or folder of weights.
        decoder: file of CSAILVision's decoder, `source` being the encoder's.
        layout: key of `layouts.WEIGHT_MAPS`; None to detect it.
        skip: regular expression of tensors that no layer takes.
        settings: values by the names of `settings.SETTINGS`.
    """

    source: str
    decoder: str | None = None
    layout: str | None = None
    skip: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def convert_weights(
    request: Request, out: str, database: str | None = None, test_image_size: Size | None = None
) -> ModelRecord | BackboneRecord:
    """Converts weights and logs what they are.

    Args:
        request: the weights.
        out: folder for the checkpoint, its record and the report on every tensor.
        database: name of the dataset of the classes; None to choose it by their number.
        test_image_size: of windows; None for the project's.

    Returns:
        The record that was written.

    Raises:
        WeightFileError: the weights cannot be read.
        ConversionError: they are of no network that this package has, or the folder is in use.
        FlagError: an option contradicts the weights or has no effect on them.
    """
    request = dataclasses.replace(request, source=weights_in(request.source))
    source, window = _read(request)
    logger.info("%s: %s, %s", request.source, source.weight_map.project, source.architecture.network)
    record: ModelRecord | BackboneRecord
    if source.has_heads:
        dataset = dataset_of(source, database)
        if database is None:
            logger.info("dataset %s, by the number of classes (%d)", dataset.name, dataset.num_classes)
        record = model_record(source, dataset, test_image_size or window)
    else:
        _refuse_flags_of_heads(request.source, {"database": database, "test_image_size": test_image_size})
        record = backbone_record(source)
    origin = [f"{source.weight_map.project}, {source.architecture.network}"]
    origin += _checksums(request.source, request.decoder)
    conversion = write_converted(source, record, out, origin)
    warn_of_other_inputs(conversion.values, source.architecture, request.source)
    logger.info("used %d of %s", len(conversion.used), number_of(len(source.weights), "tensor"))
    _log_skipped(conversion.left)
    return record


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


def _read(request: Request) -> tuple[Source, Size | None]:
    """Reads the weights, and determines their network and, if the file says so, the size of windows."""
    weights = read_source(request.source, request.decoder)
    refuse_other_networks(weights, request.source, request.skip)
    weights, weight_map = identify(weights, request.layout, request.skip)
    weight_map = _with_skipped(weight_map, request.skip, weights)
    weight_map, recorded, window = _configured(weight_map, request.source, network_of(weights, weight_map))
    weight_map, used = settled(weight_map, request.source, recorded, request.settings)
    for name, value in used.items():
        logger.info("%s %s, %s", name, shown_value(value), _whence(name, recorded, weight_map))
    source = examine(weights, weight_map)
    if weight_map.has_smp_config and source.has_heads:
        check_smp_config(request.source, source.architecture)
    return source, window


def _whence(name: str, recorded: Mapping[str, Any], weight_map: WeightMap) -> str:
    """Describes where the value of a setting is from."""
    if name not in recorded:
        return f"from --{name}"
    return "from the files beside the weights" if weight_map.has_config_beside else "from meta"


def _configured(weight_map: WeightMap, source: str, network: str) -> tuple[WeightMap, dict[str, Any], Size | None]:
    """Reads the configuration of the network; returns the layout, the recorded settings and the size of windows."""
    if weight_map.has_config_beside:
        return *with_transformers_config(weight_map, source, network), None
    config = config_of(read_meta(source), source)
    if config is None:
        return weight_map, {}, None
    if not weight_map.needs_settings:
        check_backbone(config, source, weight_map, network)
        return weight_map, {}, None
    return weight_map, settings_of(config, source, network, weight_map.decoder), window_of(config)


def _with_skipped(weight_map: WeightMap, pattern: str | None, names: Iterable[str]) -> WeightMap:
    """Adds the tensors of --skip to those that may be skipped."""
    if pattern is None:
        return weight_map
    if not any(re.fullmatch(pattern, name) for name in names):
        raise FlagError(f"--skip {pattern} matches the whole name of no tensor: drop it, or write .* around it")
    return dataclasses.replace(weight_map, left={**weight_map.left, pattern: "--skip"})


def _refuse_flags_of_heads(source: str, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if value is not None:
            raise FlagError(
                f"--{name} {value} needs a PSPNet, but {source} is an encoder without heads: drop --{name} here "
                "and give it to train.py"
            )


def _checksums(*paths: str | None) -> Iterator[str]:
    """Yields path and SHA-256 of the weights."""
    for path in paths:
        if path is None:
            continue
        checksum = file_checksum(path) if os.path.isfile(path) else checkpoint_checksum(resolve_checkpoint(path))
        yield f"{os.path.abspath(path)}: SHA-256 {checksum}"


def _log_skipped(left: Mapping[str, str]) -> None:
    """Logs one line per reason, with the first name and the number of the others."""
    for reason, count in Counter(left.values()).items():
        name = next(name for name, why in left.items() if why == reason)
        logger.info("skipped %s%s: %s", name, f" and {count - 1} more" if count > 1 else "", reason)
