"""Flags that select the checkpoint of a trained network, for all commands that use one."""

from __future__ import annotations

from typing import Any

from tools.flags.choices import BEST, LAST
from tools.flags.definition import Need, flag
from tools.flags.values import file_path

_NEEDS_SEARCH_FOR_RUNS = Need(
    lambda config: config.weights_ckpt in (None, BEST, LAST),
    "with --weights_ckpt, which says where the snapshot is: drop --weights_ckpt",
)


def weights_ckpt_flag(
    text: str = "checkpoint, or a run, whose best snapshot is used, or its last if it kept no best",
) -> Any:
    """Returns the field of `weights_ckpt: str | None`; `text` describes paths."""
    return flag(
        None,
        f"{text}; {BEST} or {LAST}: that snapshot of the newest run in --log_dir",
        file_path,
        group="network",
        unset="the newest run in --log_dir",
    )


def log_dir_flag(*more_needs: Need) -> Any:
    """Returns the field of `log_dir: str`, the folder in which `weights_ckpt_flag` searches."""
    return flag(
        "./log",
        "folder of all runs",
        file_path,
        group="network",
        metavar="FOLDER",
        needs=(_NEEDS_SEARCH_FOR_RUNS, *more_needs),
    )


def use_ema_flag(verb: str, group: str = "network") -> Any:
    """Returns the field of `use_ema: bool`; `verb` says what is done with the weights."""
    return flag(True, f"{verb} the averages of the weights, if the checkpoint has them (--ema_decay)", group=group)
