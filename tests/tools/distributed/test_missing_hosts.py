"""Hosts that do not answer are found and named."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time

import pytest
import tensorflow.compat.v1 as tf

from tests.tools.distributed.teams import on_team
from tools.distributed import watch as watch_module
from tools.distributed.probing import fault_of_server, silent_hosts
from tools.distributed.server import start_server, wait_for_servers
from tools.distributed.watch import HostWatch, LostHostError
from tools.errors import HostsError
from tools.runtime.hosts import Hosts
from tools.runtime.ports import free_addresses


@pytest.fixture
def accepting():
    """The address of a process that accepts connections and says nothing, as one that is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_runs_answers():
    addresses = on_team(2, lambda team: team.hosts.addresses)[0]
    assert [fault_of_server(address, 20.0) for address in addresses] == [None, None]


def test_a_process_that_has_ended_and_one_that_is_stopped_do_not(accepting):
    [closed] = free_addresses(1)
    assert "has ended" in str(fault_of_server(closed, 5.0))
    began = time.monotonic()
    assert "does not answer" in str(fault_of_server(accepting, 0.3))
    assert time.monotonic() - began < 5.0


def test_a_name_that_nobody_has_cannot_be_reached():
    assert "cannot be reached" in str(fault_of_server("nobody.invalid:2222", 5.0))


