"""Tests the collectives between hosts, and that several hosts compute the step of one process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import choices, training_graph
from model.errors import SharedBatchError
from model.host_group import HostGroup, set_host_group
from model.weight_update import clipped
from tests.differences import relative_difference
from tests.model.hosts import Host, on_hosts
from tests.model.sessions import towers
from tests.model.training_step import ARCHITECTURE, OPTIONS, Step, batch, take_step

LEAKY = replace(ARCHITECTURE, activation="leaky_relu")


def test_gather_has_the_rows_of_all_hosts_in_order():
    def rows(host: Host) -> np.ndarray:
        x = tf.constant([[host.group.rank, 10], [host.group.rank, 11]])
        with host.open_session() as session:
            return session.run(host.group.gather(x, "rows"))

    for found in on_hosts(3, rows):
        np.testing.assert_array_equal(found, [[0, 10], [0, 11], [1, 10], [1, 11], [2, 10], [2, 11]])


def test_total_has_the_gradient_of_the_own_summand():
    def total_and_gradient(host: Host) -> tuple[float, float]:
        set_host_group(host.group)
        x = tf.constant(1.0 + host.group.rank)
        y = tf.square(host.group.total(x, "total"))
        with host.open_session() as session:
            return session.run([y, tf.gradients(y, x)[0]])

    assert on_hosts(3, total_and_gradient) == [[36.0, 12.0]] * 3


def test_all_hosts_clip_by_the_norm_of_the_first():
    """A host with another number of cores may find another last bit."""

    def clip(host: Host) -> list[np.ndarray]:
        set_host_group(host.group)
        x = np.full(4, 2.0, np.float32)
        gradients = [tf.constant(np.nextafter(x, np.float32(9)) if host.group.rank else x)]
        with host.open_session() as session:
            return session.run([*clipped(gradients, 1.0)[0], clipped(gradients, 1.0)[1], gradients[0]])

    (first, norm, x), (other, norm_there, y) = on_hosts(2, clip)
    assert norm == norm_there == 4.0
    np.testing.assert_array_equal(first, x / 4)
    np.testing.assert_array_equal(other, y / 4)


def test_shared_values_have_the_gradients_of_all_hosts():
    def gradients(host: Host) -> list[np.ndarray]:
        set_host_group(host.group)
        xs = [tf.constant([1.0, 2.0]), tf.constant([3.0])]
        first, second = host.group.shared(xs, "shared")
        y = (host.group.rank + 1.0) * (tf.reduce_sum(first) + 10.0 * tf.reduce_sum(second))
        with host.open_session() as session:
            return session.run(tf.gradients(y, xs))

    for first, second in on_hosts(3, gradients):
        np.testing.assert_array_equal(first, [6.0, 6.0])
        np.testing.assert_array_equal(second, [60.0])


def test_the_gradient_from_the_first_host_is_zero_on_the_others():
    def gradient(host: Host) -> tuple[np.ndarray, np.ndarray]:
        set_host_group(host.group)
        x = tf.constant([1.0, 2.0])
        y = host.group.gradient_from_first(x)
        with host.open_session() as session:
            return session.run([y, tf.gradients(3.0 * y, x)[0]])

    for rank, (value, found) in enumerate(on_hosts(2, gradient)):
        np.testing.assert_array_equal(value, [1.0, 2.0])
        np.testing.assert_array_equal(found, [0.0, 0.0] if rank else [3.0, 3.0])


def test_all_hosts_take_part_in_a_gradient_that_only_the_first_uses():
    """Otherwise the first host would wait for the others if nothing else needed the sum."""

    def gradient(host: Host) -> np.ndarray:
        set_host_group(host.group)
        x = tf.constant([1.0, 2.0])
        (y,) = host.group.shared([host.group.gradient_from_first(x)], "shared")
        with host.open_session() as session:
            return session.run(tf.gradients(3.0 * y, x)[0])

    first, second = on_hosts(2, gradient)
    np.testing.assert_array_equal(first, [6.0, 6.0])
    np.testing.assert_array_equal(second, [0.0, 0.0])


@pytest.mark.parametrize("bucket_bytes", [4, 20, 1 << 20])
def test_sums_are_the_same_for_any_size_of_buckets(bucket_bytes):
    """A tensor is cut into pieces, or several travel in one bucket."""
    shapes = [(2, 3), (), (7,), (1, 1, 4)]

    def summed(host: Host) -> tuple[list[np.ndarray], int]:
        xs = [tf.constant(np.full(shape, 1.0 + host.group.rank, np.float32)) for shape in shapes]
        with host.open_session() as session:
            found = session.run(host.group.sums(xs, "sums"))
        return found, sum(op.type == "CollectiveReduceV2" for op in tf.get_default_graph().get_operations())

    for found, messages in on_hosts(2, summed, bucket_bytes):
        for array, shape in zip(found, shapes, strict=True):
            np.testing.assert_array_equal(array, np.full(shape, 3.0))
        assert messages == {4: 18, 20: 5, 1 << 20: 1}[bucket_bytes]


def test_copies_of_the_first_host_are_equal_in_every_bit():
    values = [np.array([-0.0, np.nan, 1e-40, np.inf], np.float32), np.int64(-(2**40) - 3), np.int32(-5)]

    def copied(host: Host) -> list[bytes]:
        given = values if host.group.rank == 0 else [np.ones_like(value) for value in values]
        variables = [tf.get_variable(f"v{i}", initializer=x, use_resource=True) for i, x in enumerate(given)]
        copy = host.group.copy_from_first(variables, "copy")
        with host.open_session() as session:
            session.run(tf.global_variables_initializer())
            session.run(copy)
            return [np.asarray(value).tobytes() for value in session.run(variables)]

    assert on_hosts(2, copied) == [[value.tobytes() for value in values]] * 2


def test_keys_of_one_graph_differ():
    with tf.Graph().as_default():
        group = HostGroup(0, 2)
        operations = [group.gather(tf.zeros([1]), "same").op.inputs[0].op for _ in range(3)]
        keys = [tf.get_static_value(op.inputs[3]) for op in operations]
    assert len({int(key) for key in keys}) == 3


def test_one_process_builds_the_graph_without_hosts(small_resnet):
    """The operations, their names, inputs and attributes are the same."""

    def definition(hosts: HostGroup | None) -> tf.GraphDef:
        images, labels = batch((1, 33, 33), (1, 33, 33))
        with tf.Graph().as_default() as graph:
            xs, ys = towers(images)[0], towers(labels)[0]
            options = replace(OPTIONS, dropout=True, loss_type="ohem+0.5*dice", clip_norm=1.0)
            training_graph.train_graph(xs, ys, ARCHITECTURE, options, hosts=hosts)
            return graph.as_graph_def()

    without = definition(None)
    assert definition(HostGroup(0, 1)) == without
    assert not [node.op for node in without.node if node.op.startswith("Collective")]


@pytest.mark.parametrize(
    ("change", "words"), [({"loss_type": "lovasz"}, "--loss_type lovasz"), ({"sync_bn": False}, "--sync_bn 0")]
)
def test_what_needs_the_whole_batch_is_rejected(small_resnet, change, words):
    images, labels = batch((1, 33, 33), (1, 33, 33))
    with tf.Graph().as_default():
        xs, ys = towers(images)[0], towers(labels)[0]
        with pytest.raises(SharedBatchError, match=words):
            training_graph.train_graph(xs, ys, ARCHITECTURE, replace(OPTIONS, **change), hosts=HostGroup(0, 2))


HARD = replace(OPTIONS, dropout=True, loss_type="ohem", ohem_threshold=0.3, class_weights=(1.0, 0.5, 2.0))
HARDEST, FROZEN = "dropout, hard pixels, class weights", "frozen statistics"
STEPS = {
    "plain": (OPTIONS, ARCHITECTURE),
    HARDEST: (replace(HARD, ohem_min_kept=700), ARCHITECTURE),
    "all pixels hard": (replace(HARD, ohem_min_kept=100_000), ARCHITECTURE),
    "dice, clipped": (replace(OPTIONS, loss_type="normal+0.5*dice", clip_norm=0.5), ARCHITECTURE),
    "recomputed": (replace(OPTIONS, dropout=True, save_memory=choices.RECOMPUTED, checkpoint_units=1), ARCHITECTURE),
    "in place": (replace(OPTIONS, dropout=True, save_memory=choices.IN_PLACE), LEAKY),
    FROZEN: (replace(OPTIONS, dropout=True, bn_frozen=True), ARCHITECTURE),
    "float16": (replace(OPTIONS, float_type="16"), ARCHITECTURE),
    "bfloat16": (replace(OPTIONS, float_type="bf16"), ARCHITECTURE),
}
# One process adds the gradients of its towers in 16 bits; largest differences, of the largest gradient.
HALF = {"float16": 2e-3, "bfloat16": 1.6e-2}


def steps_of(
    count: int, sizes: list[tuple[int, int, int]], name: str, known: bool = True, deterministic: bool = False
) -> tuple[Step, list[Step]]:
    """Takes a step with all towers in one process, and with the same towers on several hosts."""
    options, architecture = STEPS[name]
    options = replace(options, deterministic=deterministic)
    images, labels = batch(*sizes)
    each = len(sizes) // count

    def step(host: Host) -> Step:
        own = slice(host.group.rank * each, (host.group.rank + 1) * each)
        return take_step(images[own], labels[own], options, known, architecture, host)

    return take_step(images, labels, options, known, architecture), on_hosts(count, step)


def check_equal(one: Step, hosts: list[Step], record_property, bound: float = 1e-4) -> None:
    for found in hosts:
        for name in ("loss", "auxiliary_loss", "weight_decay", "total_loss"):
            difference = relative_difference(getattr(found, name), getattr(one, name))
            record_property("losses", difference)
            assert difference < 1e-6, name
        for kind in ("gradients", "averages"):
            expected = getattr(one, kind)
            largest = max(np.abs(array).max() for array in expected.values())
            for name, array in getattr(found, kind).items():
                difference = float(np.abs(array - expected[name]).max() / largest)
                record_property(kind, difference)
                assert difference < bound, name
                assert array.tobytes() == getattr(hosts[0], kind)[name].tobytes()
    labels = np.concatenate([prediction.ravel() for found in hosts for prediction in found.predictions])
    assert np.mean(labels == np.concatenate([prediction.ravel() for prediction in one.predictions])) > 0.999


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [FROZEN, *HALF])
def test_two_hosts_take_the_step_of_one_process(name, small_resnet, record_property):
    """One process rounds some gradients after the sum over its towers, so the bits differ, also if deterministic."""
    one, hosts = steps_of(2, [(2, 33, 33)] * 2, name, deterministic=True)
    check_equal(one, hosts, record_property, HALF.get(name, 1e-4))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *[(name, [(2, 33, 33)] * 2) for name in STEPS if name not in (FROZEN, *HALF)],
        ("plain", [(1, 33, 33), (2, 41, 33)]),
    ],
)
def test_two_hosts_of_one_tower_compute_the_bits_of_one_process(name, sizes, small_resnet):
    """With --deterministic 1, also with uneven sizes, which are not known when the graph is built."""
    one, hosts = steps_of(2, sizes, name, known=sizes[0] == sizes[1], deterministic=True)
    for found in hosts:
        assert (found.loss, found.auxiliary_loss) == (one.loss, one.auxiliary_loss)
        for kind in ("gradients", "averages"):
            expected, arrays = getattr(one, kind), getattr(found, kind)
            assert [key for key in arrays if arrays[key].tobytes() != expected[key].tobytes()] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_hosts_of_two_towers_take_the_step_of_one_process(small_resnet, record_property):
    one, hosts = steps_of(3, [(1, 33, 33)] * 6, HARDEST)
    check_equal(one, hosts, record_property)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [HARDEST, "all pixels hard", "recomputed"])
def test_hosts_with_uneven_sizes_take_the_step_of_one_process(name, small_resnet, record_property):
    """As with --dynamic_size: the sizes are not known when the graph is built, and differ between towers and hosts."""
    one, hosts = steps_of(2, [(1, 33, 33), (1, 41, 33), (1, 33, 49), (2, 33, 33)], name, known=False)
    check_equal(one, hosts, record_property)
