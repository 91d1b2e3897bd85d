"""Converted PSPNets give the logits of their sources.

The sources are the modules of `torch_pspnets`, which have the layout of each project, with random weights and
running statistics drawn at random; they are saved as the project saves them and converted from the files.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.parity.source_networks import ANY_SIZES, CLASSES, Source, compare
from tests.parity.torch_pspnets import CaffePSPNet, MmsegInput, MmsegPSPNet, SemsegPSPNet, SmpPSPNet
from tests.parity.torch_resnets import PLAIN, RESNEXT_32X4D, RESNEXT_32X8D, mmseg, semseg, strided
from tests.tools.converted_networks import run_convert
from tools.checkpoints.find import resolve_checkpoint
from tools.errors import ConversionError, FlagError
from tools.prediction.predictor import Predictor
from tools.runs.record import ModelRecord

# Sizes that the sources admit.
ALIGNED_SIZES = ((41, 41), (33, 57), (65, 49))  # 8n + 1
DIVISIBLE_SIZES = ((41, 41), (89, 41))  # 48n - 7: features that 6, 3, 2 and 1 bins share out evenly


@pytest.mark.slow
def test_semseg(record_property, folder):
    source = Source(SemsegPSPNet(50, CLASSES), ALIGNED_SIZES)
    state = {f"module.{name}": tensor for name, tensor in source.network.state_dict().items()}  # as DataParallel has it
    torch.save({"epoch": 100, "state_dict": state}, folder / "train_epoch_100.pth")
    run_convert(folder / "train_epoch_100.pth", "--out", folder / "converted")
    record_property("logits", compare(source, folder / "converted", {"resize_grid": "half_pixel"}))


SMP_SIZES = ((64, 96), (96, 32))  # multiples of 32


@pytest.mark.parametrize(
    ("depth", "blocks", "kind"),
    [
        (18, 2, PLAIN),
        (18, 3, PLAIN),
        pytest.param(34, 4, PLAIN, marks=pytest.mark.slow),
        pytest.param(50, 2, PLAIN, marks=pytest.mark.slow),
        pytest.param(101, 2, PLAIN, marks=pytest.mark.slow),
        pytest.param(152, 2, PLAIN, marks=pytest.mark.slow),
        pytest.param(50, 3, RESNEXT_32X4D, marks=pytest.mark.slow),
        pytest.param(101, 2, RESNEXT_32X8D, marks=pytest.mark.slow),
    ],
)
def test_smp(record_property, folder, depth, blocks, kind):
    """segmentation_models.pytorch's PSPNet with the encoder depths 3, 4 and 5."""
    source = Source(SmpPSPNet(depth, CLASSES, blocks, kind, head_channels=96), SMP_SIZES)
    torch.save(source.network.state_dict(), folder / "best_model.pth")
    run_convert(folder / "best_model.pth", "--out", folder / "converted")
    changes = ({"resize_grid": "half_pixel"}, {"pool_padding": "same"})
    record_property("logits", compare(source, folder / "converted", *changes, has_auxiliary=False))


USUAL_FLAGS = (
    "--align_corners", 0, "--output_stride", 8, "--stride_convention", "mmseg", "--color_switch", 0,
    "--image_mean", "123.675,116.28,103.53", "--image_std", "58.395,57.12,57.375",
)  # fmt: skip


@pytest.mark.parametrize("deep_stem", [pytest.param(True, marks=pytest.mark.slow), False])
def test_mmseg_of_basic_units(record_property, folder, deep_stem):
    source = Source(MmsegPSPNet(18, CLASSES, deep_stem), ANY_SIZES)
    save_file(source.network.state_dict(), folder / "model.safetensors")
    run_convert(folder / "model.safetensors", "--out", folder / "converted", *USUAL_FLAGS)
    changes = ({"stride_convention": "contracted"}, {"resize_grid": "align_corners"}, {"pool_padding": "same"})
    record_property("logits", compare(source, folder / "converted", *changes))


@pytest.mark.slow
@pytest.mark.parametrize("deep_stem", [True, False])
def test_mmseg(record_property, folder, deep_stem):
    source = Source(MmsegPSPNet(50, CLASSES, deep_stem), ANY_SIZES)
    if deep_stem:
        path = folder / "latest.pth"
        torch.save({"meta": {"epoch": 1}, "state_dict": source.network.state_dict()}, path)
    else:
        path = folder / "model.safetensors"
        save_file(source.network.state_dict(), path)
    run_convert(path, "--out", folder / "converted", *USUAL_FLAGS)
    # Of bottleneck units, `contracted` is the same network; grid and padding are those of the test above.
    record_property("logits", compare(source, folder / "converted", {"stride_convention": "reference"}))


# As mmsegmentation 0.x and 1.x write it, in the form of its published files.
CONFIG = """norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    pretrained=None,
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        strides={strides},
        dilations={dilations},
        norm_cfg=norm_cfg,
        style='pytorch',
        contract_dilation=True),
    decode_head=dict(
        type='PSPHead', pool_scales=(1, 2, 3, 6), num_classes=7, norm_cfg=norm_cfg, align_corners={align_corners}))
{scaling}
crop_size = (769, 769)
optimizer_config = dict()
lr_config = dict(policy='poly', power=0.9, min_lr=0.0001, by_epoch=False)
runner = dict(type='IterBasedRunner', max_iters=80000)
"""
RGB_SCALING = "img_norm_cfg = dict(\n    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)"
BGR_SCALING = (
    "data_preprocessor = dict(type='SegDataPreProcessor', mean=[103.53, 116.28, 123.675], std=[1.0, 2.0, 1.0])"
)
DENSE, STRIDED = ("(1, 2, 1, 1)", "(1, 1, 2, 4)"), ("(1, 2, 2, 2)", "(1, 1, 1, 1)")


