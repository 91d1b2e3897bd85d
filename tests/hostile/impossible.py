"""Well-formed JSON files with impossible values and right checksums, which damaged bytes do not lead to.

python -m tests.hostile.impossible --cases 20000 --seed 0
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from database.datasets import custom_dataset
from database.tfrecord_index import TFRecordIndex
from database.tfrecord_samples import check_made_from
from tests.database.tfrecord_files import LABEL_MAP, index_of, write_samples, write_values
from tests.hostile.loaders import TooSlowError, time_limit
from tests.tools.results.written_runs import run_at, scores_of, write
from tests.tools.snapshot_folders import write as write_snapshot
from tests.tools.toy_runs import tiny_config, toy_record
from tools.checkpoints.files import age, fault_of, next_serial
from tools.console import USER_FAULTS
from tools.prediction.score_files import is_scored, read_score
from tools.results.runs import find_runs
from tools.results.tables import FORMATS
from tools.runs.folder import RunFolder
from tools.runs.lock import LOCK_NAME, run_lock
from tools.runs.record import BackboneRecord, ModelRecord
from tools.training.best_snapshot import read_best, require_same_scoring
from tools.training.identity import RunIdentity
from tools.training.rollback import read_rollbacks

# Each where another value was: other types, and numbers, texts and nestings beyond reason.
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 255, 256, 65536, 1 << 31, 1 << 32, 10**12, (1 << 53) + 1, 1 << 63, 1 << 64,
    -(1 << 63), 10**400, 10**4000, 0.5, -0.5, 1.0, 1e-320, 1e39, 1e308, float("inf"), float("-inf"), float("nan"), "",
    "0", "19",
    "\u00b2", "\u0663", "nan", "a\0b", "/dev/zero", "../x", "a/b", "\x1b[31m", "\u202e", "\ud800", "x" * 5000, [], [1],
    [[]], ["a"], {}, {"a": 1}, {"1": {}}, [[[[[[1]]]]]],
)  # fmt: skip


class Subject(NamedTuple):
    """A whole file, how it is written with other values, and what reads it."""

    path: Path
    values: Any
    write: Callable[[Path, Any], Any]
    read: Callable[[], Any]


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every container in JSON values with each of its keys or positions."""
    keys = values.keys() if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ()
    for key in keys:
        yield values, key
        yield from _places(values[key])


def changed(values: Any, rng: np.random.Generator) -> Any:
    """Returns a copy of JSON values of which one or two are replaced, removed, doubled or renamed."""
    values = copy.deepcopy(values)
    for _ in range(rng.integers(1, 3)):
        places = list(_places(values))
        if not places:
            return values
        container, key = places[rng.integers(len(places))]
        new = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        action = rng.integers(8)
        if action == 0:
            del container[key]
        elif action == 1 and isinstance(container, dict):
            container[str(new)[:6000]] = container.pop(key)
        elif action == 2 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        else:
            container[key] = new
    return values


