"""Upper bounds of flags: one line with the bound, for every flag with a number."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.command_lines import parse
from tools.errors import FlagError
from tools.flags.parsing import parse_flags, parse_value
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.recorded import fault_of_recorded
from tools.flags.train import TrainConfig
from tools.flags.values import step_or_latest

TOO_LARGE = {
    "--train_image_size 16385": "'16385' is not a size of 8 to 16384",
    "--train_image_size 480x16385": "'480x16385' is not a size of 8 to 16384",
    "--test_image_size 16385": "a size of 8 to 16384",
    "--test_image_size 16385x480": "a size of 8 to 16384",
    "--dynamic_size 1 --random_rotate 0 --dynamic_short_sides 300,16385": "300,16385 is above 16384",
    "--dynamic_size 1 --random_rotate 0 --dynamic_max_size 16385": "16385 is above 16384",
    "--batch_size 65537": "65537 is above 65536",
    "--gpu_num 1025": "1025 is above 1024",
    "--loss_type ohem --ohem_min_kept 2147483648": "2147483648 is above 2147483647",
    "--train_max_iter 1000000000001": "is above 1000000000000",
    "--poly_lr 0 --lr_step 1,1000000000001": "is above 1000000000000",
    "--snapshot 1000000000001": "is above 1000000000000",
    "--val_every 1000000000001": "is above 1000000000000",
    "--keep 9223372036854775808": "is above 9223372036854775807",
    "--lrn_rate 1e39": "1e39 is above 3.4e+38",
    "--weight_decay_rate 1e300": "1e300 is above 3.4e+38",
    "--input_range 1e39": "1e39 is above 3.4e+38",
}


@pytest.mark.parametrize("line", TOO_LARGE)
def test_bounds(line):
    with pytest.raises(FlagError) as caught:
        parse(line)
    assert TOO_LARGE[line] in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["--train_image_size 16384", "--train_image_size 8x16384", "--test_image_size 16384x8", "--batch_size 65536",
     "--gpu_num 1024", "--loss_type ohem --ohem_min_kept 2147483647",
     "--seed 9223372036854775807", "--lrn_rate 3e38"],
)  # fmt: skip
def test_bounds_are_allowed(line):
    parse(line)


@pytest.mark.parametrize("config", [PredictConfig, InferenceConfig])
def test_windows_of_predictions(config):
    with pytest.raises(FlagError, match="65537 is above 65536"):
        parse_flags(config, ["--windows_per_batch", "65537"], "")


NUMBERS = [
    field.name
    for field in dataclasses.fields(TrainConfig)
    if isinstance(field.default, int | float) and not isinstance(field.default, bool)
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["9" * 40, "9" * 400, "9" * 5000, "1e999", "-1e999", "nan", "\u00b2", "-" + "9" * 400])
def test_numbers_beyond_reason(name, text):
    with pytest.raises(FlagError) as caught:
        parse(f"--{name}={text}")
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("text", ["9" * 19, "9" * 5000, "\u0663", "\u00b2", "-1", "1.5", "+1", ""])
def test_steps_to_resume(text):
    with pytest.raises(ValueError, match="a step, 0 or above, or latest"):
        step_or_latest(text)


FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.lists(st.integers(0, 9), max_size=3)
)


@given(st.sampled_from(sorted(FIELDS)), VALUES)
def test_recorded_values_are_those_that_the_parser_returns(name, value):
    """A value is accepted only if some text gives exactly this value; paths and texts count as they are."""
    field = FIELDS[name]
    if fault_of_recorded(TrainConfig, name, value) is not None or value is None:
        assert value is not None or field.default is not None or fault_of_recorded(TrainConfig, name, value) is None
        return
    is_text = field.metadata["is_path"] or field.metadata["parse"] is str
    if isinstance(value, str) and is_text:
        return
    text = (
        ",".join(map(str, value)) if isinstance(value, list) else str(int(value) if value in (True, False) else value)
    )
    parsed = parse_value(field, text)
    assert (list(parsed) if isinstance(parsed, tuple) else parsed) == value


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_defaults_can_be_recorded(name):
    value = FIELDS[name].default
    assert fault_of_recorded(TrainConfig, name, list(value) if isinstance(value, tuple) else value) is None
