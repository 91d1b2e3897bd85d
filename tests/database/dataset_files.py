"""Datasets of empty files."""

from __future__ import annotations

from pathlib import Path

from database.datasets import Sample, find_samples, get_dataset


def touch(root: Path, *names: str) -> None:
    """Creates empty files and their folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def find(name: str, root: Path, split: str) -> list[Sample]:
    """Returns the samples of a known dataset's split."""
    return find_samples(get_dataset(name), str(root), [split])


def cityscapes_files(split: str, *frames: str, label: str = "gtFine_labelIds") -> list[str]:
    """Returns the paths of images and labels of frames such as `bonn_000001_000019`."""
    names = []
    for frame in frames:
        city = frame.split("_")[0]
        names.append(f"leftImg8bit/{split}/{city}/{frame}_leftImg8bit.png")
        names.append(f"{label.split('_')[0]}/{split}/{city}/{frame}_{label}.png")
    return names
