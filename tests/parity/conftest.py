"""What has to happen before PyTorch computes."""

from __future__ import annotations

import torch

# Tests run side by side, and the networks here are small: threads would mostly wait for each other.
torch.set_num_threads(1)
