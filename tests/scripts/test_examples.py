"""The notebooks in examples/, as a user runs them from the first cell to the last; jobs for several machines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.scripts.document_blocks import all_blocks
from tests.scripts.starting import ROOT
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig

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


def run_slurm_script(folder: Path, code: int, restarts: int) -> tuple[int, list[list[str]]]:
    """The exit code of examples/slurm.sh, and the calls of srun, which ends with `code`, and scontrol."""
    (folder / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (folder / ".venv" / "bin" / "activate").touch()
    for name in ("srun", "scontrol"):
        stub = folder / name
        stub.write_text(f'#!/bin/bash\necho "{name} $*" >> calls\nexit {code if name == "srun" else 0}\n')
        stub.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
    script = str(ROOT / "examples" / "slurm.sh")
    done = subprocess.run(["bash", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    calls = (folder / "calls").read_text().splitlines()
    (folder / "calls").unlink()
    return done.returncode, [call.split() for call in calls]


def test_slurm_script(tmp_path):
    """It requeues the job after 75 and after a kill, and not after an error; its flags exist."""
    for code, restarts, is_requeued in ((0, 0, False), (2, 0, False), (75, 0, True), (137, 3, True), (75, 20, False)):
        left, [srun, *others] = run_slurm_script(tmp_path, code, restarts)
        assert others == ([["scontrol", "requeue", "7"]] if is_requeued else [])
        assert left == (0 if is_requeued else code)
    place = srun.index("train.py")
    assert srun[place - 1] == "python"
    config = parse_flags(TrainConfig, srun[place + 1 :], "test")
    assert (config.hosts, config.auto_resume) == ("slurm", True)


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
    return subprocess.Popen(["bash", "-c", loop_of_hosts()], env=environment, start_new_session=True)


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


def test_kubernetes_job():
    """Its parts fit together, and its flags exist."""
    text = (ROOT / "examples" / "kubernetes-job.yaml").read_text(encoding="utf-8")
    parts = {part["kind"]: part for part in yaml.safe_load_all(text)}
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
