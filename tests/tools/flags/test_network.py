"""Tests that the help says of the network's flags what applies if they are not given."""

from __future__ import annotations

import dataclasses
import operator
import re
from typing import NamedTuple

import pytest

from database.datasets import get_dataset
from model.choices import NETWORKS
from model.pspnet_mg import DECODERS
from tests.tools.command_lines import parse
from tools.benchmark.flags import BenchmarkConfig
from tools.errors import FlagError
from tools.flags.help import help_text
from tools.flags.network import NetworkFlags
from tools.flags.predict import PredictConfig
from tools.flags.train import TrainConfig
from tools.runs.record import ModelRecord

# The end of a text such as "as recorded beside --fine_tune_filename, otherwise 8, or 32 with --decoder upernet".
_DEFAULT = re.compile(
    r"(?:^|otherwise )(?P<plain>[\w.]+)(?:, or (?P<other>\w+) with (?P<flag>--\w+) (?P<values>\w+(?: or \w+)*))?$"
)


# Its default depends on encoder and decoder.
COMPUTED = "pyramid_depth"


class Said(NamedTuple):
    """What the help says of a flag: its value with the other flags of a command line."""

    name: str
    command_line: str
    value: str


def said_of(name: str) -> list[Said]:
    found = _DEFAULT.search(TrainConfig.__dataclass_fields__[name].metadata["unset"])
    assert found, name
    plain, other, flag, values = found.group("plain", "other", "flag", "values")
    return [
        Said(name, "", plain),
        *(Said(name, f"{flag} {each}", other) for each in (values or "").split(" or ") if each),
    ]


def with_records() -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(NetworkFlags)
        if field.default is None and field.metadata.get("recorded") and field.name != COMPUTED
    ]


def shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, bool | float) else str(value)


def test_flags_whose_default_is_recorded():
    assert set(with_records()) >= {"decoder", "output_stride", "stride_convention", "pool_padding", "resize_grid"}


@pytest.mark.parametrize("said", [said for name in with_records() for said in said_of(name)], ids=" ".join)
def test_default_of_a_flag_of_the_network(said):
    record = ModelRecord.of_run(parse(said.command_line, TrainConfig), get_dataset("Cityscapes"))
    recorded = TrainConfig.__dataclass_fields__[said.name].metadata["recorded"]
    assert shown(operator.attrgetter(recorded)(record)) == said.value


@pytest.mark.parametrize(
    ("line", "depth"),
    [
        ("", 512),
        ("--network resnet_v1_18", 128),
        ("--network mobilenet_v2", 80),
        ("--network resnet_v1_18 --decoder upernet", 512),
        ("--decoder upernet --head_depth 96", 96),
        ("--decoder upernet --head_depth 96 --pyramid_depth 64", 64),
        ("--decoder icnet --pyramid_depth 7", 7),
        ("--encoder_blocks 2 --decoder ppm_1x1 --has_aux_loss 0", 128),
    ],
)
def test_channels_of_pooled_levels(line, depth):
    assert (
        "a quarter of the channels of the encoder's last block"
        in TrainConfig.__dataclass_fields__[COMPUTED].metadata["unset"]
    )
    record = ModelRecord.of_run(parse(line, TrainConfig), get_dataset("Cityscapes"))
    assert record.architecture.pooled_depth == depth


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--decoder c1 --pyramid_depth 8", "--pyramid_depth 8 has no effect with --decoder c1"),
        ("--decoder icnet --auxiliary_depth 8", "--auxiliary_depth 8 has no effect with --decoder icnet"),
        ("--decoder icnet_wide --auxiliary_depth 8", "--auxiliary_depth 8 has no effect with --decoder icnet_wide"),
        ("--has_aux_loss 0 --auxiliary_depth 8", "--auxiliary_depth 8 has no effect without auxiliary heads"),
        ("--has_aux_loss 0 --aux_weight 0.1", "--aux_weight 0.1 has no effect without auxiliary heads"),
        ("--aux_weight 0", "0 is not above 0"),
        ("--decay_all 1 --weight_decay_mode 2", "--decay_all 1 has no effect with --weight_decay_mode 2"),
        ("--new_bias_multiplier 10", "--new_bias_multiplier 10.0 has no effect .*--train_like_in_caffe 1"),
        ("--decoder icnet --aux_weight 0.3", "--aux_weight 0.3 has no effect with --decoder icnet"),
        ("--head_depth 0", "0 is below 1"),
        ("--bn_frozen all --bn_decay 0.5", "--bn_decay 0.5 has no effect with --bn_frozen all"),
        ("--bn_frozen all --sync_bn 0 --gpu_num 2", "--sync_bn 0 has no effect with --bn_frozen all"),
        ("--bn_frozen decoder", "'decoder' is not 0, 1 or all"),
        ("--bn_frozen 1 --freeze encoder", "--bn_frozen 1 has no effect with --freeze encoder"),
        ("--sync_bn 0", "--sync_bn 0 has no effect with --gpu_num 1"),
        ("--sync_bn 0 --gpu_num 2 --batch_size 1", "--batch_size 1 with --sync_bn 0"),
        ("--bn_frozen all --fine_tune_filename none --weight_decay_mode 0", "--bn_frozen all keeps pre-trained"),
    ],
)
def test_settings_of_the_head_and_of_normalization_without_effect(line, words):
    with pytest.raises(FlagError, match=words):
        parse(line, TrainConfig)


