"""Shares the images of a prediction out over several hosts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from database.datasets import Dataset
from database.layouts import Sample
from tools.distributed.agreement import agree
from tools.distributed.output import as_one_program
from tools.distributed.team import ALONE, Hosted, Team, start_team
from tools.flags.predict import PredictConfig
from tools.prediction.provenance import Provenance, require_folder
from tools.prediction.score_header import CHECKSUM
from tools.runs.host_subjects import class_subjects, data_subjects, digest, program_subjects
from tools.runs.record import CONFIG_NAME, ModelRecord
from tools.runtime.devices import CPU
from tools.runtime.hosts import Hosts

_OF_ONE_HOST = ("host_rank", "quiet", "max_pixels")
# Entries of a record that are no setting of the prediction, or belong to the classes.
_NOT_COMPARED = ("flags", "origin", "architecture", "class_names", "palette", "label_map", "ignored_colors")


class Selected(NamedTuple):
    """What a host is about to predict.

    Attributes:
        trained: record of the checkpoint.
        dataset, data_dir: of the images.
        samples: those of all hosts.
        provenance: of the results.
    """

    trained: ModelRecord
    dataset: Dataset
    data_dir: str
    samples: Sequence[Sample]
    provenance: Provenance


@contextmanager
def together(config: PredictConfig) -> Iterator[Hosted]:
    """Meets the other hosts of `--hosts`, which agree on program and flags before they read anything.

    Yields:
        This host among them; the only process without `--hosts`.

    Raises:
        HostsError: the hosts differ, or the server of this one cannot be started.
        LostHostError: another host does not start.
    """
    if config.host_count == 1:
        yield ALONE
        return
    assert isinstance(config.hosts, tuple)
    team = start_team(Hosts(config.hosts, config.host_rank or 0), [CPU], config.host_timeout)
    agree(team, program_subjects(config, _OF_ONE_HOST))
    with as_one_program(team):
        yield team


def share_of_host(hosts: Hosted, prefix: str, selected: Selected) -> Sequence[Sample]:
    """Returns every n-th sample of n hosts, after a check that all predict the same samples with the same network.

    Raises:
        HostsError: the hosts differ.
    """
    if isinstance(hosts, Team):
        agree(hosts, subjects_of(prefix, selected))
    return selected.samples[hosts.rank :: hosts.count]


def subjects_of(prefix: str, selected: Selected) -> dict[str, Any]:
    """Returns JSON values about checkpoint and images that have to be equal on all hosts, by the words for messages."""
    trained, dataset, entries = selected.trained, selected.dataset, selected.provenance.entries
    has_record = os.path.exists(os.path.join(os.path.dirname(prefix), CONFIG_NAME))
    recorded = {name: value for name, value in trained.values().items() if name not in _NOT_COMPARED}
    recorded |= dataclasses.asdict(trained.architecture)
    channels = None if trained.channels is None else dataclasses.asdict(trained.channels)
    return {
        "the checkpoint": entries[CHECKSUM][:8],
        f"{CONFIG_NAME} beside the checkpoint": "found" if has_record else "missing",
        **{f"{name} of the checkpoint's record": value for name, value in recorded.items()},
        "channels of the checkpoint's record": digest(channels),
        **class_subjects(dataset),
        **data_subjects("predicted", entries["images"], entries["data_sha256"]),
    }


def check_own_folder(hosts: Hosted, folder: str, provenance: Provenance) -> None:
    """Checks that the folder of each host contains no other results; that of rank 0 was chosen so.

    Raises:
        HostsError: the folder of another host does.
        ResultsFolderError: that of this host does.
    """

    def check() -> None:
        if not hosts.is_chief:
            require_folder(provenance, folder)

    hosts.on_each("checking the folders of results", check)
