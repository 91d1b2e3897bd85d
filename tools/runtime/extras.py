"""Names the extra of pyproject.toml that a missing package belongs to."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tools.errors import MissingPackageError


def is_installed(package: str) -> bool:
    """Returns whether a package can be imported, by its name in import statements."""
    return importlib.util.find_spec(package) is not None


def require_packages(packages: Iterable[str], extra: str, purpose: str) -> None:
    """Checks that packages are installed.

    Args:
        packages: by their names in import statements.
        extra: of pyproject.toml, which has them.
        purpose: what needs the packages, such as a flag.

    Raises:
        MissingPackageError: one of them is not.
    """
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        raise _missing(missing, extra, purpose)


@contextmanager
def extra_needed(extra: str, purpose: str) -> Iterator[None]:
    """Turns the ImportError of a package that is not installed into one line that says what installs it.

    Args:
        extra: of pyproject.toml.
        purpose: what needs the package, such as a flag.

    Raises:
        MissingPackageError: the block raised ImportError.
    """
    try:
        yield
    except ImportError as error:
        raise _missing([error.name or str(error)], extra, purpose) from error


def _missing(packages: Sequence[str], extra: str, purpose: str) -> MissingPackageError:
    noun, are = ("package", "is") if len(packages) == 1 else ("packages", "are")
    return MissingPackageError(
        f"{purpose} needs the {noun} {' and '.join(packages)}, which {are} not installed: run pip install "
        f"-e '.[{extra}]' in the project's folder, or make setup EXTRAS=dev,{extra}"
    )
