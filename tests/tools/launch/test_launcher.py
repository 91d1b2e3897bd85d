"""Processes that are started, watched, ended and started again; the children are small scripts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.scripts.starting import ROOT
from tools.launch.flags import LaunchConfig
from tools.launch.launcher import Launcher

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="waits for processes as in Linux")

# What every child begins with. It counts its starts in the file `starts-<rank>`.
BEGIN = """
import os, signal, sys, time
rank = int(sys.argv[sys.argv.index("--host_rank") + 1]) if "--host_rank" in sys.argv else 0
with open(f"starts-{rank}", "a") as file:
    file.write(f"{os.getpid()}\\n")
start = len(open(f"starts-{rank}").readlines())
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def script(body: str) -> str:
    Path("child.py").write_text(BEGIN + textwrap.dedent(body))
    return "child.py"


def launch(body: str, **flags: object) -> int:
    """The exit code of a script in two processes, in this process."""
    return Launcher(LaunchConfig(**{"grace": 20.0, **flags}), [script(body)]).run()


def starts(rank: int) -> list[int]:
    """The numbers of the processes that had the rank."""
    path = Path(f"starts-{rank}")
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def test_output_and_flags(capsys):
    body = """
    print("out", *sys.argv[1:]); print("err", file=sys.stderr); sys.stdout.write("no end")
    """
    assert launch(body, logs="logs") == 0
    shown = capsys.readouterr()
    lines = sorted(shown.out.splitlines())
    address = r"127\.0\.0\.1:\d+"
    assert re.fullmatch(rf"\[0\] out --hosts {address},{address} --host_rank 0", lines[1])
    assert lines[1].replace("[0]", "[1]").replace("rank 0", "rank 1") == lines[3]
    assert (lines[0], lines[2]) == ("[0] no end", "[1] no end")
    assert sorted(line for line in shown.err.splitlines() if line.startswith("[")) == ["[0] err", "[1] err"]
    for rank in range(2):
        header, *kept = Path(f"logs/rank-{rank}.log").read_text().splitlines()
        assert re.match(rf"--- start 1: .*child\.py --hosts .* --host_rank {rank}$", header)
        assert sorted(kept) == sorted([f"out {lines[1].partition('out ')[2][:-1]}{rank}", "err", "no end"])


def test_one_process_is_a_run_of_one_host(capsys):
    assert launch("print(sys.argv[1:])", processes=1) == 0
    assert capsys.readouterr().out == "[0] []\n"


def test_cores(capsys):
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        pytest.skip("needs two cores")
    assert launch("print(os.sched_getaffinity(0))", cores_per_process=1) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == [f"[0] {{{usable[0]}}}", f"[1] {{{usable[1]}}}"]
    assert sorted(os.sched_getaffinity(0)) == usable


@pytest.mark.parametrize("code", [1, 2])
def test_a_fault_ends_all_with_its_code(code, caplog):
    body = f"""
    if rank == 1:
        wait_for("starts-0")
        sys.exit({code})
    time.sleep(60)
    """
    assert launch(body, restarts=3) == code
    assert len(starts(0)) == len(starts(1)) == 1
    assert f"rank 1 ended with exit code {code}: the run has ended" in caplog.text