@pytest.mark.parametrize(
    ("key", "spacing", "align_corners", "is_bgr"),
    [("config", DENSE, True, False), ("cfg", STRIDED, False, True)],
    ids=["769 of 0.x", "d32 in BGR of 1.x"],
)
def test_mmseg_by_its_configuration(record_property, folder, key, spacing, align_corners, is_bgr):
    """Grid, strides, mean, deviation and order of channels are those of the file."""
    pixels = MmsegInput((103.53, 116.28, 123.675), (1.0, 2.0, 1.0), bgr=True) if is_bgr else MmsegInput()
    network = MmsegPSPNet(
        18, CLASSES, pattern=strided if spacing == STRIDED else mmseg, align_corners=align_corners, pixels=pixels
    )
    source = Source(network, ANY_SIZES[1:] if spacing == DENSE else ((96, 64), (75, 109)))
    text = CONFIG.format(
        strides=spacing[0],
        dilations=spacing[1],
        align_corners=align_corners,
        scaling=BGR_SCALING if is_bgr else RGB_SCALING,
    )
    torch.save({"meta": {key: text, "epoch": 1}, "state_dict": network.state_dict()}, folder / "iter_80000.pth")
    run_convert(folder / "iter_80000.pth", "--out", folder / "converted")
    changes = [{"resize_grid": "half_pixel" if align_corners else "align_corners"}]
    changes.append({"output_stride": 32 if spacing == DENSE else 8})
    record_property("logits", compare(source, folder / "converted", *changes))
    record = ModelRecord.read(str(folder / "converted"))
    assert record is not None
    assert (record.color_switch, record.test_image_size) == (is_bgr, 769)
    np.testing.assert_allclose(record.image_mean, (123.675, 116.28, 103.53))


@pytest.mark.slow
def test_mmseg_without_contraction(record_property, folder):
    """Of bottleneck units, the units that had the stride are dilated in full, as semseg's."""
    source = Source(MmsegPSPNet(50, CLASSES, pattern=semseg), ANY_SIZES[1:])
    text = CONFIG.format(strides=DENSE[0], dilations=DENSE[1], align_corners=False, scaling=RGB_SCALING)
    text = text.replace("contract_dilation=True", "contract_dilation=False").replace("depth=18", "depth=50")
    torch.save({"meta": {"cfg": text}, "state_dict": source.network.state_dict()}, folder / "iter_1.pth")
    run_convert(folder / "iter_1.pth", "--out", folder / "converted")
    record_property("logits", compare(source, folder / "converted", {"stride_convention": "mmseg"}))


def test_mmseg_without_its_configuration(folder):
    """What the names do not show is asked for, all at once; with flags that contradict the file, nothing is written."""
    state = MmsegPSPNet(18, CLASSES).state_dict()
    torch.save(state, folder / "model.pth")
    with pytest.raises(
        ConversionError, match=r"model.pth: .*give --align_corners \(0, .*--output_stride \(8, .*switch"
    ):
        run_convert(folder / "model.pth", "--out", folder / "converted")
    text = CONFIG.format(strides=DENSE[0], dilations=DENSE[1], align_corners=True, scaling=RGB_SCALING)
    torch.save({"meta": {"cfg": text}, "state_dict": state}, folder / "iter_1.pth")
    with pytest.raises(FlagError, match="--align_corners is 0, but the configuration in .*iter_1.pth says 1: drop the"):
        run_convert(folder / "iter_1.pth", "--out", folder / "converted", *USUAL_FLAGS)
    assert not (folder / "converted").exists()


def caffe_dictionary(network: CaffePSPNet) -> dict[str, dict[str, np.ndarray]]:
    """As the tools that read Caffe models write it: kernels in TensorFlow's order, vectors as Caffe's blobs."""
    content = {}
    for name, module in network.layers.items():
        state = {key: value.numpy() for key, value in module.state_dict().items() if value.dim()}
        if name.endswith("_bn"):
            keys = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}
            content[name] = {key: state[value].reshape(1, -1, 1, 1) for key, value in keys.items()}
        else:
            content[name] = {"weights": state["weight"].transpose(2, 3, 1, 0)}
            if "bias" in state:
                content[name]["biases"] = state["bias"]
    return content


@pytest.mark.slow
def test_caffe(record_property, folder):
    source = Source(CaffePSPNet(50, CLASSES), DIVISIBLE_SIZES)
    converted = folder / "converted"
    np.save(folder / "pspnet50.npy", caffe_dictionary(source.network), allow_pickle=True)
    run_convert(folder / "pspnet50.npy", "--out", converted, "--test_image_size", 41)
    # The paddings of the pooling are equal at every size that the source admits.
    changes = ({"stride_convention": "reference"}, {"resize_grid": "half_pixel"})
    record_property("logits", compare(source, converted, *changes, has_auxiliary=False))
    record = ModelRecord.read(str(converted))
    assert record is not None
    with Predictor(resolve_checkpoint(str(converted)), record, mirror=False) as predictor:
        labels = predictor.labels(source.images[0][0])
    assert np.mean(labels == source.logits[0][0][0].argmax(axis=-1)) > 0.999
