"""Segments an image with an exported ONNX file in ONNX Runtime.

python examples/export/run_onnx.py exported/model.onnx street.png result.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, source, target = sys.argv[1:]
image = np.asarray(Image.open(source).convert("RGB"))  # uint8 [H, W, 3]

session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
[labels] = session.run(["labels"], {"image": image[np.newaxis]})  # int32 [1, H, W]

metadata = session.get_modelmeta().custom_metadata_map
result = Image.fromarray(labels[0].astype(np.uint8))
result.putpalette(np.uint8(json.loads(metadata["palette"])).tobytes())
result.save(target)
