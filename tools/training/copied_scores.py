"""Copies the scores of a run to the hosts that keep their own snapshots, so that the run goes on from any of them.

The host of rank 0 scores. Its score files decide when the training ends early and which snapshot is the best, so each
host that may take its place needs them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from database.atomic import text_written_atomically
from tools.distributed.team import Hosted
from tools.runs.folder import RunFolder
from tools.runs.writing import writing_to

_SCORES = re.compile(r"scores-(\d+)(-[^/\0]+)?\.(txt|md|json)", re.ASCII)


def copy_scores(
    hosts: Hosted, folder: RunFolder, what: str, is_copied: Callable[[int], bool], use: Callable[[], object]
) -> None:
    """Writes score files of rank 0 on the other hosts.

    Args:
        hosts: all call this.
        folder: of the run, on this host.
        what: is copied, for messages.
        is_copied: returns whether the scores of a step are.
        use: called on the other hosts after their files are written.

    Raises:
        HostsError: another host could not read or write them.
        OutputError: this host could not.
        Any error of `use`.
    """
    texts = hosts.from_chief(what, lambda: _read(folder, is_copied))

    def write() -> None:
        if not hosts.is_chief:
            _write(folder, texts)
            use()

    hosts.on_each(f"copying {what}", write)


def _read(folder: RunFolder, is_copied: Callable[[int], bool]) -> dict[str, str]:
    """Returns the texts of score files by name."""
    texts = {}
    with writing_to(folder):
        for name in sorted(os.listdir(folder.path)):
            found = _SCORES.fullmatch(name)
            if found and is_copied(int(found[1])):
                with open(os.path.join(folder.path, name), encoding="utf-8", errors="surrogateescape") as file:
                    texts[name] = file.read()
    return texts


def _write(folder: RunFolder, texts: Mapping[str, str]) -> None:
    with writing_to(folder):
        for name, text in texts.items():
            assert _SCORES.fullmatch(name), name  # no path leads out of the folder
            with text_written_atomically(os.path.join(folder.path, name), errors="surrogateescape") as file:
                file.write(text)
