"""Flags that would do nothing are refused."""

from __future__ import annotations

from typing import Any

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
        shown = int(value) if isinstance(value, bool) else value
        raise FlagError(f"--{name} {shown} has no effect {why}, or drop --{name}")


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
