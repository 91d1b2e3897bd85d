"""The number of arenas of the C library's allocator, in processes of their own."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest

PROCESSORS = len(os.sched_getaffinity(0))
THREADS = 16 * PROCESSORS
# Threads that hold memory at the same time take arenas of their own; `malloc_info` lists them.
PROGRAM = f"""
import ctypes, os, sys, threading
from tools.runtime.arenas import limit_arenas
if sys.argv[1:]:
    limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
barrier = threading.Barrier({THREADS})
def allocate():
    barrier.wait()
    for _ in range(200):
        libc.malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""


def arenas(*arguments: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    return len(re.findall("<heap nr=", done.stdout))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_there_are_at_most_two_per_processor(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert arenas() > 2 * PROCESSORS
    assert 1 < arenas("limited") <= 2 * PROCESSORS


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_the_environment_takes_precedence():
    assert arenas("limited", MALLOC_ARENA_MAX="1") == 1
    assert arenas("limited", MALLOC_ARENA_MAX=str(3 * PROCESSORS)) == 3 * PROCESSORS
