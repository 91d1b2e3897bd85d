"""What the hosts of a run tell each other in every step, so that all of them save and stop after the same step."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from model.host_group import HostGroup


class Notice(NamedTuple):
    """What a host tells the others.

    Attributes:
        stop_signal: number of the signal that asks it to stop; 0 for none.
        seconds_since_snapshot: by its clock, whole seconds; that of rank 0 counts.
    """

    stop_signal: int
    seconds_since_snapshot: int

    @property
    def signal_name(self) -> str | None:
        """Returns the name of the signal, such as `SIGTERM`; None for none."""
        return signal.Signals(self.stop_signal).name if self.stop_signal else None


@dataclass(frozen=True)
class Notices:
    """The tensors with which a step exchanges notices.

    Attributes:
        sent: int32 [1, 2], to be fed with the `Notice` of this host.
        received: int32 [hosts, 2], those of all hosts, by rank.
    """

    sent: tf.Tensor
    received: tf.Tensor

    @classmethod
    def of(cls, hosts: HostGroup) -> Notices:
        """Builds the exchange in the default graph."""
        sent = tf.placeholder(tf.int32, [1, len(Notice._fields)], "notice")
        return cls(sent, hosts.gather(sent, "notices"))


def rank_that_stops(notices: Sequence[Notice]) -> int | None:
    """Returns the first rank that is asked to stop; None if there is none."""
    return next((rank for rank, notice in enumerate(notices) if notice.stop_signal), None)