def test_one_image_is_enough_if_all_statistics_are_kept():
    assert parse("--batch_size 1 --bn_frozen all").bn_frozen == "all"
    assert parse("--batch_size 2 --bn_frozen 1").bn_frozen is True
    assert parse("--bn_frozen all --freeze encoder").freeze is not None


@pytest.mark.parametrize("name", ["output_stride", "upsample_logits"])
def test_default_of_each_decoder(name):
    """Decoders that the help does not name have the plain default."""
    [plain, *others] = said_of(name)
    attribute = {"output_stride": "output_stride", "upsample_logits": "upsamples_logits"}[name]
    by_decoder = {said.command_line.removeprefix("--decoder "): said.value for said in others}
    assert {key: shown(getattr(decoder, attribute)) for key, decoder in DECODERS.items()} == {
        key: by_decoder.get(key, plain.value) for key in DECODERS
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--network mobilenet_v2 --three_convs_beginning 1", "--three_convs_beginning 1 and --network mobilenet_v2"),
        ("--network resnet_v1d_50 --three_convs_beginning 0", "--three_convs_beginning 0 and --network resnet_v1d_50"),
        (
            "--network mobilenet_v2 --stride_convention slim",
            "--stride_convention slim is not defined for --network mobilenet_v2: use one of reference, contracted",
        ),
        ("--network resnet_v1d_101 --stride_convention caffe", "--stride_convention caffe is not defined for .*1d_101"),
        ("--network mobilenet_v2 --pool_padding symmetric", "--pool_padding symmetric has no effect with .*mobilenet"),
    ],
)
def test_what_an_encoder_does_not_have(line, words):
    with pytest.raises(FlagError, match=words):
        parse(line, TrainConfig)


@pytest.mark.parametrize(
    ("line", "network", "stem"),
    [
        ("--network mobilenet_v2", "mobilenet_v2", "conv3"),
        ("--network MobileNetV2 --stride_convention contracted", "mobilenet_v2", "conv3"),
        ("--network mobilenetv2dilated", "mobilenet_v2", "conv3"),
        ("--network resnet50d --three_convs_beginning 1", "resnet_v1d_50", "deep_64"),
        ("--network resnext50_32x4d", "resnext_50_32x4d", "conv7"),
        ("--network resnext_101_32x8d --three_convs_beginning 1", "resnext_101_32x8d", "deep_128"),
        ("--network wide_resnet50_2", "wide_resnet_50_2", "conv7"),
    ],
)
def test_stem_of_a_run(line, network, stem):
    """The network by its names in other projects, and its usual stem without a record of the starting checkpoint."""
    record = ModelRecord.of_run(parse(line, TrainConfig), get_dataset("Cityscapes"))
    assert (record.architecture.network, record.architecture.stem) == (network, stem)
    assert record.three_convs_beginning == stem.startswith("deep")


@pytest.mark.parametrize("config", [TrainConfig, PredictConfig, BenchmarkConfig])
def test_help_lists_every_encoder(config):
    text = help_text(config, "", "network")
    assert all(network in text for network in NETWORKS)


@pytest.mark.parametrize("part", ["inference", "training", "syncbn"])
def test_encoders_that_the_benchmark_does_not_compare(part):
    with pytest.raises(FlagError, match=f"--network mobilenet_v2: --parts {part} compares .*--models --networks mobil"):
        parse(f"--parts {part} --network mobilenet_v2", BenchmarkConfig)
    assert parse("--parts growth --network mobilenet_v2", BenchmarkConfig).network == "mobilenet_v2"
