"""Flags and values in other spellings: understood, or answered with what they are called here."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.choices import LOSSES
from tests.tools.command_lines import parse, refusal
from tools import sbd
from tools.benchmark.flags import BenchmarkConfig
from tools.check_dataset.__main__ import CheckConfig
from tools.convert import __main__ as convert
from tools.download.__main__ import _parse as parse_download
from tools.download.sources import find_source
from tools.errors import FlagError
from tools.flags.names import FOREIGN_FLAGS, FOREIGN_VALUES, NEAR_VALUES, suggested_flag, understood_value
from tools.flags.parsing import one_of
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.flags.values import file_path
from tools.make_tfrecord.__main__ import MakeTFRecordConfig
from tools.results.__main__ import ResultsConfig
from tools.serve.flags import ServeConfig

CONFIGS = (
    TrainConfig, PredictConfig, InferenceConfig, CheckConfig, MakeTFRecordConfig, ResultsConfig, BenchmarkConfig
)  # fmt: skip
FIELDS = [(config, field) for config in CONFIGS for field in dataclasses.fields(config)]
NAMES = {field.name for _, field in FIELDS}


@pytest.mark.parametrize(
    ("line", "config", "words"),
    [
        ("--databse ADE", TrainConfig, "unrecognized arguments: --databse ADE - --databse: did you mean --database?"),
        ("--lr 0.1", TrainConfig, "--lr is --lrn_rate here"),
        ("--lr=0.1", TrainConfig, "--lr is --lrn_rate here"),
        ("-lr 0.1", TrainConfig, "--lr is --lrn_rate here"),
        (
            "--gradient_accumulation_steps 4",
            TrainConfig,
            "--gradient_accumulation_steps is --accumulate here (batches)",
        ),
        ("--max-epochs 40", TrainConfig, "--max-epochs is --epochs here"),
        ("--crop_size 480", TrainConfig, "--crop_size is --train_image_size here"),
        ("--crop_size 480", PredictConfig, "--crop_size is --test_image_size here"),
        ("--gpus 0,1", TrainConfig, "--gpus is --gpu_num here (a number of GPUs"),
        ("--data x", TrainConfig, "--data is --data_dir here"),
        ("--data_root x", PredictConfig, "--data_root is --data_dir here"),
        ("--output x", PredictConfig, "--output is --output_dir here"),
        ("--resume x", TrainConfig, "--resume is --resume_step here (a step, or latest)"),
        ("--pretrained x", TrainConfig, "--pretrained is --fine_tune_filename here"),
        ("--weights x", TrainConfig, "--weights is --fine_tune_filename here"),
        ("--weights x", InferenceConfig, "--weights is --weights_ckpt here"),
        ("--nnodes 2", TrainConfig, "--nnodes is --hosts here (host1:2222,host2:2222)"),
        ("--node_rank 1", PredictConfig, "--node_rank is --host_rank here"),
        ("--classes 2", CheckConfig, "--classes is --num_classes here"),
        ("--zoom_factor 8", TrainConfig, "--zoom_factor is --upsample_logits here"),
        ("--imgSizes 300", PredictConfig, "--imgSizes is --short_sides here"),
        ("--evaluate 1", TrainConfig, "--evaluate is --val_every here (steps"),
        ("--base_size 512", TrainConfig, "the long side in tests is predict.py --base_size"),
        ("--Batch_Size 2", TrainConfig, "--Batch_Size: did you mean --batch_size?"),
        (
            "log/Toy/mine",
            InferenceConfig,
            "log/Toy/mine needs a flag before it, such as --image_path or --weights_ckpt",
        ),
        ("log/Toy/mine", ServeConfig, "log/Toy/mine needs a flag before it, such as --weights_ckpt"),
        ("--hosts a:1 b:1 --host_rank 0", TrainConfig, "--hosts takes one word and has 'a:1': join its values"),
        ("--train_image_size=360 480", TrainConfig, "--train_image_size takes one word and has '360': join its values"),
        ("--image_path my street.png", InferenceConfig, "--image_path takes one word and has 'my'"),
        ("--output_dir x", ResultsConfig, "unrecognized arguments: --output_dir x"),
        ("--lr 1 --iters 2", TrainConfig, "--lr is --lrn_rate here; --iters is --train_max_iter here"),
    ],
)
def test_unknown_flag_is_answered_with_ours(line, config, words):
    assert words in refusal(line, config)


def test_names_far_from_any_are_answered_with_none():
    assert suggested_flag("qqqqqqq", NAMES) is None
    assert refusal("--qqqqqqq 1") == "unrecognized arguments: --qqqqqqq 1 (see --help)"


def test_other_programs_suggest_too(tmp_path):
    with pytest.raises(FlagError, match="--formt: did you mean --format"):
        convert.main(["x.pth", "--out", str(tmp_path), "--formt", "x"])
    with pytest.raises(FlagError, match="--job: did you mean --jobs"):
        sbd.main(["--sbd", "x", "--voc", "y", "--job", "2"])
    with pytest.raises(FlagError, match="--keep-archiv: did you mean --keep_archive"):
        parse_download(["ADE", "--keep-archiv"])


def test_dashes_stand_for_underscores():
    assert parse("--batch-size 4 --train-image-size=96") == parse("--batch_size 4 --train_image_size 96")
    assert parse("--batch_size 2 --structure-in-paper").three_convs_beginning is True
    assert parse_download(["ADE", "--keep-archive"]).keep_archive is True


def test_values_that_look_like_flags_stay_as_they_are():
    assert parse("--batch_size 2 --log_dir=--a-b").log_dir == "--a-b"


def test_a_file_with_one_flag_under_two_names_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    for first, second in (("batch_size", "batch-size"), ("random_blur", "blur")):
        path.write_text(f"{first}: 1\n{second}: 1\n")
        assert f"run.yaml: '{first}' and '{second}' are one flag" in refusal(f"--config {path}")
    path.write_text("batch-size: 3\n")
    assert parse(f"--config {path}").batch_size == 3
    path.write_text("max_epochs: 3\n")
    assert re.search(r"run.yaml: .*--max_epochs is --epochs here", refusal(f"--config {path}"))


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--database cityscapes", "database", "Cityscapes"), ("--database CAMVID", "database", "CamVid"),
        ("--database ade20k", "database", "ADE"), ("--database ade", "database", "ADE"),
        ("--network resnet50", "network", "resnet_v1_50"), ("--network ResNet-101", "network", "resnet_v1_101"),
        ("--network resnet_v1-18", "network", "resnet_v1_18"), ("--decoder PPM", "decoder", "ppm"),
        ("--decoder UPerNet", "decoder", "upernet"), ("--float_type BF16", "float_type", "bf16"),
        ("--float_type float16", "float_type", "16"), ("--optimizer Adam", "optimizer", "adam"),
        ("--resize_grid half-pixel", "resize_grid", "half_pixel"), ("--device CUDA", "device", "gpu"),
        ("--device CPU", "device", "cpu"), ("--decoder pspnet", "decoder", "ppm"),
        ("--decoder Pyramid-Pooling", "decoder", "ppm"), ("--loss_type CE", "loss_type", "normal"),
        ("--loss_type cross-entropy", "loss_type", "normal"), ("--loss_type focal2", "loss_type", "focal_2"),
        ("--loss_type Focal-Loss-1.5", "loss_type", "focal_1.5"), ("--loss_type OHEM", "loss_type", "ohem"),
        ("--loss_type ce+0.5*dice", "loss_type", "normal+0.5*dice"),
        ("--loss_type 0.50*lovasz_softmax+.5*CE", "loss_type", "0.5*normal+0.5*lovasz"),
        ("--loss_type focal2+1.0*OHEM+Dice-Loss", "loss_type", "ohem+dice+focal_2"),
        ("--loss_type 1*cross-entropy", "loss_type", "normal"),
        ("--subsets_for_training Train,validation", "subsets_for_training", ("train", "val")),
        ("--subsets_for_training train_aug", "subsets_for_training", ("trainaug",)),
        ("--subsets_for_training mine", "subsets_for_training", ("mine",)),  # the dataset knows
        ("--initializer kaiming", "initializer", "he"),
    ],
)  # fmt: skip
def test_values_are_understood_and_recorded_as_ours(line, name, value):
    assert getattr(parse(f"--batch_size 2 {line}"), name) == value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--network resnet_v1_51", "--network: invalid choice: 'resnet_v1_51' is not one of .*did you mean resnet_v1_"),
        ("--network resnet60", "did you mean resnet_v1_50"),
        ("--network pspnet50", "--network: invalid choice: 'pspnet50'"),
        ("--database cityscapse", "did you mean Cityscapes?"),
        ("--database voc", "--database: invalid choice: 'voc' is not one of .*: SBD is PASCAL VOC 2012"),
        ("--database Pascal-VOC", "SBD is PASCAL VOC 2012"),
        ("--optimizer nesterov", ": mom, whose momentum"),
        ("--optimizer sdg", "did you mean sgd"),
        ("--decoder deeplabv3", "one of ppm, ppm_1x1, c1, upernet, icnet, icnet_wide: this is a PSPNet"),
        ("--decoder fcn", ": c1, one convolution"),
        ("--network MobileNet", "encoders are ResNets"),
        ("--network resnext101", "resnext_101_32x8d is torchvision's; CSAILVision's, 32x4d"),
        ("--loss_type focal", "--loss_type: 'focal' is not normal, ohem, dice, lovasz, focal_<gamma>: focal_2 is us"),
        ("--loss_type ce+focal", "--loss_type: 'ce.focal' is not normal, ohem, dice, .*: focal_2 is usual"),
        ("--loss_type ce+", "--loss_type: 'ce.' is not normal, ohem, dice"),
        ("--loss_type ce+0*dice", "'ce.0.dice' is not a sum of losses with factors from 0.001 to 1000, .*: '0' is no"),
        ("--loss_type ce-dice", "'ce-dice' is not normal.*: a sum is written with a plus sign"),
        ("--loss_type normal+ce", "'normal.ce' is not a sum of different losses: normal occurs twice"),
        ("--loss_type jaccard", ": lovasz, an extension of the Jaccard loss"),
        ("--loss_type ohm", "did you mean ohem"),
        ("--database coco", "custom takes any other dataset"),
        ("--output_stride 4", "--output_stride: invalid choice: 4"),
    ],
)
def test_other_values_are_answered_with_the_nearest(line, words):
    assert re.search(words, refusal(f"--batch_size 2 {line}"))


def test_values_of_other_programs():
    assert find_source("ade").name == "ADE"
    benchmark = parse("--models --networks ResNet-18,r50 --decoders PSPNet,c1", BenchmarkConfig)
    assert (benchmark.networks, benchmark.decoders) == (("resnet_v1_18", "resnet_v1_50"), ("ppm", "c1"))
    benchmark = parse("--parts Inference,training --float_types fp32,BF16", BenchmarkConfig)
    assert (benchmark.parts, benchmark.float_types) == (("inference", "training"), ("32", "bf16"))
    assert "'inferense' is not one of inference, training" in refusal("--parts inferense", BenchmarkConfig)
    assert "did you mean inference?" in refusal("--parts training,inferense", BenchmarkConfig)
    assert parse("--split Validation", MakeTFRecordConfig).split == "val"
    assert parse("--format md", ResultsConfig).format == "markdown"
    with pytest.raises(FlagError, match=r"'ADEE' is unknown, expected .*did you mean ADE\?"):
        find_source("ADEE")
    options = convert._parse(["x", "--out", "y", "--database", "cityscapes"])
    assert options.database == "Cityscapes"
    with pytest.raises(argparse.ArgumentTypeError, match="invalid choice: 'x' is not one of a, b"):
        one_of("name", ("a", "b"))("x")


CHOICES = [(field.name, field.metadata["choices"]) for _, field in FIELDS if field.metadata["choices"]]


@given(st.sampled_from([(name, choices) for name, choices in CHOICES if isinstance(choices[0], str)]), st.data())
def test_any_text_is_one_of_the_choices_or_refused(flag, data):
    name, choices = flag
    known = st.sampled_from([*choices, *FOREIGN_VALUES.get(name, {}), *NEAR_VALUES.get(name, {})])
    text = data.draw(st.one_of(known, known.map(str.upper), st.text(max_size=12)))
    meant = message = None
    try:
        meant = understood_value(name, text, choices)
    except ValueError as error:
        message = str(error)
    assert meant in choices or (message is not None and choices[0] in message)


def test_every_choice_is_itself_and_no_two_are_the_same_but_for_signs():
    for name, choices in CHOICES:
        if isinstance(choices[0], str):
            for choice in choices:
                assert understood_value(name, choice, choices) == choice
                assert understood_value(name, choice.upper(), choices) == choice


def test_tables_speak_of_flags_and_values_there_are():
    for name, foreign in FOREIGN_FLAGS.items():
        assert set(foreign.names) <= NAMES, name
        assert name not in foreign.names
    values = {"loss_type": set(LOSSES)}
    for name, choices in CHOICES:
        values.setdefault(name, set()).update(choices)
    for name, meant in FOREIGN_VALUES.items():
        assert set(meant.values()) <= values[name], name
        assert all(spelled == re.sub("[^a-z0-9]", "", spelled) for spelled in meant)


# Flags that name files and folders, of all programs.
PATHS = [
    (config, field) for config, field in FIELDS
    if re.search(r"_(dir|list|path|ckpt|filename)$|^(palette|label_map|class_weights|follow|out|json)$", field.name)
]  # fmt: skip


@pytest.mark.parametrize(("config", "field"), PATHS, ids=[f"{c.__name__}-{f.name}" for c, f in PATHS])
def test_the_home_is_understood_in_every_flag_that_names_a_file(config, field):
    assert field.metadata["parse"] is file_path


def test_no_other_flag_names_a_file():
    """A flag whose help speaks of a file or folder to read or write is one of those above."""
    names = {field.name for _, field in PATHS}
    for _, field in FIELDS:
        if re.search(r"\b(file with|folder (of|for|where)|checkpoint \()", field.metadata["help"]):
            assert field.name in names


def test_home_on_the_line_and_in_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.yaml").write_text("data_dir: ~/x\nlog_dir: a~b/~\nbatch_size: 2\nfine_tune_filename: none\n"
                                       "weight_decay_mode: 0\n")  # fmt: skip
    config = parse("--config=~/run.yaml --class_weights=~")
    assert (config.data_dir, config.log_dir) == (str(tmp_path / "x"), "a~b/~")
    assert (config.class_weights, config.fine_tune_filename) == (str(tmp_path), "none")
    assert "--config ~nobody_of_this_name/run.yaml" in refusal("--config ~nobody_of_this_name/run.yaml")


def test_home_in_programs_with_parsers_of_their_own(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    options = convert._parse(["~/x.pth", "--out=~/y", "--decoder=~/z.pth"])
    assert (options.source, options.out, options.decoder) == ("/home/me/x.pth", "/home/me/y", "/home/me/z.pth")
    options = sbd._parse(["--sbd=~/a", "--voc=~/b", "--out=~/c"])
    assert (options.sbd, options.voc, options.out) == ("/home/me/a", "/home/me/b", "/home/me/c")
    assert parse_download(["ADE", "--out=~/d"]).out == "/home/me/d"
    assert file_path("x") == "x"
    assert os.path.isabs(file_path("~"))


@pytest.mark.parametrize("config", [TrainConfig, CheckConfig, MakeTFRecordConfig, InferenceConfig, BenchmarkConfig])
def test_one_class_is_described_as_two(config):
    message = refusal("--num_classes 1", config)
    assert re.search(r"--num_classes: '1' is not 2 or more: .*class of its own.*2 classes, ids 0 and 1", message)
    assert "--num_classes: 'two' is not a whole number" in refusal("--num_classes two", config)


@pytest.mark.parametrize("config", [TrainConfig, PredictConfig, CheckConfig, MakeTFRecordConfig])
def test_negative_ids_are_not_in_files(config):
    message = refusal("--ignore_label -1", config)
    assert re.search(r"--ignore_label: '-1' is not an id .*hold -1 as 255, which is ignored without this flag", message)
    assert re.search("hold -2 as 254$", refusal("--ignore_label=-2", config).removesuffix(" (see --help)"))
    assert "--ignore_label: 'x' is not a whole number" in refusal("--ignore_label x", config)
