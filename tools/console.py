"""Sets up logging for all programs, and reports user errors in one line with exit code 2."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO

from database.errors import DataError
from model.errors import ModelError
from tools.errors import UserError
from tools.runtime.arenas import limit_arenas
from tools.runtime.file_handles import require_file_handles
from tools.runtime.printable import PrintableFormatter, printable
from tools.runtime.standard_streams import exit_code_after_output, guard_standard_streams
from tools.runtime.stop_requests import StoppedError

# Any other exception is a bug and should show its traceback.
USER_FAULTS = (DataError, ModelError, UserError)

EXIT_USER_FAULT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again later
EXIT_INTERRUPTED = 130


def set_up_logging() -> None:
    """Sets up log lines on standard error: this project's, and TensorFlow's errors.

    Afterwards, a standard output or error that is closed or full, or that cannot encode a character, raises no error;
    see `tools.runtime.standard_streams`. Log lines and tracebacks hold printable characters only; see
    `tools.runtime.printable`.
    """
    guard_standard_streams()
    sys.excepthook = _print_traceback
    threading.excepthook = _print_traceback_of_thread
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)


def _print_traceback(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, place)), keep="\n\t"))


def _print_traceback_of_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_type is not SystemExit and found.exc_value is not None:
        _print_traceback(found.exc_type, found.exc_value, found.exc_traceback)


def print_text(text: str, *, flush: bool = False) -> None:
    """Prints text and a line end on standard output; all characters but line ends and tabs are made printable."""
    print(printable(text, keep="\n\t"), flush=flush)


def print_error(text: str) -> None:
    """Prints one line on standard error; blanks and line ends become single spaces, and the rest is made printable."""
    print(printable(" ".join(text.split())), file=sys.stderr, flush=True)


def set_quiet(quiet: bool) -> None:
    """Suppresses information and progress if `quiet`; warnings, errors and results are still printed."""
    if quiet:
        logging.getLogger().setLevel(logging.WARNING)


def import_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, without the information that its C++ code prints.

    Warnings and errors are printed, except the one about CUDA on a machine without an NVIDIA device. oneDNN's kernels
    are enabled also on processors without AVX-512, where TensorFlow disables them and trains more slowly.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    limit_arenas()  # before TensorFlow starts threads
    sys.stderr.flush()
    with _unnamed_file() as captured:
        original = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            import tensorflow.compat.v1 as tf

            tf.config.list_physical_devices()
        finally:
            os.dup2(original, 2)
            os.close(original)
            captured.seek(0)
            sys.stderr.writelines(line for line in captured if not _is_noise(line))


def _unnamed_file() -> IO[str]:
    """Opens a temporary file for text, in memory if possible: the disk may be full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+", errors="replace")
    return tempfile.TemporaryFile("w+", errors="replace")


# Printed by builds of TensorFlow whose parts register the same thing twice; the second registration is ignored.
_REGISTERED_TWICE = ("Unable to register cu", "computation placer already registered")


def _is_noise(line: str) -> bool:
    if "cuInit" in line:
        return not os.path.exists("/dev/nvidiactl")
    if any(text in line for text in _REGISTERED_TWICE):
        return True
    return line.startswith(("I0000", "WARNING: All log messages before absl"))


def run_script(
    main: Callable[[Sequence[str]], None],
    arguments: Sequence[str],
) -> int:
    """Runs a script's main function.

    Args:
        main: takes the command line.
        arguments: without the program's name.

    Returns:
        The exit code: 0; 2 after a line about a user error; 75 after a line on how to resume a run that was asked to
        stop; 130 after Ctrl-C. 0 becomes 2 if output was lost on a full device.

    Raises:
        SystemExit: `main` raised it; its exit code is adapted in the same way.
    """
    try:
        code = _exit_code(main, arguments)
    except SystemExit as left:
        if isinstance(left.code, str):
            raise
        sys.exit(exit_code_after_output(left.code or 0))
    return exit_code_after_output(code)


def _exit_code(main: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # the scripts set it during their imports
            signal.signal(signal.SIGINT, signal.default_int_handler)
        require_file_handles()
        main(arguments)
    except KeyboardInterrupt as error:
        print_error(" ".join(["interrupted", *map(str, error.args)]))
        return EXIT_INTERRUPTED
    except StoppedError as error:
        print_error(f"stopped: {error}")
        return EXIT_STOPPED
    except USER_FAULTS as error:
        print_error(f"error: {error}")
        return EXIT_USER_FAULT
    return 0
