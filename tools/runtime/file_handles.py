"""Checks that a process may open enough files, because TensorFlow aborts where it cannot."""

from __future__ import annotations

import os
import resource

from tools.errors import TooFewHandlesError

# What a program needs besides the files that are open at its start: TensorFlow 8 (it ends the process if it cannot open
# its random device), and the threads that read and write images 2 each. The usual limits are 256 and 1024.
NEEDED = 64
# A limit that is too low is raised to this if it may be: a machine of many cores has more threads.
USUAL = 1024

_OPEN_FILES = "/proc/self/fd"


def require_file_handles() -> None:
    """Raises the limit of open files if it is too low and may be raised.

    Raises:
        TooFewHandlesError: the limit cannot be raised far enough.
    """
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _open_files() + NEEDED
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        return
    if most != resource.RLIM_INFINITY and most < wanted:
        raise TooFewHandlesError(
            f"this process may open {limit} files, expected at least {wanted}: raise the limit, for example with "
            f"ulimit -n {max(wanted, USUAL)}"
        )
    raised = max(wanted, USUAL)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised if most == resource.RLIM_INFINITY else min(raised, most), most))


def _open_files() -> int:
    """Returns the number of open files; on systems that do not list them, that of the standard streams."""
    try:
        return len(os.listdir(_OPEN_FILES))
    except OSError:
        return 3
