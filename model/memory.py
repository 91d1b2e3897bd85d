"""Implements gradient checkpointing over tower lists.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".

The network is divided into segments, and only the inputs of each segment are kept. The backward pass goes from the last
segment to the first and recomputes each one before it differentiates it. A segment covers all towers, so that batch
normalization has the same moments in both passes.

The backward pass calls `tf.gradients` once per segment. `tf.custom_gradient` would be simpler for the caller, but it
sends the activations of all towers through one operation, and therefore through the device of the first tower.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import utils_mg as layers
from model.utils_mg import TowerList

SegmentFunction = Callable[[TowerList], TowerList]


@dataclass(frozen=True)
class _Segment:
    """A part of the network, with what is needed to build it again.

    Attributes:
        function: maps inputs to outputs.
        inputs: tower list of the first pass.
        outputs: tower list of the first pass.
        variable_scope: scope in which the first pass created its variables.
        arguments: slim's argument scope of the first pass.
    """

    function: SegmentFunction
    inputs: TowerList
    outputs: TowerList
    variable_scope: tf.VariableScope
    arguments: dict

    def build_again(self, d_outputs: TowerList) -> tuple[TowerList, TowerList]:
        """Builds a second pass that starts only when the gradients of the outputs have been computed.

        Without this control dependency it would run right after the first pass and save no memory.

        Returns:
            `(inputs, outputs)` of the second pass, both tower lists.
        """
        with (
            self._scopes(),
            tf.name_scope("recomputed"),
            tf.control_dependencies(d_outputs),
        ):
            inputs = layers.map_towers(tf.identity, self.inputs)
            return inputs, self.function(inputs)

    @contextlib.contextmanager
    def _scopes(self) -> Iterator[None]:
        """Enters the scopes of the first pass, reusing its variables and without updating running averages again."""
        with (
            tf.variable_scope(self.variable_scope, reuse=True),
            slim.arg_scope(self.arguments),
            slim.arg_scope([layers.batch_norm], update_averages=False),
        ):
            yield


class _GradientSums:
    """Collects the gradients that reach a tensor or variable along several paths."""

    def __init__(self) -> None:
        self._parts: dict[object, list[tf.Tensor]] = {}

    def add(self, gradients: Iterable[tuple[tf.Tensor | tf.Variable, tf.Tensor | None]]) -> None:
        for target, gradient in gradients:
            if gradient is not None:
                self._parts.setdefault(target.ref(), []).append(gradient)

    def of(self, target: tf.Tensor | tf.Variable) -> tf.Tensor | None:
        """Returns the sum of the gradients, on the device of the target; None if there is no gradient."""
        parts = self._parts.get(target.ref())
        if parts is None:
            return None
        with tf.device(target.device):
            return tf.add_n(parts) if len(parts) > 1 else parts[0]


class Recomputation:
    """Records the segments of one network and computes gradients by recomputing their activations."""

    def __init__(self, units_per_segment: int = 2) -> None:
        """Creates an object without segments.

        Args:
            units_per_segment: residual units in a segment of the encoder. Larger segments keep fewer inputs but need
                more memory while a segment is differentiated.
        """
        self.units_per_segment = units_per_segment
        self._segments: list[_Segment] = []

    def run(self, function: SegmentFunction, xs: TowerList) -> TowerList:
        """Builds a segment and records it for `gradients`.

        Args:
            function: maps a tower list to a tower list. It must create only resource variables, below the current
                variable scope, and must not draw random numbers. `gradients` calls it again, with variables reused
                and in the same argument scope of slim, except for `update_averages`.
            xs: input of the segment, a tower list.

        Returns:
            Output of the segment, a tower list.
        """
        with slim.arg_scope([layers.batch_norm]) as arguments:
            outputs = function(xs)
        self._segments.append(_Segment(function, list(xs), outputs, tf.get_variable_scope(), arguments))
        return outputs

    def gradients(self, loss: tf.Tensor, variables: Sequence[tf.Variable]) -> list[tf.Tensor | None]:
        """Computes d loss / d variable, recomputing the activations of the segments.

        Without segments the result is that of `tf.gradients`. Call it in the device scope of the first pass.

        Args:
            loss: float32 scalar.
            variables: variables to differentiate by.

        Returns:
            One tensor per variable; None if the loss does not depend on it.
        """
        sums = _GradientSums()
        boundaries = [y for segment in self._segments for y in segment.outputs]
        targets = [*variables, *boundaries]
        sums.add(zip(targets, _gradients([loss], targets, stop=boundaries), strict=True))
        for segment in reversed(self._segments):
            gradients = [sums.of(y) for y in segment.outputs]
            if all(gradient is None for gradient in gradients):
                continue
            d_outputs = [
                tf.zeros_like(y) if dy is None else dy for y, dy in zip(segment.outputs, gradients, strict=True)
            ]
            d_inputs, d_variables = _segment_gradients(segment, d_outputs, variables)
            sums.add(d_variables)
            if {x.ref() for x in segment.inputs}.issubset(y.ref() for y in boundaries):
                sums.add(zip(segment.inputs, d_inputs, strict=True))
            else:
                sums.add(zip(targets, _gradients(segment.inputs, targets, d_inputs, boundaries), strict=True))
        return [sums.of(variable) for variable in variables]


def _segment_gradients(
    segment: _Segment, d_outputs: TowerList, variables: Sequence[tf.Variable]
) -> tuple[list[tf.Tensor | None], list[tuple[tf.Variable, tf.Tensor]]]:
    """Recomputes a segment and returns the gradients of its inputs and of the variables that it reads."""
    inputs, outputs = segment.build_again(d_outputs)
    # The second pass must read the variables before the optimizer updates them.
    with tf.control_dependencies(outputs):
        d_outputs = layers.map_towers(tf.identity, d_outputs)
    # Differentiate by the values that this segment reads: given the variables themselves, tf.gradients would search the
    # whole network for every segment.
    reads = _reads(outputs, inputs, variables)
    gradients = _gradients(outputs, [*inputs, *(value for _, value in reads)], d_outputs, stop=inputs)
    d_reads = gradients[len(inputs) :]
    return gradients[: len(inputs)], [(variable, dy) for (variable, _), dy in zip(reads, d_reads, strict=True)]


def _reads(
    outputs: TowerList, inputs: TowerList, variables: Sequence[tf.Variable]
) -> list[tuple[tf.Variable, tf.Tensor]]:
    """Finds the variables that are read between inputs and outputs; returns pairs of variable and value read."""
    by_operation = {variable.op: variable for variable in variables}
    seen = {x.op for x in inputs}
    waiting = [y.op for y in outputs]
    reads = []
    while waiting:
        operation = waiting.pop()
        if operation in seen:
            continue
        seen.add(operation)
        sources = [x.op for x in operation.inputs]
        if operation.type == "ReadVariableOp" and sources[0] in by_operation:
            reads.append((by_operation[sources[0]], operation.outputs[0]))
        waiting += sources
    return reads


def _gradients(
    ys: Sequence[tf.Tensor],
    targets: Sequence[tf.Tensor | tf.Variable],
    d_ys: Sequence[tf.Tensor | None] | None = None,
    stop: Sequence[tf.Tensor] = (),
) -> list[tf.Tensor | None]:
    return tf.gradients(ys, targets, grad_ys=d_ys, stop_gradients=list(stop), colocate_gradients_with_ops=True)
