"""Identifies a run: names a new one, and finds the one in the log folder that flags and data resume or score.

Two commands refer to the same run if everything that changes the trained weights is equal: flags, classes, training
images and labels, and the checkpoint that the weights start from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from database.containment import path_inside
from database.datasets import Dataset
from model.regularizers import DECAY_MODES
from tools.checkpoints.reading import checkpoint_checksum
from tools.errors import CheckpointError, FlagError, RecordError
from tools.flags.comparable import comparable_flags
from tools.flags.definition import flags_where
from tools.flags.train import TrainConfig
from tools.flags.values import shown_value
from tools.runs import run_origin
from tools.runs.chosen_checkpoint import with_unremoved
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder, model_id, run_folder
from tools.runs.known_runs import runs_in
from tools.runs.origin_entries import samples_entries
from tools.runs.record import BackboneRecord, ModelRecord
from tools.runs.record_rules import without_additions
from tools.runs.snapshots import has_snapshots
from tools.training.class_weights import MEDIAN_FREQUENCY, read_class_weights
from tools.training.start import pretrained_checkpoint

logger = logging.getLogger(__name__)

# The other flags act through the entries below: the network, the batch, the classes, the data.
FLAGS_IN_IDENTITY = flags_where(TrainConfig, identity=True)
_DEFAULTS = {name: getattr(TrainConfig, name) for name in FLAGS_IN_IDENTITY}
_FREE_ON_RESUME = frozenset(flags_where(TrainConfig, identity=True, resume="free"))

_BATCH, _TOWERS, _NETWORK, _CLASSES = "batch", "towers", "network_details", "classes"
# Entries with the names of flags: the recorded input, which comes from a flag or from the checkpoint to start from.
_INPUT = ("color_switch", "image_mean", "upsample_input", "input_range")
_PRETRAINED, _CLASS_WEIGHTS = "pretrained", "class_weights"

# Number of characters of a value in messages, as the weights of many classes are long.
_LONGEST_VALUE = 60

# Names in messages of the entries that are not flags.
_NAMES = {
    _BATCH: "--batch_size times --gpu_num",
    _TOWERS: "--gpu_num",
    _NETWORK: "the network by its flags and the checkpoint it starts from",
    _CLASSES: "the classes by --num_classes, --palette, --label_map and --ignore_label",
    _PRETRAINED: "the checkpoint of --fine_tune_filename",
    _CLASS_WEIGHTS: "--class_weights",
    run_origin.SAMPLES_CHECKSUM: "the list of training images",
    run_origin.SIZES_CHECKSUM: "the contents of the training files",
    run_origin.CONTENTS_CHECKSUM: "the contents of the training files",
}
# Entries that depend on the starting checkpoint, for runs whose starting checkpoint is unknown.
_OF_START_UNKNOWN = {_NETWORK: None, "color_switch": None, "image_mean": None, _PRETRAINED: None}
_OF_CONTENTS = frozenset({run_origin.SIZES_CHECKSUM, run_origin.CONTENTS_CHECKSUM})


@dataclass(frozen=True)
class RunIdentity:
    """Everything that changes the weights of a run, by name.

    Attributes:
        entries: JSON values; None if a value is unknown or has no effect.
    """

    entries: Mapping[str, Any]

    @classmethod
    def of_command(cls, config: TrainConfig, dataset: Dataset, data: DataChecksums | None) -> RunIdentity:
        """Describes the run that flags and data start.

        Args:
            config: flags.
            dataset: described by the flags.
            data: checksums of the training data, None if unknown.

        Raises:
            CheckpointError: there is no checkpoint to start from, and no run is resumed or scored.
            ClassWeightsError: the file of class weights is invalid.
            RecordError: the checkpoint to start from is of another network, or its record is damaged.
        """
        pretrained, backbone = _pretrained(config)
        if backbone is not None and backbone.network != config.network and (config.eval_only or config.resumes):
            pretrained = backbone = None  # the checkpoint was replaced after the run started
        record = ModelRecord.of_run(config, dataset, backbone)
        flags = comparable_flags(config.run_flags())
        entries = {
            **{name: flags[name] for name in FLAGS_IN_IDENTITY},
            **_entries_of_record(record),
            _BATCH: config.total_batch_size,
            _TOWERS: config.towers if config.dynamic_size or not config.sync_bn else None,
            _PRETRAINED: pretrained,
            _CLASS_WEIGHTS: _class_weights(config, dataset.num_classes),
            **({} if data is None else samples_entries(data)),
        }
        if pretrained is None:
            entries |= _OF_START_UNKNOWN
        return cls(json.loads(json.dumps(entries)))

    @classmethod
    def of_record(cls, record: ModelRecord) -> RunIdentity:
        """Describes a run by its record."""
        flags = comparable_flags(record.flags)
        batch_size, towers = flags.get("batch_size"), flags.get("gpu_num")
        origin = record.origin
        weights = MEDIAN_FREQUENCY if flags.get("class_weights") == MEDIAN_FREQUENCY else origin.class_weight_values
        entries = {
            **{name: flags.get(name) for name in FLAGS_IN_IDENTITY},
            **_entries_of_record(record),
            _BATCH: None if batch_size is None or towers is None else batch_size * towers,
            _TOWERS: towers if flags.get("dynamic_size") or not flags.get("sync_bn", True) else None,
            _PRETRAINED: "none" if _is_none(flags) else origin.pretrained_sha256,
            _CLASS_WEIGHTS: weights,
            **{name: getattr(origin, name) for name in run_origin.SAMPLES_ENTRIES},
        }
        return cls(json.loads(json.dumps(entries)))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits. Flags at their defaults are left out, so that new flags do not rename old runs."""
        hashed = {
            name: value
            for name, value in self.entries.items()
            if value is not None and (name not in _DEFAULTS or value != json.loads(json.dumps(_DEFAULTS[name])))
        }
        return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:8]

    def differences(self, other: RunIdentity) -> list[str]:
        """Lists the entries that differ and are known of both runs. None counts only if it is a valid value."""
        names = [name for name in self.entries if name in other.entries and self.entries[name] != other.entries[name]]
        return [name for name in names if _may_be_none(name) or None not in (self.entries[name], other.entries[name])]

    def difference(self, name: str, other: RunIdentity) -> str:
        """Describes how an entry differs."""
        if name in _NAMES and name not in (_BATCH, _TOWERS, _CLASS_WEIGHTS):
            return _NAMES[name]
        here, there = self.entries[name], other.entries[name]
        return f"{_NAMES.get(name, f'--{name}')} ({_shown(here)} here, {_shown(there)} there)"


