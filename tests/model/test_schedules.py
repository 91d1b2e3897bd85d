"""Compares learning-rate schedules with their definitions and with PyTorch's published examples."""

from __future__ import annotations

import math

import pytest

from model.schedules import SCHEDULES, Schedule


@pytest.mark.parametrize(("step", "rate"), [(0, 0.01), (500, 0.01 * 0.5**0.9), (1000, 0.0), (1200, 0.0)])
def test_poly(step, rate):
    assert Schedule("poly", 0.01, 1000).rate(step) == pytest.approx(rate)


def test_poly_with_another_power():
    assert Schedule("poly", 2.0, 1000, power=2.0).rate(750) == pytest.approx(2.0 / 16)


@pytest.mark.parametrize(("step", "rate"), [(0, 1.0), (9, 1.0), (10, 0.1), (19, 0.1), (20, 0.01), (99, 0.01)])
def test_steps(step, rate):
    assert Schedule("step", 1.0, 100, boundaries=(10, 20), factor=0.1).rate(step) == pytest.approx(rate)


def test_steps_without_boundaries():
    assert Schedule("step", 0.3, 100).rate(10**6) == 0.3


@pytest.mark.parametrize(("step", "rate"), [(0, 1.0), (250, 0.5 + 0.5 * 2**-0.5), (500, 0.5), (1000, 0.0), (1100, 0.0)])
def test_cosine(step, rate):
    assert Schedule("cosine", 1.0, 1000).rate(step) == pytest.approx(rate, abs=1e-12)


def test_exponential_loses_the_same_factor_in_every_step():
    schedule = Schedule("exponential", 2.0, 50, factor=0.01)
    rates = [schedule.rate(step) for step in range(51)]
    assert rates[0] == 2.0
    assert rates[-1] == pytest.approx(0.02)
    assert {round(after / before, 12) for before, after in zip(rates, rates[1:], strict=False)} == {
        round(0.01**0.02, 12)
    }


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_in_a_line_to_the_schedule(name):
    plain = Schedule(name, 0.5, 100, boundaries=(3, 60))
    warmed = Schedule(name, 0.5, 100, boundaries=(3, 60), warmup_steps=10, warmup_factor=0.2)
    parts = [warmed.rate(step) / plain.rate(step) for step in range(15)]
    assert parts[:10] == pytest.approx([0.2 + 0.08 * step for step in range(10)])
    assert parts[10:] == [1.0] * 5
    assert warmed.rate(99) == plain.rate(99)


def test_warm_up_is_that_of_mmsegmentation():
    """Its LinearLR hook computes `regular * (1 - (1 - step / steps) * (1 - ratio))`."""
    steps, ratio = 1500, 1e-6
    schedule = Schedule("poly", 6e-5, 160_000, power=1.0, warmup_steps=steps, warmup_factor=ratio)
    for step in (0, 1, 749, 1499, 1500):
        regular = 6e-5 * (1 - step / 160_000)
        expected = regular * (1 - (1 - step / steps) * (1 - ratio)) if step < steps else regular
        assert math.isclose(schedule.rate(step), expected, rel_tol=1e-9)
