"""Checks the extras of `make setup`: their names before anything is installed, or whether their packages are there.

`python -m tools.setup.extras dev,report` is called by the Makefile, with `--named` for the names.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tools.errors import UnknownExtraError
from tools.runtime.printable import printable
from tools.runtime.standard_streams import exit_code_after_output, guard_standard_streams

_PYPROJECT = Path(__file__).resolve().parent.parent.parent / "pyproject.toml"


def check_names(extras: Sequence[str]) -> None:
    """Checks that pyproject.toml has these extras.

    Raises:
        UnknownExtraError: it has not.
    """
    known = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra in extras:
        if extra not in known:
            raise UnknownExtraError(f"EXTRAS={','.join(extras)}: '{extra}' is none of {', '.join(sorted(known))}")


def missing_packages(extras: Sequence[str]) -> list[str]:
    """Returns the requirements of the installed project, with these extras, that are not installed."""
    from packaging.requirements import Requirement  # comes with TensorFlow; the names are checked before it is there

    requirements = map(Requirement, importlib.metadata.requires("pspnet-tf-graph") or ())
    needed = [
        each for each in requirements
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]  # fmt: skip
    return [each.name for each in needed if not _is_installed(each.name)]


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Returns 0 if all is well, 1 if packages are missing, 2 after an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m tools.setup.extras", description="Check the extras of make setup.")
    parser.add_argument("extras", help="names of extras, with commas between them")
    parser.add_argument("--named", action="store_true", help="check only their names, before anything is installed")
    options = parser.parse_args(list(arguments))
    extras = options.extras.split(",")
    try:
        check_names(extras)
    except UnknownExtraError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    missing = [] if options.named else missing_packages(extras)
    if missing:
        print(f"setup: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    guard_standard_streams()
    sys.exit(exit_code_after_output(main(sys.argv[1:])))
