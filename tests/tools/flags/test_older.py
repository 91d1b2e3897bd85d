"""Command lines of PSPNet-TF-Reproduce: those of the READMEs of v0.9 and of its master, and its flags."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from tests.tools.command_lines import parse, refusal
from tools.flags.older import OLDER_FLAGS, SCRIPTS, older_flags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig

CONFIGS = {"train.py": TrainConfig, "predict.py": PredictConfig, "inference.py": InferenceConfig}

_V09_RUN = (
    "./log/resnet_v1_50-816-train-L2-SP-wd_alpha0.0001-wd_beta0.001-batch_size16-lrn_rate0.01-consider_dilated1-"
    "random_rotate0-random_scale1/model.ckpt-30000"
)
_MASTER_RUN = (
    "./log/ADE/PSP-resnet_v1_101-gpu_num2-batch_size8-lrn_rate0.01-random_scale1-random_rotate1-480-60000-train-1-"
    "0.0001-0.001-0-0-1-1/snapshot/model.ckpt-60000"
)

# Each documented command line, and the flags that it sets to other values than the defaults here.
DOCUMENTED = {
    "v0.9: ResNet-50 on Cityscapes": (
        "python ./train.py --batch_size 4 --gpu_num 4 --consider_dilated 1 --weight_decay_rate 0.0001 "
        "--weight_decay_rate2 0.001 --random_rotate 0 --database 'Cityscapes' --train_image_size 816 "
        "--test_image_size 816",
        {
            "batch_size": 4, "gpu_num": 4, "consider_dilated": True, "weight_decay_rate2": 0.001,
            "random_rotate": False, "train_image_size": 816, "test_image_size": 816,
        },
    ),
    "v0.9: ResNet-50 on ADE20K": (
        "python ./train.py --batch_size 8 --gpu_num 2 --weight_decay_mode 0 --weight_decay_rate 0.0001 "
        "--weight_decay_rate2 0.0001 --train_max_iter 60000 --snapshot 30000 --random_rotate 0 --database 'ADE' "
        "--train_image_size 480 --test_image_size 480",
        {
            "batch_size": 8, "gpu_num": 2, "weight_decay_mode": 0, "train_max_iter": 60000, "snapshot": 30000,
            "random_rotate": False, "database": "ADE",
        },
    ),
    "v0.9: test": (
        f"python predict.py --coloring 1 --ms 1 --network resnet_v1_50 --weights_ckpt {_V09_RUN}",
        {"ms": True, "network": "resnet_v1_50", "weights_ckpt": _V09_RUN},
    ),
    "v0.9: one image": (
        f"python inference.py --coloring 1 --ms 0 --network resnet_v1_50 --weights_ckpt {_V09_RUN} "
        "--image_path ./database/cityscapes/leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png",
        {
            "network": "resnet_v1_50", "weights_ckpt": _V09_RUN,
            "image_path": "./database/cityscapes/leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png",
        },
    ),
    "v0.9: many images": (
        f"python inference.py --coloring 1 --ms 0 --network resnet_v1_50 --weights_ckpt {_V09_RUN}",
        {"network": "resnet_v1_50", "weights_ckpt": _V09_RUN},
    ),
    "master: ResNet-50 on ADE20K": (
        "python ./run.py --network 'resnet_v1_50' --visible_gpus '0,1' --reader_method 'queue' --lrn_rate 0.01 "
        "--weight_decay_mode 0 --weight_decay_rate 0.0001 --weight_decay_rate2 0.001 --database 'ADE' "
        "--subsets_for_training 'train' --batch_size 8 --train_image_size 480 --snapshot 30000 "
        "--train_max_iter 90000 --test_image_size 480 --random_rotate 0 "
        "--fine_tune_filename './z_pretrained_weights/resnet_v1_50.ckpt'",
        {
            "gpu_num": 2, "weight_decay_mode": 0, "weight_decay_rate2": 0.001, "database": "ADE", "batch_size": 8,
            "snapshot": 30000, "train_max_iter": 90000, "random_rotate": False,
            "fine_tune_filename": "./z_pretrained_weights/resnet_v1_50.ckpt",
        },
    ),
    "master, earlier: ResNet-50 on ADE20K": (
        "python ./run.py --network 'resnet_v1_50' --visible_gpus '0,1' --reader_method 'queue' --weight_decay_mode 0 "
        "--weight_decay_rate 0.0001 --weight_decay_rate2 0.0001 --database 'ADE' --subsets_for_training 'train' "
        "--batch_size 8 --train_image_size 480 --snapshot 10000 --train_max_iter 60000 --test_image_size 480 "
        "--fine_tune_filename './z_pretrained_weights/resnet_v1_50.ckpt'",
        {
            "gpu_num": 2, "weight_decay_mode": 0, "database": "ADE", "batch_size": 8, "snapshot": 10000,
            "train_max_iter": 60000, "fine_tune_filename": "./z_pretrained_weights/resnet_v1_50.ckpt",
        },
    ),
    "master: test": (
        f"python predict.py --visible_gpus '0' --network 'resnet_v1_101' --database 'ADE' "
        f"--weights_ckpt '{_MASTER_RUN}' --test_subset 'val' --test_image_size 480 --batch_size 8 --ms 1 --mirror 1",
        {
            "network": "resnet_v1_101", "database": "ADE", "weights_ckpt": _MASTER_RUN, "test_image_size": 480,
            "windows_per_batch": 8, "ms": True,
        },
    ),
    "master: one image": (
        "python demo_infer.py --database 'Cityscapes' --network 'resnet_v1_101' "
        "--weights_ckpt './log/Cityscapes/old/model.ckpt-50000' --test_image_size 864 --batch_size 4 --ms 1",
        {
            "database": "Cityscapes", "network": "resnet_v1_101",
            "weights_ckpt": "./log/Cityscapes/old/model.ckpt-50000", "test_image_size": 864, "ms": True,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_command_lines_run_as_they_are(name):
    line, expected = DOCUMENTED[name]
    python, script, *flags = shlex.split(line)
    script = script.removeprefix("./")
    config = CONFIGS[SCRIPTS.get(script, script)]
    found = dataclasses.asdict(parse(shlex.join(flags), config))
    assert python == "python"
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    assert {flag: value for flag, value in found.items() if value != defaults[flag]} == expected


@pytest.mark.parametrize(
    ("line", "config", "logged"),
    [
        ("--visible_gpus 0,1", TrainConfig, "--visible_gpus 0,1 of PSPNet-TF-Reproduce is --gpu_num 2 here"),
        ("--visible-gpus=1,0", PredictConfig, "--visible-gpus 1,0 of PSPNet-TF-Reproduce is --gpu_num 2 here"),
        ("--batch_size 8", PredictConfig, "--batch_size 8 of PSPNet-TF-Reproduce is --windows_per_batch 8 here"),
        ("--batch_size 8", InferenceConfig, "--batch_size 8 of PSPNet-TF-Reproduce is --windows_per_batch 8 here"),
        ("--data_format NHWC", TrainConfig, "--data_format NHWC of PSPNet-TF-Reproduce has no effect: "),
        ("--data_format NHWC", PredictConfig, "--data_format NHWC of PSPNet-TF-Reproduce has no effect: "),
        ("--data_format=NHWC", InferenceConfig, "--data_format NHWC of PSPNet-TF-Reproduce has no effect: "),
        ("--mode val", InferenceConfig, "--mode val of PSPNet-TF-Reproduce has no effect: "),
        ("--visible_gpus 0", InferenceConfig, "--visible_gpus 0 of PSPNet-TF-Reproduce has no effect: "),
        ("--reader_method images", TrainConfig, "--reader_method images of PSPNet-TF-Reproduce has no effect: "),
        ("--prefix PSP", TrainConfig, "--prefix PSP of PSPNet-TF-Reproduce has no effect: "),
        ("--prefix mine", PredictConfig, "--prefix mine of PSPNet-TF-Reproduce has no effect: "),
        ("--test_subset val", TrainConfig, "--test_subset val of PSPNet-TF-Reproduce has no effect: "),
    ],
)
def test_what_becomes_of_a_flag_is_logged(line, config, logged, caplog):
    caplog.set_level("INFO")
    parse(f"--network resnet_v1_50 {line}" if config is TrainConfig else line, config)
    [message] = caplog.messages
    assert message.startswith(logged)


def test_values_of_another_meaning_are_logged_and_ours_hold(caplog):
    caplog.set_level("INFO")
    for line, words in {
        "--loss_type focal_1": "give focal_2 for that loss",
        "--bn_frozen 1": "there, all layers normalize with the moments of the batch",
        "--has_aux_loss=0": "there, the flag has no effect",
    }.items():
        caplog.clear()
        parse(line)
        [message] = caplog.messages
        assert message.startswith(line.replace("=", " ") + ": ")
        assert words in message
    caplog.clear()
    config = parse("--loss_type focal_2 --bn_frozen all --has_aux_loss 1")
    assert (config.loss_type, config.bn_frozen, config.has_aux_loss, caplog.messages) == ("focal_2", "all", True, [])
    config = parse("--loss_type focal_1 --bn_frozen 1 --has_aux_loss 0")
    assert (config.loss_type, config.bn_frozen, config.has_aux_loss) == ("focal_1", True, False)


def test_the_network_of_its_master_is_said(caplog):
    parse("--visible_gpus 0")
    assert [record.levelname for record in caplog.records if "trains resnet_v1_101" in record.message] == ["WARNING"]
    caplog.clear()
    for line, config in (("--visible_gpus 0 --network=resnet_v1_18", TrainConfig), ("--prefix x", PredictConfig)):
        parse(line, config)
    assert not [message for message in caplog.messages if "resnet_v1_101" in message]


@pytest.mark.parametrize(
    ("line", "config", "words"),
    [
        ("--data_format NCHW", TrainConfig, "--data_format NCHW: expected NHWC"),
        ("--data_format NCHW", InferenceConfig, "--data_format NCHW: expected NHWC"),
        ("--visible_gpus 2,3", TrainConfig, "CUDA_VISIBLE_DEVICES=2,3, and give --gpu_num 2"),
        ("--visible_gpus 1", PredictConfig, "CUDA_VISIBLE_DEVICES=1, and give --gpu_num 1"),
        ("--visible_gpus a", TrainConfig, "--visible_gpus 'a' .* --gpu_num"),
        ("--visible_gpus 0,1", InferenceConfig, "--visible_gpus 0,1: inference.py uses one GPU"),
        ("--visible_gpus", TrainConfig, "argument --visible_gpus: expected one argument"),
        ("--visible_gpus --ms 1", PredictConfig, "argument --visible_gpus: expected one argument"),
        ("--prefix mine", TrainConfig, "--prefix .* --run_name"),
        ("--test_subset test", TrainConfig, "--test_subset is for predict.py"),
        ("--ms 1", TrainConfig, "--ms is for predict.py"),
        ("--coloring 0", TrainConfig, "--coloring is for predict.py"),
        ("--weights_ckpt x", TrainConfig, "training starts from --fine_tune_filename"),
        ("--train_image_size 480", PredictConfig, "--train_image_size is for train.py"),
        ("--data_type 16", TrainConfig, "--data_type is --float_type here"),
    ],
)
def test_what_is_not_taken_is_answered_with_ours(line, config, words):
    assert re.search(words, refusal(line, config))


def test_all_that_is_rejected_is_named_at_once():
    found = refusal("--prefix mine --ms 1 --visible_gpus 2,3", TrainConfig)
    assert all(words in found for words in ("--run_name", "--ms is for predict.py", "CUDA_VISIBLE_DEVICES=2,3"))


def test_ours_of_the_same_name_keep_their_values():
    assert parse("--data_format tfrecord").data_format == "tfrecord"
    assert parse("--batch_size 3").batch_size == 3
    assert parse("--test_subset test", PredictConfig).mode == "test"
    assert "invalid choice: 'nhwc'" in refusal("--data_format nhwc")


def test_a_file_of_flags_is_converted_too(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("visible_gpus: 0,1\nbatch_size: 4\n")
    assert parse(f"--config {path}").total_batch_size == 8
    path.write_text("prefix: mine\n")
    assert "run.yaml: --prefix" in refusal(f"--config {path}")


# The flags of its scripts at v0.9 (train.py, predict.py, inference.py), and of args.py of its master.
V09 = {
    "train.py": (
        "gpu_num consider_dilated network database subsets_for_training batch_size weight_decay_mode weight_decay_rate "
        "weight_decay_rate2 train_image_size lrn_rate random_rotate random_scale train_max_iter snapshot scale_min "
        "scale_max color_switch loss_type structure_in_paper train_like_in_paper bn_frozen blur initializer optimizer "
        "momentum float_type data_format has_aux_loss poly_lr new_layer_names fine_tune_filename resume_step lr_step "
        "step_size save_first_iteration eval_only test_max_iter test_image_size mirror"
    ),
    "predict.py": (
        "float_type data_format database color_switch test_max_iter test_image_size mode structure_in_paper network "
        "weights_ckpt coloring mirror save_prediction ms"
    ),
    "inference.py": (
        "float_type database data_format color_switch test_image_size mode structure_in_paper image_path network "
        "weights_ckpt coloring mirror ms"
    ),
}
MASTER = (
    "prefix visible_gpus reader_method database network subsets_for_training batch_size weight_decay_mode "
    "weight_decay_rate weight_decay_rate2 train_image_size fine_tune_filename new_layer_names train_max_iter snapshot "
    "consider_dilated lrn_rate random_blur random_mirror random_rotate random_scale scale_min scale_max color_switch "
    "three_convs_beginning train_like_in_caffe initializer optimizer momentum poly_lr resume_step lr_step step_size "
    "save_first_iteration weights_ckpt test_subset test_image_size ms mirror coloring"
)


@pytest.mark.parametrize("script", CONFIGS)
def test_every_flag_of_its_scripts_is_ours_or_in_the_table(script):
    config = CONFIGS[script]
    fields = dataclasses.fields(config)
    ours = {name for field in fields for name in (field.name, *field.metadata["aliases"])}
    table = set(older_flags(config.program.command))
    for flags in (V09[script], MASTER):
        assert set(flags.split()) <= ours | table
    both = ours & table
    other_meanings = {"data_format", "loss_type", "bn_frozen", "has_aux_loss"}
    assert both == (other_meanings if script == "train.py" else set())
    assert all(OLDER_FLAGS[config.program.command][name].values for name in both)