def write_json(path: Path, values: Any) -> None:
    """Writes values as JSON, with all digits of long numbers."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    path.write_text(json.dumps(values))
    sys.set_int_max_str_digits(limit)


def _manifest(folder: Path) -> Subject:
    prefix = write_snapshot(str(folder / "model.ckpt-1"))
    path = Path(f"{prefix}.manifest.json")
    values = {"serial": 1, "written": 1.7e9, **json.loads(path.read_text())}

    def read() -> Any:
        assert 1 <= next_serial(str(folder)) <= 1 << 53
        assert age(prefix) == age(prefix)
        fault = fault_of(prefix)
        assert fault is None or len(fault.splitlines()) == 1
        return fault

    return Subject(path, values, write_json, read)


def _index(folder: Path) -> Subject:
    shards = folder / "tfrecord"
    index_of([write_samples(folder / "images", 3)], folder, shards).write(str(shards))
    path = shards / "train.index.json"

    def read() -> Any:
        index = TFRecordIndex.read(str(shards), "train")
        check_made_from(index, replace(custom_dataset(20), label_map=LABEL_MAP), None, str(shards))
        samples = index.samples(str(shards), str(folder))
        assert all(sample.label_map == LABEL_MAP for sample in samples)
        assert all(1 <= side < 1 << 31 for sample in samples for side in sample.known_size())
        return samples

    return Subject(path, json.loads(path.read_text()), write_values, read)


def _record(folder: Path) -> Subject:
    config = tiny_config("toy", "log")
    toy_record(config).write(str(folder))
    path = folder / "config.json"

    def read() -> Any:
        record = ModelRecord.read(str(folder))
        assert record is not None
        RunIdentity.of_record(record)
        return record, record.last_step, record.data_dir, BackboneRecord.read(str(folder))

    return Subject(path, json.loads(path.read_text()), write_json, read)


def _best(folder: Path) -> Subject:
    run = RunFolder(str(folder / "run"))
    write_snapshot(f"{run.best}/model.ckpt-3")
    settings = {"mirror": 1}
    values = {"step": 3, "mean_iou": 0.5, "pixel_accuracy": 0.5, "checkpoint_sha256": "0" * 64, "scored_with": settings}

    def read() -> Any:
        best = read_best(run)
        assert best is None or (best.step == 3 and 0 <= best.mean_iou <= 1)
        require_same_scoring(run, settings)
        return best

    return Subject(Path(run.best, "best.json"), values, write_json, read)


def _scores(folder: Path) -> Subject:
    prefix = write_snapshot(str(folder / "model.ckpt-3"))
    path = folder / "scores.json"

    def read() -> Any:
        is_scored(str(path), prefix)
        score = read_score(str(path))
        assert score is None or not score.mean_iou > 1
        return score

    return Subject(path, scores_of(3, 0.5, checkpoint_sha256="0" * 64), write_json, read)


def _lock(folder: Path) -> Subject:
    def read() -> Any:
        with run_lock(str(folder)):
            return None

    values = {"pid": 1 << 22, "host": "elsewhere", "started": "2026-01-02", "command": "train.py"}
    return Subject(folder / LOCK_NAME, values, write_json, read)


def _rollbacks(folder: Path) -> Subject:
    run = RunFolder(str(folder))
    values = [{"step": 7, "fault": "the loss is NaN", "resumed_step": 5}]
    return Subject(Path(run.rollbacks), values, write_json, lambda: read_rollbacks(run))


def _results(folder: Path, name: str) -> Subject:
    """The table of two runs, one of whose files is changed."""
    log = folder / "log"
    for seed in (0, 1):
        run = run_at(log, f"seed{seed}", seed, f"u{seed}", network="resnet_v1_50", lr_step=[1, 2])
        write(run / "scores-10.json", scores_of(10, 0.5, run_uuid=f"u{seed}", mirror=True, data_sha256=["a", "b"]))

    def read() -> Any:
        runs = find_runs(str(log), str(folder / "none"))
        return [form(runs) for form in FORMATS.values()]

    path = log / "Toy" / "seed0" / name
    return Subject(path, json.loads(path.read_text()), write_json, read)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "manifest": _manifest,
    "TFRecord index": _index,
    "config.json": _record,
    "best.json": _best,
    "scores.json": _scores,
    "lock": _lock,
    "rollbacks": _rollbacks,
    "results, config.json": lambda folder: _results(folder, "config.json"),
    "results, scores": lambda folder: _results(folder, "scores-10.json"),
}


def run_case(subject: Subject, rng: np.random.Generator) -> str:
    """Changes a file and reads it: `refused`, `read`, or the last lines of a traceback."""
    values = changed(subject.values, rng)
    try:
        subject.write(subject.path, values)
    except (ValueError, UnicodeError):  # numbers of more digits than Python writes
        return "not written"
    try:
        with time_limit():
            subject.read()
    except USER_FAULTS as error:
        line = " ".join(str(error).split())
        return "refused" if len(line) < 1500 else f"a line of {len(line)} characters: {line[:300]}"
    except (Exception, TooSlowError) as error:
        return f"{''.join(traceback.format_exception(error)[-4:])}{json.dumps(values)[:2000]}"
    return "read"


def fuzz(folder: Path, cases: int, seed: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Runs cases; returns the number of each result by file, and a description of each fault."""
    counts: Counter[tuple[str, str]] = Counter()
    faults = []
    subjects = {}
    for number, (name, make) in enumerate(SUBJECTS.items()):
        (folder / str(number)).mkdir()
        subjects[name] = make(folder / str(number))
    for number in range(cases):
        name = list(subjects)[number % len(subjects)]
        subject = subjects[name]
        result = run_case(subject, np.random.default_rng([seed, number]))
        subject.write(subject.path, subject.values)
        is_fault = result not in ("read", "refused", "not written")
        counts[name, "fault" if is_fault else result] += 1
        faults += [f"case {number}, {name}:\n{result}"] if is_fault else []
    return counts, faults


def main() -> int:
    """Runs the cases of the command line and prints the results."""
    parser = argparse.ArgumentParser(description="Give JSON files with impossible values to what reads them.")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, faults = fuzz(Path(tempfile.mkdtemp(prefix="impossible-")), options.cases, options.seed)
    for (name, result), count in sorted(counts.items()):
        print(f"{name:22} {result:12} {count}")
    print(*faults[:20], sep="\n")
    print(f"{sum(counts.values())} cases, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
