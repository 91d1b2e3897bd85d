"""A process that writes snapshots of a run and deletes the older ones, as fast as it can.

`python -m tests.tools.pruning <run> <checkpoint> <keep>` writes copies of the checkpoint until its standard input ends,
and prints how many.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from tools.checkpoints.files import files_of
from tools.runs.folder import RunFolder
from tools.runs.snapshots import write_snapshot

_ROOT = Path(__file__).resolve().parent.parent.parent


class PrunedRun:
    """A run whose snapshots come and go while the block runs. Use as a context manager.

    Attributes:
        written: number of snapshots that were written, after the block.
    """

    def __init__(self, run: Path, checkpoint: str, keep: int) -> None:
        """Takes the run's folder, the checkpoint to copy, and the number of snapshots that are kept."""
        self._command = [sys.executable, "-m", "tests.tools.pruning", str(run), checkpoint, str(keep)]
        self.written = 0

    def __enter__(self) -> PrunedRun:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, cwd=_ROOT, text=True)
        assert self._process.stdout.readline() == "begun\n"
        return self

    def __exit__(self, *exception: object) -> None:
        self.written = int(self._process.communicate()[0])


def write_and_prune(run: RunFolder, checkpoint: str, keep: int) -> None:
    """Writes snapshots until standard input ends."""
    contents = {path.removeprefix(checkpoint): Path(path).read_bytes() for path in files_of(checkpoint)}
    contents.pop(".manifest.json", None)
    ended, step = threading.Event(), 0
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

    def save(prefix: str) -> None:
        for ending, content in contents.items():
            Path(prefix + ending).write_bytes(content)

    os.makedirs(run.snapshots, exist_ok=True)
    shutil.copyfile(
        os.path.join(os.path.dirname(checkpoint), "config.json"), os.path.join(run.snapshots, "config.json")
    )
    while not ended.is_set():
        step += 1
        write_snapshot(run, step, keep, save)
        if step == 1:
            print("begun", flush=True)
    print(step, flush=True)


if __name__ == "__main__":
    write_and_prune(RunFolder(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
