"""Damages files of every kind at random and gives them to the loaders.

python -m tests.hostile.fuzz --cases 100000 --seed 0

A case is reported by its number if it ends in anything but a correct result or one line that names the file, and its
file is kept. If the process dies, the last file that was written is the cause. The exit code is 1 if there was any.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from tests.hostile.damage import damaged
from tests.hostile.loaders import TooSlowError, outcome
from tests.hostile.seeds import STRUCTURES, Seed, write_seeds


def run_case(seeds: list[Seed], wholes: dict[Path, bytes], seed: int, number: int) -> tuple[Seed, str, bytes]:
    """Damages one file or writes an impossible one in its place, reads it and puts the whole one back.

    Returns:
        The file, the result (`refused`, `read`, or the last lines of a traceback), and the damaged bytes.
    """
    rng = np.random.default_rng([seed, number])
    chosen = seeds[number % len(seeds)]
    build = STRUCTURES.get(chosen.path.name)
    content = damaged(wholes[chosen.path], rng) if build is None or rng.random() < 0.5 else build(rng)
    chosen.path.write_bytes(content)
    try:
        result = "refused" if isinstance(outcome(chosen.kind, chosen.path), str) else "read"
    except (Exception, TooSlowError) as error:
        result = "".join(traceback.format_exception(error)[-3:])
    chosen.path.write_bytes(wholes[chosen.path])
    return chosen, result, content


def fuzz(folder: Path, cases: int, seed: int, first: int = 0) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Runs cases.

    Returns:
        How many files of each kind were refused, read, or are faults; and a description of each fault.
    """
    seeds = write_seeds(folder)
    wholes = {entry.path: entry.path.read_bytes() for entry in seeds}
    counts: Counter[tuple[str, str]] = Counter()
    faults = []
    for number in range(first, first + cases):
        chosen, result, content = run_case(seeds, wholes, seed, number)
        is_fault = result not in ("refused", "read")
        counts[chosen.kind, "fault" if is_fault else result] += 1
        if is_fault:
            kept = folder / f"fault-{number}{chosen.path.suffix}"
            kept.write_bytes(content)
            faults.append(f"case {number}, {chosen.path.name}, kept as {kept}:\n{result}")
    return counts, faults


def main() -> int:
    """Runs the cases of the command line and prints the results."""
    parser = argparse.ArgumentParser(description="Give damaged files to the loaders.")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    options = parser.parse_args()
    faulthandler.enable()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    counts, faults = fuzz(folder, options.cases, options.seed, options.first)
    for (kind, result), count in sorted(counts.items()):
        print(f"{kind:15} {result:8} {count}")
    print(*faults, sep="\n")
    print(f"{sum(counts.values())} cases, {len(faults)} faults; files in {folder}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
