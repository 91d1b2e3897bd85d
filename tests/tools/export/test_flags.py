"""Command lines of the export."""

from __future__ import annotations

import pytest

from tests.tools.command_lines import parse, refusal
from tools.export.flags import ExportConfig
from tools.export.forms import FORMS


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--out x", "--format is missing: give one of frozen, savedmodel, onnx, tflite, openvino"),
        ("--format onnx", "--out is missing: give a folder"),
        ("--format caffe --out x", "--format: invalid choice: 'caffe'"),
        ("--format onnx --quantize int8 --out x", "--format onnx has no --quantize int8: use none, or another format"),
        ("--format tflite --quantize int8 --out x", "use none or float16 or dynamic, or another format"),
        ("--format onnx --size 4 --out x", "--size: '4' is not a size of 8 to 16384"),
        ("--format onnx --image a.png --check_images 3 --out x", "--check_images 3 has no effect with --image"),
        ("--format openvino --quantize int8 --image a.png --out x", "--image has no label"),
        ("--format tflite --quantize dynamic --image a.png --out x", "judged by the mIoU of validation images"),
        ("--format onnx --calibration_images 3 --out x", "--calibration_images 3 has no effect without --quantize"),
        ("--format onnx --weights_ckpt run --log_dir logs --out x", "--log_dir logs has no effect with --weights_ckpt"),
    ],
)
def test_lines_that_are_rejected(line, words):
    assert words in refusal(line, ExportConfig)


def test_number_of_images_of_the_check():
    assert parse("--format onnx --out x", ExportConfig).number_of_check_images == 1
    assert parse("--format tflite --quantize float16 --out x", ExportConfig).number_of_check_images == 1
    assert parse("--format openvino --quantize int8 --out x", ExportConfig).number_of_check_images == 20
    assert (
        parse("--format tflite --quantize dynamic --check_images 5 --out x", ExportConfig).number_of_check_images == 5
    )


def test_no_two_forms_have_one_path():
    for size in (None, (360, 480)):
        paths = [form.name(size) for form in FORMS.values()]
        assert len(set(paths)) == len(paths)


def test_a_fixed_size_is_part_of_the_name():
    assert FORMS["tflite", "float16"].name((360, 480)) == "model-float16-360x480.tflite"
    assert FORMS["openvino", "int8"].name((48, 64)) == "openvino-int8-48x64"
    for form in FORMS.values():
        assert form.has_name(form.name(None))
        assert form.has_name(form.name((1, 20)))
        assert not form.has_name(f"my-{form.name(None)}")
    assert not FORMS["frozen", "none"].has_name("model-x20.pb")
