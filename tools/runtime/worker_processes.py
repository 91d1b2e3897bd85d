"""Worker processes that end with the process that started them, however it ends."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process

from tools.runtime.standard_streams import guard_standard_streams


def begin_worker() -> None:
    """Prepares a worker process; use it as the initializer of a pool, or call it there.

    Ctrl-C is left to the parent. If the parent ends without ending its workers, for example by SIGKILL, this process
    ends as well: otherwise workers wait for each other's pipes for ever. Output that cannot be written is dropped.
    """
    guard_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "this is no worker process"
    parent.join()
    os._exit(1)
