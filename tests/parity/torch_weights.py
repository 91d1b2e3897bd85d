"""Random weights for networks of PyTorch."""

from __future__ import annotations

import torch
from torch import nn


def drawn_at_random(network: nn.Module, images: torch.Tensor, seed: int) -> nn.Module:
    """Gives a network random weights and running statistics, for evaluation.

    Kernels are He et al.'s, and the running mean and variance of each normalization are drawn around the scale of
    what it sees of `images`, so that every layer has a say in the output and none of them cancels another.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    def draw_statistics(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        scale = inputs[0].square().mean().sqrt()
        norm.running_mean.copy_(uniform(norm.running_mean, -0.5, 0.5) * scale)
        norm.running_var.copy_(uniform(norm.running_var, 0.5, 1.5) * scale**2)

    hooks = []
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.copy_(uniform(module.bias, -1, 1))
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(uniform(module.weight, 0.5, 1.5))
                module.bias.copy_(uniform(module.bias, -0.5, 0.5))
                hooks.append(module.register_forward_pre_hook(draw_statistics))
        network.eval()(images)
    for hook in hooks:
        hook.remove()
    return network
