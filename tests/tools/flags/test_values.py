"""What a text on the command line is parsed into."""

from __future__ import annotations

import pytest

from tests.tools.command_lines import parse, refusal


@pytest.mark.parametrize("value", ["nan,0,0", "0,256,0", "-1,0,0", "1,2,3,4", "a,b,c"])
def test_mean_colour_is_three_numbers_of_a_byte(value):
    line = f"--batch_size 2 --database custom --num_classes 3 --image_mean={value}"
    assert f"--image_mean: '{value}' is not three numbers in 0..255" in refusal(line)


@pytest.mark.parametrize("value", ["a", "1,x", "-5", "0", "0,10", "20,10", "10,10", "10,-5", "", "1.5"])
def test_steps_where_the_rate_falls_are_positive_and_rise(value):
    message = refusal(f"--batch_size 2 --poly_lr 0 --lr_step={value}")
    assert f"--lr_step: '{value}' is not steps above 0 that rise, separated by commas" in message


@pytest.mark.parametrize(("value", "step"), [("latest", "latest"), ("0", 0), ("300", 300)])
def test_step_to_resume(value, step):
    assert parse(f"--batch_size 2 --resume_step {value}").resume_step == step


@pytest.mark.parametrize("value", ["", "-1", "1.5", "Latest", "newest"])
def test_step_to_resume_is_a_number_or_latest(value):
    message = refusal(f"--batch_size 2 --resume_step={value}")
    assert f"--resume_step: '{value}' is not a step, 0 or above, or latest" in message


@pytest.mark.parametrize("value", ["1_00", "1_0", "_1", "1__0"])
def test_digits_have_no_underscores_between_them(value):
    for flag, kind in (("batch_size", "a whole number"), ("lrn_rate", "a number"), ("test_image_size", "a size of 8")):
        assert f"--{flag}: '{value}' is not {kind}" in refusal(f"--{flag}={value}")
    assert f"--lr_step: '{value}' is not steps" in refusal(f"--poly_lr 0 --lr_step={value}")
