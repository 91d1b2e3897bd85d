"""Describes what a folder of results was made from, so that different results are never mixed in one folder.

`provenance.json` is written with the first result. Results are the same if weights, network, classes, settings and
images are equal; otherwise, they get another folder. The folder is also found by the run of its checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from database.atomic import text_written_atomically
from database.datasets import Dataset
from database.json_files import read_json
from database.layouts import Sample
from tools.errors import RecordError, ResultsFolderError
from tools.flags.predict import PredictConfig, WeightsConfig
from tools.flags.protocol import PROTOCOL_FLAGS
from tools.flags.values import shown_value
from tools.prediction.existing_predictions import checksum_of
from tools.prediction.result_names import PROVENANCE_FILE
from tools.prediction.score_files import run_header, snapshot_header
from tools.prediction.score_header import CHECKSUM
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder, folder_of_run
from tools.runs.record import ModelRecord
from tools.runs.record_rules import without_additions
from tools.runs.run_origin import RUN_UUID

logger = logging.getLogger(__name__)

FILE_NAME = PROVENANCE_FILE
# Default folders of the results of predict.py and inference.py.
RESULT_ROOTS = ("./val_set", "./test_set", "./train_set", "./inference_set")

# Files and folders of results; a folder with any of them contains results.
_RESULTS = frozenset(
    {"prediction", "coloring", "overlay", "confidence", "probabilities", "polygons", "coco.json", "areas.csv",
     "per_image.csv", "scores.json", FILE_NAME}
)  # fmt: skip
_RESULTS_CHECKSUM = "results_sha256"
# Entries in the header of scores, and their names there if different.
_IN_HEADER = {
    **dict.fromkeys(("run", RUN_UUID, "checkpoint", "step", CHECKSUM, "dataset", "data_dir", "list",
                     "split", "data_sha256", _RESULTS_CHECKSUM)),
    "ms": "multi_scale",
    **dict.fromkeys(("mirror", "window", "upsample_input", "input_range", "float_type", "test_max_iter", "use_ema",
                     *PROTOCOL_FLAGS, "index_start", "index_step", "partial", "predictions", "prediction_ids")),
}  # fmt: skip
_SETTINGS = ("ms", "mirror", "float_type", "test_max_iter")
# Those that are recorded unless they are at their defaults.
_ADDED_SETTINGS = ("use_ema", "min_area", *PROTOCOL_FLAGS, "index_start", "index_step")


@dataclass(frozen=True)
class Provenance:
    """What results are made from.

    Attributes:
        entries: facts about run, snapshot, data and settings, as JSON values; `results_sha256` is equal if the results
            are the same.
    """

    entries: Mapping[str, Any]

    @property
    def checksum(self) -> str:
        return self.entries[_RESULTS_CHECKSUM]

    @property
    def header(self) -> dict[str, Any]:
        """Run, snapshot, data and settings for the header of scores; switches are 0 or 1."""
        entries = {other or name: self.entries[name] for name, other in _IN_HEADER.items() if name in self.entries}
        return {name: int(value) if isinstance(value, bool) else value for name, value in entries.items()}

    def is_of(self, folder: str) -> bool:
        """Returns whether the results in a folder have this provenance."""
        found = read_provenance(folder)
        return found is not None and found.get(_RESULTS_CHECKSUM) == self.checksum

    def write(self, folder: str) -> None:
        """Writes `provenance.json` to a folder, which is created if missing.

        Raises:
            ResultsFolderError: it cannot be written.
        """
        path = os.path.join(folder, FILE_NAME)
        try:
            with text_written_atomically(path) as file:
                json.dump(self.entries, file, indent=2)
        except OSError as error:
            raise ResultsFolderError(
                f"{path}: cannot be written ({error.strerror or error}): give another folder with --output_dir"
            ) from error


def provenance_of(
    config: WeightsConfig,
    prefix: str,
    record: ModelRecord,
    samples: Sequence[Sample] | None = None,
    data_dir: str | None = None,
    share: str | None = None,
) -> Provenance:
    """Describes the results of a snapshot.

    Args:
        config: flags.
        prefix: of the snapshot.
        record: network, classes and dataset of the prediction.
        samples, data_dir: the samples to predict, and their folder; None for images that are given one by one.
        share: the samples in words, if they are a share of a split.

    Raises:
        CheckpointError: the snapshot cannot be read.
    """
    settings = {name: getattr(config, name, None) for name in _SETTINGS} | _added_settings(config)
    data = _data_entries(config, samples, data_dir)
    sources = {"data_dir": None if data_dir is None else os.path.abspath(data_dir)}
    if isinstance(config, PredictConfig):
        sources["list"] = getattr(config, f"{config.mode}_list", None) or record.flags.get(f"{config.mode}_list")
        sources |= {} if share is None else {"partial": share}
    snapshot = snapshot_header(prefix)
    decisive = [snapshot[CHECKSUM], _record_entries(record), settings, data]
    return Provenance(
        {
            **run_header(prefix, record.origin),
            "run_folder": folder_of_run(prefix).path,
            **snapshot,
            "dataset": record.database,
            **data,
            **sources,
            **settings,
            "window": record.test_image_size,
            "upsample_input": record.upsample_input,
            "input_range": record.input_range,
            _RESULTS_CHECKSUM: _checksum(decisive),
        }
    )


def provenance_of_files(
    config: PredictConfig,
    dataset: Dataset,
    samples: Sequence[Sample],
    data_dir: str,
    paths: Sequence[str],
    share: str | None,
) -> Provenance:
    """Describes the scores of predictions that exist as files.

    Args:
        config: flags, with the folders of the files.
        dataset, samples, data_dir: what is scored.
        paths: of the predictions of the samples.
        share: see `provenance_of`.

    Raises:
        ScoringError: a prediction cannot be read.
    """
    settings = _added_settings(config) | {"prediction_ids": config.prediction_ids}
    data = _data_entries(config, samples, data_dir)
    predictions = {"predictions": ",".join(map(os.path.abspath, config.has_prediction or ()))}
    contents = checksum_of(paths)
    decisive = [contents, dataset.class_names, sorted(dataset.label_map.items()), settings, data]
    return Provenance(
        {
            **predictions,
            "predictions_sha256": contents,
            "dataset": dataset.name,
            **data,
            "data_dir": os.path.abspath(data_dir),
            "list": getattr(config, f"{config.mode}_list", None),
            **({} if share is None else {"partial": share}),
            **settings,
            _RESULTS_CHECKSUM: _checksum(decisive),
        }
    )


def _checksum(decisive: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _added_settings(config: WeightsConfig) -> dict[str, Any]:
    """Returns settings that are not at their defaults; the others are left out, as in results of earlier versions."""
    values = {name: getattr(config, name) for name in _ADDED_SETTINGS if hasattr(config, name)}
    given = {name: value for name, value in values.items() if value != getattr(type(config), name)}
    return {name: shown_value(value) if isinstance(value, tuple) else value for name, value in given.items()}


def _record_entries(record: ModelRecord) -> dict[str, Any]:
    """Returns network, classes and input of a record as JSON values, without the flags and origin of the training."""
    entries = {name: value for name, value in dataclasses.asdict(record).items() if name not in ("flags", "origin")}
    label_map = sorted((int(file_id), train_id) for file_id, train_id in record.label_map.items())
    return {**entries, "architecture": without_additions(entries["architecture"]), "label_map": label_map}


def _data_entries(config: WeightsConfig, samples: Sequence[Sample] | None, data_dir: str | None) -> dict[str, Any]:
    """Describes the predicted split by its checksums; empty for images that are given one by one."""
    if not isinstance(config, PredictConfig) or samples is None or data_dir is None:
        return {}
    checksums = list(DataChecksums.of(samples, data_dir).values)
    return {"split": config.mode, "images": len(samples), "data_sha256": checksums}


def read_provenance(folder: str) -> dict[str, Any] | None:
    """Reads `provenance.json` of a folder; None if it is missing or damaged."""
    try:
        entries = read_json(os.path.join(folder, FILE_NAME))
    except (OSError, ValueError):
        return None
    return entries if isinstance(entries, dict) else None


def provenance_of_pictures(folder: str) -> dict[str, Any] | None:
    """Reads `provenance.json` of a folder of pictures, or of the folder of results that it is part of."""
    found = read_provenance(folder)
    return found if found is not None else read_provenance(os.path.dirname(os.path.abspath(folder)))


def choose_folder(wanted: str | None, default: str, provenance: Provenance) -> str:
    """Returns the folder for results: the one that the user wants, or the default with a number added if needed.

    Raises:
        ResultsFolderError: the wanted folder contains other results.
    """
    return folder_for(provenance, default) if wanted is None else require_folder(provenance, wanted)


def folder_for(provenance: Provenance, wanted: str) -> str:
    """Returns a folder for results; adds `-2`, `-3` and so on to the wanted name while other results are there."""
    folder, number = wanted, 1
    while not (_is_free(folder) or provenance.is_of(folder)):
        number += 1
        folder = f"{wanted}-{number}"
    if folder != wanted:
        logger.info("%s contains other results, so the new ones are written to %s", wanted, folder)
    return folder


def require_folder(provenance: Provenance, folder: str) -> str:
    """Returns a folder that the user named, after a check that it contains no other results.

    Raises:
        ResultsFolderError: it contains other results.
    """
    if _is_free(folder) or provenance.is_of(folder):
        return folder
    found = read_provenance(folder)
    of = "of unknown origin" if found is None else f"of {_described(found, provenance.entries)}"
    raise ResultsFolderError(
        f"--output_dir {folder} contains results {of}, which would be mixed with the new ones: give another folder, "
        "or remove this one"
    )


def _described(found: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describes results: their snapshot, and the facts in which they differ."""
    names = [name for name in (CHECKSUM, "dataset", "split", "data_sha256", *_SETTINGS, *_ADDED_SETTINGS, "window")
             if found.get(name) != now.get(name)]  # fmt: skip
    differing = ", ".join(names) or "the network's or the classes' settings"
    return f"{found.get('checkpoint') or found.get('predictions')} (they differ in {differing})"


