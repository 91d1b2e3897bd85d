"""Accepts other spellings of flags and values if their meaning is unique, and otherwise suggests the nearest one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from model.choices import LOSSES, NETWORKS
from model.loss_terms import LossTerm, checked_terms, loss_text, split_factor

_LONGEST_NAME = 60
_NEAR = 0.6
_FOCAL = re.compile(r"focal(?:[-_ ]?loss)?[-_ ]?(\d+(?:\.\d+)?)", re.ASCII)


@dataclass(frozen=True)
class Foreign:
    """The flag that corresponds to another project's flag.

    Attributes:
        names: flags here; the first one that the program has is suggested.
        note: the difference to the other project's flag; empty if there is none.
    """

    names: tuple[str, ...]
    note: str = ""


_SIZE = "one number, or height x width such as 360x480"
_SWITCH = "a switch, 0 or 1"

# Flags of the scripts of CSAILVision, hszhao, mmsegmentation, torchvision's references and Hugging Face.
FOREIGN_FLAGS: Mapping[str, Foreign] = {
    "amp": Foreign(("float_type",), "16 or bf16"),
    "annotations": Foreign(("train_list", "val_list")),
    "arch": Foreign(("network",)),
    "backbone": Foreign(("network",)),
    "base_lr": Foreign(("lrn_rate",)),
    "base_size": Foreign(("train_image_size",), f"{_SIZE}; the long side in tests is predict.py --base_size"),
    "bs": Foreign(("batch_size",), "images per tower"),
    "checkpoint": Foreign(("weights_ckpt", "fine_tune_filename")),
    "ckpt": Foreign(("weights_ckpt", "fine_tune_filename")),
    "classes": Foreign(("num_classes",)),
    "crop_size": Foreign(("train_image_size", "test_image_size"), _SIZE),
    "cuda": Foreign(("device",), "auto, cpu or gpu"),
    "data": Foreign(("data_dir",)),
    "data_path": Foreign(("data_dir",)),
    "data_root": Foreign(("data_dir",)),
    "dataroot": Foreign(("data_dir",)),
    "dataset": Foreign(("database",)),
    "dataset_dir": Foreign(("data_dir",)),
    "encoder": Foreign(("network",)),
    "epoch": Foreign(("epochs",)),
    "eval": Foreign(("eval_only",), _SWITCH),
    "evaluate": Foreign(("val_every", "eval_only"), "steps; --eval_only 1 scores without training"),
    "evaluate_all_from_checkpoint": Foreign(("from_step",), "with --follow"),
    "exp_dir": Foreign(("log_dir",)),
    "flip": Foreign(("random_mirror", "mirror"), _SWITCH),
    "fp16": Foreign(("float_type",), "16 or bf16"),
    "gpu": Foreign(("gpu_num", "device"), "a number of GPUs; CUDA_VISIBLE_DEVICES chooses among them"),
    "gpu_ids": Foreign(("gpu_num", "device"), "a number of GPUs; CUDA_VISIBLE_DEVICES chooses among them"),
    "gpus": Foreign(("gpu_num", "device"), "a number of GPUs; CUDA_VISIBLE_DEVICES chooses among them"),
    "head": Foreign(("decoder",)),
    "ignore_index": Foreign(("ignore_label",)),
    "image": Foreign(("image_path",)),
    "image_dir": Foreign(("image_path", "data_dir")),
    "image_size": Foreign(("train_image_size", "test_image_size"), _SIZE),
    "images": Foreign(("image_path", "data_dir")),
    "img": Foreign(("image_path",)),
    "imgs": Foreign(("image_path",)),
    "img_size": Foreign(("train_image_size", "test_image_size"), _SIZE),
    "input": Foreign(("image_path", "data_dir")),
    "input_size": Foreign(("train_image_size", "test_image_size"), _SIZE),
    "iters": Foreign(("train_max_iter",)),
    "iterations": Foreign(("train_max_iter",)),
    "learning_rate": Foreign(("lrn_rate",)),
    "load": Foreign(("weights_ckpt", "fine_tune_filename")),
    "logdir": Foreign(("log_dir",)),
    "loss": Foreign(("loss_type",)),
    "lr": Foreign(("lrn_rate",)),
    "max_epoch": Foreign(("epochs",)),
    "max_epochs": Foreign(("epochs",)),
    "max_iter": Foreign(("train_max_iter", "test_max_iter")),
    "max_iters": Foreign(("train_max_iter", "test_max_iter")),
    "max_steps": Foreign(("train_max_iter", "test_max_iter")),
    "mean": Foreign(("image_mean",), "red,green,blue in 0..255"),
    "model": Foreign(("network", "weights_ckpt")),
    "model_dir": Foreign(("log_dir",)),
    "model_path": Foreign(("weights_ckpt", "fine_tune_filename")),
    "multi_scale": Foreign(("ms",), _SWITCH),
    "nclass": Foreign(("num_classes",)),
    "n_classes": Foreign(("num_classes",)),
    "ngpu": Foreign(("gpu_num",)),
    "dist_url": Foreign(("hosts",), "host1:2222,host2:2222"),
    "launcher": Foreign(("hosts",), "slurm, tf_config or addresses"),
    "machine_rank": Foreign(("host_rank",)),
    "master_addr": Foreign(("hosts",), "host1:2222,host2:2222"),
    "nnodes": Foreign(("hosts",), "host1:2222,host2:2222"),
    "node_rank": Foreign(("host_rank",)),
    "nproc_per_node": Foreign(("gpu_num",)),
    "num_machines": Foreign(("hosts",), "host1:2222,host2:2222"),
    "num_nodes": Foreign(("hosts",), "host1:2222,host2:2222"),
    "rank": Foreign(("host_rank",)),
    "worker_hosts": Foreign(("hosts",), "host1:2222,host2:2222"),
    "world_size": Foreign(("hosts",), "host1:2222,host2:2222"),
    "num_class": Foreign(("num_classes",)),
    "num_epochs": Foreign(("epochs",)),
    "num_gpus": Foreign(("gpu_num",)),
    "num_steps": Foreign(("train_max_iter",)),
    "num_train_epochs": Foreign(("epochs",)),
    "out_dir": Foreign(("output_dir", "out", "log_dir")),
    "output": Foreign(("output_dir", "out", "log_dir")),
    "output_path": Foreign(("output_dir", "out", "log_dir")),
    "out": Foreign(("output_dir", "log_dir")),
    "pretrained": Foreign(("fine_tune_filename", "weights_ckpt"), "a checkpoint's path"),
    "random_flip": Foreign(("random_mirror",), _SWITCH),
    "restore": Foreign(("resume_step",), "a step, or latest"),
    "restore_from": Foreign(("fine_tune_filename", "weights_ckpt")),
    "resume": Foreign(("resume_step",), "a step, or latest"),
    "save": Foreign(("log_dir", "output_dir")),
    "save_dir": Foreign(("log_dir", "output_dir")),
    "save_folder": Foreign(("log_dir", "output_dir")),
    "save_freq": Foreign(("snapshot",), "steps"),
    "save_interval": Foreign(("snapshot",), "steps"),
    "scales": Foreign(("ms",), _SWITCH),
    "split": Foreign(("mode", "subsets_for_training")),
    "steps": Foreign(("train_max_iter",)),
    "val_interval": Foreign(("val_every",), "steps"),
    # Of the first scripts of PSPNet-TF-Reproduce, in its folder run_pspmg.
    "data_type": Foreign(("float_type",)),
    "fix_blocks": Foreign(("freeze",), "names such as conv1,block1"),
    "test_batch_size": Foreign(("windows_per_batch",)),
    "wd": Foreign(("weight_decay_rate",)),
    "weight": Foreign(("weights_ckpt", "fine_tune_filename")),
    "weight_decay": Foreign(("weight_decay_rate",)),
    "weights": Foreign(("weights_ckpt", "fine_tune_filename")),
    "work_dir": Foreign(("log_dir",)),
    "accum_iter": Foreign(("accumulate",), "batches"),
    "clip_grad": Foreign(("clip_norm",)),
    "clip_grad_norm": Foreign(("clip_norm",)),
    "early_stopping": Foreign(("patience",), "scores"),
    "early_stopping_patience": Foreign(("patience",), "scores"),
    "deep_sup_scale": Foreign(("aux_weight",)),
    "ema": Foreign(("ema_decay",), "0.999 is usual"),
    "fix_bn": Foreign(("bn_frozen",), "1 for the encoder, all for the heads too"),
    "freeze_backbone": Foreign(("freeze",), "encoder"),
    "freeze_fine_tune_backbone": Foreign(("freeze",), "encoder"),
    "imgmaxsize": Foreign(("longest_side", "dynamic_max_size"), "pixels"),
    "imgsizes": Foreign(("short_sides", "dynamic_short_sides"), "pixels, 300,375,450,525,600"),
    "update_mean_var": Foreign(("bn_frozen",), "0 updates the running averages, 1 or all does not"),
    "zoom_factor": Foreign(("upsample_logits",), "1 for the size of the labels, which is 8 there"),
    "freeze_bn": Foreign(("bn_frozen",), _SWITCH),
    "freeze_encoder": Foreign(("freeze",), "encoder"),
    "frozen_stages": Foreign(("freeze",), "names such as conv1,block1"),
    "gamma": Foreign(("step_size",)),
    "grad_accum": Foreign(("accumulate",), "batches"),
    "gradient_accumulation_steps": Foreign(("accumulate",), "batches"),
    "lr_decay": Foreign(("lr_schedule",)),
    "lr_scheduler": Foreign(("lr_schedule",)),
    "lr_scheduler_type": Foreign(("lr_schedule",)),
    "max_grad_norm": Foreign(("clip_norm",)),
    "milestones": Foreign(("lr_step",)),
    "model_ema": Foreign(("ema_decay",), "0.999 is usual"),
    "optim": Foreign(("optimizer",)),
    "poly_power": Foreign(("lr_power",)),
    "power": Foreign(("lr_power",)),
    "sched": Foreign(("lr_schedule",)),
    "scheduler": Foreign(("lr_schedule",)),
    "warmup": Foreign(("warmup_steps",)),
    "warmup_iters": Foreign(("warmup_steps",)),
    "warmup_ratio": Foreign(("warmup_factor",)),
}

_NETWORKS = {
    **{
        network.replace("resnet_v1_", short): network
        for network in NETWORKS
        if network.startswith("resnet_v1_")
        for short in ("resnet", "r")
    },
    **{f"resnet{depth}d": f"resnet_v1d_{depth}" for depth in (50, 101)},
    **{f"resnetv1d{depth}": f"resnet_v1d_{depth}" for depth in (50, 101)},
    "resnext50": "resnext_50_32x4d",
    "wideresnet50": "wide_resnet_50_2",
    "wideresnet101": "wide_resnet_101_2",
    **dict.fromkeys(("mobilenetv2dilated", "mobilenetv2100"), "mobilenet_v2"),
}
_DECODERS = {
    **dict.fromkeys(
        ("psp", "pspnet", "pspmodule", "psphead", "pspp", "pyramid", "pyramidpooling", "pyramidpoolingmodule",
         "ppmdeepsup", "ppmhead"),
        "ppm",
    ),
    **dict.fromkeys(("c1deepsup", "conv", "conv1", "linear"), "c1"),
    **dict.fromkeys(("uper", "uperhead", "unifiedperceptualparsing"), "upernet"),
}  # fmt: skip
_FLOAT_TYPES = {
    **dict.fromkeys(("float32", "fp32", "f32", "float", "single", "full"), "32"),
    **dict.fromkeys(("float16", "fp16", "f16", "half"), "16"),
    **dict.fromkeys(("bfloat16", "brainfloat16"), "bf16"),
}
_SPLITS = {
    **dict.fromkeys(("trn", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "validate"), "val"),
    **dict.fromkeys(("tst", "testing"), "test"),
    "trainextra": "train_extra",
    "coarse": "train_extra",
}
# Splits of all datasets.
SPLITS = ("train", "val", "test", "trainaug", "train_extra")
# Other names of values with exactly one meaning here, as lower-case letters and digits.
FOREIGN_VALUES: Mapping[str, Mapping[str, str]] = {
    "database": {
        "ade20k": "ADE", "adechallenge": "ADE", "adechallengedata2016": "ADE", "cityscape": "Cityscapes",
        "cityscapesdataset": "Cityscapes", "kittisemantics": "KITTI", "camvid11": "CamVid", "own": "custom",
        "mine": "custom",
    },
    "network": _NETWORKS,
    "networks": _NETWORKS,
    "deep_network": _NETWORKS,
    "decoder": _DECODERS,
    "decoders": _DECODERS,
    "float_type": _FLOAT_TYPES,
    "float_types": _FLOAT_TYPES,
    "loss_type": {
        **dict.fromkeys(
            ("ce", "crossentropy", "crossentropyloss", "softmax", "softmaxcrossentropy", "standard", "default", "nll"),
            "normal",
        ),
        **dict.fromkeys(("ohemce", "ohemcrossentropy", "hardpixels"), "ohem"),
        **dict.fromkeys(("diceloss", "softdice", "softdiceloss"), "dice"),
        **dict.fromkeys(("lovaszloss", "lovaszsoftmax", "lovaszsoftmaxloss"), "lovasz"),
    },
    "optimizer": {**dict.fromkeys(("momentum", "sgdm", "sgdmomentum", "sgdwithmomentum"), "mom"), "rmsprop": "rmsp"},
    "initializer": {
        **dict.fromkeys(("kaiming", "kaimingnormal", "henormal", "msra"), "he"),
        **dict.fromkeys(("glorot", "glorotxavier"), "xavier"),
    },
    "mode": {name: split for name, split in _SPLITS.items() if split in ("train", "val", "test")},
    "device": {"cuda": "gpu", "nvidia": "gpu", "gpus": "gpu", "cpus": "cpu"},
    "data_format": {
        **dict.fromkeys(("tfrecords", "record", "records"), "tfrecord"),
        **dict.fromkeys(("file", "images", "folder", "raw"), "files"),
    },
    "check_data": {"full": "all", "off": "none", "no": "none"},
    "format": {"md": "markdown", "txt": "text", "plain": "text"},
    "resize_grid": {"aligncornerstrue": "align_corners", "halfpixelcenters": "half_pixel", "tf1": "legacy"},
    "pool_padding": {"symmetrical": "symmetric"},
}  # fmt: skip

_NO_DEEPLAB = "this is a PSPNet, without DeepLab's head; ppm is PSPNet's own"
_OTHER_ENCODERS = "encoders are ResNets of version 1 and MobileNetV2"
# Values that are similar to one here but not the same.
NEAR_VALUES: Mapping[str, Mapping[str, str]] = {
    "database": {
        **dict.fromkeys(
            ("voc", "voc2012", "pascal", "pascalvoc", "pascalvoc2012"),
            "SBD is PASCAL VOC 2012 with the labels of SBD; VOC's own files alone are custom",
        ),
        **dict.fromkeys(
            ("coco", "cocostuff", "mapillary", "bdd100k", "nyu", "sunrgbd", "pascalcontext"),
            "custom takes any other dataset",
        ),
        "sbdaug": "SBD with --subsets_for_training trainaug",
    },
    **dict.fromkeys(
        ("decoder", "decoders"),
        {
            **dict.fromkeys(("deeplab", "deeplabv2", "deeplabv3", "deeplabv3plus", "aspp"), _NO_DEEPLAB),
            **dict.fromkeys(("fcn", "fcnhead"), "c1, one convolution, is the nearest"),
            **dict.fromkeys(("fpn", "unet"), "upernet, which adds a pyramid of features, is the nearest"),
        },
    ),
    **dict.fromkeys(
        ("network", "networks", "deep_network"),
        {
            **dict.fromkeys(
                ("mobilenet", "mobilenetv1", "mobilenetv3", "vgg", "vgg16", "hrnet", "hrnetv2", "xception",
                 "efficientnet", "swin", "vit"),
                _OTHER_ENCODERS,
            ),
            **{f"resnetv2{depth}": _OTHER_ENCODERS for depth in (50, 101, 152)},
            "resnext101": "resnext_101_32x8d is torchvision's; CSAILVision's, 32x4d with three convolutions at the "
            "beginning, is not here",
            **{f"pspnet{depth}": f"resnet_v1_{depth}, with --decoder ppm" for depth in (18, 34, 50, 101, 152)},
        },
    ),
    "loss_type": {
        "focal": "focal_2 is usual",
        **dict.fromkeys(("dicece", "cedice", "dicefocal"), "a sum is written with a plus sign: ce+0.5*dice"),
        **dict.fromkeys(("iou", "jaccard", "softiou"), "lovasz, an extension of the Jaccard loss, is the nearest"),
        **dict.fromkeys(("bce", "tversky", "generalizeddice", "gdl"), "it is not among the losses here"),
        **dict.fromkeys(("weighted", "weightedce", "balanced"), "normal, with --class_weights median_freq or a file"),
    },
    "optimizer": {
        "nesterov": "mom, whose momentum is not Nesterov's",
    },
}  # fmt: skip


def understood_flag(name: str, known: Collection[str]) -> str:
    """Replaces dashes in a flag's name by underscores if the result is a known flag; returns other names unchanged."""
    spelled = name.replace("-", "_")
    return spelled if spelled in known else name


