"""Reports missing packages in one line, before the imports that fail without them. Needs only the standard library."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping

# The dependencies in pyproject.toml: module and name.
REQUIRED: Mapping[str, str] = {
    "tensorflow": "TensorFlow",
    "tf_slim": "tf-slim",
    "numpy": "NumPy",
    "scipy": "SciPy",
    "PIL": "Pillow",
    "tensorboard": "TensorBoard",
    "tqdm": "tqdm",
    "yaml": "PyYAML",
}
_EXIT_USER_FAULT = 2  # as in tools.console, whose imports need the packages
_PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def require_installed(packages: Mapping[str, str] = REQUIRED) -> None:
    """Exits with a line if packages are not installed for the running Python; nothing is imported.

    Args:
        packages: their names, by the modules in import statements.

    Raises:
        SystemExit: with exit code 2.
    """
    missing = [name for module, name in packages.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return
    others = f" and {len(missing) - 1} other packages" if missing[2:] else f" and {missing[1]}" if missing[1:] else ""
    verb = "are" if others else "is"
    activate = os.path.join(_PROJECT, ".venv", "bin", "activate")
    advice = f"source {os.path.relpath(activate)}, or " if os.path.exists(activate) else ""
    print(
        f"error: {missing[0]}{others} {verb} not installed for {sys.executable}: {advice}run make setup in {_PROJECT}",
        file=sys.stderr,
    )
    sys.exit(_EXIT_USER_FAULT)