@pytest.mark.parametrize(
    "end", ["os._exit(75)", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(143)"], ids=["75", "SIGKILL", "143"]
)
def test_all_start_again_after_one_was_killed_or_left(end, caplog, capsys):
    """On new ports; the other leaves by itself."""
    body = f"""
    print(sys.argv[2])
    if start == 1:
        if rank == 1:
            {end}
        time.sleep(0.3)
        sys.exit(75)
    """
    assert launch(body, restarts=1) == 0
    assert len(starts(0)) == len(starts(1)) == 2
    assert "all start again in 1 s (restart 1 of 1)" in caplog.text
    addresses = set(re.findall(r"127\S+", capsys.readouterr().out))
    assert len(addresses) == 2


@pytest.mark.slow
def test_restarts_are_limited_and_wait_longer_each_time(caplog):
    began = time.monotonic()
    assert launch("sys.exit(75)", restarts=2) == 75
    assert time.monotonic() - began > 3
    assert len(starts(0)) == 3
    assert re.findall(r"again in (\d+) s", caplog.text) == ["1", "2"]
    assert "after 2 restarts: the run has ended" in caplog.text


def test_a_process_that_was_killed_without_restarts():
    assert launch("os.kill(os.getpid(), signal.SIGKILL) if rank else sys.exit(75)") in (137, 75)


def test_a_user_error_is_not_hidden_by_a_process_that_left_before_it(caplog):
    body = """
    if rank == 1:
        wait_for("left")
        time.sleep(0.5)
        sys.exit(2)
    open("left", "w").close()
    sys.exit(75)
    """
    assert launch(body, restarts=3) == 2
    assert len(starts(0)) == 1


def test_the_others_get_sigterm_and_then_sigkill(caplog):
    body = """
    if rank == 1:
        wait_for("ready-0")
        wait_for("ready-2")
        sys.exit(1)
    def stop(number, frame):
        open(f"told-{rank}", "w").close()
        if rank == 0:
            sys.exit(75)
    signal.signal(signal.SIGTERM, stop)
    open(f"ready-{rank}", "w").close()
    while True:
        time.sleep(0.05)
    """
    assert launch(body, processes=3, grace=2.0) == 1
    assert os.path.exists("told-0")
    assert os.path.exists("told-2")
    assert not any(is_running(number) for rank in range(3) for number in starts(rank))


def test_a_stopped_process_is_killed():
    """It does not react to SIGTERM either."""
    body = """
    if rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    wait_for("starts-1")
    sys.exit(75)
    """
    assert launch(body, grace=0.3) == 75
    assert not is_running(starts(1)[0])


def test_what_a_process_leaves_running_is_killed():
    body = """
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(f"left-{rank}", "w").write(str(child.pid))
    """
    assert launch(body) == 0
    for rank in range(2):
        number = int(Path(f"left-{rank}").read_text())
        wait_until(lambda number=number: not is_running(number))


def signals_when_ready(*signals_and_waits: int | float) -> threading.Thread:
    """Sends signals to this process once both children are ready, with waits in between."""

    def send() -> None:
        wait_until(lambda: all(os.path.exists(f"ready-{rank}") for rank in range(2)))
        for item in signals_and_waits:
            if isinstance(item, signal.Signals):
                os.kill(os.getpid(), item)
            else:
                time.sleep(item)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


WAITS = """
received = []
def stop(number, frame):
    received.append(signal.Signals(number).name)
    open(f"received-{rank}", "a").write(signal.Signals(number).name + " ")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
    signal.signal(number, stop)
open(f"ready-{rank}", "w").close()
"""
STOPS = WAITS + "while not received:\n    time.sleep(0.01)\ntime.sleep(0.3)\nsys.exit(75)\n"


@pytest.fixture
def hangups_end_the_process():
    """Also where the tests were started with nohup, under which the launcher and its processes ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_end_the_process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_is_passed_on_once_and_nothing_starts_again(number):
    before = signal.getsignal(number)
    thread = signals_when_ready(number, number) if number == signal.SIGTERM else signals_when_ready(number)
    assert launch(STOPS, restarts=3) == 75
    thread.join()
    assert signal.getsignal(number) is before
    for rank in range(2):
        assert len(starts(rank)) == 1
        assert Path(f"received-{rank}").read_text() == f"{number.name} "


def test_the_second_signal_kills():
    thread = signals_when_ready(signal.SIGINT, 2.0, signal.SIGINT)  # on a busy machine, they may come late
    assert launch(WAITS + "while True:\n    time.sleep(0.01)\n") == 137
    thread.join()
    for rank in range(2):
        assert Path(f"received-{rank}").read_text() == "SIGINT "


def test_a_warning_and_then_the_end():
    """As Slurm sends them: SIGUSR1, and SIGTERM some time later, which is passed on too."""
    thread = signals_when_ready(signal.SIGUSR1, 0.1, signal.SIGTERM)
    body = WAITS + "while len(received) < 2:\n    time.sleep(0.01)\nsys.exit(75)\n"
    assert launch(body) == 75
    thread.join()
    assert Path("received-0").read_text() == "SIGUSR1 SIGTERM "


def test_a_signal_between_two_starts():
    def send() -> None:
        wait_until(lambda: len(starts(0)) == 1 and not is_running(starts(0)[0]))
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    assert launch("sys.exit(75)", restarts=5) == 75
    thread.join()
    assert len(starts(0)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_launcher(number):
    """Also after SIGKILL, and while the children ignore what is passed on."""
    body = """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    open(f"ready-{rank}", "w").close()
    time.sleep(60)
    """
    command = [sys.executable, "-m", "tools.launch", "--", os.path.abspath(script(body))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    launcher = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: all(os.path.exists(f"ready-{rank}") for rank in range(2)))
        launcher.send_signal(number)
        if number != signal.SIGKILL:
            time.sleep(2.0)
            launcher.send_signal(number)
        launcher.wait(timeout=20)
    finally:
        launcher.kill()
    for rank in range(2):
        wait_until(lambda rank=rank: not is_running(starts(rank)[0]))


def test_a_command_as_a_user_types_it():
    """Exit code, one error line, and the output of the children on the right streams."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    path = script("print('hello'); sys.exit(2 if rank else 0)")
    command = [sys.executable, "-m", "tools.launch", "--processes", "2", "--", path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert sorted(done.stdout.splitlines()) == ["[0] hello", "[1] hello"]
    assert done.stderr.splitlines()[-1] == "rank 1 ended with exit code 2: the run has ended"
    assert "Traceback" not in done.stderr
