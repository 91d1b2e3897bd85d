"""Which run is meant: a name for a new one, and the one in the log folder that flags and data continue or score.

Two commands mean the same run if everything that changes the trained weights is equal: flags, classes, training images
and labels, and the checkpoint that the weights start from.
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
from tools.flags.definition import flags_where
from tools.flags.train import TrainConfig
from tools.runs import origin as run_origin
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder, model_id, run_folder
from tools.runs.known_runs import runs_in
from tools.runs.record import BackboneRecord, ModelRecord
from tools.runs.snapshots import has_snapshots
from tools.training.class_weights import MEDIAN_FREQUENCY, read_class_weights
from tools.training.start import pretrained_checkpoint

logger = logging.getLogger(__name__)

# The effect of other flags is in the entries below: the network, the batch, the classes, the data.
FLAGS_IN_IDENTITY = flags_where(TrainConfig, identity=True)
_DEFAULTS = {name: getattr(TrainConfig, name) for name in FLAGS_IN_IDENTITY}

_BATCH, _TOWERS, _NETWORK, _CLASSES = "batch", "towers", "network_details", "classes"
# Named as the flags are: what a record says of the input, whether by a flag or by the checkpoint to start from.
_INPUT = ("color_switch", "image_mean", "upsample_input", "input_range")
_PRETRAINED, _CLASS_WEIGHTS = "pretrained", "class_weights"

# Characters of a value that are shown, as of weights of many classes.
_LONGEST_VALUE = 60

# What to call the entries that are no flags.
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
# What the checkpoint of the start has a say in, where it is not known.
_OF_START_UNKNOWN = {_NETWORK: None, "color_switch": None, "image_mean": None, _PRETRAINED: None}
_OF_CONTENTS = frozenset({run_origin.SIZES_CHECKSUM, run_origin.CONTENTS_CHECKSUM})


@dataclass(frozen=True)
class RunIdentity:
    """Everything that changes the weights of a run, by name.

    Attributes:
        entries: values as JSON holds them; None where a value is not known, or has no say.
    """

    entries: Mapping[str, Any]

    @classmethod
    def of_command(cls, config: TrainConfig, dataset: Dataset, data: DataChecksums | None) -> RunIdentity:
        """Describes the run that flags and data begin.

        Args:
            config: flags.
            dataset: that the flags describe.
            data: checksums of what is trained on, None where that is not known.

        Raises:
            CheckpointError: there is no checkpoint to start from, unless a run is continued or scored.
            ClassWeightsError: the file of weights cannot be used.
            RecordError: the checkpoint to start from is of another network, or its record is damaged.
        """
        pretrained, backbone = _pretrained(config)
        if backbone is not None and backbone.network != config.network and _continues(config):
            pretrained = backbone = None  # it was replaced since
        record = ModelRecord.of_run(config, dataset, backbone)
        entries = {
            **{name: getattr(config, name) for name in FLAGS_IN_IDENTITY},
            **_entries_of_record(record),
            _BATCH: config.total_batch_size,
            _TOWERS: config.gpu_num if config.dynamic_size else None,
            _PRETRAINED: pretrained,
            _CLASS_WEIGHTS: _class_weights(config, dataset.num_classes),
            **({} if data is None else run_origin.samples_entries(data)),
        }
        if pretrained is None:
            entries |= _OF_START_UNKNOWN
        return cls(json.loads(json.dumps(entries)))

    @classmethod
    def of_record(cls, record: ModelRecord) -> RunIdentity:
        """Describes a run by the record that it left."""
        flags = record.flags
        batch_size, towers = flags.get("batch_size"), flags.get("gpu_num")
        origin = record.origin
        weights = MEDIAN_FREQUENCY if flags.get("class_weights") == MEDIAN_FREQUENCY else origin.class_weight_values
        entries = {
            **{name: flags.get(name) for name in FLAGS_IN_IDENTITY},
            **_entries_of_record(record),
            _BATCH: None if batch_size is None or towers is None else batch_size * towers,
            _TOWERS: towers if flags.get("dynamic_size") else None,
            _PRETRAINED: "none" if _is_none(flags) else origin.pretrained_sha256,
            _CLASS_WEIGHTS: weights,
            **{name: getattr(origin, name) for name in run_origin.SAMPLES_ENTRIES},
        }
        return cls(json.loads(json.dumps(entries)))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits; flags at their defaults have no say, so that new flags keep old names valid."""
        told = {
            name: value
            for name, value in self.entries.items()
            if value is not None and (name not in _DEFAULTS or value != json.loads(json.dumps(_DEFAULTS[name])))
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]

    def differences(self, other: RunIdentity) -> list[str]:
        """Lists the entries that differ, of those that both know. A flag that may be None counts as known."""
        names = [name for name in self.entries if name in other.entries and self.entries[name] != other.entries[name]]
        return [name for name in names if _may_be_none(name) or None not in (self.entries[name], other.entries[name])]

    def told(self, name: str, other: RunIdentity) -> str:
        """Says in words how an entry differs."""
        if name in _NAMES and name not in (_BATCH, _TOWERS, _CLASS_WEIGHTS):
            return _NAMES[name]
        here, there = self.entries[name], other.entries[name]
        return f"{_NAMES.get(name, f'--{name}')} ({_shown(here)} here, {_shown(there)} there)"


