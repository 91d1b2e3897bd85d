"""Flags of train.py.

Every flag is a field of a dataclass, and the parsers are made from the fields. The names are those of the reference
implementation. Switches are 0 or 1.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from model.choices import ACTIVATIONS, ALL_FROZEN, IN_PLACE
from model.loss_terms import loss_terms, loss_text
from tools.errors import FlagError
from tools.flags.augmentation import AugmentationFlags
from tools.flags.channels import require_mean
from tools.flags.checks import (
    check_effects,
    refuse_repeated_splits,
    refuse_useless_holdout,
    refuse_without_effect,
)
from tools.flags.choices import EARLIER_RUN
from tools.flags.dataset import SplitFlags
from tools.flags.definition import Need, flag
from tools.flags.encoders import check_encoder
from tools.flags.help import Program
from tools.flags.hosts import TrainingHostFlags, check_host_rank
from tools.flags.limits import MOST_DEVICES
from tools.flags.names import split_names
from tools.flags.network import NetworkFlags
from tools.flags.optimization import LossFlags, RegularizationFlags
from tools.flags.running import OutputFlags, PrecisionFlags, ScoringFlags, SnapshotFlags
from tools.flags.schedule import OptimizerFlags, ScheduleFlags
from tools.flags.values import shown_value
from tools.runtime.hosts import Hosts

# Equals the default of `architecture.Architecture`, whose import needs TensorFlow; a test compares the two.
_ACTIVATION_OF_SCRATCH = "relu"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(
    OutputFlags,
    ScoringFlags,
    TrainingHostFlags,
    PrecisionFlags,
    SnapshotFlags,
    LossFlags,
    RegularizationFlags,
    AugmentationFlags,
    OptimizerFlags,
    ScheduleFlags,
    NetworkFlags,
    SplitFlags,
):
    """Flags of train.py. The fields of the last base class come first."""

    data_format: str = flag(
        "files",
        "read image and label files, or the TFRecord files that tools.make_tfrecord wrote",
        group="data",
        choices=("files", "tfrecord"),
        resume="content",
        shown=False,
        scoring="read",
    )
    subsets_for_training: tuple[str, ...] = flag(
        ("train",), "splits to train on", split_names, group="data", metavar="SPLIT,...", scoring="read"
    )
    check_data: str = flag(
        "sample",
        "label files that are checked before training",
        group="data",
        choices=("sample", "all", "none"),
        resume="free",
    )
    allow_missing_classes: bool = flag(
        False,
        "train although a class occurs in no training label",
        group="data",
        resume="free",
        needs=Need(lambda config: config.check_data != "none", "if no label is read: drop --check_data none"),
    )
    max_bad_files: int = flag(
        0,
        "number of unreadable training images to skip before training stops",
        group="data",
        minimum=0,
        resume="free",
    )
    test_max_iter: int | None = flag(
        None,
        "number of images to score",
        int,
        group="data",
        unset="all of the split",
        minimum=1,
        resume="free",
        scoring="read",
    )

    program: ClassVar[Program] = Program(
        "python train.py",
        "[--database NAME]",
        (
            "--database Cityscapes --gpu_num 4 --batch_size 4",
            "--database Toy --fine_tune_filename none --weight_decay_mode 0",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_format == "tfrecord":
            refuse_without_effect(
                self, "train_list", "on TFRecords, which were made from a list: drop --data_format tfrecord"
            )
        if self.scale_min > self.scale_max:
            raise FlagError(f"--scale_min {self.scale_min} is above --scale_max {self.scale_max}: swap them")
        if not self.may_inherit_channels:
            require_mean(self)
        self._check_run_name()
        self._check_splits()
        self._check_loss()
        if self.hosts is not None:
            self._check_sharing()
        check_effects(self)
        check_host_rank(self)
        if not isinstance(self.hosts, str):  # otherwise the hosts are not found yet
            self._check_batch()  # after --host_rank: a batch may be too small only because --hosts is missing
        check_encoder(self)
        self._check_dynamic_size()
        self._check_resuming()
        self._check_kept_values()
        self._check_save_memory()
        if self.weight_decay_mode != 0 and self.starts_from_scratch:
            raise FlagError(
                f"--weight_decay_mode {self.weight_decay_mode} pulls weights towards pre-trained ones, and "
                "--fine_tune_filename none has none: use --weight_decay_mode 0 or give a ResNet checkpoint"
            )
        for name, usual in (("momentum", 0.9), ("bn_decay", 0.9), ("ema_decay", 0.999)):
            if not 0 <= getattr(self, name) < 1:
                raise FlagError(f"--{name} {getattr(self, name)} is not in [0, 1): {usual} is usual")

    def _check_batch(self) -> None:
        """Rejects batches of one image whose moments are computed, and more towers than a record may have.

        Such a batch leaves psp/pool1 one value per channel.
        """
        if self.towers > MOST_DEVICES:
            raise FlagError(
                f"--gpu_num {self.gpu_num} on {self.host_count} hosts is {self.towers} towers, more than {MOST_DEVICES}"
            )
        if self.eval_only or self.bn_frozen == ALL_FROZEN:
            return
        if self.total_batch_size < 2:
            raise FlagError(
                "--batch_size 1 with --gpu_num 1 is a batch of 1 image, which leaves psp/pool1 a single value per "
                "channel to normalize: raise --batch_size or --gpu_num"
            )
        if self.batch_size < 2 and not self.sync_bn:
            raise FlagError(
                "--batch_size 1 with --sync_bn 0, which normalizes each tower alone, leaves psp/pool1 a single value "
                "per channel: raise --batch_size, or drop --sync_bn 0"
            )

    def _check_kept_values(self) -> None:
        """Rejects keeping pre-trained values if there are none."""
        kept = {"bn_frozen": "statistics", "freeze": "weights"}
        for name, values in kept.items():
            value = getattr(self, name)
            if value and self.starts_from_scratch:
                raise FlagError(
                    f"--{name} {shown_value(value)} keeps pre-trained {values}, and --fine_tune_filename none has "
                    "none: drop one of them"
                )

    def _check_save_memory(self) -> None:
        """Rejects --save_memory 2 without a leaky ReLU, unless the record of a checkpoint sets the activation."""
        activation = self.activation or (_ACTIVATION_OF_SCRATCH if self.starts_from_scratch else None)
        if self.save_memory == IN_PLACE and activation is not None and not ACTIVATIONS[activation]:
            raise FlagError(
                f"--save_memory 2 recovers the input of an activation from its output, which {activation} does not "
                "allow: add --activation leaky_relu, or give --save_memory 1"
            )

    def _check_run_name(self) -> None:
        name = self.run_name
        if name is None:
            return
        run, _, number = name.partition(EARLIER_RUN)
        if run and number.isdecimal() and "/" not in name:
            raise FlagError(
                f"--run_name '{name}' is the name of a run that was set aside: to continue it, rename its folder, for "
                f"example to {run}-{number}, and give --run_name {run}-{number}"
            )
        if not name.strip() or name in (".", "..") or "/" in name or EARLIER_RUN in name:
            raise FlagError(
                f"--run_name '{name}' is not a name for a run: give one without '/' and '{EARLIER_RUN}', such as seed0"
            )

    def _check_splits(self) -> None:
        refuse_repeated_splits(self)
        refuse_useless_holdout(self)
        if "train" not in self.subsets_for_training:
            splits = ",".join(self.subsets_for_training)
            refuse_without_effect(self, "train_list", f"with --subsets_for_training {splits}: add train there")

    def _check_dynamic_size(self) -> None:
        if not self.dynamic_size:
            return
        shortest, longest = min(self.dynamic_short_sides), max(self.dynamic_short_sides)
        if shortest < 8 or longest > self.dynamic_max_size:
            raise FlagError(
                f"--dynamic_short_sides {shortest} to {longest} are not within 8 and --dynamic_max_size "
                f"{self.dynamic_max_size}: change one of them"
            )

    def _check_resuming(self) -> None:
        if self.eval_only:  # --auto_resume is ignored, and --resume_step selects the snapshot to score
            return
        if self.auto_resume and self.resume_step is not None:
            raise FlagError(f"--auto_resume 1 finds the step itself: drop it or --resume_step {self.resume_step}")

    def _check_loss(self) -> None:
        try:
            written = loss_text(loss_terms(self.loss_type))
        except ValueError as error:
            raise FlagError(f"--loss_type {self.loss_type}: {error}") from error
        if written != self.loss_type:  # it would be another run of the same loss
            raise FlagError(f"--loss_type {self.loss_type} is not in the usual order and spelling: use {written}")
        if self.ohem_threshold > 1:
            raise FlagError(f"--ohem_threshold {self.ohem_threshold} is not a probability: 0.7 is usual")
        if self.label_smoothing >= 1:
            raise FlagError(f"--label_smoothing {self.label_smoothing} is not in [0, 1): 0.1 is usual")

    def _check_sharing(self) -> None:
        """Rejects what needs the whole batch on one host."""
        if not self.sync_bn:
            raise FlagError(
                "--sync_bn 0 keeps the running averages of the first tower, which are not the same on several --hosts: "
                "drop one of them"
            )
        if any(term.name == "lovasz" for term in loss_terms(self.loss_type)):
            raise FlagError(
                f"--loss_type {self.loss_type}: lovasz sorts the pixels of the whole batch, which several --hosts do "
                "not have in one place: use dice, or train on one host"
            )

    @property
    def starts_from_scratch(self) -> bool:
        return (self.fine_tune_filename or "").lower() == "none"

    @property
    def may_inherit_channels(self) -> bool:
        """Whether channels that no flag describes may be those of the run of --fine_tune_filename.

        Scoring a named run reads its record instead of that flag.
        """
        if self.database != "custom":
            return False
        if not self.is_found_by_flags:
            return True
        return self.fine_tune_filename is not None and not self.starts_from_scratch

    @property
    def resumes(self) -> bool:
        """Whether an existing run is resumed, or is if it has a snapshot."""
        return self.auto_resume or self.resume_step is not None

    @property
    def is_found_by_flags(self) -> bool:
        """Whether the flags of the training name the run, or select it among those of a log folder."""
        return not self.eval_only or self.run_name is None

    @property
    def host_count(self) -> int:
        """Returns the number of hosts, once `on_hosts` has set their addresses."""
        return len(self.hosts) if isinstance(self.hosts, tuple) else 1

    @property
    def towers(self) -> int:
        """Returns the number of towers of all hosts."""
        return self.gpu_num * self.host_count

    @property
    def total_batch_size(self) -> int:
        """Returns the number of images that one run of the network gets, over all towers of all hosts."""
        return self.batch_size * self.towers

    @property
    def images_per_step(self) -> int:
        """Returns the number of images of one update of the weights."""
        return self.total_batch_size * self.accumulate

    def on_hosts(self, hosts: Hosts | None) -> TrainConfig:
        """Returns the flags with the addresses and the rank that were found; None for one host.

        Raises:
            FlagError: the batch over all hosts has one image, or there are too many towers.
        """
        if hosts is None:
            return self if self.hosts is None else dataclasses.replace(self, **_OF_ONE_HOST)
        return dataclasses.replace(self, hosts=hosts.addresses, host_rank=hosts.rank)

    def run_flags(self) -> dict[str, Any]:
        """Returns the flags as they describe a run: the towers of all hosts, wherever they are."""
        return {**dataclasses.asdict(self), "gpu_num": self.towers, **_OF_ONE_HOST}


_OF_ONE_HOST: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(TrainingHostFlags)}
