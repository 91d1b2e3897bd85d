"""Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost") over tower lists.

Of a segment of the network only the inputs are kept. The backward pass goes through the segments from the last to
the first, and computes each a second time before it differentiates it. All towers pass a segment together, so that
batch normalization sees the same moments both times.

The backward pass is written out here, one `tf.gradients` per segment. `tf.custom_gradient` would hide it from the
caller, but sends the activations of all towers through a single operation, and so through the device of the first.
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
    """A part of the network, and how to build it once more.

    Attributes:
        function: from inputs to outputs.
        inputs: tower list.
        outputs: tower list.
        variable_scope: in which the variables were created.
        arguments: slim's argument scope of the first pass.
    """

    function: SegmentFunction
    inputs: TowerList
    outputs: TowerList
    variable_scope: tf.VariableScope
    arguments: dict

    def build_again(self, d_outputs: TowerList) -> tuple[TowerList, TowerList]:
        """Inputs and outputs of a second pass, which begins when the gradients of the outputs are there.

        Without that order it would run right after the first pass, and nothing would be saved.
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
        """The scopes of the first pass, except that variables exist and running averages have moved."""
        with (
            tf.variable_scope(self.variable_scope, reuse=True),
            slim.arg_scope(self.arguments),
            slim.arg_scope([layers.batch_norm], update_averages=False),
        ):
            yield


class _GradientSums:
    """Gradients that reach a tensor or variable along several ways."""

    def __init__(self) -> None:
        self._parts: dict[object, list[tf.Tensor]] = {}

    def add(self, gradients: Iterable[tuple[tf.Tensor | tf.Variable, tf.Tensor | None]]) -> None:
        for target, gradient in gradients:
            if gradient is not None:
                self._parts.setdefault(target.ref(), []).append(gradient)

    def of(self, target: tf.Tensor | tf.Variable) -> tf.Tensor | None:
        """The sum, on the device of the target; None if it was not reached."""
        parts = self._parts.get(target.ref())
        if parts is None:
            return None
        with tf.device(target.device):
            return tf.add_n(parts) if len(parts) > 1 else parts[0]


class Recomputation:
    """The segments of one network whose activations are computed twice instead of kept."""

    def __init__(self, units_per_segment: int = 2) -> None:
        """Starts without segments.

        Args:
            units_per_segment: how many residual units the encoder makes one segment; more keep fewer inputs, and
                hold more activations while a segment is differentiated.
        """
        self.units_per_segment = units_per_segment
        self._segments: list[_Segment] = []

    def run(self, function: SegmentFunction, xs: TowerList) -> TowerList:
        """Runs a segment, and keeps in mind how.

        Args:
            function: maps a tower list to a tower list; creates its variables, all of them resource variables,
                below the current variable scope, and draws no random numbers of its own. It is called a second
                time by `gradients`, with variables reused and the same arguments of slim's argument scope, but
                for `update_averages`.
            xs: its input.

        Returns:
            Its output.
        """
        with slim.arg_scope([layers.batch_norm]) as arguments:
            outputs = function(xs)
        self._segments.append(_Segment(function, list(xs), outputs, tf.get_variable_scope(), arguments))
        return outputs

    def gradients(self, loss: tf.Tensor, variables: Sequence[tf.Variable]) -> list[tf.Tensor | None]:
        """d loss / d variable, through the segments by recomputation and through all else as `tf.gradients` does.

        Without segments, it is `tf.gradients`. The device scope should be that of the first pass.

        Args:
            loss: scalar.
            variables: to differentiate by.

        Returns:
            One tensor per variable, None where the loss does not depend on it.
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
    """Gradients of a segment's inputs, and of what it reads of the variables, from a second pass."""
    inputs, outputs = segment.build_again(d_outputs)
    # No gradient is applied to a variable before the second pass has read it.
    with tf.control_dependencies(outputs):
        d_outputs = layers.map_towers(tf.identity, d_outputs)
    # By the values read here: from a variable itself, tf.gradients would search the whole network every time.
    reads = _reads(outputs, inputs, variables)
    gradients = _gradients(outputs, [*inputs, *(value for _, value in reads)], d_outputs, stop=inputs)
    d_reads = gradients[len(inputs) :]
    return gradients[: len(inputs)], [(variable, dy) for (variable, _), dy in zip(reads, d_reads, strict=True)]


def _reads(
    outputs: TowerList, inputs: TowerList, variables: Sequence[tf.Variable]
) -> list[tuple[tf.Variable, tf.Tensor]]:
    """The variables that are read on the way from inputs to outputs, each beside the value read."""
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
