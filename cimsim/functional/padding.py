"""Which vectors of a layer's input belong to tokens, and which only fill a batch up.

What stands in the filling is nobody's business: tiles are not given it, converter ranges are not
calibrated on it, and the noise of a token does not depend on how much of it there is. It is told
by the attention mask that the model is called with, 1 for tokens and 0 for filling, on whichever
side that stands.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cimsim.errors import SpecError
from cimsim.frontend.adapters import unwrap
from cimsim.values.display import brief

MASKS = ("attention_mask", "decoder_attention_mask")
INPUTS = ("input_ids", "inputs_embeds", "decoder_input_ids", "decoder_inputs_embeds")


@brief
@dataclass(frozen=True, eq=False)
class Padding:
    """Masks [B, T], true for tokens, that a layer's input may have the axes of."""

    masks: tuple[torch.Tensor, ...]

    @staticmethod
    def of(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Padding | None:
        """What a call of `model` says of padding; None where nothing is filled up.

        Raises SpecError for a mask of other than two axes, which does not tell it.
        """
        call = by_name(model, args, kwargs)
        given = [call[name] for name in MASKS if isinstance(call.get(name), torch.Tensor)]
        for mask in given:
            if mask.dim() != 2:
                raise SpecError(
                    f"an attention mask of {mask.dim()} axes does not tell padding from tokens: "
                    "give one of [sequences, tokens]."
                )
        if all(bool(mask.all()) for mask in given):
            return None
        whole = [mask.detach() != 0 for mask in given]
        widths = {call[name].shape[1] for name in INPUTS if _has_tokens(call.get(name))}
        # With a KV cache the mask also covers what is cached, to the left of the input.
        masks = whole + [mask[:, -n:] for mask in whole for n in widths if n < mask.shape[1]]
        return Padding(tuple(masks + [_kept(m, call.get("logits_to_keep")) for m in masks]))

    def tokens(self, name: str, rows: torch.Tensor) -> torch.Tensor | None:
        """Indices of the tokens among the vectors [..., K] of `name`; None for all of them.

        Raises SpecError where the axes do not tell which vectors are padding.
        """
        lead = tuple(rows.shape[:-1])
        if lead == self.masks[0].shape[:1]:
            return None  # one vector a sequence, such as of a pooled state
        fitting = [m for m in self.masks if lead in (tuple(m.shape), (m.numel(),))]
        if not fitting or any(not torch.equal(m, fitting[0]) for m in fitting[1:]):
            raise SpecError(
                f"{name}: of {' x '.join(map(str, lead))} vectors it is not known which are "
                "padding: give batches of equally long sequences."
            )
        mask = fitting[0].reshape(-1)
        return None if bool(mask.all()) else mask.nonzero()[:, 0]


def by_name(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call of `model` by the names that its forward pass has for them."""
    if not args:
        return dict(kwargs)
    signature = inspect.signature(unwrap(model).forward)
    bound = signature.bind(*args, **kwargs)
    variadic = [n for n, p in signature.parameters.items() if p.kind is p.VAR_KEYWORD]
    named = {name: value for name, value in bound.arguments.items() if name not in variadic}
    for name in variadic:
        named |= bound.arguments.get(name, {})
    return named


def _has_tokens(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 1


def _kept(mask: torch.Tensor, keep: Any) -> torch.Tensor:
    """The mask at the positions that logits are computed at."""
    if isinstance(keep, torch.Tensor):
        return mask[:, keep] if int(keep.max()) < mask.shape[1] else mask
    return mask[:, -keep:] if isinstance(keep, int) else mask
