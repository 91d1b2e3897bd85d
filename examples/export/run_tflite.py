"""Segments an image with an exported file of TensorFlow Lite.

python examples/export/run_tflite.py exported/model.tflite street.png result.png
"""

import json
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

model, source, target = sys.argv[1:]
image = np.asarray(Image.open(source).convert("RGB"))  # uint8 [H, W, 3]

run = Interpreter(model_path=model, num_threads=4).get_signature_runner("serving_default")
labels = run(image=image[np.newaxis])["labels"]  # int32 [1, H, W]

classes = json.loads(zipfile.ZipFile(model).read("labels.json"))
result = Image.fromarray(labels[0].astype(np.uint8))
result.putpalette(np.uint8(classes["palette"]).tobytes())
result.save(target)
