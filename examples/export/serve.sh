#!/bin/sh
# Serves an exported SavedModel with TensorFlow Serving: REST on port 8501, gRPC on 8500, on this machine only.
#
# sh examples/export/serve.sh exported/saved_model
exec docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 \
    --mount "type=bind,source=$(realpath "$1"),target=/models/pspnet/1,readonly" \
    -e MODEL_NAME=pspnet tensorflow/serving
