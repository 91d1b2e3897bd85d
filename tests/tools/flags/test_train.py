"""The flags of the scripts: defaults, choices, and which of them contradict each other."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from database import images
from database.datasets import get_dataset
from database.errors import DatasetError
from model import regularizers, training_options
from tests.tools.command_lines import parse, refusal
from tools.errors import FlagError
from tools.flags.dataset import DATABASES
from tools.flags.definition import flag_properties
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig

# Of the reference implementation's parser, but for database (ADE), fine_tune_filename (a path) and batch_size (1).
REFERENCE_DEFAULTS = {
    "gpu_num": 1,
    "consider_dilated": False,
    "network": "resnet_v1_50",
    "subsets_for_training": ("train",),
    "batch_size": 2,
    "weight_decay_mode": 1,
    "weight_decay_rate": 0.0001,
    "weight_decay_rate2": 0.0001,
    "train_image_size": 480,
    "lrn_rate": 0.01,
    "random_rotate": True,
    "random_scale": True,
    "train_max_iter": 30000,
    "snapshot": 15000,
    "scale_min": 0.5,
    "scale_max": 2.0,
    "color_switch": None,  # None: not switched, unless the ResNet's record says so
    "loss_type": "normal",
    "three_convs_beginning": None,  # likewise
    "train_like_in_caffe": False,
    "bn_frozen": False,
    "random_blur": True,
    "initializer": "he",
    "optimizer": "mom",
    "momentum": 0.9,
    "float_type": "32",
    "has_aux_loss": True,
    "upsample_logits": None,  # True, unless the decoder is not of the reference
    "poly_lr": True,
    "new_layer_names": None,
    "resume_step": None,
    "lr_step": None,
    "step_size": 0.1,
    "save_first_iteration": False,
    "eval_only": False,
    "test_max_iter": None,
    "test_image_size": 480,
    "mirror": True,
    "random_mirror": True,
}


def test_reference_command_for_cityscapes():
    config = parse(
        "--batch_size 4 --gpu_num 4 --consider_dilated 1 --weight_decay_rate 0.0001 --weight_decay_rate2 0.001 "
        "--random_rotate 0 --database Cityscapes --train_image_size 816 --test_image_size 816"
    )
    expected = {
        **REFERENCE_DEFAULTS,
        "batch_size": 4,
        "gpu_num": 4,
        "consider_dilated": True,
        "weight_decay_rate2": 0.001,
        "random_rotate": False,
        "train_image_size": 816,
        "test_image_size": 816,
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.database == "Cityscapes"
    assert config.total_batch_size == 16


def test_reference_command_for_ade():
    config = parse(
        "--batch_size 8 --gpu_num 2 --weight_decay_mode 0 --weight_decay_rate 0.0001 --weight_decay_rate2 0.0001 "
        "--train_max_iter 60000 --snapshot 30000 --random_rotate 0 --database ADE --train_image_size 480 "
        "--test_image_size 480"
    )
    expected = {
        **REFERENCE_DEFAULTS,
        "batch_size": 8,
        "gpu_num": 2,
        "weight_decay_mode": 0,
        "train_max_iter": 60000,
        "snapshot": 30000,
        "random_rotate": False,
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.database == "ADE"


def test_defaults_are_the_reference_ones():
    config = parse("")
    assert {name: getattr(config, name) for name in REFERENCE_DEFAULTS} == REFERENCE_DEFAULTS


def test_decay_modes_are_those_of_the_model():
    [field] = [field for field in dataclasses.fields(TrainConfig) if field.name == "weight_decay_mode"]
    assert set(field.metadata["choices"]) == set(regularizers.DECAY_MODES)


def test_databases_are_those_of_the_database_package():
    known = [name for name in DATABASES if name != "custom"]
    assert [get_dataset(name).name for name in known] == known
    with pytest.raises(DatasetError) as caught:
        get_dataset("none such")
    assert str(caught.value).endswith(", ".join(known))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--decoder ppm --cascade_loss_weights 1,0.4,0.4", "has no effect with --decoder ppm, which has no cascade"),
        (
            "--decoder icnet --has_aux_loss 0 --cascade_loss_weights 1,0.4,0.4",
            "has no effect with --has_aux_loss 0, which leaves two of the losses out",
        ),
        ("--decoder icnet --cascade_loss_weights 1,0.4", "'1,0.4' is not three numbers above 0, separated by commas"),
        ("--decoder icnet --cascade_loss_weights 1,0.4,0", "'1,0.4,0' is not three numbers above 0"),
        ("--encoder_blocks 1", "--encoder_blocks: invalid choice: 1 (choose from 2, 3, 4)"),
        ("--filter_scale 0.6", "--filter_scale: invalid choice: 0.6 (choose from 0.5, 0.75, 1.0)"),
        ("--network mobilenet_v2 --filter_scale 0.5", "--filter_scale 0.5 is not defined for --network mobilenet_v2"),
        (
            "--network resnext_50_32x4d --filter_scale 0.5",
            "--filter_scale 0.5 is not defined for --network resnext_50_32x4d, whose layers have groups",
        ),
    ],
)
def test_flags_of_icnet_that_are_rejected(line, words):
    assert words in refusal(line)


def test_flags_of_icnet():
    config = parse("--decoder icnet_wide --filter_scale 0.5 --cascade_loss_weights 1,0.4,0.4")
    assert (config.filter_scale, config.cascade_loss_weights) == (0.5, (1.0, 0.4, 0.4))
    assert parse("--cascade_loss_weights 1,0.4,0.16 --network mobilenet_v2 --filter_scale 1").filter_scale == 1


def test_training_options_take_their_defaults_from_flags():
    """Where the library's default differs from the flag's, a caller would train something else unawares."""
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    options = {field.name: field.default for field in dataclasses.fields(training_options.TrainingOptions)}
    differing = {name for name in options if name in defaults and options[name] != defaults[name]}
    assert differing == {"weight_decay_mode"}  # L2-SP needs starting points, which only a caller can give


@pytest.mark.parametrize(
    ("alias", "field", "config"),
    [
        ("train_like_in_paper", "train_like_in_caffe", TrainConfig),
        ("structure_in_paper", "three_convs_beginning", TrainConfig),
        ("structure_in_paper", "three_convs_beginning", PredictConfig),
        ("structure_in_paper", "three_convs_beginning", InferenceConfig),
    ],
)
def test_reference_names_are_aliases(alias, field, config):
    more = " --batch_size 2" if config is TrainConfig else ""
    assert getattr(parse(f"--{alias} 1{more}", config), field) is True


def test_more_aliases():
    assert parse("--blur 0 --batch_size 2").random_blur is False
    assert parse("--test_subset test", PredictConfig).mode == "test"


def test_custom_data_flags():
    config = parse("--batch_size 2 --database custom --num_classes 3 --ignore_label 9 --image_mean 1,2.5,3")
    assert (config.num_classes, config.ignore_label, config.image_mean) == (3, 9, (1.0, 2.5, 3.0))


@pytest.mark.parametrize(
    ("line", "config", "words"),
    [
        ("--scale_min 2 --scale_max 1 --batch_size 2", TrainConfig, "--scale_min 2.0 is above --scale_max 1.0"),
        ("--batch_size 1", TrainConfig, "--batch_size 1 with --gpu_num 1 is a batch of 1 image"),
        ("--batch_size 2 --step_size 0.5", TrainConfig, "--step_size 0.5 has no effect without steps: add --poly_lr 0"),
        ("--batch_size 2 --poly_lr 0 --step_size 0.5", TrainConfig, "--step_size 0.5 has no effect .* --lr_step, or"),
        ("--batch_size 2 --optimizer sgd --momentum 0.8", TrainConfig, "--momentum 0.8 .* with --optimizer sgd: .* m"),
        ("--batch_size 2 --random_scale 0 --scale_max 3", TrainConfig, "--scale_max 3.0 has no effect without scaling"),
        (
            "--batch_size 2 --weight_decay_mode 0 --bn_frozen 1 --fine_tune_filename none", TrainConfig,
            "--bn_frozen 1 keeps pre-trained statistics",
        ),
        ("--batch_size 2 --seed 9223372036854775808", TrainConfig, "--seed: 9223372036854775808 is above 922"),
        ("--batch_size 2 --momentum 1", TrainConfig, r"--momentum 1.0 is not in \[0, 1\): 0.9 is usual"),
        ("--batch_size 2 --bn_decay=-0.5", TrainConfig, r"--bn_decay -0.5 is not in \[0, 1\): 0.9 is usual"),
        ("--batch_size 2 --checkpoint_units 3", TrainConfig, "--checkpoint_units 3 has no effect .* --save_memory 1"),
        ("--batch_size 2 --checkpoint_units 3 --save_memory 2", TrainConfig, "--checkpoint_units 3 .* --save"),
        ("--batch_size 2 --save_memory 2 --activation relu", TrainConfig, "--save_memory 2 .* relu does not"),
        (
            "--batch_size 2 --save_memory 2 --fine_tune_filename none --weight_decay_mode 0", TrainConfig,
            "--save_memory 2 .* which relu does not allow: add --activation leaky_relu, or give --save_memory 1",
        ),
        ("--batch_size 2 --save_memory 2 --float_type bf16", TrainConfig, "--save_memory 2 .* on .* 16 bits"),
        ("--batch_size 2 --ohem_threshold 0.6", TrainConfig, "--ohem_threshold 0.6 has no effect .* --loss_type ohem"),
        ("--batch_size 2 --ohem_min_kept 9", TrainConfig, "--ohem_min_kept 9 has no effect if all pixels count"),
        ("--batch_size 2 --loss_type ce+dice --ohem_min_kept 9", TrainConfig, "--ohem_min_kept 9 has no effect"),
        ("--batch_size 2 --label_smoothing 1", TrainConfig, r"--label_smoothing 1.0 is not in \[0, 1\): 0.1 is usual"),
        ("--batch_size 2 --label_smoothing=-0.1", TrainConfig, "--label_smoothing: -0.1 is below 0"),
        (
            "--batch_size 2 --loss_type focal_2+dice --label_smoothing 0.1", TrainConfig,
            "--label_smoothing 0.1 has no effect with --loss_type dice.focal_2: add a cross-entropy, normal or ohem",
        ),
        ("--batch_size 2 --loss_type ohem --ohem_threshold 1.5", TrainConfig, "--ohem_threshold 1.5 is not a prob"),
        ("--batch_size 2 --dynamic_max_size 600", TrainConfig, "--dynamic_max_size 600 has no effect on crops"),
        ("--batch_size 2 --dynamic_short_sides 9", TrainConfig, "--dynamic_short_sides .* has no effect on crops"),
        ("--batch_size 2 --dynamic_size --scale_max 3", TrainConfig, "--scale_max 3.0 has no effect with .* a list"),
        ("--batch_size 2 --dynamic_size --train_image_size 9", TrainConfig, "--train_image_size 9 has no effect"),
        (
            "--batch_size 2 --dynamic_size --dynamic_short_sides 7,400 --dynamic_max_size 500",
            TrainConfig,
            "--dynamic_short_sides 7 to 400 are not within 8 and --dynamic_max_size 500: change one",
        ),
        (
            "--batch_size 2 --dynamic_size --dynamic_max_size 500",
            TrainConfig,
            "--dynamic_short_sides 300 to 600 are not within 8 and --dynamic_max_size 500: change one",
        ),
        ("--batch_size 2 --lr_step 5", TrainConfig, "--lr_step 5 has no effect on the poly schedule: add --poly_lr 0"),
        (
            "--batch_size 2 --fine_tune_filename none", TrainConfig,
            "--weight_decay_mode 1 pulls .* --fine_tune_filename none has none",
        ),
        ("--batch_size 2 --train_list a.txt", TrainConfig, "--train_list is only used with --database custom or ADE"),
        ("--batch_size 2 --holdout 0.2", TrainConfig, "--holdout is only used with --database custom or KITTI, but"),
        ("--batch_size 2 --database KITTI --holdout 1", TrainConfig, "--holdout 1 leaves no image to train on"),
        ("--batch_size 2 --database KITTI --holdout 0", TrainConfig, "argument --holdout: 0 is not above 0.0?"),
        (
            "--batch_size 2 --database custom --num_classes 3 --train_list a --val_list b --holdout 0.2", TrainConfig,
            "--holdout 0.2 has no effect with --val_list, which names the validation images: drop --val_list, or drop",
        ),
        (
            "--batch_size 2 --dynamic_size 1 --upsample_input 2", TrainConfig,
            "--upsample_input 2 has no effect with --dynamic_size 1, .*: drop --dynamic_size 1, or drop",
        ),
        ("--batch_size 2 --upsample_input 5", TrainConfig, "argument --upsample_input: invalid choice: 5"),
        ("--batch_size 2 --database custom", TrainConfig, "--database custom needs --num_classes"),
        ("--batch_size 2 --auto_resume 1 --resume_step 3", TrainConfig, "drop it or --resume_step 3$"),
    ],
)  # fmt: skip
def test_contradictions(line, config, words):
    assert re.search(words, refusal(line, config))


OWN_DATA_VALUES = {
    "train_list": "a.txt", "val_list": "a.txt", "test_list": "a.txt", "num_classes": "3", "palette": "p.txt",
    "ignore_label": "0", "label_map": "m.txt", "image_mean": "1,2,3", "holdout": "0.3",
    "reduce_zero_label": "1", "input_channels": "2 --channel_mean 1,2", "channel_mean": "1,2", "channel_std": "3,4",
}  # fmt: skip


# Flags that they need.
NEEDED = {"channel_mean": " --input_channels 2", "channel_std": " --input_channels 2 --channel_mean 1,2"}
# Flags for own data that mean something with one more dataset.
ALSO_FOR = {"train_list": "ADE", "val_list": "ADE", "test_list": "ADE", "holdout": "KITTI"}


@pytest.mark.parametrize(
    ("config", "flag"),
    [(config, flag) for config in (TrainConfig, PredictConfig) for flag in OWN_DATA_VALUES
     if flag_properties(config, "databases").get(flag)],
)  # fmt: skip
def test_flag_for_own_data_without_own_data(flag, config):
    more = " --batch_size 2" if config is TrainConfig else ""
    fitting = f"custom or {ALSO_FOR[flag]}" if flag in ALSO_FOR else "custom"
    assert refusal(f"--database CamVid --{flag} {OWN_DATA_VALUES[flag]}{more}", config) == (
        f"--{flag} is only used with --database {fitting}, but --database is CamVid: give --database {fitting} "
        f"or drop --{flag}"
    )
    if flag in ALSO_FOR:
        assert getattr(parse(f"--database {ALSO_FOR[flag]} --{flag} {OWN_DATA_VALUES[flag]}{more}", config), flag)
    classes = "" if flag == "num_classes" else " --num_classes 3"
    own = parse(f"--database custom --{flag} {OWN_DATA_VALUES[flag]}{classes}{more}{NEEDED.get(flag, '')}", config)
    assert getattr(own, flag) is not None


def test_flags_that_say_custom_are_the_checked_ones():
    named = {field.name for field in dataclasses.fields(TrainConfig) if field.metadata["help"].startswith("custom")}
    limited = {name for name, databases in flag_properties(TrainConfig, "databases").items() if databases}
    assert named == set(OWN_DATA_VALUES) == limited


def test_what_the_checks_let_through():
    assert parse("--batch_size 2 --step_size 0.1").step_size == 0.1
    assert parse("--batch_size 2 --poly_lr 0 --lr_step 7 --step_size 0.5").lr_step == (7,)
    assert parse("--batch_size 2 --save_memory 1 --checkpoint_units 3").checkpoint_units == 3
    assert parse("--batch_size 2 --loss_type ohem --ohem_threshold 1 --ohem_min_kept 7").ohem_min_kept == 7
    assert parse("--batch_size 2 --loss_type 2*dice+ohem --ohem_min_kept 7 --label_smoothing 0.1").ohem_min_kept == 7
    assert parse("--batch_size 2 --momentum 0 --bn_decay 0 --seed 9223372036854775807").momentum == 0
    assert parse("--batch_size 1 --eval_only 1").total_batch_size == 1
    assert parse("--batch_size 1 --gpu_num 2").total_batch_size == 2
    assert parse("--gpu_num 2").total_batch_size == 4
    assert parse("--batch_size 2 --fine_tune_filename None --weight_decay_mode 0").starts_from_scratch
    assert not parse("--batch_size 2").starts_from_scratch
    assert parse("--num_classes 3", PredictConfig).num_classes == 3


def test_configurations_are_frozen():
    config = parse("--batch_size 2")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.batch_size = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse("", PredictConfig).ms = True


def test_most_pixels_are_those_of_the_images():
    for config in (TrainConfig, PredictConfig, InferenceConfig):
        assert parse("--batch_size 2" if config is TrainConfig else "", config).max_pixels == images.MAX_PIXELS
    assert "--max_pixels: 0 is below 1" in refusal("--max_pixels 0", PredictConfig)


def test_defaults_are_finite_and_within_their_ranges():
    for config in (TrainConfig, PredictConfig, InferenceConfig):
        for field in dataclasses.fields(config):
            minimum, above, choices = (field.metadata[name] for name in ("minimum", "above", "choices"))
            if field.default is None:
                continue
            assert minimum is None or field.default >= minimum
            assert above is None or field.default > above
            assert choices is None or field.default in choices
            assert not isinstance(field.default, float) or math.isfinite(field.default)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "--database KITTI --holdout 0.3 --subsets_for_training train,val",
            "--holdout 0.3 has no effect with --subsets_for_training train,val, which trains on the held-out images",
        ),
        (
            "--database ADE --train_list a.txt --subsets_for_training val",
            "--train_list a.txt has no effect with --subsets_for_training val: add train there, or drop",
        ),
        ("--subsets_for_training train,train", "--subsets_for_training names train twice"),
        (
            "--check_data none --allow_missing_classes 1",
            "--allow_missing_classes 1 has no effect if no label is read: drop --check_data none",
        ),
    ],
)
def test_flags_on_splits_that_would_do_nothing(line, words):
    assert refusal(f"{line} --batch_size 2").startswith(words)


def test_kitti_may_be_trained_on_whole():
    assert parse("--database KITTI --subsets_for_training train,val --batch_size 2").holdout is None


@pytest.mark.parametrize(
    ("loss_type", "words"),
    [
        ("ce", "--loss_type ce: loss type 'ce' is unknown: use normal, ohem, dice, lovasz or focal_<gamma>"),
        ("dice+normal", "--loss_type dice.normal is not in the usual order and spelling: use normal.dice"),
        ("normal+1.0*dice", "use normal.dice"),
    ],
)
def test_a_loss_has_one_spelling(loss_type, words):
    """As it is part of the identity of a run."""
    with pytest.raises(FlagError, match=words):
        TrainConfig(batch_size=2, loss_type=loss_type)
