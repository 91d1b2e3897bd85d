"""Finds the runs below a log folder and the scores of their snapshots, in any folder."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from database.counts import number_of
from database.errors import in_one_line
from database.folders import walked
from database.json_files import read_json
from tools.checkpoints import files as snapshot_files
from tools.checkpoints.snapshot_names import EARLIER, checkpoint_step
from tools.errors import FlagError
from tools.prediction.score_header import ADDED_SETTINGS, CHECKSUM, SETTINGS
from tools.prediction.tables import is_fraction_or_none
from tools.runs.run_origin import CONTENTS_OF_FLAGS, RUN_UUID

logger = logging.getLogger(__name__)

_CONFIG_NAME = "config.json"
_RUN_SCORES = re.compile(r"scores-\d+.*\.json")

_BEST = "best"
_SNAPSHOT = "snapshot"
# Keys of a record that identify the contents of the file that a flag names, by flag; see also `CONTENTS_OF_FLAGS`.
_CONTENTS_IN_RECORD = {"label_map": ("label_map",), "palette": ("class_names", "palette", "ignored_colors")}


@dataclass(frozen=True)
class Score:
    """One file of scores.

    Attributes:
        of: what was scored and how, e.g. `scores-600` for validation in training, or `step600-ms1`.
        step: of the snapshot.
        mean_iou, pixel_accuracy: fractions 0..1, None if no pixel was valid.
        is_best: whether the run keeps this snapshot as its best.
        path: of the file.
        scored_with: the settings that the file records, and as `data` a checksum of the images and labels. Scores with
            different values are not comparable.
        data_name: the list or folder of the images, which may differ for equal data.
    """

    of: str
    step: int | None
    mean_iou: float | None
    pixel_accuracy: float | None
    is_best: bool = False
    path: str = ""
    scored_with: Mapping[str, Any] = field(default_factory=dict)
    data_name: str = ""

    @property
    def kind(self) -> str:
        """`of` without the step: equal for snapshots that were scored in the same way."""
        return self.of if self.step is None else re.sub(rf"\b(scores-|step){self.step}\b", r"\1", self.of).rstrip("-")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: its path below the log folder.
        flags: of the training, and what it started from.
        scores: by step.
        contents: short checksums of the contents of files and folders, by the flag that names them.
        architecture: of the network as its record has it, by the flags of the same names.
    """

    name: str
    flags: Mapping[str, Any]
    scores: Sequence[Score]
    contents: Mapping[str, str] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """A file of scores: path, folder of the run that contains it (None if none does), and contents."""

    path: str
    run_folder: str | None
    values: Mapping[str, Any]

    @property
    def header(self) -> Mapping[str, Any]:
        header = self.values.get("run")
        return header if isinstance(header, dict) else {}

    @property
    def step(self) -> int | None:
        step = self.header.get("step")
        return step if type(step) is int and 0 <= step < 1 << 63 else None


@dataclass(frozen=True)
class _Weights:
    """Checksums of the existing snapshots of a run: by step, and of the best."""

    by_step: Mapping[int, str]
    best: frozenset[str]


def find_runs(log_dir: str, predictions_dir: str, *, earlier: bool = False) -> list[Run]:
    """Finds the runs below a folder, and their scores.

    Scores belong to a run if they have its `run_uuid`. Runs of earlier versions have none: scores belong to them if
    they are in the folder of the run or have the checksum of one of its snapshots. Scores are ignored if their snapshot
    was overwritten since, or if they are outside of a run's folder and do not name their snapshot; the number is
    logged.

    Args:
        log_dir: folder of all runs.
        predictions_dir: folder with scores of predict.py, at any depth.
        earlier: whether to include runs that were set aside.

    Returns:
        The runs, sorted by name.

    Raises:
        FlagError: there is no such folder.
    """
    if not os.path.isdir(log_dir):
        raise FlagError(f"--log_dir {log_dir} is not a folder: give the folder of the runs")
    configs = glob.glob(os.path.join(glob.escape(log_dir), "*", "*", _CONFIG_NAME))
    record_of = _records_in(sorted(map(os.path.dirname, configs)))
    found = _all_scores(record_of, predictions_dir)
    hidden = [folder for folder, record in record_of.items() if record is not None and EARLIER.search(folder)]
    if hidden and not earlier:
        logger.info(
            "%s set aside and not listed: --earlier 1 lists them", number_of(len(hidden), "run was", "runs were")
        )
    wanted = [folder for folder in record_of if earlier or not EARLIER.search(folder)]
    return [run for _, run in _runs_of(record_of, wanted, found)]


