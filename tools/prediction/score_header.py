"""Names in the header of a file of scores. Works without TensorFlow."""

from __future__ import annotations

from tools.flags.protocol import PROTOCOL_FLAGS

CHECKSUM = "checkpoint_sha256"
USE_EMA = "use_ema"
VAL_EVERY = "val_every"  # of the training that scored; --eval_only writes none
# Settings of the prediction; scores with different ones are not comparable.
SETTINGS = (
    "multi_scale", "mirror", "window", "upsample_input", "input_range", "float_type", "test_max_iter", USE_EMA,
    *PROTOCOL_FLAGS, "index_start", "index_step",
)  # fmt: skip
# Settings that scores of earlier versions lack, and the values that had the same effect.
ADDED_SETTINGS = {USE_EMA: 1}
