"""Sends an image to TensorFlow Serving, see serve.sh, and writes its labels.

python examples/export/ask_serving.py http://localhost:8501 street.png result.png
"""

import json
import sys
import urllib.request

import numpy as np
from PIL import Image

server, source, target = sys.argv[1:]
image = np.asarray(Image.open(source).convert("RGB"))  # uint8 [H, W, 3]

request = urllib.request.Request(
    f"{server}/v1/models/pspnet:predict",
    json.dumps({"inputs": {"image": image[np.newaxis].tolist()}}).encode(),
    {"Content-Type": "application/json"},
)
with urllib.request.urlopen(request, timeout=60) as response:
    outputs = json.load(response)["outputs"]
Image.fromarray(np.uint8(outputs["labels"][0])).save(target)
