"""This process among the hosts of a run: messages between them, and work that one of them does for all.

`Alone` is the only process of a run. It has the methods of `Team`, so that the training has one code for both.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow.compat.v1 as tf

from database.errors import DataError
from model.errors import ModelError
from model.host_group import HostGroup
from tools.distributed.server import start_server, wait_for_servers
from tools.distributed.watch import HostWatch
from tools.errors import HostsError, UserError
from tools.runtime.devices import SessionServer
from tools.runtime.hosts import Hosts
from tools.runtime.interruptible import interruptible
from tools.runtime.session_errors import reason
from tools.runtime.stop_requests import StoppedError

Result = TypeVar("Result")

# Limits in seconds while all hosts answer: for work that the others wait for, and for a first step, which builds
# kernels and fills the pipeline.
LONG_WORK = 6 * 3600.0
FIRST_STEP = 1800.0

_STARTS_PER_TIMEOUT = 10
_MESSAGES_KEY = 2
_SMALLEST_MESSAGE = 16
_LONGEST_NAME = 64  # both in words of 4 bytes
_SECONDS_TO_FLUSH = 0.5

# What a collective raises if another host has ended, was cut off or was started again.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)
_FAULTS = (DataError, ModelError, UserError)


class Hosted(Protocol):
    """What `Team` and `Alone` have in common."""

    rank: int
    count: int

    @property
    def is_chief(self) -> bool: ...

    @property
    def group(self) -> HostGroup | None: ...

    @property
    def server(self) -> SessionServer | None: ...

    def named(self, rank: int) -> str: ...

    def gather(self, what: str, message: bytes = b"") -> list[bytes]: ...

    def from_chief(self, what: str, compute: Callable[[], Result]) -> Result: ...

    def on_chief(self, what: str, compute: Callable[[], Result]) -> Result | None: ...

    def on_each(self, what: str, compute: Callable[[], Result]) -> Result: ...

    def running(self, what: str, patience: float | None = None) -> AbstractContextManager[None]: ...

    def cleaning_up(self, cleanup: Callable[[], object]) -> AbstractContextManager[None]: ...


class Alone:
    """The only process of a run; it opens no port."""

    rank = 0
    count = 1
    is_chief = True
    group: HostGroup | None = None
    server: SessionServer | None = None

    def named(self, rank: int) -> str:
        """Describes the process for messages."""
        return "this process"

    def gather(self, what: str, message: bytes = b"") -> list[bytes]:
        """Returns the message."""
        return [message]

    def from_chief(self, what: str, compute: Callable[[], Result]) -> Result:
        """Returns what `compute` returns."""
        return compute()

    def on_chief(self, what: str, compute: Callable[[], Result]) -> Result:
        """Returns what `compute` returns."""
        return compute()

    def on_each(self, what: str, compute: Callable[[], Result]) -> Result:
        """Returns what `compute` returns."""
        return compute()

    def running(self, what: str, patience: float | None = None) -> AbstractContextManager[None]:
        """Does nothing."""
        return nullcontext()

    def cleaning_up(self, cleanup: Callable[[], object]) -> AbstractContextManager[None]:
        """Does nothing: no other host can be missing."""
        return nullcontext()


ALONE = Alone()


class Team:
    """This host among several.

    All hosts have to call the methods that exchange messages in the same order, from their main threads.

    Attributes:
        hosts: addresses, and the rank of this host.
        server: of this host, for its sessions.
        group: of its graphs.
        start_patience: seconds that the hosts may start one after the other.
    """

    def __init__(self, hosts: Hosts, server: SessionServer, watch: HostWatch, start_patience: float) -> None:
        """Opens the session for the messages; see `start_team`."""
        self.hosts = hosts
        self.start_patience = start_patience
        self.server: SessionServer | None = server
        self.rank, self.count = hosts.rank, hosts.count
        self.group: HostGroup | None = HostGroup(hosts.rank, hosts.count)
        self._watch = watch
        self._messages = HostGroup(hosts.rank, hosts.count, group_key=_MESSAGES_KEY)
        self._graph = tf.Graph()
        self._gathers: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}
        self._session = tf.Session(server.target, graph=self._graph, config=server.config)

    @property
    def is_chief(self) -> bool:
        """Whether this host, of rank 0, writes what exists once in a run."""
        return self.rank == 0

    def named(self, rank: int) -> str:
        """Describes a host for messages."""
        return self.hosts.named(rank)

    def gather(self, what: str, message: bytes = b"", patience: float = LONG_WORK) -> list[bytes]:
        """Sends a message of any length to all hosts, and returns those of all, by rank.

        Args:
            what: the hosts do, equal on all of them; for the message about a missing one.
            message: of this host.
            patience: see `running`.

        Raises:
            HostsError: another host is doing something else.
            LostHostError: a host is missing.
        """
        sent = np.array([len(message), zlib.crc32(what.encode()) >> 1], np.int32)  # without a bit, as it has a sign
        lengths, names = self._gathered(what, sent, patience).reshape(self.count, 2).T
        if np.any(names != names[0]):
            raise self._apart(what, patience)
        words = _SMALLEST_MESSAGE
        while 4 * words < lengths.max():  # few sizes, because each has an operation of its own
            words *= 2
        if not lengths.any():
            return [b""] * self.count
        padded = np.frombuffer(message.ljust(4 * words, b"\0"), np.int32)
        rows = self._gathered(what, padded, patience).reshape(self.count, words)
        return [row.tobytes()[:length] for row, length in zip(rows, lengths, strict=True)]

    def _gathered(self, what: str, values: np.ndarray, patience: float) -> np.ndarray:
        """Concatenates the int32 vectors of all hosts, which have one length."""
        if values.size not in self._gathers:
            with self._graph.as_default():
                sent = tf.placeholder(tf.int32, [values.size])
                self._gathers[values.size] = sent, self._messages.gather(sent, f"message{values.size}")
        sent, received = self._gathers[values.size]
        with self.running(what, patience):
            return interruptible(lambda: self._session.run(received, {sent: values}))

    def _apart(self, what: str, patience: float) -> HostsError:
        """Returns the error for hosts that exchange different messages, which names two of them."""
        padded = np.frombuffer(what.encode()[: 4 * _LONGEST_NAME].ljust(4 * _LONGEST_NAME, b"\0"), np.int32)
        rows = self._gathered(what, padded, patience).reshape(self.count, _LONGEST_NAME)
        texts = [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in rows]
        other = next(rank for rank, text in enumerate(texts) if text != texts[0])
        return HostsError(
            f"{self.named(0)} is at {texts[0]}, and {self.named(other)} at {texts[other]}: their weights or files "
            "differ: use equal machines, and start all hosts again from the last snapshot"
        )

    def from_chief(self, what: str, compute: Callable[[], Result]) -> Result:
        """Computes a JSON value on the host of rank 0 only, and returns it on all; the others wait.

        Args:
            what: is computed, for messages; equal on all hosts.
            compute: called on the host of rank 0, which gets its value as it is, while a tuple becomes a list on the
                others.

        Raises:
            HostsError: `compute` raised an error of the user on the other host.
            LostHostError: a host is missing.
            StoppedError: the other host was asked to stop.
            TypeError: the value is no JSON value.
            Any error of `compute`.
        """
        if self.is_chief:
            return self._reported(what, compute, lambda value: json.dumps({"value": value}).encode())
        return self._results(what, b"")[0]

    def on_chief(self, what: str, compute: Callable[[], Result]) -> Result | None:
        """Does something on the host of rank 0 only, while the others wait; arguments and errors as of `from_chief`.

        Returns:
            What `compute` returned; None on the other hosts.
        """
        if self.is_chief:
            return self._reported(what, compute)
        self._results(what, b"")
        return None

    def on_each(self, what: str, compute: Callable[[], Result]) -> Result:
        """Does something on each host, and waits for the others; arguments and errors as of `from_chief`.

        Returns:
            What `compute` returned on this host.
        """
        return self._reported(what, compute)

    def _reported(
        self, what: str, compute: Callable[[], Result], as_message: Callable[[Result], bytes] = lambda value: b""
    ) -> Result:
        """Computes a value, and sends the other hosts a message about it, or the error."""
        try:
            value = compute()
        except (*_FAULTS, StoppedError) as error:
            kind = "stopped" if isinstance(error, StoppedError) else "fault"
            self.gather(what, json.dumps({kind: str(error)}).encode())
            raise
        self._results(what, as_message(value))
        return value

    def _results(self, what: str, message: bytes) -> list[Any]:
        """Exchanges the results of all hosts; raises the error of another host."""
        results = [json.loads(text) if text else {} for text in self.gather(what, message)]
        for rank, result in enumerate(results):
            if "fault" in result:
                raise HostsError(f"{self.named(rank)}: {result['fault']}")
            if "stopped" in result:
                raise StoppedError(f"{self.named(rank)}: {result['stopped']}")
        return [result.get("value") for result in results]

    @contextmanager
    def running(self, what: str, patience: float | None = None) -> Iterator[None]:
        """Watches over a block that runs collectives in a session.

        Args:
            what: the block does, for messages.
            patience: see `HostWatch.waiting`.

        Raises:
            LostHostError: a collective failed. If none fails, but the hosts make no progress, the process ends.
        """
        try:
            with self._watch.waiting(what, patience):
                yield
        except _LOST as error:
            raise self._watch.lost(what, error) from error

    @contextmanager
    def cleaning_up(self, cleanup: Callable[[], object]) -> Iterator[None]:
        """Calls a function if the process is ended within a block because another host is missing."""
        self._watch.cleanups.append(cleanup)
        try:
            yield
        finally:
            self._watch.cleanups.remove(cleanup)

    def close(self) -> None:
        """Waits until all hosts are done with the messages, and closes the session."""
        self.gather("the end of the run")
        time.sleep(_SECONDS_TO_FLUSH)  # the answers to the others are on their way
        self._session.close()


def start_team(hosts: Hosts, devices: Sequence[str], timeout: float) -> Team:
    """Starts the server of this host and waits for the others.

    Args:
        hosts: of the run, more than one.
        devices: of the towers of this host.
        timeout: seconds within which a missing host is noticed; the others may start ten times as much later.

    Raises:
        HostsError: the server cannot be started.
        LostHostError: another host does not start.
    """
    server = start_server(hosts, devices)
    start_patience = _STARTS_PER_TIMEOUT * timeout
    wait_for_servers(hosts, start_patience)
    watch = HostWatch(hosts, timeout)
    try:
        return Team(hosts, server, watch, start_patience)
    except tf.errors.OpError as error:
        raise HostsError(f"{hosts.named(hosts.rank)}: no session with its server ({reason(error)})") from error