def suggested_flag(name: str, known: Collection[str]) -> str | None:
    """Suggests a flag for an unknown one, as text; None without a suggestion.

    Args:
        name: without leading dashes.
        known: names of the program's flags.
    """
    spelled = name.replace("-", "_").lower()[:_LONGEST_NAME]
    shown = f"--{name[:_LONGEST_NAME]}"
    foreign = FOREIGN_FLAGS.get(spelled)
    ours = None if foreign is None else next((ours for ours in foreign.names if ours in known), None)
    if foreign is not None and ours is not None:
        return f"{shown} is --{ours} here" + (f" ({foreign.note})" if foreign.note else "")
    nearest = _nearest(spelled, known)
    return None if nearest is None else f"{shown}: did you mean --{nearest}?"


def understood_value(flag: str, text: str, choices: Sequence[str]) -> str:
    """Finds the choice for a text: one with the same letters and digits in any case, or one with this other name.

    Args:
        flag: its name.
        text: as given.
        choices: all values of the flag.

    Raises:
        ValueError: there is no such choice; the message lists the choices, and the nearest if there is one.
    """
    if text in choices:
        return text
    letters = _letters(text)
    meant = [choice for choice in choices if _letters(choice) == letters]
    foreign = FOREIGN_VALUES.get(flag, {}).get(letters, "")
    if len(meant) != 1 and foreign in choices:
        meant = [foreign]
    if len(meant) == 1:
        return meant[0]
    listed = ", ".join(choices)
    note = NEAR_VALUES.get(flag, {}).get(letters)
    nearest = _nearest(letters, choices)
    if note is not None:
        raise ValueError(f"{listed}: {note}")
    raise ValueError(listed if nearest is None else f"{listed}: did you mean {nearest}?")


