"""Segments an image with an exported SavedModel in TensorFlow 2.

python examples/export/run_savedmodel.py exported/saved_model street.png result.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

model, source, target = sys.argv[1:]
image = np.asarray(Image.open(source).convert("RGB"))  # uint8 [H, W, 3]

signature = tf.saved_model.load(model).signatures["serving_default"]
outputs = signature(image=tf.constant(image[np.newaxis]))
labels = outputs["labels"][0].numpy()  # int32 [H, W]; outputs["probabilities"] is float32 [1, H, W, classes]

classes = json.loads(Path(model).with_name("labels.json").read_text())
result = Image.fromarray(labels.astype(np.uint8))
result.putpalette(np.uint8(classes["palette"]).tobytes())
result.save(target)