def _is_free(folder: str) -> bool:
    """Returns whether a folder contains no results; for a file, writing the first result will fail.

    Raises:
        ResultsFolderError: the folder cannot be read.
    """
    try:
        return not os.path.isdir(folder) or not _RESULTS & set(os.listdir(folder))
    except OSError as error:
        raise ResultsFolderError(
            f"{folder}: the folder cannot be read ({error.strerror or error}): give another with --output_dir"
        ) from error


def _folders_of_run(run_uuid: str, name: str, roots: Sequence[str]) -> Iterator[str]:
    """Yields the folders <root>/<dataset>/<run>/<settings> with results of a run."""
    for root in roots:
        for dataset in _folders_in(root):
            for run in _folders_in(dataset):
                for folder in _folders_in(run):
                    found = read_provenance(folder)
                    if found is not None and (found.get(RUN_UUID), found.get("run")) == (run_uuid, name):
                        yield folder


def _folders_in(path: str) -> list[str]:
    if not os.path.isdir(path):
        return []
    with os.scandir(path) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))


def set_results_aside(run: RunFolder, ending: str, roots: Sequence[str] = RESULT_ROOTS) -> list[str]:
    """Moves the results of a run that was set aside to folders with the same ending as the run's.

    Args:
        run: its new folder.
        ending: of its new name, such as `.earlier-1`.
        roots: folders to search for results.

    Returns:
        The new paths. A warning is logged for each folder that cannot be moved; its provenance still names the run.
    """
    run_uuid, name = _uuid_of(run), os.path.basename(run.path).removesuffix(ending)
    moved = []
    for folder in list(_folders_of_run(run_uuid, name, roots)) if run_uuid else []:
        parent, name = os.path.split(folder)
        target = os.path.join(parent + ending, name)
        try:
            if os.path.lexists(target):
                raise FileExistsError(target)
            os.makedirs(parent + ending, exist_ok=True)
            os.rename(folder, target)
        except OSError as error:
            logger.warning("%s: the results of the earlier run were not moved (%s)", folder, error.strerror or error)
            continue
        if not os.listdir(parent):
            os.rmdir(parent)
        moved.append(target)
        logger.info("its results were moved to %s", target)
    return moved


def _uuid_of(run: RunFolder) -> str | None:
    """Returns the UUID of a run; None if an earlier version wrote it, or its record is damaged."""
    try:
        record = ModelRecord.read(run.snapshots) or ModelRecord.read(run.path)
    except RecordError:
        return None
    return None if record is None else record.origin.run_uuid