def _letters(text: str) -> str:
    """Returns the letters and digits of a text in lower case."""
    return "".join(character for character in text.lower() if character.isalnum())


def _nearest(name: str, known: Collection[str]) -> str | None:
    """Returns the known name with the most similar spelling; None if none is similar."""
    by_letters = {_letters(other): other for other in known}
    nearest = difflib.get_close_matches(_letters(name)[:_LONGEST_NAME], by_letters, 1, _NEAR)
    return by_letters[nearest[0]] if nearest else None


def loss_type(text: str) -> str:
    """Parses a loss or a sum of losses and returns it in its only spelling, see `loss_terms.loss_text`.

    Names are those of `choices.LOSSES`, other names of these such as ce, and focal_<gamma>, also without the
    underscore before gamma.

    Raises:
        ValueError: unknown; the message lists the losses, and the nearest.
    """
    factors = [split_factor(part) for part in text.split("+")]
    return loss_text(checked_terms([LossTerm(factor, _loss_name(name)) for factor, name in factors]))


def _loss_name(text: str) -> str:
    focal = _FOCAL.fullmatch(text.lower())
    return f"focal_{focal[1]}" if focal else understood_value("loss_type", text, (*LOSSES, "focal_<gamma>"))


def split_names(text: str) -> tuple[str, ...]:
    """Parses one or more splits of a dataset, separated by commas; unknown names are left to the dataset to reject.

    Raises:
        ValueError: the text has no name.
    """
    names = tuple(_split_name(part.strip()) for part in text.split(",") if part.strip())
    if not names:
        raise ValueError("one or more names, separated by commas")
    return names


def split_name(text: str) -> str:
    """Parses a single split, see `split_names`."""
    [name] = split_names(text.replace(",", " "))
    return name


def _split_name(text: str) -> str:
    letters = _letters(text)
    return next((split for split in SPLITS if _letters(split) == letters), _SPLITS.get(letters, text))
