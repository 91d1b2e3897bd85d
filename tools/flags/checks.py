"""Rejects flags that would have no effect, or ignores them with a log line if another mode of the script uses them."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeVar

from tools.errors import FlagError
from tools.flags.values import shown_value

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=Any)
# Values of a checkpoint flag that select a snapshot.
WORDS_FOR_SNAPSHOTS = ("best", "last")

# Flags for own data that other datasets also use.
_ALSO_FOR = {"ADE": ("train_list", "val_list", "test_list"), "KITTI": ("holdout",)}


def check_own_data_flags(config: Any, database: str, told: str) -> None:
    """Rejects flags for own data if they have no effect with the database.

    Args:
        config: the flags; its `own_data_flags` are checked.
        database: the one in use.
        told: source of the database in the message, e.g. `--database is`.

    Raises:
        FlagError: a flag has no effect.
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
    """Rejects a flag that is not at its default and has no effect.

    Args:
        config: the flags.
        name: of the flag.
        why: why it has no effect, and after a colon what to do other than dropping the flag.

    Raises:
        FlagError: the flag is not at its default.
    """
    if getattr(config, name) != getattr(type(config), name):
        raise FlagError(_without_effect(config, [name], why))


def _without_effect(config: Any, names: Sequence[str], why: str) -> str:
    """Formats the message about flags without effect; see `refuse_without_effect`."""
    shown = ", ".join(f"--{name} {shown_value(getattr(config, name))}" for name in names)
    flags = " and ".join(f"--{name}" for name in names)
    return f"{shown} {'has' if len(names) == 1 else 'have'} no effect {why}, or drop {flags}"


def refuse_repeated_splits(config: Any) -> None:
    """Rejects a split that is named twice, because its images would count twice.

    Args:
        config: the flags, with `subsets_for_training`.

    Raises:
        FlagError: a split is named twice.
    """
    repeated = [name for name, times in Counter(config.subsets_for_training).items() if times > 1]
    if repeated:
        raise FlagError(f"--subsets_for_training names {repeated[0]} twice: name each split once")


def refuse_useless_holdout(config: Any) -> None:
    """Rejects holding out images that are trained on.

    Args:
        config: the flags, with `holdout` and `subsets_for_training`.

    Raises:
        FlagError: a fraction is given, and val is one of the training splits.
    """
    subsets = config.subsets_for_training
    if "val" in subsets:
        why = f"beside --subsets_for_training {','.join(subsets)}, which trains on the held-out images: drop val there"
        refuse_without_effect(config, "holdout", why)


class Unused(NamedTuple):
    """Flags that have no effect in combination with certain others.

    Attributes:
        names: of the flags.
        when: returns whether they have no effect, given all flags.
        why: see `refuse_without_effect`; or a function of the flags that returns it. Not used for ignored flags.
        given: whether to reject flags that are given at their default values too, because they would be ignored.
        ignored: whether the flags are ignored with a log line instead of rejected, because the same command or file of
            flags is also used in a mode in which they have an effect.
    """

    names: tuple[str, ...]
    when: Callable[[Any], bool]
    why: str | Callable[[Any], str] = ""
    given: bool = False
    ignored: bool = False

    def told(self, config: Any) -> str:
        """Returns why the flags have no effect, and what to do."""
        return self.why if isinstance(self.why, str) else self.why(config)


# Flags of the training loop, which are not part of a run's name; a test compares them with the flags that are.
_OF_THE_LOOP = (
    "auto_resume", "snapshot", "snapshot_minutes", "val_every", "keep", "save_first_iteration", "on_nan", "check_data",
    "allow_missing_classes", "max_bad_files", "show_period", "save_memory", "checkpoint_units", "log_memory",
)  # fmt: skip
# Flags that change the trained weights; without --run_name, they identify the run. `subsets_for_training` is missing
# here: it determines whether TFRecords were made from a list, and so where the validation images come from.
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
    # With --eval_only 1 no training images are read, nothing is trained, and --run_name selects the run to score.
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
    """Rejects the flags of a table that are not at their defaults and have no effect.

    Ignored flags are handled by `without_unused`, which knows which flags are given.

    Raises:
        FlagError: such a flag is given.
    """
    for unused in table:
        if not unused.ignored and unused.when(config):
            for name in unused.names:
                refuse_without_effect(config, name, unused.told(config))


def without_unused(config: Config, given: Collection[str]) -> Config:
    """Resets flags that are ignored to their defaults, and logs their names in one line; see `Unused`.

    Args:
        config: the flags; its `unused`, if it has one, is the table of flags without effect.
        given: names of the flags on the command line or in a file.

    Raises:
        FlagError: flags without effect are given, including those at their defaults if `Unused.given`.
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
    """Rejects a prediction that neither writes, scores nor times anything.

    Args:
        config: flags of predict.py.
        has_labels: whether any of the images has a label.

    Raises:
        FlagError: there would be no result.
    """
    if not (has_labels or config.save_prediction or config.coloring or config.measure_time):
        raise FlagError(
            f"--save_prediction 0 with --coloring 0 writes nothing, and no image of --mode {config.mode} has a label "
            "to be scored with: drop one of the two"
        )