def choose_run(config: TrainConfig, dataset: Dataset, data: DataChecksums | None) -> RunFolder:
    """Finds the folder of the run that flags and data mean.

    It has the name of `--run_name`; otherwise that of `run_folder.model_id` and the digest of the run's identity. Where
    a run is continued or scored that is not there by this name, it is looked for among the runs of the dataset: those
    of earlier versions have other names, and the number of steps may change.

    Args:
        config, dataset, data: see `RunIdentity.of_command`.

    Raises:
        CheckpointError: a run is to be continued or scored, and there are only others.
        FlagError: several runs fit; or `--auto_resume`, and there is a run of which only the contents of the training
            files have changed.
        OutsideError: the name leads out of the log folder.
        What `RunIdentity.of_command` raises.
    """
    if config.run_name is not None:
        return run_folder(config)
    identity = RunIdentity.of_command(config, dataset, data)
    parent = os.path.join(config.log_dir, config.database)
    named = RunFolder(path_inside(config.log_dir, config.database, f"{model_id(config)}-{identity.digest}"))
    if not _continues(config) or has_snapshots(named):
        return named
    if not _reads_w0(config):  # what the run started from may have been replaced since
        identity = dataclasses.replace(identity, entries={**identity.entries, **_OF_START_UNKNOWN})
    known = [(run.folder, run.record) for run in runs_in(parent)]
    others = [(folder, RunIdentity.of_record(record)) for folder, record in known if record is not None]
    fitting = [folder for folder, other in others if not _decisive(identity, other, config)]
    if len(fitting) > 1:
        names = ", ".join(os.path.basename(folder.path) for folder in fitting)
        raise FlagError(f"{parent}: {len(fitting)} runs have these flags ({names}): say with --run_name which is meant")
    if fitting:
        logger.info("the run of these flags: %s", fitting[0].path)
        return fitting[0]
    if others:
        flags = {folder.path: record.flags for folder, record in known if record is not None}
        nearest = _nearest(identity, others, config, flags)
        if not config.auto_resume or nearest.has_other_contents:
            raise nearest.fault(config)
        logger.info("a new run begins; the nearest, %s, differs in %s", nearest.folder.path, nearest.differing)
    return named


def _continues(config: TrainConfig) -> bool:
    return config.eval_only or config.auto_resume or config.resume_step is not None


def _decisive(identity: RunIdentity, other: RunIdentity, config: TrainConfig) -> list[str]:
    """The differences that make another run; a run that is continued may get another number of steps.

    The checkpoint that it started from matters afterwards only to training with L2-SP, which reads it again.
    """
    free = {"train_max_iter"} if _reads_w0(config) else {"train_max_iter", _PRETRAINED}
    return [name for name in identity.differences(other) if name not in free]


def _reads_w0(config: TrainConfig) -> bool:
    return DECAY_MODES[config.weight_decay_mode].needs_start and not config.eval_only


class _Nearest(NamedTuple):
    """The run that is most similar to one that is looked for.

    Attributes:
        folder: of the run.
        differing: in what it differs, in words.
        has_other_contents: whether nothing but the contents of files differs.
    """

    folder: RunFolder
    differing: str
    has_other_contents: bool

    def fault(self, config: TrainConfig) -> FlagError | CheckpointError:
        """The error to raise where a run is to go on, and this one is not it."""
        path = self.folder.path
        name = os.path.basename(path)
        if self.has_other_contents:
            return FlagError(
                f"{path} has these flags, but {self.differing} have changed since it was started: add --run_name "
                f"{name} to go on with the changed files, or another --run_name to begin a run"
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
    """The run with the fewest differences; among equals the one whose flags name the same files.

    Args:
        identity: of the run that is looked for.
        others: at least one.
        config: flags of the command.
        flags: in the records of the others, by the paths of their folders.
    """

    def distance(other: tuple[RunFolder, RunIdentity]) -> tuple[int, int]:
        recorded = flags[other[0].path]
        renamed = [
            name for name in flags_where(TrainConfig, resume="content") if recorded.get(name) != getattr(config, name)
        ]
        return len(_decisive(identity, other[1], config)), len(renamed)

    folder, nearest = min(others, key=distance)
    names = _decisive(identity, nearest, config)
    differing = ", ".join(dict.fromkeys(identity.told(name, nearest) for name in names))
    return _Nearest(folder, differing, set(names) <= _OF_CONTENTS)


def _pretrained(config: TrainConfig) -> tuple[str | None, BackboneRecord | None]:
    """Checksum and record of the checkpoint to start from; None where a run goes on and it is no longer there."""
    try:
        prefix = pretrained_checkpoint(config)
        if prefix is None:
            return "none", None
        return checkpoint_checksum(prefix), BackboneRecord.of_checkpoint(prefix)
    except (CheckpointError, RecordError):
        if not _continues(config):
            raise
        return None, None


def _entries_of_record(record: ModelRecord) -> dict[str, Any]:
    architecture = dataclasses.asdict(record.architecture)
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
    """Whether None is a value of its own: of a flag, or of the weights of classes; elsewhere it means unknown."""
    return name in (_CLASS_WEIGHTS, "input_range") or (name in _DEFAULTS and _DEFAULTS[name] is None)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}..."
