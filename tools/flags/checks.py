"""Flags that would do nothing are refused, or are ignored with a line in the log where other modes share them."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeVar

from tools.errors import FlagError

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=Any)
# In place of a checkpoint.
WORDS_FOR_SNAPSHOTS = ("best", "last")

# Flags for own data that mean something with another dataset as well.
_ALSO_FOR = {"ADE": ("train_list", "val_list", "test_list"), "KITTI": ("holdout",)}


def check_own_data_flags(config: Any, database: str, told: str) -> None:
    """Refuses flags for own data where the database is one for which they would do nothing.

    Args:
        config: the flags; its `own_data_flags` names those that are meant.
        database: the one in use.
        told: who says so, e.g. `--database is`.

    Raises:
        FlagError: such a flag is given.
    """
    for name in config.own_data_flags:
        fitting = ["custom", *(known for known, names in _ALSO_FOR.items() if name in names)]
        if getattr(config, name) is not None and database not in fitting:
            databases = " or ".join(fitting)
            raise FlagError(
                f"--{name} is for --database {databases}, and {told} {database}: give --database {databases} or drop "
                f"--{name}"
            )


def refuse_without_effect(config: Any, name: str, why: str) -> None:
    """Refuses a flag that is not at its default and would do nothing.

    Args:
        config: the flags.
        name: of the flag.
        why: with what it does nothing, and after a colon what to do unless the flag is dropped.

    Raises:
        FlagError: the flag is not at its default.
    """
    if getattr(config, name) != getattr(type(config), name):
        raise FlagError(_without_effect(config, [name], why))


def _without_effect(config: Any, names: Sequence[str], why: str) -> str:
    """What is said of flags that do nothing; see `refuse_without_effect`."""
    shown = ", ".join(f"--{name} {_as_given(getattr(config, name))}" for name in names)
    flags = " and ".join(f"--{name}" for name in names)
    return f"{shown} {'has' if len(names) == 1 else 'have'} no effect {why}, or drop {flags}"


def refuse_repeated_splits(config: Any) -> None:
    """Refuses a split that is named twice, whose images would count twice.

    Args:
        config: the flags, with `subsets_for_training`.

    Raises:
        FlagError: one is.
    """
    repeated = [name for name, times in Counter(config.subsets_for_training).items() if times > 1]
    if repeated:
        raise FlagError(f"--subsets_for_training names {repeated[0]} twice: name each split once")


def refuse_useless_holdout(config: Any) -> None:
    """Refuses to hold out images that are trained on.

    Args:
        config: the flags, with `holdout` and `subsets_for_training`.

    Raises:
        FlagError: a fraction is given, and val is among the splits that are trained on.
    """
    subsets = config.subsets_for_training
    if "val" in subsets:
        why = f"beside --subsets_for_training {','.join(subsets)}, which trains on the held-out images: drop val there"
        refuse_without_effect(config, "holdout", why)


def _as_given(value: Any) -> Any:
    """A flag's value as it stands on a command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return int(value) if isinstance(value, bool) else value


class Unused(NamedTuple):
    """Flags that do nothing beside certain others.

    Attributes:
        names: of the flags.
        when: takes the flags; whether these do nothing.
        why: see `refuse_without_effect`; or a function that takes the flags and says so. Not used for ignored flags.
        given: whether flags count that are given at their defaults, since these say what does not happen.
        ignored: whether the flags are ignored with a line in the log instead of refused, since the same command, or
            file of flags, serves another mode in which they have an effect.
    """

    names: tuple[str, ...]
    when: Callable[[Any], bool]
    why: str | Callable[[Any], str] = ""
    given: bool = False
    ignored: bool = False

    def told(self, config: Any) -> str:
        """Says with what the flags do nothing, and what to do."""
        return self.why if isinstance(self.why, str) else self.why(config)


# Flags of the training loop, which have no part in the name of a run; a test holds them against those that have.
_OF_THE_LOOP = (
    "auto_resume", "snapshot", "snapshot_minutes", "val_every", "keep", "save_first_iteration", "on_nan", "check_data",
    "allow_missing_classes", "max_bad_files", "show_period", "save_memory", "checkpoint_units", "log_memory",
)  # fmt: skip
# Flags that change the trained weights: without --run_name, a run is found by them. `subsets_for_training` is not among
# them: it says whether records were made from a list, which decides where the validation images come from.
_OF_THE_WEIGHTS = (
    "batch_size", "train_image_size", "weight_decay_mode", "weight_decay_rate",
    "weight_decay_rate2", "consider_dilated", "new_layer_names", "fine_tune_filename", "lrn_rate", "poly_lr", "lr_step",
    "step_size", "train_max_iter", "optimizer", "momentum", "train_like_in_caffe", "dynamic_size",
    "dynamic_short_sides", "dynamic_max_size", "random_scale", "scale_min", "scale_max", "random_mirror",
    "random_rotate", "random_blur", "gaussian_blur", "initializer", "has_aux_loss", "upsample_logits", "bn_frozen",
    "bn_decay", "loss_type", "ohem_threshold", "ohem_min_kept", "class_weights", "deterministic", "seed",
)  # fmt: skip

