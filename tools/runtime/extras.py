"""Names the extra of pyproject.toml that a missing package belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tools.errors import MissingPackageError


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
        missing = error.name or str(error)
        raise MissingPackageError(
            f"{purpose} needs the package {missing}, which is not installed: run pip install '.[{extra}]' in the "
            f"project's folder, or make setup EXTRAS=dev,{extra}"
        ) from error
