"""Segments an image with an exported folder of OpenVINO, or with an ONNX file.

python examples/export/run_openvino.py exported/openvino-int8/model.xml street.png result.png
"""

import json
import sys

import numpy as np
import openvino
from PIL import Image

path, source, target = sys.argv[1:]
image = np.asarray(Image.open(source).convert("RGB"))  # uint8 [H, W, 3]

core = openvino.Core()
model = core.read_model(path)
# On processors with AMX, OpenVINO computes in bfloat16 unless {"INFERENCE_PRECISION_HINT": "f32"} is added.
compiled = core.compile_model(model, "CPU")
labels = compiled(image[np.newaxis])["labels"]  # int32 [1, H, W]

palette = json.loads(model.get_rt_info(["model_info", "palette"]).astype(str))
result = Image.fromarray(labels[0].astype(np.uint8))
result.putpalette(np.uint8(palette).tobytes())
result.save(target)
