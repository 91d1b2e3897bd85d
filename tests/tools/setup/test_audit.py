"""What is made of pip-audit's answer, or of none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tools.errors import AuditError
from tools.setup.audit import known_faults, main

# As pip-audit 2.10 writes it.
ANSWER = {
    "dependencies": [
        {"name": "numpy", "version": "2.4.6", "vulns": []},
        {"name": "pillow", "version": "1.0", "vulns": [
            {"id": "PYSEC-2021-1", "fix_versions": ["8.1.1", "9.0"], "aliases": [], "description": "many words"},
            {"id": "PYSEC-2021-2", "fix_versions": [], "aliases": [], "description": "many words"},
        ]},
    ],
    "fixes": [],
}  # fmt: skip


@pytest.fixture
def answers(monkeypatch):
    """A function that sets what pip-audit prints and returns; it gives the commands that are run."""
    commands = []

    def answer(stdout: str, stderr: str, return_code: int) -> list[list[str]]:
        def run(command, **options):
            commands.append(command)
            return subprocess.CompletedProcess(command, return_code, stdout, stderr)

        monkeypatch.setattr(subprocess, "run", run)
        return commands

    return answer


def test_faults_are_listed(answers, capsys):
    commands = answers(json.dumps(ANSWER), "Found 2 known vulnerabilities in 1 package", 1)
    assert main(["lock/dev.txt"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "lock/dev.txt: 2 known vulnerabilities",
        "    pillow 1.0: PYSEC-2021-1, fixed in 8.1.1, 9.0",
        "    pillow 1.0: PYSEC-2021-2, fixed in none",
    ]
    [command] = commands
    assert command[:5] == [sys.executable, "-m", "pip_audit", "--requirement", "lock/dev.txt"]
    assert {"--require-hashes", "--disable-pip"} < set(command)


def test_no_fault(answers, capsys):
    answers(json.dumps({"dependencies": ANSWER["dependencies"][:1]}), "No known vulnerabilities found", 0)
    assert main(["a.txt", "b.txt"]) == 0
    assert capsys.readouterr().out == "a.txt: no known vulnerability\nb.txt: no known vulnerability\n"


@pytest.mark.parametrize(
    ("stdout", "stderr", "reason"),
    [
        (
            "",
            "Traceback:\n  a\nConnectionError: no route to the database\n\n",
            "ConnectionError: no route to the database",
        ),
        ("", "/venv/bin/python: No module named pip_audit\n", "/venv/bin/python: No module named pip_audit"),
        ("[]", "", "exit code 1"),
        ("{", "", "exit code 1"),
    ],
)
def test_a_database_that_is_not_reached_fails_in_one_line(answers, capsys, stdout, stderr, reason):
    answers(stdout, stderr, 1)
    with pytest.raises(AuditError):
        known_faults("lock/dev.txt")
    assert main(["lock/dev.txt", "lock/other.txt"]) == 2
    assert capsys.readouterr().err == f"error: lock/dev.txt: the audit failed, pip-audit reports: {reason}\n"


def test_packages_that_the_database_does_not_have_are_no_clean_result(answers, capsys):
    skipped = {"name": "pillow", "skip_reason": "Dependency not found on PyPI"}
    answers(json.dumps({"dependencies": [ANSWER["dependencies"][0], skipped]}), "No known vulnerabilities found", 0)
    assert main(["lock/dev.txt"]) == 2
    words = "1 of 2 packages were not audited, pip-audit reports: Dependency not found on PyPI"
    assert capsys.readouterr().err == f"error: lock/dev.txt: {words}\n"
