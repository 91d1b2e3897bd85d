"""The notebooks in examples/, as a user runs them from the first cell to the last; jobs for several machines."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.scripts.document_blocks import all_blocks
from tests.scripts.starting import ROOT
from tests.tools.distributed.teams import on_team
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.runtime.job_start import JobStart

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SMALL = "STEPS, TRAIN, VAL, CROP = 2, 4, 2, 32"


def cells_of(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code_of(path: Path, parameters: str | None = None) -> str:
    """The code of all cells; `parameters` replaces the cell with that tag."""
    parts = []
    for cell in cells_of(path):
        if cell["cell_type"] == "code":
            tagged = "parameters" in cell["metadata"].get("tags", [])
            parts.append(parameters if tagged and parameters is not None else "".join(cell["source"]))
    return "\n\n".join(parts)


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["toy.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_plain(path):
    """They compile without IPython, have one cell of parameters, and hold no error and no path of a machine."""
    compile(code_of(path), path.name, "exec")
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells_of(path)) == 1
    assert not re.search(r'"(/(home|root|tmp|work|usr)/|output_type": "error)', path.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_the_first_cell_to_the_last(path, tmp_path):
    """With few steps on small crops. Pictures are drawn, but not shown."""
    pytest.importorskip("matplotlib")
    script = tmp_path / "notebook.py"
    script.write_text(code_of(path, SMALL), encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mIoU" in done.stdout
    assert len(list((tmp_path / "results").rglob("*.png"))) == 3


SCRIPTS = sorted((ROOT / "examples").rglob("*.sh"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_understood(path):
    shell = "bash" if "bash" in path.read_text(encoding="utf-8").splitlines()[0] else "sh"
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# In the place of srun: a process for each code, which gets the command after the options; the highest code is left.
_SRUN = """
while [[ $1 == --* ]]; do shift; done
highest=0
for code in $CODES; do
    CODE=$code "$@"
    left=$?
    [ $left -le $highest ] || highest=$left
done
exit $highest
"""
_STUBS = {"srun": _SRUN, "scontrol": "", "python": "exit $CODE"}


def run_slurm_script(folder: Path, codes: tuple[int, ...], restarts: int) -> tuple[int, list[list[str]]]:
    """The exit code of examples/slurm.sh, whose processes leave with `codes`, and the calls of srun and scontrol."""
    (folder / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (folder / ".venv" / "bin" / "activate").touch()
    for name, commands in _STUBS.items():
        stub = folder / name
        stub.write_text(f'#!/bin/bash\n[ {name} = python ] || echo "{name} $*" >> calls\n{commands}\n')
        stub.chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": str(restarts),
        "SLURM_CPUS_PER_TASK": "16",
        "CODES": " ".join(map(str, codes)),
    }
    script = str(ROOT / "examples" / "slurm.sh")
    done = subprocess.run(["bash", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    calls = (folder / "calls").read_text().splitlines()
    (folder / "calls").unlink()
    return done.returncode, [call.split() for call in calls]


def test_slurm_script(tmp_path):
    """It requeues the job after 75 and after a kill, and not after an error of one process; its flags exist."""
    for codes, restarts, expected in (
        ((0, 0), 0, 0), ((2, 2), 0, 2), ((75, 2), 0, 2), ((2, 137), 0, 2), ((1, 75), 3, 1),
        ((75, 75), 0, None), ((137, 75), 3, None), ((75, 75), 20, 75), ((127, 127), 0, 2), ((126, 75), 0, 2),
    ):  # fmt: skip
        left, [srun, *others] = run_slurm_script(tmp_path, codes, restarts)
        assert others == ([["scontrol", "requeue", "7"]] if expected is None else [])
        assert left == (expected or 0)
    assert {"--cpus-per-task=16", "--wait=300", "--kill-on-bad-exit=0", "--distribution=block"} <= set(srun)
    place = srun.index("train.py")
    assert srun[place - 1] == "python"
    config = parse_flags(TrainConfig, srun[place + 1 :], "test")
    assert (config.hosts, config.auto_resume) == ("slurm", True)


def test_slurm_script_outside_of_the_folder_of_the_package(tmp_path):
    """It ends with the code of an error, and requeues nothing."""
    script = str(ROOT / "examples" / "slurm.sh")
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "16"}
    done = subprocess.run(["bash", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert ".venv/bin/activate" in done.stderr
    assert "scontrol" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_slurm_script_waits_for_the_snapshot_of_a_process(number, tmp_path):
    """Slurm sends a signal to all that a task has started, also to the shell around the process."""
    text = (ROOT / "examples" / "slurm.sh").read_text(encoding="utf-8")
    [task] = re.findall(r"^task='(.*)'$", text, re.MULTILINE)
    process = "trap 'sleep 0.3; exit 75' USR1 TERM; echo started; while :; do sleep 0.05; done"
    command = ["bash", "-c", task, "task", "bash", "-c", process]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "started\n"
        os.killpg(shell.pid, number)
        assert shell.wait(20) == 75


def loop_of_hosts() -> str:
    """The loop of docs/hosts.md that starts a host again."""
    texts = [block.text for block in all_blocks() if block.document == "docs/hosts.md"]
    [loop] = [text for text in texts if "until python" in text]
    return loop


def start_loop(folder: Path, python: str) -> subprocess.Popen:
    """Starts the loop in a session of its own, as a terminal does; `python` is a script in the place of Python."""
    stub = folder / "python"
    stub.write_text(f"#!/bin/bash\necho started >> {folder / 'calls'}\n{python}\n")
    stub.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.Popen(
        ["bash", "-c", loop_of_hosts()], env=environment, start_new_session=True, preexec_fn=_heed_interrupts
    )


def _heed_interrupts() -> None:
    """Undoes what `&` in a script does: processes in the background ignore Ctrl-C, and a shell cannot trap it then."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def calls_in(folder: Path) -> int:
    path = folder / "calls"
    return path.read_text().count("started") if path.exists() else 0


