"""Flags that would do nothing are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tools.config_file import FlagError

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
    value = getattr(config, name)
    if value != getattr(type(config), name):
        raise FlagError(f"--{name} {_as_given(value)} has no effect {why}, or drop --{name}")


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
        why: see `refuse_without_effect`.
    """

    names: tuple[str, ...]
    when: Callable[[Any], bool]
    why: str


UNUSED_IN_TRAINING = (
    Unused(
        ("random_scale",),
        lambda config: config.dynamic_size,
        "beside --dynamic_size 1, which draws the short sides: give a single one with --dynamic_short_sides",
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
)
UNUSED_IN_PREDICTION = (
    Unused(
        ("windows_per_batch",),
        lambda config: config.test_image_size == 0 and not config.mirror,
        "where each image is one window (--test_image_size 0 --mirror 0): give a size of windows",
    ),
)
UNUSED_IN_INFERENCE = (
    Unused(("palette",), lambda config: not config.coloring, "where --coloring 0 writes no colours: drop that"),
)


def refuse_unused(config: Any, table: Sequence[Unused]) -> None:
    """Refuses the flags of a table that are not at their defaults and would do nothing.

    Raises:
        FlagError: such a flag is given.
    """
    for unused in table:
        if unused.when(config):
            for name in unused.names:
                refuse_without_effect(config, name, unused.why)


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
