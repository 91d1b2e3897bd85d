"""How the report gets predictions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictionOptions:
    """How the report gets predictions.

    Attributes:
        predictions_dir: folder of the results of predict.py, such as `./val_set`.
        data_dir: folder of the dataset; None for the one that was trained on.
        device: see `tools.runtime.devices`.
    """

    predictions_dir: str
    data_dir: str | None
    device: str
