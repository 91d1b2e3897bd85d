"""Tests that gradient checkpointing gives the numbers of an ordinary run and keeps fewer activations."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import training_graph
from model.memory import Recomputation
from model.training_options import TrainingOptions
from tests.differences import relative_difference
from tests.model.operations import needed_for
from tests.model.reference_network import NETWORK
from tests.model.sessions import open_session, run, towers
from tests.model.training_step import (
    ARCHITECTURE,
    OPTIONS,
    SMALL,
    Step,
    batch,
    initialize,
    require_same_step,
    take_step,
)

ONE_TOWER = [(3, 17, 17)]
UNEVEN_TOWERS = [(2, 17, 17), (1, 17, 25)]
SAVING = replace(OPTIONS, save_memory=True, checkpoint_units=1)

UNIT = re.compile(rf"{NETWORK}/(block\d)/unit_(\d)/basic_v1/")


pytestmark = pytest.mark.usefixtures("small_resnet")


@pytest.fixture(scope="module")
def ordinary(small_resnet) -> Step:
    """Runs a step that keeps all activations, with towers of different sizes."""
    return take_step(*batch(*UNEVEN_TOWERS))


@pytest.mark.parametrize("units", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_step_is_the_ordinary_one(ordinary, units):
    actual = take_step(*batch(*UNEVEN_TOWERS), replace(SAVING, checkpoint_units=units))
    require_same_step(actual, ordinary)
    assert any(not np.array_equal(average, ordinary.values[name]) for name, average in actual.averages.items())
    # Every convolution of a unit runs twice on its tower; no gradient runs twice.
    layers_in_units = 2 * sum(SMALL.units) + len(SMALL.units)
    for kind, indices in ordinary.devices.items():
        more = layers_in_units if kind == "Conv2D" else 0
        for index in range(len(UNEVEN_TOWERS)):
            assert actual.devices[kind].count(index) == indices.count(index) + more


@pytest.mark.slow
def test_frozen_batch_norm():
    arrays = batch(*UNEVEN_TOWERS)
    expected, actual = (take_step(*arrays, replace(options, bn_frozen=True)) for options in (OPTIONS, SAVING))
    require_same_step(actual, expected)
    frozen = f"{NETWORK}/block1/unit_1/basic_v1/conv1/BatchNorm/moving_mean"
    assert np.array_equal(actual.averages[frozen], actual.values[frozen])


@pytest.mark.slow
@pytest.mark.usefixtures("half_precision")
def test_bfloat16():
    arrays = batch(*ONE_TOWER)
    expected, actual = (take_step(*arrays, replace(options, float_type="bf16")) for options in (OPTIONS, SAVING))
    np.testing.assert_allclose(actual.loss, expected.loss, rtol=1e-5)
    for name, gradient in expected.gradients.items():
        assert np.corrcoef(actual.gradients[name].ravel(), gradient.ravel())[0, 1] > 0.999, name


def _build(options, shapes=UNEVEN_TOWERS):
    """Builds the training step in the default graph; returns it and its feed."""
    images, labels = batch(*shapes)
    (xs, feed), (ys, more) = towers(images), towers(labels)
    return training_graph.train_graph(xs, ys, ARCHITECTURE, options), feed | more


@dataclass(frozen=True)
class Course:
    """Three steps of one tower: the losses, and the graph, which the tests do not change."""

    graph: tf.Graph
    training: training_graph.TrainGraph
    losses: list[float]


def _course(options: TrainingOptions) -> Course:
    with tf.Graph().as_default() as default:
        graph, feed = _build(options, ONE_TOWER)
        with open_session() as session:
            initialize(session)
            feed[graph.learning_rate] = 0.001
            losses = [session.run([graph.loss, graph.train_op], feed)[0] for _ in range(3)]
    return Course(default, graph, losses)


@pytest.fixture(scope="module")
def courses(small_resnet) -> tuple[Course, Course]:
    """Runs three steps without and with gradient checkpointing."""
    return _course(OPTIONS), _course(SAVING)


@pytest.mark.slow
def test_weights_move_alike_for_three_steps_with_graph_rewriting(courses):
    ordinary, saving = (course.losses for course in courses)
    np.testing.assert_allclose(saving, ordinary, rtol=1e-4)
    assert min(np.abs(np.diff(ordinary))) > 1e-3


@pytest.mark.slow
def test_running_averages_have_one_update_each(courses):
    counts = []
    for course in courses:
        with course.graph.as_default():
            averages = [v for v in tf.model_variables() if "/moving_" in v.op.name]
            counts.append((len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)), len(averages)))
    assert counts[0] == counts[1]
    assert counts[0][0] == counts[0][1]


def _segment(op: tf.Operation, units: int) -> str | None:
    """Returns the segment of an operation of the first pass."""
    match = UNIT.match(op.name)
    return f"{match[1]}/{(int(match[2]) - 1) // units}" if match else None


def _kept_inside_segments(options) -> set[str]:
    """Finds first-pass activations that only their segment uses in the first pass, and other operations later."""
    with tf.Graph().as_default():
        graph, _ = _build(options)
        first_pass, step = needed_for(graph.total_loss.op), needed_for(graph.train_op)
        kept = set()
        for op in first_pass:
            segment = _segment(op, options.checkpoint_units)
            consumers = [consumer for y in op.outputs if y.shape.ndims == 4
                         for consumer in y.consumers() if consumer in step]  # fmt: skip
            is_inside = {segment} == {_segment(op, options.checkpoint_units) for op in consumers if op in first_pass}
            if segment is not None and is_inside and not first_pass.issuperset(consumers):
                kept.add(op.name)
    return kept


@pytest.mark.slow
def test_activations_inside_a_segment_are_not_kept():
    assert _kept_inside_segments(replace(SAVING, checkpoint_units=2)) == set()
    assert len(_kept_inside_segments(replace(OPTIONS, checkpoint_units=2))) > 2 * 2 * sum(SMALL.units)


@pytest.mark.slow
def test_the_second_pass_waits_for_the_gradients(courses):
    saving = courses[1]
    first_pass = needed_for(saving.training.total_loss.op)
    operations = saving.graph.get_operations()
    copies = [op for op in operations if re.search(r"recomputed(_\d+)?/Identity(_\d+)?$", op.name)]
    assert len(copies) == sum(SMALL.units)
    for op in copies:
        assert op.inputs[0].op in first_pass
        assert op.control_inputs
        assert first_pass.isdisjoint(op.control_inputs)


def _variable(name: str, value: float) -> tf.Variable:
    return tf.get_variable(name, initializer=np.float32(value), use_resource=True)


def _times(name: str, value: float):
    """Returns a segment that multiplies every tower by a variable."""

    def segment(xs):
        factor = _variable(name, value)
        return [factor * x for x in xs]

    return segment


def test_gradients_are_those_of_algebra():
    """Uses z = (a x)^2 through two segments and b z outside them, for two towers."""
    x, a, b = np.array([2.0, -3.0]), 1.5, 0.5
    with tf.Graph().as_default():
        recomputation = Recomputation()
        towers_of_x = [tf.constant(value, tf.float32) for value in x]
        scaled = recomputation.run(_times("a", a), towers_of_x)
        squared = recomputation.run(lambda xs: [tf.square(x) for x in xs], [tf.identity(y) for y in scaled])
        outside, unused = _variable("b", b), _variable("unused", 1.0)
        loss = tf.add_n(squared) * outside + tf.square(outside) + scaled[1]
        inside = next(v for v in tf.global_variables() if v.op.name == "a")
        *gradients, nothing = recomputation.gradients(loss, [inside, outside, unused])
        assert nothing is None
        actual = run(gradients)
    expected = (2 * a * b * (x**2).sum() + x[1], (a * x) ** 2 @ np.ones(2) + 2 * b)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_segments_that_the_loss_needs_in_part_or_not_at_all():
    with tf.Graph().as_default():
        recomputation = Recomputation()
        xs = [tf.constant(2.0), tf.constant(3.0)]
        ys = recomputation.run(_times("a", 5.0), xs)
        recomputation.run(_times("b", 7.0), ys)
        of_a, of_b = recomputation.gradients(tf.square(ys[1]), tf.trainable_variables())
        assert of_b is None
        assert run(of_a) == 2 * 5 * 3**2


def test_without_segments_it_is_plain_differentiation():
    with tf.Graph().as_default():
        a, b = _variable("a", 3.0), _variable("b", 2.0)
        of_a, of_b, nothing = Recomputation().gradients(tf.square(a * b), [a, b, _variable("unused", 1.0)])
        assert nothing is None
        assert run([of_a, of_b]) == [2 * 3 * 2**2, 2 * 2 * 3**2]


def test_no_variable_changes_before_the_second_pass_has_read_it():
    """Uses a segment whose gradient does not depend on its output: d(w x)/dw = x."""
    with tf.Graph().as_default() as default:
        recomputation = Recomputation()
        [y] = recomputation.run(_times("w", 3.0), [tf.constant(2.0)])
        [weight] = tf.trainable_variables()
        [gradient] = recomputation.gradients(tf.square(y), [weight])
        reads = [op for op in default.get_operations() if op.type == "ReadVariableOp" and "recomputed" in op.name]
        assert reads
        assert needed_for(gradient.op).issuperset(reads)
        assert relative_difference(run(gradient), 2 * 3 * 2 * 2) < 1e-6
