"""Runs as they are left behind, with records and without weights, and the flags and samples that mean them."""

from __future__ import annotations

import os
from pathlib import Path

from database.datasets import get_dataset
from database.layouts import Sample
from tests.tools.toy_runs import tiny_config
from tools.flags.train import TrainConfig
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.runs.origin_entries import with_class_weights, with_pretrained, with_run_uuid, with_samples
from tools.runs.record import BackboneRecord, ModelRecord
from tools.training.identity import RunIdentity, choose_run

TOY = get_dataset("Toy")


def samples_in(folder: Path, names: tuple[str, ...] = ("a", "b"), text: str = "x") -> list[Sample]:
    """Samples whose files hold a few bytes each."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in names:
        paths = [str(folder / f"{name}.{kind}") for kind in ("jpg", "png")]
        for path in paths:
            Path(path).write_text(text + name)
        found.append(Sample(name, paths[0], paths[1], TOY.label_map))
    return found


def data_of(samples, data_dir) -> DataChecksums | None:
    """Checksums of samples, None for none."""
    return None if samples is None else DataChecksums.of(samples, data_dir)


def config_in(tmp_path, **changes) -> TrainConfig:
    """Flags of a run on the folder `data`, below the folder `log`."""
    return tiny_config(str(tmp_path / "data"), str(tmp_path / "log"), **changes)


def identity_of(config, samples, dataset=TOY, data_dir=None) -> RunIdentity:
    """The identity of the run that flags and samples begin."""
    return RunIdentity.of_command(config, dataset, data_of(samples, data_dir or str(config.data_dir)))


def chosen(config, samples, dataset=TOY) -> RunFolder:
    """The folder of the run that flags and samples mean; None for samples that are not known."""
    return choose_run(config, dataset, data_of(samples, config.data_dir))


def leave_run(config, samples, dataset=TOY, folder=None, pretrained=None, weights=None) -> RunFolder:
    """What a run leaves: a snapshot (by name) with its record; by default in the folder that is chosen for it."""
    folder = RunFolder(folder) if folder else chosen(config, samples, dataset)
    backbone = None if pretrained is None else BackboneRecord.of_checkpoint(pretrained)
    record = with_samples(ModelRecord.of_run(config, dataset, backbone), data_of(samples, config.data_dir))
    record = with_class_weights(with_run_uuid(record, folder, resumed=False), weights)
    if pretrained is not None:
        record = with_pretrained(record, pretrained)
    for place in (folder.path, folder.snapshots):
        os.makedirs(place, exist_ok=True)
        record.write(place)
    Path(folder.snapshot(1) + ".index").write_text("")
    return folder