@pytest.mark.parametrize(("codes", "left"), [((75, 137, 0), 0), ((75, 2, 0), 2), ((1, 0), 1), ((0, 75), 0)])
def test_a_host_is_started_again_unless_it_has_ended_or_has_an_error(codes, left, tmp_path):
    numbers = " ".join(map(str, codes))
    python = f"codes=({numbers}); exit ${{codes[$(wc -l < {tmp_path / 'calls'}) - 1]}}"
    assert start_loop(tmp_path, python).wait(20) == left
    assert calls_in(tmp_path) == codes.index(left) + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_loop_that_starts_a_host_again(number, tmp_path):
    """The process writes its snapshot and ends with 75, after which the loop would start another."""
    loop = start_loop(tmp_path, "trap 'sleep 0.2; exit 75' INT TERM; while :; do sleep 0.1; done")
    try:
        until = time.monotonic() + 20
        while calls_in(tmp_path) == 0 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)  # the trap is set
        os.killpg(loop.pid, number)
        assert loop.wait(20) in (75, -number)  # the shell around the loop has no trap
        time.sleep(0.5)
        assert calls_in(tmp_path) == 1
    finally:
        with suppress(ProcessLookupError):
            os.killpg(loop.pid, signal.SIGKILL)


def test_slurm_script_warns_processes_before_the_end():
    text = (ROOT / "examples" / "slurm.sh").read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert options["signal"] == "USR1@120"  # to the processes, not to the shell
    assert (options["nodes"], options["ntasks-per-node"], options["requeue"]) == ("2", "1", "")


def kubernetes_parts() -> dict[str, dict]:
    text = (ROOT / "examples" / "kubernetes-job.yaml").read_text(encoding="utf-8")
    return {part["kind"]: part for part in yaml.safe_load_all(text)}


def test_kubernetes_replaces_a_pod_that_does_not_answer(tmp_path):
    """A port that is closed, and one that the kernel answers for a program that does not."""
    [container] = kubernetes_parts()["Job"]["spec"]["template"]["spec"]["containers"]
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["exec"] == liveness["exec"]
    assert liveness["failureThreshold"] * liveness["periodSeconds"] < startup["failureThreshold"] * 30
    [python, *arguments, program] = liveness["exec"]["command"]
    assert (python, arguments) == ("python", ["-c"])
    assert "127.0.0.1:2222" in program
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        faults = ("does not answer", "has ended")
        for fault in faults:
            words = program.replace("127.0.0.1:2222", address).replace(", 5)", ", 1)")
            done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert fault in done.stderr
            server.close()
    words = program.replace("127.0.0.1:2222", on_team(1, lambda team: team.hosts.address)[0])
    assert subprocess.run([sys.executable, "-c", words], cwd=ROOT, check=False).returncode == 0


def test_kubernetes_pods_tell_job_and_start(monkeypatch):
    """So that a pod that replaces another takes over its lock."""
    [container] = kubernetes_parts()["Job"]["spec"]["template"]["spec"]["containers"]
    values = {"metadata.uid": "pod"} | dict.fromkeys(
        ["metadata.labels['batch.kubernetes.io/controller-uid']",
         "metadata.annotations['batch.kubernetes.io/job-completion-index']"], "x"
    )  # fmt: skip
    environment: dict[str, str] = {}
    for entry in container["env"]:  # a value may name variables before it
        value = entry.get("value") or values[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        environment[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], value)
    assert JobStart.of_this_process(environment) == JobStart("x/x", "pod")


def test_kubernetes_job():
    """Its parts fit together, and its flags exist."""
    parts = kubernetes_parts()
    job, service, policy = (parts[kind] for kind in ("Job", "Service", "NetworkPolicy"))
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["command"] == ["python", "train.py"]
    arguments = [argument.replace("$(JOB_COMPLETION_INDEX)", "1") for argument in container["args"]]
    assert arguments != container["args"]
    config = parse_flags(TrainConfig, arguments, "test")
    count = job["spec"]["completions"]
    assert (job["spec"]["completionMode"], job["spec"]["parallelism"]) == ("Indexed", count)
    assert config.hosts == tuple(f"{name}-{index}.{pod['subdomain']}:2222" for index in range(count))
    assert (config.host_rank, config.auto_resume) == (1, True)
    assert config.gpu_num == container["resources"]["limits"]["nvidia.com/gpu"]
    assert container["ports"] == [{"containerPort": 2222}]
    assert (service["metadata"]["name"], service["spec"]["clusterIP"]) == (pod["subdomain"], "None")
    own = {"job-name": name}
    assert service["spec"]["selector"] == own == policy["spec"]["podSelector"]["matchLabels"]
    assert policy["spec"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": own}}], "ports": [{"port": 2222}]}]
    [error, _] = job["spec"]["podFailurePolicy"]["rules"]
    assert error == {
        "action": "FailJob",
        "onExitCodes": {"containerName": container["name"], "operator": "In", "values": [1, 2]},
    }
    assert pod["restartPolicy"] == "Never"  # what a podFailurePolicy needs
