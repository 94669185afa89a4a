"""A linear layer with divided inputs, and a weight of which a few values are held apart."""

from __future__ import annotations

import torch
from torch import nn


class ProtectedLinear(nn.Linear):
    """y = (x / s) (W + R)^T + b, where W is for tiles and R, of few nonzeros, for clusters.

    `divisors` [K] are s, None where inputs come divided; `rest` is R as a sparse [N, K] tensor of
    numbers that FP16 holds exactly, None where nothing was clipped. All are frozen.
    """

    divisors: torch.Tensor | None
    rest: torch.Tensor | None

    def __init__(
        self, weight_NK: torch.Tensor, bias: torch.Tensor | None,
        divisors: torch.Tensor | None, rest: torch.Tensor | None,
    ) -> None:  # fmt: skip
        outputs, inputs = weight_NK.shape
        super().__init__(inputs, outputs, bias is not None, "meta")
        self.weight = nn.Parameter(weight_NK, requires_grad=False)
        if bias is not None:
            self.bias = nn.Parameter(bias, requires_grad=False)
        self.register_buffer("divisors", divisors)
        self.register_buffer("rest", rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., K] to [..., N]."""
        inputs = divided(x, self.divisors)
        return with_rest(super().forward(inputs), inputs, self.rest)


def divided(x: torch.Tensor, divisors: torch.Tensor | None) -> torch.Tensor:
    """Inputs [..., K] over `divisors`; as they are without."""
    return x if divisors is None else x / divisors.to(x.dtype)


def with_rest(y: torch.Tensor, x: torch.Tensor, rest: torch.Tensor | None) -> torch.Tensor:
    """`y` [..., N] plus what `rest` makes of inputs `x` [..., K], summed in its own type."""
    if rest is None:
        return y
    flat = x.reshape(-1, x.shape[-1]).to(rest.dtype)
    added: torch.Tensor = torch.sparse.mm(rest, flat.T).T
    return y + added.reshape(y.shape).to(y.dtype)
