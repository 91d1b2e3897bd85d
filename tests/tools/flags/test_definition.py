"""What each flag says of itself: what holds on resume, and what makes a run another one."""

from __future__ import annotations

import dataclasses

import pytest

from tests.tools.command_lines import parse
from tools.flags.definition import flag, flag_properties, flags_where
from tools.flags.train import TrainConfig
from tools.runs.folder import model_id

# Names of flags, sorted. A change here changes which runs are resumed, and what they are called.
FREE_ON_RESUME = {
    "allow_missing_classes", "auto_resume", "check_data", "check_hosts", "checkpoint_units", "device", "epochs",
    "eval_only", "fine_tune_filename", "histograms_every", "host_rank", "host_timeout", "hosts",
    "keep", "log_dir", "log_memory", "max_bad_files", "max_pixels", "mirror", "on_nan",
    "patience", "quiet", "resume_step", "run_name", "save_first_iteration", "save_memory", "show_period", "snapshot",
    "snapshot_minutes", "snapshot_on", "test_image_size", "test_list", "test_max_iter", "train_max_iter", "use_ema",
    "val_every", "val_list",
}  # fmt: skip
SAME_BY_CONTENT = {
    "class_weights", "data_dir", "data_format", "holdout", "ignore_label", "label_map", "palette",
    "reduce_zero_label", "train_list",
}  # fmt: skip
RECORDED = {
    "activation", "auxiliary_depth", "color_switch", "decoder", "encoder_blocks", "filter_scale", "head_depth",
    "input_channels",
    "network", "output_stride", "pool_padding", "pyramid_depth", "resize_grid", "stride_convention",
    "three_convs_beginning", "upsample_input",
}  # fmt: skip
IN_IDENTITY = {
    "accumulate", "aux_weight", "bn_decay", "bn_frozen", "class_crops", "class_mix", "class_temperature", "clip_norm",
    "color_jitter", "consider_dilated", "cutout", "database", "decay_all", "deterministic", "dynamic_max_size",
    "dynamic_short_sides", "dynamic_size", "ema_decay", "float_type", "freeze", "gaussian_blur", "has_aux_loss",
    "initializer", "label_smoothing", "loss_type", "lr_power", "lr_schedule", "lr_step", "lrn_rate",
    "lrn_rate_decoder", "lrn_rate_encoder", "momentum", "network",
    "new_bias_multiplier", "new_layer_multiplier", "new_layer_names", "ohem_min_kept",
    "ohem_threshold", "optimizer", "poly_lr", "random_blur", "random_mirror", "random_rotate", "random_scale",
    "repeat_rare", "scale_max", "scale_min", "seed", "step_size", "subsets_for_training", "sync_bn",
    "train_beta_gamma",
    "train_image_size", "train_like_in_caffe", "train_max_iter", "upsample_logits", "warmup_factor", "warmup_steps",
    "weight_decay_mode", "weight_decay_rate", "weight_decay_rate2", "input_channels", "channel_mean", "channel_std",
    "cascade_loss_weights",
}  # fmt: skip
NOT_SHOWN = {
    "allow_missing_classes", "auto_resume", "check_data", "check_hosts", "checkpoint_units", "data_dir", "data_format",
    "deterministic", "device", "epochs", "eval_only", "histograms_every", "host_rank", "host_timeout", "hosts",
    "keep", "log_dir", "log_memory", "max_bad_files", "max_pixels",
    "on_nan", "patience", "quiet", "resume_step", "run_name", "save_first_iteration", "save_memory", "show_period",
    "snapshot", "snapshot_minutes", "snapshot_on", "test_max_iter", "val_every",
}  # fmt: skip


@pytest.mark.parametrize(
    ("properties", "names"),
    [
        ({"resume": "free"}, FREE_ON_RESUME),
        ({"resume": "content"}, SAME_BY_CONTENT),
        ({"identity": True}, IN_IDENTITY),
        ({"shown": False}, NOT_SHOWN),
    ],
    ids=["resume-free", "resume-content", "identity", "not-shown"],
)
def test_flags_by_property(properties, names):
    assert set(flags_where(TrainConfig, **properties)) == names


def test_recorded_flags():
    recorded = flag_properties(TrainConfig, "recorded")
    assert {name for name, path in recorded.items() if path is not None} == RECORDED


def test_selected_flags_are_in_the_order_of_the_fields_and_fit_all_properties():
    fields = [field.name for field in dataclasses.fields(TrainConfig)]
    assert flags_where(TrainConfig) == tuple(fields)
    names = flags_where(TrainConfig, resume="free", shown=True)
    assert list(names) == sorted(names, key=fields.index)
    assert set(names) == FREE_ON_RESUME - NOT_SHOWN


def test_defaults_of_properties():
    @dataclasses.dataclass(frozen=True)
    class Config:
        same: int = flag(1, "x", group="data")
        free: float = flag(1.0, "x", group="data", metavar="RATE", resume="free")
        content: str | None = flag(None, "x", str, group="data", metavar="NAME", resume="content")
        many: tuple[str, ...] = flag(("a",), "x", tuple, group="data", choices=("a", "b"))

    assert flag_properties(Config, "identity") == {"same": True, "free": False, "content": False, "many": True}
    assert flag_properties(Config, "shown") == {"same": True, "free": False, "content": True, "many": True}
    assert flag_properties(Config, "metavar") == {"same": "N", "free": "RATE", "content": "NAME", "many": "NAME,..."}


def test_a_flag_without_a_unit_is_an_error():
    with pytest.raises(KeyError):
        flag(1.0, "rate", group="schedule")


def test_name_of_a_run_with_other_flags():
    line = "--batch_size 3 --gpu_num 2 --lrn_rate 0.02 --consider_dilated 1 --random_rotate 0 --random_scale 0"
    assert model_id(parse(line)) == (
        "resnet_v1_50-480-train-L2-SP-wd_alpha0.0001-wd_beta0.0001-batch_size6-lrn_rate0.02-consider_dilated1-"
        "random_rotate0-random_scale0"
    )