def read_runs(folders: Sequence[str], predictions_dir: str) -> dict[str, Run]:
    """Reads runs wherever they are, and their scores as `find_runs` does.

    Args:
        folders: of the runs.
        predictions_dir: folder with scores of predict.py, at any depth.

    Returns:
        The runs by their folder, in the given order; those without a readable record are left out.
    """
    record_of = _records_in(folders)
    return dict(_runs_of(record_of, folders, _all_scores(record_of, predictions_dir)))


def _records_in(folders: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    return {folder: _record_in(folder) for folder in folders}


def _all_scores(record_of: Mapping[str, Mapping[str, Any] | None], predictions_dir: str) -> list[_Found]:
    found = [*_scores_in_runs(record_of), *_scores_below(predictions_dir)]
    _warn_of_unnamed_snapshots(found)
    return found


def _runs_of(
    record_of: Mapping[str, Mapping[str, Any] | None], wanted: Iterable[str], found: Sequence[_Found]
) -> Iterator[tuple[str, Run]]:
    """Yields (folder, run) of the wanted folders that have a record; `record_of` may have more of the same log."""
    flags_of = {folder: record["flags"] for folder, record in record_of.items() if record is not None}
    uuids = Counter(flags.get(RUN_UUID) for flags in flags_of.values())
    shared = frozenset(uuid for uuid, count in uuids.items() if uuid is not None and count > 1)
    for folder in wanted:
        record = record_of[folder]
        if record is not None:
            parent, name = os.path.split(os.path.abspath(folder))
            flags = record["flags"]
            scores = _scores_of_run(folder, flags, found, shared)
            architecture = record.get("architecture")
            yield folder, Run(
                os.path.join(os.path.basename(parent), name), flags, scores, _contents(record),
                architecture if isinstance(architecture, dict) else {},
            )  # fmt: skip


def _warn_of_unnamed_snapshots(found: Sequence[_Found]) -> None:
    # Scores of --has_prediction are of files, not of a snapshot.
    elsewhere = [scores for scores in found if scores.run_folder is None and not scores.header.get("predictions")]
    unnamed = [scores.path for scores in elsewhere if not scores.header.get(CHECKSUM)]
    if unnamed:
        more = "" if len(unnamed) == 1 else ", ..."
        logger.warning(
            "%d files of scores do not name their snapshot and are ignored: %s%s", len(unnamed), unnamed[0], more
        )


def _record_in(folder: str) -> dict[str, Any] | None:
    """Reads the record of a run, with its origin among the flags; None if it is damaged or has no flags."""
    record = _read_object(os.path.join(folder, _CONFIG_NAME))
    if record is None or not isinstance(record.get("flags"), dict):
        return None
    origin = record.get("origin")  # version 1 has it among the flags
    known = {name: value for name, value in origin.items() if value is not None} if isinstance(origin, dict) else {}
    if not isinstance({**record["flags"], **known}.get(RUN_UUID, ""), str | None):
        logger.warning("%s is ignored: the id of the run is no text", os.path.join(folder, _CONFIG_NAME))
        return None
    return {**record, "flags": {**record["flags"], **known}}


def _contents(record: Mapping[str, Any]) -> dict[str, str]:
    known = {name: [record.get(key) for key in keys] for name, keys in _CONTENTS_IN_RECORD.items()}
    known |= {name: [record["flags"].get(key) for key in keys] for name, keys in CONTENTS_OF_FLAGS.items()}
    return {name: _short_checksum(values) for name, values in known.items() if any(x is not None for x in values)}


def _short_checksum(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _scored_with(header: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: header[name] for name in SETTINGS if name in header}
    settings = {**ADDED_SETTINGS, **known} if known else {}
    if header.get("data_sha256") is not None:
        settings["data"] = _short_checksum(header["data_sha256"])
    return settings


def _data_name(header: Mapping[str, Any]) -> str:
    return str(header.get("list") or os.path.basename(str(header.get("data_dir") or "").rstrip(os.sep)))


def _scores_in_runs(folders: Iterable[str]) -> Iterator[_Found]:
    for folder in folders:
        for name in _names_in(folder):
            path = os.path.join(folder, name)
            values = _scores_in(path) if _RUN_SCORES.fullmatch(name) else None
            if values is not None:
                yield _Found(path, folder, values)


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        logger.warning("%s is ignored: %s", folder, error.strerror or error)
        return []


def _scores_below(predictions_dir: str) -> Iterator[_Found]:
    for parent, folder_names, names in walked(predictions_dir, lambda error: None, lambda path: None):
        folder_names.sort()
        if "scores.json" in names:
            path = os.path.join(parent, "scores.json")
            values = _scores_in(path)
            if values is not None:
                yield _Found(path, None, values)


def _scores_in(path: str) -> dict[str, Any] | None:
    """Reads a file of scores; logs a warning and returns None if it is damaged."""
    values = _read_object(path)
    if values is None:
        return None
    header = values.get("run")
    identifiers = [header.get(name) for name in (CHECKSUM, RUN_UUID)] if isinstance(header, dict) else []
    are_scores = all(is_fraction_or_none(values.get(name)) for name in ("mean_iou", "pixel_accuracy"))
    if are_scores and all(value is None or isinstance(value, str) for value in identifiers):
        return values
    logger.warning("%s is ignored: a score is not in 0..1, or the run's or snapshot's id is no text", path)
    return None


def _scores_of_run(
    folder: str, flags: Mapping[str, Any], found: Sequence[_Found], shared: Collection[str]
) -> list[Score]:
    weights = _weights_in(folder)
    scores = []
    for file in found:
        if not _is_of_run(file, folder, flags, weights, shared):
            continue
        checksum, step = file.header.get(CHECKSUM), file.step
        newer = None if step is None else weights.by_step.get(step)
        if None not in (checksum, newer) and checksum != newer and checksum not in weights.best:
            logger.warning("%s is ignored: its snapshot of step %s was overwritten since", file.path, step)
            continue
        values = file.values
        score = Score(
            _title(file, flags), step, values.get("mean_iou"), values.get("pixel_accuracy"), checksum in weights.best,
            file.path, _scored_with(file.header), _data_name(file.header),
        )  # fmt: skip
        scores.append(score)
    return sorted(scores, key=lambda score: (score.step or 0, score.of))


def _is_of_run(file: _Found, folder: str, flags: Mapping[str, Any], weights: _Weights, shared: Collection[str]) -> bool:
    """Returns whether scores belong to a run; `shared` are the UUIDs that copies of a run have in common."""
    uuids = flags.get(RUN_UUID), file.header.get(RUN_UUID)
    checksum = file.header.get(CHECKSUM)
    is_there = checksum is not None and (checksum in weights.best or checksum in weights.by_step.values())
    if file.run_folder is not None:
        return file.run_folder == folder and (None in uuids or uuids[0] == uuids[1] or is_there)
    if checksum is None:
        return False
    if None in uuids:
        return is_there
    is_named = uuids[0] not in shared or file.header.get("run") == os.path.basename(folder)
    return uuids[0] == uuids[1] and is_named


def _title(file: _Found, flags: Mapping[str, Any]) -> str:
    """Returns `scores-600`, or the name of the folder, with dataset and split if they are not the default."""
    if file.run_folder is not None:
        return os.path.splitext(os.path.basename(file.path))[0]
    header = file.header
    parts = [header["dataset"]] if header.get("dataset") not in (None, flags.get("database")) else []
    parts += [header["split"]] if header.get("split") not in (None, "val") else []
    return " ".join([*map(str, parts), os.path.basename(os.path.dirname(file.path))])


def _weights_in(folder: str) -> _Weights:
    by_step: dict[int, str] = {}
    best = set()
    for part in (_SNAPSHOT, _BEST):
        for index in glob.glob(os.path.join(glob.escape(folder), part, "*.index")):
            prefix = index.removesuffix(snapshot_files.INDEX_ENDING)
            step = checkpoint_step(prefix)
            with suppress(OSError):
                checksum = snapshot_files.checksum(prefix)
                if part == _BEST:
                    best.add(checksum)
                elif step is not None:
                    by_step[step] = checksum
    return _Weights(by_step, frozenset(best))


def _read_object(path: str) -> dict[str, Any] | None:
    """Reads the JSON object in a file; logs a warning and returns None if it cannot be read."""
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        logger.warning("%s is ignored: %s", path, in_one_line(error))
        return None
    return values if isinstance(values, dict) else None
