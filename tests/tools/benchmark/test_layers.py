"""The table of layers: its sums are those of an independent count."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.choices import NETWORKS
from model.pspnet_mg import forward_graph
from tools.benchmark import __main__ as benchmark
from tools.benchmark.layers import layer_counts
from tools.errors import FlagError
from tools.flags.parsing import parse_flags
from tools.runtime.flops import convolution_flops


def resnet18_by_hand(side: int) -> list[tuple[str, int, int, int]]:
    """(layer, side of the output, multiply-adds, parameters) of ResNet-18 at output stride 32 (He et al., table 1)."""
    rows = []

    def layer(name: str, size: int, kernel: int, channels: int, filters: int) -> None:
        weights = kernel * kernel * channels * filters
        rows.append((name, size, size * size * weights, weights + 2 * filters))

    size = -(-side // 2)
    layer("conv1", size, 7, 3, 64)
    size, channels = -(-size // 2), 64
    for block, filters in enumerate((64, 128, 256, 512), start=1):
        size = size if block == 1 else -(-size // 2)
        for unit in (1, 2):
            scope = f"block{block}/unit_{unit}/basic_v1"
            if channels != filters:
                layer(f"{scope}/shortcut", size, 1, channels, filters)
            layer(f"{scope}/conv1", size, 3, channels, filters)
            layer(f"{scope}/conv2", size, 3, filters, filters)
            channels = filters
    layer("block4/unit_3", size, 3, 512, 512)
    rows.append(("logits", size, size * size * 512 * 19, 512 * 19 + 19))
    return rows


def test_layers_of_a_resnet18_by_hand():
    counts = layer_counts(Architecture("resnet_v1_18", 19, 32, decoder="c1"), (65, 65))
    found = [(layer.name, layer.output[0], layer.multiply_adds, layer.parameters) for layer in counts]
    assert sorted(found) == sorted(resnet18_by_hand(65))
    for layer in counts:
        assert layer.activation_bytes == 4 * np.prod(layer.output)
    assert counts[0].output == (33, 33, 64)
    assert counts[-1].output == (3, 3, 19)


def test_the_encoder_has_the_published_parameters():
    """11,689,512 of torchvision's ResNet-18 for ImageNet, of which 513,000 are of its classifier."""
    counts = layer_counts(Architecture("resnet_v1_18", 19, 32, decoder="c1"), (33, 33))
    assert sum(layer.parameters for layer in counts[:-2]) == 11_689_512 - 513_000


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["ppm", "icnet"])
def test_sums_are_those_of_the_whole_graph(decoder):
    architecture = Architecture("mobilenet_v2" if decoder == "ppm" else "resnet_v1_18", 7, 16, decoder=decoder)
    counts = layer_counts(architecture, (64, 96))
    with tf.Graph().as_default() as graph:
        forward_graph([tf.zeros([1, 64, 96, 3])], architecture)
        parameters = sum(variable.shape.num_elements() for variable in tf.trainable_variables())
    assert 2 * sum(layer.multiply_adds for layer in counts) == convolution_flops(graph)
    assert sum(layer.parameters for layer in counts) == parameters
    assert min(layer.multiply_adds for layer in counts) > 0
    assert all(min(layer.output) > 0 for layer in counts)
    names = {"block4/unit_3" if decoder == "icnet" else f"block4/unit_{NETWORKS['mobilenet_v2'].units[3] + 1}"}
    assert names | {"psp/pool6", "logits"} <= {layer.name for layer in counts}


def test_table_and_figures(capsys, tmp_path):
    path = tmp_path / "layers.json"
    line = "--models --layers --networks resnet_v1_18 --decoders c1 --crop_size 33 --json"
    benchmark.main([*line.split(), str(path)])
    heading, columns, *rows = capsys.readouterr().out.splitlines()
    assert heading == "resnet_v1_18.c1"
    assert columns.split("  ")[0] == "layer"
    assert rows[0].split()[:2] == ["conv1", "17x17x64"]
    assert rows[-2].startswith("sum of 22 layers")
    figures = json.loads(path.read_text())
    of_layers = [
        figures[name]["value"]
        for name in figures
        if name.endswith(".multiply_adds") and not name.endswith(".sum.multiply_adds")
    ]
    assert len(of_layers) == 22
    assert sum(of_layers) == figures["layers.resnet_v1_18.c1.sum.multiply_adds"]["value"]
    assert figures["layers.resnet_v1_18.c1.conv1.multiply_adds"]["value"] == 17 * 17 * 7 * 7 * 3 * 64


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--layers", "--layers 1 has no effect without models: add --models, or give --parts layers"),
        ("--models --layers --repeats 3", "--repeats 3 has no effect on --parts layers"),
    ],
)
def test_flags_of_the_table(line, words):
    with pytest.raises(FlagError, match=words):
        parse_flags(benchmark.BenchmarkConfig, line.split(), "")
