"""Measures speed and memory of this package, other implementations and other engines, side by side in one run.

python -m tools.benchmark --parts inference,input --json figures.json
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from database.regular_files import writable_file
from tools.benchmark.flags import BenchmarkConfig
from tools.console import import_tensorflow, run_script, set_up_logging
from tools.errors import FlagError
from tools.flags.parsing import parse_flags
from tools.flags.sizes import sides

if TYPE_CHECKING:
    from tools.benchmark.timing import Row


# Beginning of the names of rows that are printed as tables.
_TABLES = "layers."


def _inference(config: BenchmarkConfig) -> Iterator[Row]:
    from model.architecture import Architecture
    from tools.benchmark.inference import InferencePlan, measure_inference

    architecture = Architecture(config.network, config.num_classes)
    for float_type in config.float_types:
        plan = InferencePlan(architecture, float_type, sides(config.crop_size), config.batch_size)
        yield from measure_inference(plan, warm_up=config.warm_up, repeats=config.repeats)


def _training(config: BenchmarkConfig) -> Iterator[Row]:
    from model.architecture import Architecture
    from model.training_options import TrainingOptions
    from tools.benchmark.steps import StepPlan
    from tools.benchmark.training import measure_training

    architecture = Architecture(config.network, config.num_classes)
    for float_type in config.float_types:
        options = TrainingOptions(float_type=float_type)
        plan = StepPlan(architecture, options, 1, config.total_batch_size, sides(config.crop_size))
        yield from measure_training(plan, warm_up=config.warm_up, repeats=config.repeats)


def _syncbn(config: BenchmarkConfig) -> Iterator[Row]:
    from model.architecture import Architecture
    from tools.benchmark.training import measure_towers

    yield from measure_towers(
        Architecture(config.network, config.num_classes),
        float_type=config.float_types[0],
        towers=(1, 2, 4),
        crop_size=sides(config.crop_size),
        total_batch_size=config.total_batch_size,
        warm_up=config.warm_up,
        repeats=config.repeats,
    )


def _checkpointing(config: BenchmarkConfig) -> Iterator[Row]:
    from model.architecture import Architecture
    from model.training_options import TrainingOptions
    from tools.benchmark.steps import StepPlan
    from tools.benchmark.training import measure_checkpointing

    architecture = Architecture(config.deep_network, config.num_classes)
    options = TrainingOptions(float_type=config.float_types[0])
    plan = StepPlan(architecture, options, 1, config.total_batch_size, sides(config.crop_size))
    yield from measure_checkpointing(plan, warm_up=config.warm_up, repeats=config.repeats)


def _input(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.input import measure_input

    yield from measure_input(crop_size=sides(config.crop_size), repeats=4 * config.repeats)


def _waiting(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.waiting import measure_waiting

    yield from measure_waiting(config.train_flags, warm_up=config.warm_up, repeats=4 * config.repeats)


def _frames(config: BenchmarkConfig) -> Iterator[Row]:
    from model.architecture import Architecture
    from tools.benchmark.frames import measure_frames

    height, width = config.frame_size
    for float_type in config.float_types:
        yield from measure_frames(
            Architecture(config.network, config.num_classes),
            float_type=float_type,
            frame_size=(height, width),
            window_size=config.window_size,
            multi_scale=config.ms,
            frames=config.frames,
        )


def _startup(config: BenchmarkConfig) -> Iterator[Row]:
    from model.architecture import Architecture
    from model.training_options import TrainingOptions
    from tools.benchmark.startup import measure_startup
    from tools.benchmark.steps import StepPlan

    architecture = Architecture(config.deep_network, config.num_classes)
    plan = StepPlan(architecture, TrainingOptions(), 4, 1, sides(config.crop_size))
    yield from measure_startup(plan, repeats=min(3, config.repeats))


def _growth(config: BenchmarkConfig) -> Iterator[Row]:
    from model.architecture import Architecture
    from tools.benchmark.training import measure_growth

    yield from measure_growth(
        Architecture(config.network, config.num_classes),
        towers=config.towers,
        crop_sizes=config.crop_sizes,
        repeats=config.repeats,
    )


def _models(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.models import measure_models

    yield from measure_models(
        config.networks,
        config.decoders,
        num_classes=config.num_classes,
        crop_size=sides(config.crop_size),
        batch_size=config.batch_size,
        warm_up=config.warm_up,
        repeats=config.repeats,
    )


def _layers(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.layers import layer_rows, layer_table, measure_layers

    for name, counts in measure_layers(
        config.networks, config.decoders, num_classes=config.num_classes, image_size=sides(config.crop_size)
    ):
        print(f"{name}\n{layer_table(counts)}", flush=True)
        yield from layer_rows(f"{_TABLES}{name}", counts)


def _agreement(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.agreement import measure_agreement

    yield from measure_agreement(
        str(config.weights_ckpt), config.data_dir, float_types=config.float_types, images=config.images
    )


def _export(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.exports import measure_exports

    yield from measure_exports(
        str(config.weights_ckpt),
        config.data_dir,
        images=config.images,
        warm_up=config.warm_up,
        repeats=config.repeats,
    )


def _serve(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.serving import measure_serving

    yield from measure_serving(str(config.weights_ckpt), config.data_dir)


def _hosts(config: BenchmarkConfig) -> Iterator[Row]:
    from model.architecture import Architecture
    from model.training_options import TrainingOptions
    from tools.benchmark.hosts import measure_hosts
    from tools.benchmark.steps import StepPlan

    counted = [Architecture(name, config.num_classes) for name in (config.network, config.deep_network)]
    measured = Architecture("resnet_v1_18", config.num_classes)
    plan = StepPlan(measured, TrainingOptions(), 1, config.batch_size, sides(config.crop_size))
    yield from measure_hosts(counted, plan, warm_up=config.warm_up, repeats=config.repeats)


def _pruning(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.pruning import measure_pruning

    yield from measure_pruning(
        str(config.weights_ckpt),
        crop_size=sides(config.crop_size),
        batch_size=config.batch_size,
        warm_up=config.warm_up,
        repeats=config.repeats,
    )


_MEASURE: Mapping[str, Callable[[BenchmarkConfig], Iterator[Row]]] = {
    "inference": _inference,
    "training": _training,
    "syncbn": _syncbn,
    "checkpointing": _checkpointing,
    "input": _input,
    "waiting": _waiting,
    "frames": _frames,
    "startup": _startup,
    "growth": _growth,
    "models": _models,
    "layers": _layers,
    "agreement": _agreement,
    "export": _export,
    "serve": _serve,
    "hosts": _hosts,
    "pruning": _pruning,
}


def measure(config: BenchmarkConfig) -> Iterator[Row]:
    """Yields the rows of each part as soon as it is measured."""
    for part in config.measured:
        yield from _MEASURE[part](config)


def write_json(rows: Sequence[Row], path: str) -> None:
    """Writes `{row: {"value": number, "unit": text}}`.

    Raises:
        FlagError: the file cannot be written.
    """
    figures = {row.name: {"value": row.value, "unit": row.unit} for row in rows}
    try:
        with open(path, "w", encoding="utf-8", opener=writable_file) as file:
            json.dump(figures, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise FlagError(f"--json: {path} cannot be written ({error.strerror}): give another file") from error


def main(arguments: Sequence[str]) -> None:
    """Parses flags, measures and prints."""
    config = parse_flags(BenchmarkConfig, arguments, "Measure speed.")
    import_tensorflow()
    rows = []
    for row in measure(config):
        if not row.name.startswith(_TABLES):
            print(f"{row.name:<32} {row.value:10.3f} {row.unit}", flush=True)
        rows.append(row)
    if config.json is not None:
        write_json(rows, config.json)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
