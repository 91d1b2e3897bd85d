"""Tests the flags of `python -m tools.make_tfrecord`."""

from __future__ import annotations

import re

import pytest

from tests.tools.command_lines import parse, refusal
from tools.make_tfrecord.__main__ import MakeTFRecordConfig


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--database custom", "--database custom .*--num_classes"),
        ("--database CamVid --label_map m.txt", "--label_map .*--database custom.* CamVid"),
        (
            "--database CamVid --input_range 4095",
            "--input_range 4095.0 has no effect on TFRecords.*: give it to train.py.* drop --input_range",
        ),
        ("--database custom --num_classes 3 --image_mean 1,2,3", "--image_mean 1.0,2.0,3.0 has no effect on TFRecords"),
        (
            "--database custom --num_classes 3 --train_list a.txt --val_list b.txt",
            "--val_list b.txt has no effect with --split train: .* drop --val_list",
        ),
        (
            "--split val --database custom --num_classes 3 --train_list a.txt",
            "--train_list a.txt has no effect with --split val",
        ),
        (
            "--split val --database custom --num_classes 3 --holdout 0.2 --val_list b.txt",
            "--holdout 0.2 has no effect .*--val_list",
        ),
        ("--database KITTI --split test --holdout 0.3", "--holdout 0.3 has no effect with --split test"),
        ("--database KITTI --holdout 1", "--holdout 1 .*no image"),
        ("--database CamVid --holdout 0.3", "--holdout .*--database custom or KITTI.* CamVid"),
        ("--shards 0", "argument --shards: .*0 .*1"),
        ("--workers 0", "argument --workers: .*0 .*1"),
    ],
)
def test_flags_that_are_refused(line, words):
    assert re.match(words, refusal(line, MakeTFRecordConfig))


def test_flags_that_are_taken():
    config = parse(
        "--database custom --num_classes 3 --split val --val_list b.txt --ignore_label 9", MakeTFRecordConfig
    )
    assert (config.list_flag, config.val_list, config.ignore_label) == ("val_list", "b.txt", 9)
    assert parse("--split train_extra", MakeTFRecordConfig).database == "Cityscapes"
