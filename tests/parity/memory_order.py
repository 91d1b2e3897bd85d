"""Arrays [N, H, W, C] and kernels [h, w, in, out] here; tensors [N, C, H, W] and kernels [out, in, h, w] in PyTorch."""

from __future__ import annotations

import numpy as np
import torch


def to_torch(array: np.ndarray) -> torch.Tensor:
    """[N, H, W, C] -> float32 [N, C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2), np.float32))


def from_torch(tensor: torch.Tensor) -> np.ndarray:
    """[N, C, H, W] -> [N, H, W, C]."""
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


def kernel_from_torch(kernel: torch.Tensor) -> np.ndarray:
    """[out, in, h, w] -> [h, w, in, out]."""
    return kernel.detach().numpy().transpose(2, 3, 1, 0)
