"""Other spellings of flags and values: understood where they have one meaning, otherwise answered with the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

_LONGEST_NAME = 60
_NEAR = 0.6


@dataclass(frozen=True)
class Foreign:
    """What another project's flag is called here.

    Attributes:
        names: flags here; the first that a program has is meant.
        note: in what it differs, empty where it does not.
    """

    names: tuple[str, ...]
    note: str = ""


_STEPS = "counted in steps: epochs x images / (--batch_size x --gpu_num)"
_SIZE = "one number for height and width"
_SWITCH = "a switch, 0 or 1"

# Flags of CSAILVision's, hszhao's and mmsegmentation's scripts, of torchvision's references and of Hugging Face's.
FOREIGN_FLAGS: Mapping[str, Foreign] = {
    "amp": Foreign(("float_type",), "16 or bf16"),
    "annotations": Foreign(("train_list", "val_list")),
    "arch": Foreign(("network",)),
    "backbone": Foreign(("network",)),
    "base_lr": Foreign(("lrn_rate",)),
    "base_size": Foreign(("train_image_size", "test_image_size"), _SIZE),
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
    "epoch": Foreign(("train_max_iter",), _STEPS),
    "epochs": Foreign(("train_max_iter",), _STEPS),
    "eval": Foreign(("eval_only",), _SWITCH),
    "evaluate": Foreign(("eval_only",), _SWITCH),
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
    "max_epoch": Foreign(("train_max_iter",), _STEPS),
    "max_epochs": Foreign(("train_max_iter",), _STEPS),
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
    "nproc_per_node": Foreign(("gpu_num",)),
    "num_class": Foreign(("num_classes",)),
    "num_epochs": Foreign(("train_max_iter",), _STEPS),
    "num_gpus": Foreign(("gpu_num",)),
    "num_steps": Foreign(("train_max_iter",)),
    "num_train_epochs": Foreign(("train_max_iter",), _STEPS),
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
    "wd": Foreign(("weight_decay_rate",)),
    "weight": Foreign(("weights_ckpt", "fine_tune_filename")),
    "weight_decay": Foreign(("weight_decay_rate",)),
    "weights": Foreign(("weights_ckpt", "fine_tune_filename")),
    "work_dir": Foreign(("log_dir",)),
}

_NETWORKS = {name: f"resnet_v1_{depth}" for depth in (18, 34, 50, 101, 152) for name in (f"resnet{depth}", f"r{depth}")}
# Other names of values, without signs between their letters, that have exactly one meaning here.
FOREIGN_VALUES: Mapping[str, Mapping[str, str]] = {
    "database": {"ade20k": "ADE", "cityscape": "Cityscapes", "own": "custom"},
    "network": _NETWORKS,
    "deep_network": _NETWORKS,
    "decoder": {"psp": "ppm", "pyramidpooling": "ppm", "ppmdeepsup": "ppm", "c1deepsup": "c1"},
    "float_type": {
        "float32": "32", "fp32": "32", "float16": "16", "fp16": "16", "half": "16", "bfloat16": "bf16",
    },
    "optimizer": {"momentum": "mom", "rmsprop": "rmsp"},
    "initializer": {"kaiming": "he", "glorot": "xavier"},
    "mode": {"valid": "val", "validation": "val", "training": "train", "testing": "test"},
    "device": {"cuda": "gpu"},
}  # fmt: skip

# Values that stand close to one here and are not the same.
NEAR_VALUES: Mapping[str, Mapping[str, str]] = {
    "database": {
        **dict.fromkeys(
            ("voc", "voc2012", "pascal", "pascalvoc", "pascalvoc2012"),
            "SBD is PASCAL VOC 2012 with the labels of SBD; VOC's own files alone are custom",
        ),
        "sbdaug": "SBD with --subsets_for_training trainaug",
    },
    "optimizer": {"adamw": "adam, whose decay is a term of the loss"},
}


def understood_flag(name: str, known: Collection[str]) -> str:
    """A flag's name with dashes for underscores as it is known here; any other name unchanged."""
    spelled = name.replace("-", "_")
    return spelled if spelled in known else name


def suggested_flag(name: str, known: Collection[str]) -> str | None:
    """What a flag that no program has may be called here, in words, or None.

    Args:
        name: without the dashes before it.
        known: names of the flags that the program has.
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
    """The choice that a text means: the same but for capitals and signs, or another name of it.

    Args:
        flag: its name.
        text: as given.
        choices: all values of the flag.

    Raises:
        ValueError: none; it says the choices, and the nearest if there is one.
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
    told = ", ".join(choices)
    note = NEAR_VALUES.get(flag, {}).get(letters)
    nearest = _nearest(letters, choices)
    if note is not None:
        raise ValueError(f"{told}: {note}")
    raise ValueError(told if nearest is None else f"{told}: did you mean {nearest}?")


def _letters(text: str) -> str:
    """The letters and digits of a text, small."""
    return "".join(character for character in text.lower() if character.isalnum())


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The one of `known` that is spelled most like a name, if one is at all."""
    by_letters = {_letters(other): other for other in known}
    nearest = difflib.get_close_matches(_letters(name)[:_LONGEST_NAME], by_letters, 1, _NEAR)
    return by_letters[nearest[0]] if nearest else None
