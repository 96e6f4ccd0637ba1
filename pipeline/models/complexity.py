"""Size of a network: parameters, multiply-adds and activations, counted as pycls counts them.

Only convolutions and linear layers count. A bias adds one multiply-add an output, an activation is one number that
such a layer gives. Works on the meta device, where the network holds no memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Complexity(NamedTuple):
    parameters: int
    macs: int
    """Multiply-adds of one image."""
    activations: int
    """Outputs of convolutions and linear layers for one image."""


def count(network: nn.Module, size: int = 224) -> Complexity:
    """The complexity of `network` on one image of size x size pixels."""
    layers = per_layer(network, size).values()
    macs, activations = sum(macs for macs, _ in layers), sum(activations for _, activations in layers)
    return Complexity(count_parameters(network), macs, activations)


def per_layer(network: nn.Module, size: int = 224) -> dict[nn.Module, tuple[int, int]]:
    """Multiply-adds and activations of each layer that counts."""
    found: dict[nn.Module, tuple[int, int]] = {}

    def add(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        per_output = layer.weight[0].numel() + (layer.bias is not None)
        macs, activations = found.get(layer, (0, 0))
        found[layer] = (macs + output.numel() * per_output, activations + output.numel())

    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(add) for layer in layers]
    device = next(network.parameters()).device
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size, device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return found


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