def choose_run(config: TrainConfig, dataset: Dataset, data: DataChecksums | None) -> RunFolder:
    """Finds the folder of the run that flags and data refer to.

    Its name is `--run_name`; otherwise `folder.model_id` and the digest of the run's identity. If a run to resume or
    score does not exist under this name, the runs of the dataset are searched: runs of earlier versions have other
    names, and the number of steps may have changed.

    Args:
        config, dataset, data: see `RunIdentity.of_command`.

    Raises:
        CheckpointError: a run is to be resumed or scored, and there are only others.
        FlagError: several runs match; or with `--auto_resume`, a run differs only in the contents of its training
            files.
        OutsideError: the name leads out of the log folder.
        Any error of `RunIdentity.of_command`.
    """
    if config.run_name is not None:
        return run_folder(config)
    identity = RunIdentity.of_command(config, dataset, data)
    parent = os.path.join(config.log_dir, config.database)
    named = RunFolder(path_inside(config.log_dir, config.database, f"{model_id(config)}-{identity.digest}"))
    if not (config.eval_only or config.resumes) or has_snapshots(named):
        return named
    return _find_run(config, identity, parent) or named


def _find_run(config: TrainConfig, identity: RunIdentity, parent: str) -> RunFolder | None:
    """Searches the runs of a dataset for the run to resume or score; None if a new run may begin.

    Args:
        config: flags.
        identity: of the requested run.
        parent: folder of the runs.

    Raises:
        CheckpointError, FlagError: see `choose_run`.
    """
    if not _reads_w0(config):  # the starting checkpoint may have been replaced after the run started
        identity = dataclasses.replace(identity, entries={**identity.entries, **_OF_START_UNKNOWN})
    known = [(run.folder, run.record) for run in runs_in(parent)]
    others = [(folder, RunIdentity.of_record(record)) for folder, record in known if record is not None]
    fitting = [folder for folder, other in others if not _decisive(identity, other, config)]
    if len(fitting) > 1:
        names = ", ".join(os.path.basename(folder.path) for folder in fitting)
        raise FlagError(f"{parent}: {len(fitting)} runs have these flags ({names}): choose one with --run_name")
    if fitting:
        logger.info("found the run of these flags: %s", fitting[0].path)
        return fitting[0]
    if others:
        flags = {folder.path: record.flags for folder, record in known if record is not None}
        nearest = _nearest(identity, others, config, flags)
        if not config.auto_resume or nearest.has_other_contents:
            raise nearest.fault(config)
        logger.info("a new run begins; the nearest, %s, differs in %s", nearest.folder.path, nearest.differing)
    return None


