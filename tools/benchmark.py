"""Measures speed: inference, training, synchronized batch normalization and input, side by side in one run.

python -m tools.benchmark --parts inference,input --json figures.json
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.flag_parsing import FlagError, comma_separated, flag, parse_flags
from tools.flags import FLOAT_TYPES, NETWORKS

if TYPE_CHECKING:
    from tools.timing import Row

logger = logging.getLogger(__name__)

PARTS = ("inference", "training", "input")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Flags of the benchmark."""

    parts: tuple[str, ...] = flag(PARTS, f"what to measure, by commas: {', '.join(PARTS)}", comma_separated)
    network: str = flag("resnet_v1_50", "encoder", choices=NETWORKS)
    num_classes: int = flag(19, "classes of the network", minimum=2)
    float_types: tuple[str, ...] = flag(("32",), "precisions, by commas: 32, 16, bf16", comma_separated)
    crop_size: int = flag(240, "height and width of crops and windows", minimum=8)
    batch_size: int = flag(2, "windows at a time in inference", minimum=1)
    total_batch_size: int = flag(4, "images of a training step over all towers", minimum=2)
    warm_up: int = flag(2, "calls of each candidate that are not timed", minimum=1)
    repeats: int = flag(7, "calls of each candidate that are timed; the median counts", minimum=1)
    json: str | None = flag(None, "file for the figures", str)

    def __post_init__(self) -> None:
        for name, known in (("parts", PARTS), ("float_types", FLOAT_TYPES)):
            unknown = [value for value in getattr(self, name) if value not in known]
            if unknown:
                raise FlagError(f"--{name} {unknown[0]} is unknown: use {', '.join(known)}")


def measure(config: BenchmarkConfig) -> Iterator[Row]:
    """The rows that the flags ask for, as they are measured."""
    from model.pspnet_mg import Architecture
    from tools.benchmark_inference import measure_inference
    from tools.benchmark_input import measure_input
    from tools.benchmark_training import measure_training

    architecture = Architecture(config.network, config.num_classes)
    timing = {"warm_up": config.warm_up, "repeats": config.repeats}
    if "inference" in config.parts:
        for float_type in config.float_types:
            yield from measure_inference(
                architecture,
                float_type=float_type,
                crop_size=config.crop_size,
                batch_size=config.batch_size,
                **timing,
            )
    if "training" in config.parts:
        yield from measure_training(
            architecture,
            float_types=config.float_types,
            towers=(1, 2, 4),
            crop_size=config.crop_size,
            total_batch_size=config.total_batch_size,
            **timing,
        )
    if "input" in config.parts:
        yield from measure_input(crop_size=config.crop_size, repeats=4 * config.repeats)


def write_json(rows: Sequence[Row], path: str) -> None:
    """Writes `{row: {"value": number, "unit": text}}`.

    Raises:
        FlagError: the file cannot be written.
    """
    figures = {row.name: {"value": row.value, "unit": row.unit} for row in rows}
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise FlagError(f"--json {path} cannot be written ({error.strerror}): give another file") from error


def main(arguments: Sequence[str]) -> None:
    """Parses flags, measures and prints."""
    config = parse_flags(BenchmarkConfig, arguments, "Measure speed.")
    import_tensorflow()
    rows = []
    for row in measure(config):
        print(f"{row.name:<32} {row.value:10.3f} {row.unit}", flush=True)
        rows.append(row)
    if config.json is not None:
        write_json(rows, config.json)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
