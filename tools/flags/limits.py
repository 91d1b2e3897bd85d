"""Largest values of flags: generous for real use, and small enough that nothing overflows."""

from __future__ import annotations

# The smallest height and width of a crop or window: one feature at the smallest output stride.
SMALLEST_SIDE = 8

# A crop or window of this height and width has more pixels than `--max_pixels` allows by default. TensorFlow's kernels
# count the values of an image in 32 bits.
LARGEST_SIDE = 1 << 14

# Images or windows at a time. Training on ImageNet has been tried with up to 65,536.
LARGEST_BATCH = 1 << 16

# Towers or devices in one process; TensorFlow creates a logical device for each.
MOST_DEVICES = 1024

# Channels of an image; sensors with more bands are reduced before.
MOST_CHANNELS = 256

# Channels of a layer.
MOST_CHANNELS_OF_LAYER = 1 << 16

# Steps of a run. They are part of file names, and of numbers of 64 bits together with the seed.
MOST_STEPS = 10**12

# Batches whose gradients are averaged for one step, and passes over the data.
MOST_BATCHES = 1 << 20
MOST_EPOCHS = 10**9

# Indices of TensorFlow have 32 bits.
LARGEST_INT32 = (1 << 31) - 1

# Whole numbers and fractions of other flags: those of 64 bits, and of 32 bits with a decimal point.
LARGEST_INT64 = (1 << 63) - 1
LARGEST_FLOAT32 = 3.4e38
