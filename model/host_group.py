"""The processes that train one network together, and the collectives of TensorFlow between them.

Each process, called a host, builds the same graph over its own towers and holds a copy of the variables. A graph that
is one of several has a `HostGroup` in a collection, where the layers, the losses and their gradients find it; other
graphs have none, and are built without any of the operations below.

TensorFlow matches the collectives of the hosts by a key, which here is a checksum of the operation's name. All hosts
must therefore build these operations with the same names, and may build other operations beside them. A host must run
all collectives of a step, and the shapes of a collective must be the same on all hosts and in all steps.

The ring algorithm (Patarasuk & Yuan 2009, "Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations") gives
all hosts results that are equal in every bit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

_GROUP, _KEYS = "host_group", "host_group_keys"
_GATHER_GRADIENT, _SHARED_GRADIENT, _FIRST_GRADIENT = "PSPNetHostGather", "PSPNetHostShared", "PSPNetFirstHost"

# Messages are in the memory of the processor, also if the towers are on GPUs: TensorFlow sends them through gRPC.
_CPU = "/device:CPU:0"
_LARGEST_KEY = (1 << 31) - 1


@dataclass(frozen=True)
class HostGroup:
    """This host among those that train together.

    Attributes:
        rank: of this host, from 0 to count - 1.
        count: number of hosts, at least 1.
        timeout_seconds: after which a collective fails if another host does not take part; 0 for never.
        bucket_bytes: size of the pieces in which `sums` sends large tensors.
        group_key: tells groups of the same processes apart.
    """

    rank: int
    count: int
    timeout_seconds: float = 0.0
    bucket_bytes: int = 4 << 20
    group_key: int = 1

    def gather(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Concatenates a tensor of each host along the first axis, in the order of the ranks.

        The gradient that reaches `x` is that of the own rows: the share of the host in a loss that all hosts compute.

        Args:
            x: float32, int32 or int64 [n, ...], of the same static shape on all hosts.
            name: of the operation, which is made unique in the graph.

        Returns:
            [count * n, ...].
        """
        rows, *sizes = x.shape.as_list()
        with (
            tf.name_scope(name) as scope,
            tf.device(_CPU),
            tf.get_default_graph().gradient_override_map({"CollectiveGatherV2": _GATHER_GRADIENT}),
        ):
            gathered = tf.raw_ops.CollectiveGatherV2(input=x, **self._arguments(scope))
        return tf.ensure_shape(gathered, [self.count * rows, *sizes])

    def total(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Sums a small tensor over the hosts; the gradient that reaches `x` is that of the own summand."""
        return tf.reduce_sum(self.gather(x[tf.newaxis], name), 0)

    def sum_before(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Sums an integer scalar over the hosts of lower rank."""
        return tf.reduce_sum(self.gather(x[tf.newaxis], name)[: self.rank])

    def shared(self, xs: Sequence[tf.Tensor], name: str) -> list[tf.Tensor]:
        """Returns tensors whose gradients are summed over the hosts.

        Args:
            xs: float32 [C] each, with equal values on all hosts.
            name: see `gather`.
        """
        with tf.name_scope(name), tf.get_default_graph().gradient_override_map({"IdentityN": _SHARED_GRADIENT}):
            return list(tf.identity_n(list(xs)))

    def gradient_from_first(self, x: tf.Tensor) -> tf.Tensor:
        """Returns `x`, whose gradient is that of this host on the host of rank 0, and zero on the others.

        For a tensor whose gradient is already that of all hosts on each of them, and will be summed over the hosts.
        """
        with tf.get_default_graph().gradient_override_map({"Identity": _FIRST_GRADIENT}):
            return tf.identity(x)

    def sums(self, xs: Sequence[tf.Tensor], name: str) -> list[tf.Tensor]:
        """Sums tensors over the hosts, without a gradient.

        They travel in buckets of up to `bucket_bytes`. A bucket is sent as soon as its own tensors are computed, so
        the tensors should be in the order in which they are computed.

        Args:
            xs: of one type, float32 or int32, of any static shapes, on any devices.
            name: of the operations.
        """
        pieces = [piece for index, x in enumerate(xs) for piece in _pieces(index, x, self.bucket_bytes)]
        summed: list[list[tf.Tensor]] = [[] for _ in xs]
        for number, bucket in enumerate(_buckets(pieces, self.bucket_bytes)):
            with tf.device(bucket[0].values.device):
                whole = tf.concat([piece.values for piece in bucket], 0) if bucket[1:] else bucket[0].values
            total = self._sum(whole, f"{name}_{number}")
            with tf.device(bucket[0].values.device):
                parts = tf.split(total, [piece.size for piece in bucket]) if bucket[1:] else [total]
            for piece, part in zip(bucket, parts, strict=True):
                summed[piece.source].append(part)
        return [_joined(parts, x) for parts, x in zip(summed, xs, strict=True)]

    def copy_from_first(self, variables: Sequence[tf.Variable], name: str) -> tf.Operation:
        """Builds the operation that gives variables the values of the host of rank 0, in every bit.

        Args:
            variables: initialized on all hosts; float32, int32 or int64.
            name: of the operations.
        """
        bits = []
        for variable in variables:
            with tf.device(variable.device):
                value = _as_int32(variable.read_value())
                bits.append(value if self.rank == 0 else tf.zeros_like(value))
        assignments = []
        for variable, total in zip(variables, self.sums(bits, name), strict=True):
            with tf.device(variable.device):
                value = tf.bitcast(total, variable.dtype.base_dtype)
                assignments.append(variable.assign(value, read_value=False))
        return tf.group(*assignments)

    def _sum(self, x: tf.Tensor, name: str) -> tf.Tensor:
        with tf.name_scope(name) as scope, tf.device(_CPU):
            return tf.raw_ops.CollectiveReduceV2(input=x, merge_op="Add", final_op="Id", **self._arguments(scope))

    def _arguments(self, scope: str) -> dict[str, Any]:
        return {
            "group_size": self.count,
            "group_key": self.group_key,
            "instance_key": _unused_key(scope),
            "ordering_token": [],
            "communication_hint": "ring",
            "timeout_seconds": self.timeout_seconds,
        }


def set_host_group(group: HostGroup | None) -> None:
    """Makes the default graph that of one host among several; a group of one host, or None, changes nothing.

    Call it before the graph is built.
    """
    if group is not None and group.count > 1:
        tf.add_to_collection(_GROUP, group)


def host_group(graph: tf.Graph | None = None) -> HostGroup | None:
    """Returns the group of a graph, by default the default graph; None if it is of one process."""
    groups = (graph or tf.get_default_graph()).get_collection(_GROUP)
    return groups[0] if groups else None


def total_over_hosts(x: tf.Tensor, name: str) -> tf.Tensor:
    """Sums a small tensor over the hosts of the default graph, see `HostGroup.total`; without a group, returns it."""
    group = host_group()
    return x if group is None else group.total(x, name)


@tf.RegisterGradient(_GATHER_GRADIENT)
def _gather_gradient(op: tf.Operation, dy: tf.Tensor) -> list[tf.Tensor | None]:
    group = host_group(op.graph)
    assert group is not None
    rows = op.inputs[0].shape.as_list()[0]
    own = dy[group.rank * rows : (group.rank + 1) * rows]
    return [own, *[None] * (len(op.inputs) - 1)]


@tf.RegisterGradient(_SHARED_GRADIENT)
def _shared_gradient(op: tf.Operation, *d_ys: tf.Tensor) -> list[tf.Tensor]:
    group = host_group(op.graph)
    assert group is not None
    # `tf.gradients` colocates this with the forward operation, which may be on a GPU.
    with op.graph.colocate_with(None, ignore_existing=True):
        summed = group.total(tf.concat(d_ys, 0), "shared")
        return tf.split(summed, [x.shape.as_list()[0] for x in op.inputs])


@tf.RegisterGradient(_FIRST_GRADIENT)
def _first_gradient(op: tf.Operation, dy: tf.Tensor) -> tf.Tensor:
    group = host_group(op.graph)
    assert group is not None
    if group.rank == 0:
        return dy
    with tf.control_dependencies([dy]):  # this host takes part in the collectives behind `dy` all the same
        return tf.zeros_like(dy)


class _Piece(NamedTuple):
    """A part of a tensor that travels in one bucket.

    Attributes:
        source: index of the tensor in the list.
        values: [size], on the device of the tensor.
        size: number of values.
    """

    source: int
    values: tf.Tensor
    size: int

    @property
    def bytes(self) -> int:
        return self.size * self.values.dtype.size


def _pieces(source: int, x: tf.Tensor, limit: int) -> Iterator[_Piece]:
    """Cuts a tensor into pieces of up to `limit` bytes."""
    size, largest = x.shape.num_elements(), max(1, limit // x.dtype.size)
    sizes = [min(largest, size - start) for start in range(0, size, largest)]
    with tf.device(x.device):
        flat = tf.reshape(x, [-1])
        parts = tf.split(flat, sizes) if sizes[1:] else [flat]
    for part, each in zip(parts, sizes, strict=True):
        yield _Piece(source, part, each)


def _buckets(pieces: Sequence[_Piece], limit: int) -> list[list[_Piece]]:
    """Groups neighbouring pieces to up to `limit` bytes."""
    buckets: list[list[_Piece]] = []
    room = 0
    for piece in pieces:
        if piece.bytes > room:
            buckets.append([])
            room = limit
        buckets[-1].append(piece)
        room -= piece.bytes
    return buckets


def _joined(parts: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Puts the pieces of a tensor together, in its shape and on its device."""
    with tf.device(x.device):
        return tf.reshape(tf.concat(parts, 0) if parts[1:] else parts[0], x.shape)


def _as_int32(x: tf.Tensor) -> tf.Tensor:
    """Returns the bits of a tensor of 32 or 64 bits as int32; 64 bits get another axis of 2."""
    return tf.identity(x) if x.dtype == tf.int32 else tf.bitcast(x, tf.int32)


def _unused_key(scope: str) -> int:
    """Returns a key for a collective, a checksum of its name; the next free one if the graph uses it already."""
    used = tf.get_collection_ref(_KEYS)
    key = zlib.crc32(scope.encode()) & _LARGEST_KEY
    while key in used:
        key = (key + 1) & _LARGEST_KEY
    used.append(key)
    return key