def _decisive(identity: RunIdentity, other: RunIdentity, config: TrainConfig) -> list[str]:
    """Lists the differences that make another run; the number of steps may change when a run is resumed.

    After the start, the starting checkpoint matters only to training with L2-SP, which reads it again.
    """
    free = _FREE_ON_RESUME if _reads_w0(config) else _FREE_ON_RESUME | {_PRETRAINED}
    return [name for name in identity.differences(other) if name not in free]


def _reads_w0(config: TrainConfig) -> bool:
    return DECAY_MODES[config.weight_decay_mode].needs_start and not config.eval_only


class _Nearest(NamedTuple):
    """The run that is most similar to the requested one.

    Attributes:
        folder: of the run.
        differing: description of the differences.
        has_other_contents: whether only the contents of files differ.
    """

    folder: RunFolder
    differing: str
    has_other_contents: bool

    def fault(self, config: TrainConfig) -> FlagError | CheckpointError:
        """Returns the error to raise if a run is to be resumed or scored, and this one does not match."""
        path = self.folder.path
        name = os.path.basename(path)
        if self.has_other_contents:
            return FlagError(
                f"{path} has these flags, but {self.differing} have changed since it was started: add --run_name "
                f"{name} to resume it with the changed files, or another --run_name to begin a run"
            )
        return CheckpointError(
            f"{os.path.dirname(path)}: no run has these flags; the nearest, {name}, differs in {self.differing}: "
            "give the flags of the run" + (f", or --run_name {name}" if config.eval_only else "")
        )


def _nearest(
    identity: RunIdentity,
    others: Sequence[tuple[RunFolder, RunIdentity]],
    config: TrainConfig,
    flags: Mapping[str, Mapping[str, Any]],
) -> _Nearest:
    """Finds the run with the fewest differences; of several, the one whose flags name the same files.

    Args:
        identity: of the requested run.
        others: at least one.
        config: flags of the command.
        flags: recorded flags of the others, by folder path.
    """

    def distance(other: tuple[RunFolder, RunIdentity]) -> tuple[int, int]:
        recorded = flags[other[0].path]
        renamed = [
            name for name in flags_where(TrainConfig, resume="content") if recorded.get(name) != getattr(config, name)
        ]
        return len(_decisive(identity, other[1], config)), len(renamed)

    folder, nearest = min(others, key=distance)
    names = _decisive(identity, nearest, config)
    differing = ", ".join(dict.fromkeys(identity.difference(name, nearest) for name in names))
    return _Nearest(folder, differing, set(names) <= _OF_CONTENTS)


def _pretrained(config: TrainConfig) -> tuple[str | None, BackboneRecord | None]:
    """Returns checksum and record of the starting checkpoint; None if it is unusable and a run is resumed or scored."""
    if config.starts_from_scratch:
        return "none", None
    try:
        return with_unremoved(
            lambda: str(pretrained_checkpoint(config)),
            lambda prefix: (checkpoint_checksum(prefix), BackboneRecord.of_checkpoint(prefix)),
        )
    except (CheckpointError, RecordError):
        if not (config.eval_only or config.resumes):
            raise
        return None, None


def _entries_of_record(record: ModelRecord) -> dict[str, Any]:
    architecture = without_additions(dataclasses.asdict(record.architecture))
    label_map = sorted((int(file_id), train_id) for file_id, train_id in record.label_map.items())
    colors = [[list(color) for color in table] for table in (record.palette, record.ignored_colors)]
    classes = json.dumps([label_map, list(record.class_names), *colors])
    return {
        _NETWORK: architecture,
        **{name: getattr(record, name) for name in _INPUT},
        _CLASSES: hashlib.sha256(classes.encode()).hexdigest(),
    }


def _class_weights(config: TrainConfig, num_classes: int) -> str | list[float] | None:
    if config.class_weights in (None, MEDIAN_FREQUENCY):
        return config.class_weights
    return list(read_class_weights(str(config.class_weights), num_classes))


def _is_none(flags: Mapping[str, Any]) -> bool:
    return str(flags.get("fine_tune_filename")).lower() == "none"


def _may_be_none(name: str) -> bool:
    """Returns whether None is a valid value, as for some flags and class weights; otherwise it means unknown."""
    return name in (_CLASS_WEIGHTS, "input_range") or (name in _DEFAULTS and _DEFAULTS[name] is None)


def _shown(value: Any) -> str:
    shown = shown_value(value)
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}..."
