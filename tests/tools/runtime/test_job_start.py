"""Starts of a scheduler's job."""

from __future__ import annotations

import pytest

from tools.runtime.job_start import JOB, START, JobStart


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7"}, JobStart("slurm  7", "0")),
        ({"SLURM_JOB_ID": "7", "SLURM_CLUSTER_NAME": "a", "SLURM_RESTART_COUNT": "2"}, JobStart("slurm a 7", "2")),
        ({JOB: "b", START: "c", "SLURM_JOB_ID": "7"}, JobStart("b", "c")),
        ({JOB: "b"}, None),
        ({JOB: "", START: "c"}, None),
    ],
)
def test_variables_of_the_process(environment, expected):
    assert JobStart.of_this_process(environment) == expected


@pytest.mark.parametrize(
    ("later", "earlier", "is_later"),
    [
        (("a", "10"), ("a", "9"), True),
        (("a", "9"), ("a", "10"), False),
        (("a", "9"), ("a", "9"), False),
        (("b", "10"), ("a", "9"), False),
        (("a", "uid-2"), ("a", "uid-1"), True),
        (("a", "uid-1"), ("a", "uid-1"), False),
        (("a", "9" * 4000), ("a", "9"), True),  # too long for a number
    ],
)
def test_later_starts(later, earlier, is_later):
    assert JobStart(*later).is_later_than(JobStart(*earlier)) is is_later
