"""Which filters pruning keeps."""

from __future__ import annotations

import numpy as np

from model.channel_groups import Layer
from model.pruning import chosen_filters, filters_to_keep, largest_filters, without_filters

# Two layers that add to the channels `sum`, a layer that reads it beside another, and a classifier.
NETWORK = [
    Layer("conv1", ("images",), "conv1"),
    Layer("a", ("conv1",), "sum"),
    Layer("b", ("conv1",), "sum"),
    Layer("head", ("sum", "conv1"), "head"),
    Layer("logits", ("head",), None),
]
WIDTHS = {"conv1": 4, "a": 6, "b": 6, "head": 5, "logits": 3}


def values():
    rng = np.random.default_rng(0)
    channels = {"conv1": 3, "a": 4, "b": 4, "head": 10, "logits": 5}
    arrays = {}
    for scope, filters in WIDTHS.items():
        arrays[f"{scope}/weights"] = rng.normal(size=(1, 1, channels[scope], filters))
        vector = "biases" if scope == "logits" else "BatchNorm/beta"
        arrays[f"{scope}/{vector}"] = rng.normal(size=filters)
    return arrays


def test_largest_norms():
    kernel = np.zeros((3, 3, 2, 4), np.float32)
    kernel[0, 0, 0] = [1, -5, 2, 2]
    kernel[1, 2, 1] = [1, 0, 0, 0]
    assert largest_filters(kernel, 2).tolist() == [0, 1]  # of norms 2, 5, 2 and 2
    assert largest_filters(kernel, 4).tolist() == [0, 1, 2, 3]


def test_numbers():
    assert filters_to_keep(NETWORK, WIDTHS, 0.5, "all") == {"conv1": 2, "sum": 3, "head": 2}
    assert filters_to_keep(NETWORK, WIDTHS, 0.5, "inner") == {"head": 2}
    assert filters_to_keep(NETWORK, WIDTHS, 0.01, "all") == {"conv1": 1, "sum": 1, "head": 1}
    assert filters_to_keep(NETWORK, {**WIDTHS, "head": 100}, 0.29, "all")["head"] == 29
    assert filters_to_keep(NETWORK, WIDTHS, 0.5, "all", ("b", "conv")) == {"conv1": 2, "head": 2}
    assert filters_to_keep(NETWORK, WIDTHS, 0.5, "all", ("/b/",)) == {"conv1": 2, "head": 2}


def test_first_layer_of_a_sum_chooses():
    arrays = values()
    chosen = chosen_filters(NETWORK, arrays, {"sum": 3, "head": 9})
    assert chosen["sum"].tolist() == largest_filters(arrays["a/weights"], 3).tolist()
    assert chosen["conv1"].tolist() == [0, 1, 2, 3]
    assert chosen["head"].tolist() == [0, 1, 2, 3, 4]


def test_removed():
    arrays = values()
    chosen = {"conv1": np.array([0, 3]), "sum": np.array([1, 2, 5]), "head": np.array([4])}
    pruned = without_filters(NETWORK, arrays, chosen)
    assert {name: array.shape for name, array in pruned.items()} == {
        "conv1/weights": (1, 1, 3, 2), "conv1/BatchNorm/beta": (2,), "a/weights": (1, 1, 2, 3),
        "a/BatchNorm/beta": (3,), "b/weights": (1, 1, 2, 3), "b/BatchNorm/beta": (3,),
        "head/weights": (1, 1, 5, 1), "head/BatchNorm/beta": (1,), "logits/weights": (1, 1, 1, 3),
        "logits/biases": (3,),
    }  # fmt: skip
    np.testing.assert_array_equal(
        pruned["head/weights"][0, 0, :, 0], arrays["head/weights"][0, 0, [1, 2, 5, 6 + 0, 6 + 3], 4]
    )
    np.testing.assert_array_equal(pruned["b/BatchNorm/beta"], arrays["b/BatchNorm/beta"][[1, 2, 5]])
