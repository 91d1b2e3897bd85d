"""Keeps the C library from spreading freed memory over many regions."""

from __future__ import annotations

import ctypes
import os

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h
_VARIABLE = "MALLOC_ARENA_MAX"


def limit_arenas() -> None:
    """Limits glibc's arenas to two per processor, from which threads allocate; call it before threads are started.

    By default there are eight per processor. Each keeps the memory that its threads freed in pieces, so that a process
    that builds and frees networks grows for as long as threads meet new arenas. The environment variable
    MALLOC_ARENA_MAX takes precedence. Without glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and _VARIABLE not in os.environ:
        mallopt(_ARENA_MAX, 2 * len(os.sched_getaffinity(0)))
