"""Adds up what several hosts have counted."""

from __future__ import annotations

import numpy as np

from tools.distributed.team import Hosted
from tools.prediction.metrics import ConfusionMatrix, MeanLoss


def add_over_hosts(matrix: ConfusionMatrix, hosts: Hosted, what: str) -> None:
    """Replaces the counts of a matrix by their sums over the hosts.

    Args:
        matrix: of this host.
        hosts: this host among those that count.
        what: is counted, for the message about a missing host.
    """
    counts = [np.frombuffer(message, np.int64) for message in hosts.gather(what, matrix.counts().tobytes())]
    matrix.set_counts(np.sum(counts, axis=0))


def add_loss_over_hosts(loss: MeanLoss, hosts: Hosted, what: str) -> None:
    """Replaces what a loss has processed by what the hosts have; for the arguments see `add_over_hosts`."""
    loss.set_parts([np.frombuffer(message, np.float64) for message in hosts.gather(what, loss.parts().tobytes())])
