"""Which start of a scheduler's job this process belongs to.

A scheduler starts a job again only after it has ended the processes of the start before, or has given up their machine.
So a later start of the same job knows that the earlier one is over, also if that was on another machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

# For any scheduler: an id that a job keeps when it is started again, and one of the start, which may be a number.
JOB, START = "PSPNET_JOB", "PSPNET_JOB_START"

_LONGEST_NUMBER = 18


@dataclass(frozen=True)
class JobStart:
    """One start of a job.

    Attributes:
        job: its id, which is the same in all starts.
        start: number or id of the start.
    """

    job: str
    start: str

    @classmethod
    def of_this_process(cls, environment: Mapping[str, str] | None = None) -> JobStart | None:
        """Returns the start by the variables of the process, of Slurm or those above; None outside of a job."""
        variables = os.environ if environment is None else environment
        if variables.get(JOB) and variables.get(START):
            return cls(variables[JOB], variables[START])
        if variables.get("SLURM_JOB_ID"):
            cluster = variables.get("SLURM_CLUSTER_NAME", "")
            job = f"slurm {cluster} {variables['SLURM_JOB_ID']}"
            return cls(job, variables.get("SLURM_RESTART_COUNT") or "0")  # Slurm counts from the second start on
        return None

    def is_later_than(self, other: JobStart) -> bool:
        """Returns whether this start shows that another one is over: numbers are ordered, other ids only differ."""
        if self.job != other.job:
            return False
        numbers = [_number(each.start) for each in (self, other)]
        if numbers[0] is not None and numbers[1] is not None:
            return numbers[0] > numbers[1]
        return self.start != other.start


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER
    return int(text) if is_number else None