UNUSED_IN_TRAINING = (
    Unused(("step_size",), lambda config: config.lr_step is None, "without steps: add --poly_lr 0 and --lr_step"),
    Unused(("momentum",), lambda config: config.optimizer == "sgd", "without momentum: take --optimizer mom"),
    Unused(
        ("checkpoint_units",),
        lambda config: not config.save_memory,
        "where all activations are kept: add --save_memory 1",
    ),
    Unused(
        ("allow_missing_classes",),
        lambda config: config.check_data == "none",
        "where no label is read: drop --check_data none",
    ),
    Unused(
        ("random_scale",),
        lambda config: config.dynamic_size,
        "beside --dynamic_size 1, which draws the short sides: give a single one with --dynamic_short_sides",
    ),
    Unused(
        ("random_rotate",),
        lambda config: config.dynamic_size and config.random_rotate,
        "beside --dynamic_size 1, which rotates nothing: give --random_rotate 0",
        given=True,
    ),
    Unused(
        ("consider_dilated",),
        lambda config: config.weight_decay_mode == 0 and config.weight_decay_rate == config.weight_decay_rate2,
        "where --weight_decay_mode 0 decays all layers at the same rate: give --weight_decay_rate2 another value",
    ),
    Unused(
        ("lr_step",),
        lambda config: min(config.lr_step or (0,)) >= config.train_max_iter,
        "after the last step: raise --train_max_iter",
    ),
    Unused(
        ("dynamic_short_sides", "dynamic_max_size"),
        lambda config: not config.dynamic_size,
        "on crops of one size: add --dynamic_size 1",
    ),
    Unused(
        ("train_image_size", "scale_min", "scale_max", "upsample_input"),
        lambda config: config.dynamic_size,
        "beside --dynamic_size 1, which has sizes of its own: drop that",
    ),
    Unused(
        ("scale_min", "scale_max"), lambda config: not config.random_scale, "without scaling: drop --random_scale 0"
    ),
    Unused(
        ("ohem_threshold", "ohem_min_kept"),
        lambda config: config.loss_type != "ohem",
        "where all pixels count: add --loss_type ohem",
    ),
    # With --eval_only 1 no training images are read, nothing is trained, and --run_name says which run is scored.
    Unused(
        ("train_list",),
        lambda config: config.eval_only and (config.database == "ADE" or config.val_list is not None),
        ignored=True,
    ),
    Unused((*_OF_THE_LOOP, "test_list"), lambda config: config.eval_only, ignored=True),
    Unused(_OF_THE_WEIGHTS, lambda config: config.eval_only and config.run_name is not None, ignored=True),
)
UNUSED_IN_PREDICTION = (
    Unused(
        ("log_dir",),
        lambda config: config.weights_ckpt not in (None, *WORDS_FOR_SNAPSHOTS),
        "beside --weights_ckpt, which says where the snapshot is: drop that",
    ),
    Unused(
        ("log_dir",),
        lambda config: getattr(config, "follow", None) is not None,
        "beside --follow, which says where the snapshots are: drop that",
    ),
    Unused(
        ("windows_per_batch",),
        lambda config: config.test_image_size == 0 and not config.mirror,
        "where each image is one window (--test_image_size 0 --mirror 0): give a size of windows",
    ),
)
UNUSED_IN_INFERENCE = (
    *UNUSED_IN_PREDICTION,
    Unused(("palette",), lambda config: not config.coloring, "where --coloring 0 writes no colours: drop that"),
)


def refuse_unused(config: Any, table: Sequence[Unused]) -> None:
    """Refuses the flags of a table that are not at their defaults and would do nothing.

    Ignored flags are left to `without_unused`, which knows which were given.

    Raises:
        FlagError: such a flag is given.
    """
    for unused in table:
        if not unused.ignored and unused.when(config):
            for name in unused.names:
                refuse_without_effect(config, name, unused.told(config))


def without_unused(config: Config, given: Collection[str]) -> Config:
    """Puts the flags that are ignored back to their defaults, and names them in one line of the log; see `Unused`.

    Args:
        config: the flags; its `unused`, if it has one, is the table of those that may do nothing.
        given: names of the flags that the command line or a file gives.

    Raises:
        FlagError: flags are given that do nothing, at their defaults too where these count.
    """
    ignored: list[str] = []
    for unused in getattr(config, "unused", ()):
        if not (unused.given or unused.ignored) or not unused.when(config):
            continue
        names = [name for name in unused.names if name in given]
        if unused.ignored:
            ignored += names
        elif names:
            raise FlagError(_without_effect(config, names, unused.told(config)))
    if not ignored:
        return config
    names = list(dict.fromkeys(ignored))
    logger.info("flags of training are ignored with --eval_only 1: %s", ", ".join(f"--{name}" for name in names))
    return dataclasses.replace(config, **{name: getattr(type(config), name) for name in names})


def refuse_no_results(config: Any, *, has_labels: bool) -> None:
    """Refuses a prediction that neither writes, scores nor times anything.

    Args:
        config: flags of predict.py.
        has_labels: whether any of the images has one.

    Raises:
        FlagError: there would be no result.
    """
    if not (has_labels or config.save_prediction or config.coloring or config.measure_time):
        raise FlagError(
            f"--save_prediction 0 with --coloring 0 writes nothing, and no image of --mode {config.mode} has a label "
            "to be scored with: drop one of the two"
        )
