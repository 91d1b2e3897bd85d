"""Sums of losses as text and as terms."""

from __future__ import annotations

import pytest

from model.loss_terms import LossTerm, has_loss, loss_terms, loss_text


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("normal", [(1, "normal")]),
        ("focal_0.5", [(1, "focal_0.5")]),
        ("normal+0.5*dice", [(1, "normal"), (0.5, "dice")]),
        ("0.1*normal+ohem+1000*lovasz+0.001*focal_2+focal_10", None),
    ],
)
def test_terms_of_a_text_that_is_written_again(text, terms):
    parsed = loss_terms(text)
    assert loss_text(parsed) == text
    assert terms is None or parsed == tuple(LossTerm(*term) for term in terms)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0.5*dice+normal", "normal+0.5*dice"), ("1.0*lovasz + .50 * ohem", "0.5*ohem+lovasz"),
        ("focal_10+focal_2+dice", "dice+focal_2+focal_10"), ("2*normal", "2*normal"),
    ],
)  # fmt: skip
def test_equal_sums_are_written_in_one_way(text, written):
    assert loss_text(loss_terms(text)) == written
    assert loss_terms(text) == loss_terms(written)


@pytest.mark.parametrize("name", ["", "focal", "focal_", "focal_-1", "ohem_", "Dice", "ce"])
def test_unknown_loss(name):
    for text in (name, f"normal+2*{name}"):
        with pytest.raises(
            ValueError, match=f"loss type '{name}' is unknown: use normal, ohem, dice, lovasz or focal_"
        ):
            loss_terms(text)


@pytest.mark.parametrize("factor", ["0", "0.0009", "1001", "-1", "1e2", "1_0", "nan", "inf", "", "x", "\u0665", "2*3"])
def test_impossible_factor(factor):
    with pytest.raises(ValueError, match="factors from 0.001 to 1000, such as normal.0.5.dice: '.*' is no such factor"):
        loss_terms(f"normal+{factor}*dice")


@pytest.mark.parametrize(("text", "name"), [("dice+normal+2*dice", "dice"), ("focal_2+normal+focal_2.0", "focal_2.0")])
def test_a_loss_that_occurs_twice(text, name):
    with pytest.raises(ValueError, match=f"different losses: {name} occurs twice"):
        loss_terms(text)


def test_losses_of_a_sum():
    assert has_loss("normal+0.5*ohem", "ohem")
    assert has_loss("dice+ohem", "normal", "ohem")
    assert not has_loss("dice+focal_2", "normal", "ohem")
