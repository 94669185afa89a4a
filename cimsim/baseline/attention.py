"""Time of one fused attention kernel (scores, softmax and values without going through HBM).

    t = t_c + t_m + chain * keys / 128 + fixed
    t_c = (full / e_full + causal / e_causal) / (peak * share of busy SMs)
    t_m = 2 a width (kv_heads ceil128(keys) + heads queries) / (e_hbm * HBM bandwidth)

`causal` are the operations on the lower triangle of new tokens against themselves, where part of
the blocks is masked, `full` all others. Of a sliding window only what is inside is computed, all
of it in blocks that may be masked in part. An SM works on 128 queries of one head
at a time, so the last wave leaves SMs idle. With one query a head (decode) the products are
bound by the cache and t_c is small. `chain` is the time of walking over the keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cimsim.baseline.fits import AttentionFit
from cimsim.ir import visible_pairs
from cimsim.values.display import brief

Array = NDArray[np.float64]
BLOCK = 128
"""Assumed: rows of queries, and of keys, that an SM works on at a time."""
FLOP_A_PAIR = 4.0
"""Counted: a multiplication and an addition for each of Q.K^T and P.V."""


@brief
@dataclass(frozen=True)
class AttentionShape:
    """`heads` heads (all sequences) of `queries` rows against `keys_S` keys at each step S."""

    heads: int
    kv_heads: int
    queries: int
    keys_S: Array
    width: int
    causal: bool
    window: int | None = None

    @property
    def triangle_S(self) -> Array:
        """Queries whose keys are masked: the new tokens among the keys."""
        return np.minimum(float(self.queries), self.keys_S) if self.causal else 0 * self.keys_S

    @property
    def causal_flop_S(self) -> Array:
        """Operations on the unmasked triangle, or in the window."""
        if self.window is not None:
            return FLOP_A_PAIR * self.heads * self.width * self._window_pairs_S
        new_S = self.triangle_S
        return FLOP_A_PAIR * self.heads * self.width * new_S * (new_S + 1) / 2

    @property
    def flop_S(self) -> Array:
        """Operations on all unmasked scores."""
        if self.window is not None:
            return self.causal_flop_S
        new_S = self.triangle_S
        full_S = FLOP_A_PAIR * self.heads * self.width * self.queries * (self.keys_S - new_S)
        return full_S + self.causal_flop_S

    @property
    def _window_pairs_S(self) -> Array:
        assert self.window is not None
        return np.array([
            visible_pairs(self.queries, int(keys), causal=self.causal, window=self.window)
            for keys in self.keys_S
        ], np.float64)  # fmt: skip

    @property
    def walked_S(self) -> Array:
        """Keys that a block of queries walks over."""
        if self.window is None:
            return self.keys_S
        sides = 1 if self.causal else 2
        return np.minimum(self.keys_S, float(sides * self.window + min(self.queries, BLOCK) - 1))

    def bytes_S(self, element_bytes: float, keys_S: Array | None = None) -> Array:
        """Bytes of queries, keys, values and results."""
        keys = self.keys_S if keys_S is None else keys_S
        values = 2.0 * self.kv_heads * keys + 2.0 * self.heads * self.queries
        return element_bytes * self.width * values


def kernel_s(
    shape: AttentionShape,
    fit: AttentionFit,
    *,
    peak_flop_per_s: float,
    hbm_byte_per_s: float,
    element_bytes: float,
    sm_count: int,
) -> Array:
    """Seconds at each step; equations in the module's text."""
    blocks = shape.heads * int(np.ceil(shape.queries / BLOCK))
    busy = blocks / (sm_count * np.ceil(blocks / sm_count))
    causal_S = shape.causal_flop_S
    full_S = shape.flop_S - causal_S
    compute_S = (full_S / fit.full_efficiency + causal_S / fit.causal_efficiency) / peak_flop_per_s
    compute_S = compute_S / busy if shape.queries > 1 else compute_S
    padded_S = np.ceil(shape.keys_S / BLOCK) * BLOCK
    bytes_S = shape.bytes_S(element_bytes, padded_S)
    memory_S = bytes_S / (hbm_byte_per_s * fit.hbm_efficiency)
    fixed_us = fit.plain_fixed_us if shape.queries > 1 else fit.cached_fixed_us
    chain_S = 1e-6 * fit.chain_us * shape.walked_S / BLOCK
    seconds: Array = compute_S + memory_S + chain_S + 1e-6 * fixed_us
    return seconds
