"""Rejects flags that would have no effect, or ignores them with a log line if another mode of the script uses them."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from tools.errors import FlagError
from tools.flags.definition import flag_properties
from tools.flags.values import shown_value

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=Any)


def check_flags_of_database(config: Any, database: str, source: str) -> None:
    """Rejects flags that have no effect with the database.

    Args:
        config: the flags.
        database: the one in use.
        source: where the database comes from, for the message, e.g. `--database is`.

    Raises:
        FlagError: a flag has no effect.
    """
    for name, databases in flag_properties(type(config), "databases").items():
        if databases is None or database in databases or name in config.flags_for_every_database:
            continue
        if getattr(config, name) is not None:
            fitting = " or ".join(databases)
            raise FlagError(
                f"--{name} is only used with --database {fitting}, but {source} {database}: give --database {fitting} "
                f"or drop --{name}"
            )


def is_at_default(config: Any, name: str) -> bool:
    """Returns whether a flag has its default value, whether or not it was given."""
    return getattr(config, name) == getattr(type(config), name)


def refuse_without_effect(config: Any, name: str, why: str) -> None:
    """Rejects a flag that is not at its default and has no effect.

    Args:
        config: the flags.
        name: of the flag.
        why: completes "--flag has no effect ...", and says after a colon what to do other than dropping the flag.

    Raises:
        FlagError: the flag is not at its default.
    """
    if not is_at_default(config, name):
        raise FlagError(_without_effect(config, name, why))


def _without_effect(config: Any, name: str, why: str) -> str:
    """Formats the message about a flag without effect; see `refuse_without_effect`."""
    return f"--{name} {shown_value(getattr(config, name))} has no effect {why}, or drop --{name}"


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
        why = f"with --subsets_for_training {','.join(subsets)}, which trains on the held-out images: drop val there"
        refuse_without_effect(config, "holdout", why)


def check_effects(config: Any) -> None:
    """Rejects flags that are not at their defaults and have no effect; see `tools.flags.definition.Need`.

    Flags that `--eval_only 1` ignores are handled by `without_ignored`, which knows which flags are given.

    Raises:
        FlagError: such a flag is given.
    """
    for field in dataclasses.fields(config):
        for need in field.metadata["needs"]:
            if not need.met(config):
                refuse_without_effect(config, field.name, need.reason(config))


def without_ignored(config: Config, given: Collection[str]) -> Config:
    """Resets flags that are ignored to their defaults, and logs their names in one line.

    Args:
        config: the flags.
        given: names of the flags on the command line or in a file.

    Raises:
        FlagError: a flag without effect is given at its default, and its `Need.even_default` is set.
    """
    ignored = []
    for field in dataclasses.fields(config):
        if field.name not in given:
            continue
        for need in field.metadata["needs"]:
            if need.even_default and not need.met(config):
                raise FlagError(_without_effect(config, field.name, need.reason(config)))
        if _is_ignored_in_scoring(config, field.metadata["scoring"]):
            ignored.append(field.name)
    if not ignored:
        return config
    names = ", ".join(f"--{name}" for name in ignored)
    logger.info("flags of training are ignored with --eval_only 1: %s", names)
    return dataclasses.replace(config, **{name: getattr(type(config), name) for name in ignored})


def _is_ignored_in_scoring(config: Any, scoring: str | Callable[[Any], str]) -> bool:
    """Returns whether `--eval_only 1` ignores a flag; see `tools.flags.definition.flag` for `scoring`."""
    if not getattr(config, "eval_only", False):
        return False
    scoring = scoring(config) if callable(scoring) else scoring
    return scoring == "ignored" or (scoring == "finds" and config.run_name is not None)


def refuse_no_results(config: Any, *, has_labels: bool) -> None:
    """Rejects a prediction that neither writes, scores nor times anything.

    Args:
        config: flags of predict.py.
        has_labels: whether any of the images has a label.

    Raises:
        FlagError: there would be no result, or a flag needs labels that do not exist.
    """
    for name in ("per_image", "confusion_matrix", "boundary_iou", "cityscapes_scores") if not has_labels else ():
        why = f"on --mode {config.mode}, none of whose images has a label: give another split"
        refuse_without_effect(config, name, why)
    if not (has_labels or config.save_prediction or config.coloring or config.measure_time or config.writes_more):
        raise FlagError(
            f"--save_prediction 0 with --coloring 0 writes nothing, and no image of --mode {config.mode} has a label "
            "to be scored with: drop one of the two"
        )