def resolved(monkeypatch: pytest.MonkeyPatch, *places: str) -> None:
    """Makes every name have these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, int(port))) for host, _, port in
             (place.rpartition(":") for place in places)]  # fmt: skip
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **named: found)


def test_a_name_with_several_addresses_is_asked_at_each(accepting, monkeypatch):
    """The first does not answer, as one that is not reachable from here, and leaves time for the second."""
    running = on_team(2, lambda team: team.hosts.addresses)[0][0]
    [closed] = free_addresses(1)
    resolved(monkeypatch, accepting, running)
    assert fault_of_server("host:1", 6.0) is None
    resolved(monkeypatch, closed, accepting)
    assert "does not answer" in str(fault_of_server("host:1", 0.6))
    resolved(monkeypatch, closed, closed)
    assert "has ended" in str(fault_of_server("host:1", 0.6))


@pytest.mark.slow
def test_one_packet_that_is_lost_ends_nothing(monkeypatch):
    answers = iter([{1: "does not answer"}, {}, {1: "does not answer"}, {}, {}])
    asked: queue.SimpleQueue[float] = queue.SimpleQueue()

    def silent(*arguments: object) -> dict[int, str]:
        asked.put(time.monotonic())
        return next(answers, {1: "does not answer"})

    monkeypatch.setattr(watch_module, "silent_hosts", silent)
    watch, messages = watched(Hosts(("127.0.0.1:1", "127.0.0.1:2"), 0), 2.0)
    with watch.waiting("step 7", patience=1000.0):
        assert "host 1 (127.0.0.1:2) does not answer" in messages.get(timeout=30.0)
    assert asked.qsize() == 7


def test_silent_hosts_are_found_among_others(accepting):
    running = on_team(2, lambda team: team.hosts.addresses)[0]
    hosts = Hosts((*running, accepting), 0)
    assert list(silent_hosts(hosts, [1, 2], 3.0)) == [2]
    assert silent_hosts(hosts, [], 0.3) == {}


def watched(hosts: Hosts, seconds: float) -> tuple[HostWatch, queue.SimpleQueue[str]]:
    """Returns a watch that writes its message to a queue instead of ending the process."""
    messages: queue.SimpleQueue[str] = queue.SimpleQueue()
    return HostWatch(hosts, seconds, messages.put), messages


def test_a_stopped_host_is_noticed_within_the_time_and_named(accepting):
    watch, messages = watched(Hosts(("127.0.0.1:1", accepting), 0), 2.0)
    watch.cleanups += [lambda: os.unlink("there/is/no/such/file"), lambda: messages.put("cleaned up")]
    with watch.waiting("step 7", patience=1000.0):
        assert messages.get(timeout=20.0) == "cleaned up"
        message = messages.get(timeout=20.0)
    assert "step 7" in message
    assert f"host 1 ({accepting}) does not answer" in message
    assert "--auto_resume 1" in message


@pytest.mark.slow
def test_slow_hosts_that_answer_may_take_as_long_as_is_allowed():
    addresses = on_team(2, lambda team: team.hosts.addresses)[0]
    watch, messages = watched(Hosts(addresses, 0), 1.0)
    with watch.waiting("scoring", patience=1000.0):
        time.sleep(4.0)
    assert messages.empty()
    with watch.waiting("step 8"):
        assert "all other hosts answer" in messages.get(timeout=20.0)


def test_nothing_happens_while_nothing_is_waited_for(accepting):
    _, messages = watched(Hosts(("127.0.0.1:1", accepting), 0), 0.2)
    time.sleep(1.0)
    assert messages.empty()


def test_a_failed_message_names_the_host_that_has_ended():
    [closed] = free_addresses(1)
    watch, _ = watched(Hosts(("127.0.0.1:1", closed), 0), 0.4)
    error = watch.lost("step 3", tf.errors.UnavailableError(None, None, "failed to connect to all addresses"))
    assert isinstance(error, LostHostError)
    assert str(error).startswith(f"step 3 on host 0 (127.0.0.1:1): host 1 ({closed}) has ended")


def test_a_host_that_is_about_to_end_is_named(monkeypatch):
    """Its port is still open when the message fails."""
    answers = iter([{}, {}])
    monkeypatch.setattr(watch_module, "silent_hosts", lambda *arguments: next(answers, {1: "has ended"}))
    watch, _ = watched(Hosts(("127.0.0.1:1", "127.0.0.1:2"), 0), 2.0)
    error = watch.lost("step 3", tf.errors.UnavailableError(None, None, "connection was lost"))
    assert "host 1 (127.0.0.1:2) has ended" in str(error)


def test_the_host_that_a_message_was_for_is_named_if_all_answer(monkeypatch):
    monkeypatch.setattr(watch_module, "silent_hosts", lambda *arguments: {})
    watch, _ = watched(Hosts(("a:1", "b:1", "c:1"), 0), 0.4)
    text = "from /job:hosts3_0_0/replica:0/task:0/device:CPU:0, remote target /job:hosts3_0_0/replica:0/task:2: EOF"
    error = watch.lost("step 3", tf.errors.UnavailableError(None, None, text))
    assert "all other hosts answer: look at the last lines of host 2 (c:1)" in str(error)


def test_a_message_that_failed_although_all_hosts_answer_is_shown():
    addresses = on_team(2, lambda team: team.hosts.addresses)[0]
    watch, _ = watched(Hosts(addresses, 0), 4.0)
    error = watch.lost("step 3", tf.errors.UnavailableError(None, None, "connection was lost"))
    assert "connection was lost" in str(error)
    assert "all other hosts answer" in str(error)


def test_a_port_that_is_in_use_is_rejected(accepting):
    hosts = Hosts((accepting, "127.0.0.1:1"), 0)
    with pytest.raises(HostsError, match=f"host 0 \\({accepting}\\): the port cannot be used"):
        start_server(hosts, ["/device:CPU:0"])


def test_a_host_that_does_not_start_is_named(accepting):
    began = time.monotonic()
    with pytest.raises(LostHostError, match=f"host 1 \\({accepting}\\): no answer within 1 s"):
        wait_for_servers(Hosts(("127.0.0.1:1", accepting), 0), 1.0)
    assert time.monotonic() - began < 20.0


def test_a_host_that_starts_later_is_waited_for():
    addresses = tuple(free_addresses(2))
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            wait_for_servers(Hosts(addresses, 0), 60.0)
        except BaseException as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive()
    start_server(Hosts(addresses, 1), ["/device:CPU:0"])
    waiting.join(60.0)
    assert not waiting.is_alive()
    assert not errors
