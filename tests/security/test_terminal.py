"""What comes from files, archives and servers reaches the terminal as printable characters only."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.tools.download.archive_files import tar_member, write_tar
from tests.tools.download.raw_server import answering
from tests.tools.results.written_runs import run_at, scores_of, write
from tests.tools.toy_runs import toy_record, write_checkpoint
from tools import console
from tools.checkpoints.values import open_reader
from tools.console import run_script
from tools.download import __main__ as download
from tools.download import fetch as fetching
from tools.download import sources
from tools.download.sources import find_source
from tools.flags.train import TrainConfig
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.tables import text_table
from tools.runs.lock import LOCK_NAME, run_lock
from tools.runs.record import ModelRecord
from tools.runtime.progress import Bar

# A colour, a window title, a C1 control character, a reversed direction and a line of its own.
HOSTILE = "\x1b[31m\x1b]0;x\x07\x9b2J\u202eend\nerror: forged"
# In file names and text that must be one line or valid UTF-8.
BYTES = HOSTILE.replace("\n", "") + "\udcff"
ESCAPED = "\\x1b[31m\\x1b]0;x\\x07\\x9b2J\\u202eend"


def check(text: str) -> str:
    """Holds that text has printable characters and line ends only, shows the escapes, and forges no line."""
    left = {character for character in text if unicodedata.category(character)[0] == "C"} - {"\n"}
    assert not left
    assert ESCAPED in text, text
    assert not [line for line in text.splitlines() if line.startswith("error: forged")]
    return text


@pytest.fixture
def shown(capsys, monkeypatch) -> Callable[..., str]:
    """Runs a program as the command line does; returns what it wrote to standard output and standard error."""
    monkeypatch.setattr(console, "guard_standard_streams", lambda: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def run(main: Callable, *arguments: str) -> str:
        with monkeypatch.context() as patch:  # within the test: pytest sets its own standard error before each
            patch.setattr(logging.root, "handlers", [])
            patch.setattr(logging.root, "level", logging.INFO)
            console.set_up_logging()
            run_script(main, list(arguments))
        return "".join(capsys.readouterr())

    return run


def test_names_of_files(tmp_path):
    """With the script itself: the log, the error and the report on standard output."""
    for folder in ("images", "annotations"):
        (tmp_path / folder / "training").mkdir(parents=True)
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / folder / "training" / f"{BYTES}.png")
    (tmp_path / "images" / "training" / f"{BYTES}.png").write_bytes(b"damaged")
    command = [sys.executable, "-m", "tools.check_dataset", "--database", "ADE", "--data_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=False)
    assert done.returncode != 0
    check(done.stderr + done.stdout)


def test_lock_files(tmp_path, shown):
    holder = {"pid": 1, "host": HOSTILE, "started": HOSTILE, "command": ""}
    (tmp_path / LOCK_NAME).write_text(json.dumps(holder))

    def main(arguments):
        with run_lock(str(tmp_path)):
            pass

    assert check(shown(main)).startswith("error: ")


def test_keys_of_configurations(tmp_path, shown):
    toy_record(TrainConfig(batch_size=2, database="Toy")).write(str(tmp_path))
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, HOSTILE: 1}))
    assert check(shown(lambda arguments: ModelRecord.read(str(tmp_path)))).startswith("error: ")


@pytest.mark.parametrize("form", ["text", "markdown", "csv"])
def test_tables_of_results(tmp_path, form):
    run = run_at(tmp_path / "log", f"a{BYTES}", 0, None, network=HOSTILE)
    run_at(tmp_path / "log", "b", 1, None, **{HOSTILE: 2})
    write(run / "scores-10.json", scores_of(10, 0.5))
    command = [sys.executable, "-m", "tools.results", "--log_dir", str(tmp_path / "log"), "--format", form]
    done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=False)
    assert done.returncode == 0, done.stderr
    if form == "csv":  # where line ends belong to quoted cells
        assert "\x1b" not in done.stdout
    else:
        check(done.stdout)


def test_names_of_classes(shown):
    matrix = ConfusionMatrix(2)
    matrix.process(np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int64))
    check(shown(lambda arguments: console.print_text(text_table(matrix.evaluate(), [HOSTILE, "b"]))))


def test_names_of_tensors(tmp_path, shown):
    name = HOSTILE.replace("\n", "")
    prefix = write_checkpoint(str(tmp_path / "model.ckpt-1"), {name: np.float32([1, np.nan])})

    def main(arguments):
        with open_reader(prefix, "give another") as reader:
            reader.array(name)

    assert check(shown(main)).startswith("error: ")


def test_members_of_archives(tmp_path, shown, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_tar("data_semantics.zip.tar", {}, tar_member(f"../{HOSTILE}", b"0"))
    source = replace(find_source("KITTI"), archive_name=path, place="place")
    monkeypatch.setitem(sources._SOURCES, "KITTI", source)
    assert "leads outside" in check(shown(download.main, "KITTI"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 %b\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://a/%b\r\n\r\n",
        b"%b\r\n\r\n",
    ],
)
def test_answers_of_servers(tmp_path, shown, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: None)
    text = HOSTILE.replace("\n", "").encode("utf-8")
    with answering(answer.replace(b"%b", text)) as address:
        monkeypatch.setitem(sources._SOURCES, "KITTI", replace(find_source("KITTI"), url=address, place="place"))
        said = shown(download.main, "KITTI")
    assert "\\x1b[31m" in said
    assert not {character for character in said if unicodedata.category(character)[0] == "C"} - {"\n"}


def test_tracebacks():
    code = "from tools.console import set_up_logging as s; s(); raise RuntimeError('a\\x1b[31m')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "RuntimeError: a\\x1b[31m"


def test_tracebacks_of_threads():
    code = (
        "import threading; from tools.console import set_up_logging as s; s()\n"
        "def fail(): raise RuntimeError('a\\x1b[31m')\n"
        "threading.Thread(target=fail).start()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "RuntimeError: a\\x1b[31m"


def test_progress_bars(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = Bar(BYTES, 3, unit="B")
    bar.update(1, note=BYTES)
    bar.update(2)
    bar.close()
    assert stream.getvalue().count(ESCAPED) >= 2
    assert not set(BYTES) & set(stream.getvalue()) & set("\x07\x9b\u202e\udcff")
