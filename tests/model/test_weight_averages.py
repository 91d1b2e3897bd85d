"""Compares averages of weights with float64 arithmetic and with TensorFlow's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model.weight_averages import SUFFIX, WeightAverages
from tests.model.sessions import open_session


def _courses(decay: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of a variable after each step, and those of its average."""
    moves = np.random.default_rng(0).normal(size=(steps, 3)).astype(np.float32)
    with tf.Graph().as_default():
        with tf.device("/device:CPU:2"):
            variable = tf.get_variable("x", initializer=tf.constant([5.0, -5.0, 1e4]), use_resource=True)
        finished = tf.get_variable("step", initializer=tf.constant(0, tf.int64), use_resource=True)
        averages = WeightAverages([variable], decay)
        [average] = [v for v in tf.global_variables() if v.op.name == "x" + SUFFIX]
        assert average.device.endswith("CPU:2")
        assert average not in tf.trainable_variables()
        assert average not in tf.model_variables()
        change = tf.placeholder(tf.float32, [3])
        with tf.control_dependencies([variable.assign_add(change, read_value=False)]):
            last = averages.update(finished.read_value())
        with tf.control_dependencies(last):
            step = finished.assign_add(1, read_value=False)
        values = []
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            for move in moves:
                session.run(step, {change: move})
                values.append(session.run([variable, average]))
    return np.array([value for value, _ in values]), np.array([value for _, value in values])


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_average_equals_float64(decay):
    values, averages = _courses(decay, 30)
    expected = np.zeros(3)
    for step, value in enumerate(values.astype(np.float64)):
        kept = min(decay, step / (9 + step))
        expected = kept * expected + (1 - kept) * value
        np.testing.assert_allclose(averages[step], expected, rtol=1e-6)


def test_first_average_is_the_weights():
    values, averages = _courses(0.999, 1)
    np.testing.assert_array_equal(values, averages)


def test_average_is_that_of_tensorflow_from_the_second_step_on():
    values, averages = _courses(0.9, 20)
    with tf.Graph().as_default(), open_session() as session:
        variable = tf.get_variable("x", initializer=tf.constant(values[0]), use_resource=True)
        number = tf.placeholder(tf.float32, [])
        theirs = tf.train.ExponentialMovingAverage(0.9, num_updates=number)
        update = theirs.apply([variable])
        session.run(tf.global_variables_initializer())
        for step, value in enumerate(values[1:]):
            variable.load(value, session)
            session.run(update, {number: step})
            np.testing.assert_allclose(session.run(theirs.average(variable)), averages[step + 1], rtol=1e-6)
