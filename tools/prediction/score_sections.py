"""Tables of further scores, which stand below the scores of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.prediction.metrics import mean_of_present


@dataclass(frozen=True)
class ScoreSection:
    """Further scores of classes or categories.

    Attributes:
        key: of the section in JSON.
        noun: what the rows are, such as `category`.
        columns: name in JSON -> heading of each kind of score.
        rows: name -> one score per column, a fraction 0..1 or None.
    """

    key: str
    noun: str
    columns: Mapping[str, str]
    rows: Mapping[str, tuple[float | None, ...]]

    @property
    def means(self) -> tuple[float, ...]:
        """The mean of each column without its Nones; nan if it has nothing else."""
        return tuple(mean_of_present(column) for column in zip(*self.rows.values(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Returns the means, as `mean_<column>`, and a list of the rows; undefined scores are nan or None."""
        means = {f"mean_{name}": mean for name, mean in zip(self.columns, self.means, strict=True)}
        rows = [{"name": name, **dict(zip(self.columns, row, strict=True))} for name, row in self.rows.items()]
        return {**means, "rows": rows}
