"""What layers that take the place of another have in common with it."""

from __future__ import annotations

from typing import Any

from torch import nn


def conv_arguments(layer: nn.Conv2d) -> dict[str, Any]:
    """The arguments that make a convolution like `layer`, without memory for its weights."""
    return {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "bias": layer.bias is not None,
        "padding_mode": layer.padding_mode,
        "device": "meta",
    }


def plain_layer(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """A layer of the same shape, without memory for its weights."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, "meta")
    return nn.Conv2d(**conv_arguments(layer))


def share_frozen(mine: nn.Linear | nn.Conv2d, layer: nn.Linear | nn.Conv2d) -> None:
    """Give `mine` the weight and bias of `layer`, frozen, and its mode."""
    mine.weight, mine.bias = layer.weight, layer.bias
    mine.train(layer.training)
    for parameter in (mine.weight, mine.bias):
        if parameter is not None:
            parameter.requires_grad_(False)
