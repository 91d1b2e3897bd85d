"""ResNets of Keras applications: their features, and what is refused in files of HDF5."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tf_keras
from tf_keras.src.applications import resnet as keras_resnet

from model import choices, resnet
from tests.differences import relative_difference
from tests.tools.converted_networks import converted_features, random_images, run_convert
from tools.convert.files import read_weights
from tools.errors import ConversionError, WeightFileError
from tools.runs.record import BackboneRecord

TOLERANCE = 1e-4  # of the largest feature
SIZES = ((64, 64), (49, 71))


@pytest.fixture
def network(monkeypatch):
    """An eighth of ResNet-50 as Keras builds it, with random weights, biases and running statistics."""
    small = choices.ResNet((3, 4, 6, 3), (32, 64, 128, 256), bottleneck=True)
    monkeypatch.setitem(resnet.NETWORKS, "resnet_v1_50", small)

    def blocks(x):
        for stage, (depth, units) in enumerate(zip((8, 16, 32, 64), small.units, strict=True), start=2):
            x = keras_resnet.stack1(x, depth, units, stride1=1 if stage == 2 else 2, name=f"conv{stage}")
        return x

    tf_keras.utils.set_random_seed(0)
    built = keras_resnet.ResNet(blocks, False, True, "resnet50", False, None, input_shape=(None, None, 3))
    rng = np.random.default_rng(0)
    for variable in built.variables:
        tensor = variable.name.split("/")[-1]
        if tensor.startswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif not tensor.startswith("kernel"):
            variable.assign(rng.uniform(-0.5, 0.5, variable.shape))
        elif "conv1_conv" in variable.name:
            variable.assign(variable / 64)  # the deviation of pixels
    return built


def as_keras_3(source, target):
    """Copies weights as `network.save` of Keras 3 writes them: below a group, without `:0`, beside the optimizer's."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:

        def copy(name, value):
            if isinstance(value, h5py.Dataset):
                new[f"model_weights/{name.removesuffix(':0')}"] = value[()]

        old.visititems(copy)
        new["optimizer_weights/adam/conv1_conv/kernel/momentum"] = np.zeros(3)
        new["model_weights"].attrs["keras_version"] = "3.15.1"


@pytest.mark.slow
@pytest.mark.parametrize("version", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_resnet(record_property, tmp_path, network, version):
    source, converted = tmp_path / "resnet50_notop.h5", tmp_path / "converted"
    network.save_weights(source)
    if version == 3:
        as_keras_3(source, tmp_path / "resnet50.h5")
        source = tmp_path / "resnet50.h5"
    run_convert(source, "--out", converted)
    images = [random_images(size, seed) for seed, size in enumerate(SIZES)]
    fed = [image[..., ::-1].astype(np.float32) - np.float32([103.939, 116.779, 123.68]) for image in images]
    expected = [network(image).numpy() for image in fed]
    difference = relative_difference(converted_features(converted, images, 32), expected)
    record_property("block 4", difference)
    assert difference < TOLERANCE
    record = BackboneRecord.read(str(converted))
    assert (record.stride_convention, record.color_switch) == ("caffe", True)
    report = (converted / "conversion.txt").read_text()
    assert "resnet_v1_50/conv1/BatchNorm/moving_mean, less the bias <- conv1_conv/bias" in report
    assert report.rstrip().endswith("left")
    if version == 2:
        assert relative_difference(converted_features(converted, images, 32, "reference"), expected) > 0.01


@pytest.mark.slow
def test_classifier_and_missing_biases(tmp_path, network):
    network.save_weights(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        file["predictions/predictions/kernel:0"] = np.zeros((256, 10), np.float32)
    run_convert(tmp_path / "w.h5", "--out", tmp_path / "converted")
    assert "predictions/kernel: the classifier" in (tmp_path / "converted" / "conversion.txt").read_text()
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["conv2_block1_1_conv/conv2_block1_1_conv/bias:0"]
    with pytest.raises(ConversionError, match=r"'conv2_block1_1_conv/bias' is missing, expected with shape \[8\]"):
        run_convert(tmp_path / "w.h5", "--out", tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("conv2_block1_preact_bn/gamma", "a ResNetV2 of Keras"),
        ("post_bn/post_bn/gamma:0", "a ResNetV2 of Keras"),
        ("conv2_block1_2_conv/conv2_block1_2_conv/depthwise_kernel:0", "a ResNeXt of Keras"),
    ],
)
def test_other_networks_of_keras(tmp_path, name, network):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["conv1_conv/conv1_conv/kernel:0"] = np.zeros((7, 7, 3, 64), np.float32)
        file[name] = np.zeros(2, np.float32)
    with pytest.raises(ConversionError, match=f"w.h5: .* shows {network}"):
        run_convert(tmp_path / "w.h5", "--out", tmp_path / "converted")


def test_names(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["a/conv/kernel:0"] = np.ones((1, 2), np.float64)
        file["steps"] = np.int64(3)
        file.attrs["model_config"] = "anything"
    found = read_weights(str(tmp_path / "w.h5"))
    assert {name: (array.dtype.name, array.shape) for name, array in found.items()} == {
        "conv/kernel": ("float32", (1, 2)),
        "steps": ("int64", ()),
    }
    with h5py.File(tmp_path / "w.h5", "a") as file:
        file["b/conv/kernel:0"] = np.ones(2)
    assert set(read_weights(str(tmp_path / "w.h5"))) == {"a/conv/kernel:0", "b/conv/kernel:0", "steps"}


def linked(file, other):
    file["a"] = h5py.ExternalLink(str(other), "secret")


def soft(file, other):
    file["a"] = h5py.SoftLink("/b")


def external(file, other):
    file.create_dataset("a", (3,), np.float32, external=[(str(other), 0, 12)])


def virtual(file, other):
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource(str(other), "secret", (3,))
    file.create_virtual_dataset("a", layout)


def text(file, other):
    file["a"] = "text"


def compressed(file, other):
    file.create_dataset("a", data=np.zeros(100), compression="lzf")


def bomb(file, other):
    file.create_dataset("a", (10**6, 10**6), np.float32, chunks=(1000, 1000), compression="gzip")


def numbered(file, other):
    file["layers/conv2d/vars/0"] = np.zeros(3)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (linked, "'a' is a link to another place"),
        (soft, "'a' is a link to another place"),
        (external, "'a' is stored in another file"),
        (virtual, "'a' is stored in another file"),
        (text, "'a' is not numbers"),
        (compressed, "'a' is compressed by a program outside of HDF5"),
        (bomb, "more than can be in a file of its size"),
        (numbered, r"'layers/conv2d/vars/0' shows .* Keras 3.*network.save\('network.h5'\)"),
        (lambda file, other: None, "found no tensors"),
    ],
)
def test_files_that_are_not_read(tmp_path, write, words):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.zeros(3, np.float32)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write(file, tmp_path / "other.h5")
    with pytest.raises(WeightFileError, match=f"w.h5: .*{words}"):
        read_weights(str(tmp_path / "w.h5"))


def test_groups_in_a_circle(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["a/kernel"] = np.zeros(3)
        file["a/b"] = file["a"]
    assert set(read_weights(str(tmp_path / "w.h5"))) == {"a/kernel"}


def test_damaged_files(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["conv/kernel"] = np.arange(3000.0)
    content = (tmp_path / "w.h5").read_bytes()
    for length in (9, 100, 1000, len(content) - 10):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        with pytest.raises(WeightFileError, match="cut.h5: not an HDF5 file that can be read"):
            read_weights(str(tmp_path / "cut.h5"))
