"""The constants of a GPU that were fitted or assumed, in blocks; every number has a source."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cimsim.values.bounds import Amount, AtLeastOne, Efficiency, Name, Positive, Rate, Text
from cimsim.values.frozen import Frozen

Array = NDArray[np.float64]


class Block(Frozen):
    """Numbers with the origin of each; an unknown key is refused."""

    sources: dict[Name, Text] = Field(
        description="field -> citation, `fitted on ...`, or `assumed: why`"
    )

    @model_validator(mode="after")
    def _every_number_has_a_source(self) -> Self:
        numbers = {
            name
            for name in type(self).model_fields
            if name != "sources" and _holds_numbers(getattr(self, name))
        }
        if missing := sorted(numbers - self.sources.keys()):
            raise ValueError(
                f"no source for {', '.join(missing)}: add each to `sources` with a citation, "
                "`fitted on ...` or `assumed: why`"
            )
        if unknown := sorted(self.sources.keys() - numbers):
            raise ValueError(f"sources names {', '.join(unknown)}, which is no number given here")
        return self


def _holds_numbers(value: object) -> bool:
    """Whether `value` is a number or holds some; a block has sources of its own."""
    if isinstance(value, dict):
        return any(_holds_numbers(entry) for entry in value.values())
    return isinstance(value, int | float | tuple)


class GemmFit(Block):
    """Constants of `cimsim.baseline.gemm`."""

    tile_efficiency: tuple[Efficiency, Efficiency, Efficiency, Efficiency, Efficiency] = Field(
        description="share of the peak rate that a tile of 32768, 16384, ... 2048 outputs reaches"
    )
    prologue_elements: Amount = Field(description="k steps lost a block")
    lone: Efficiency = Field(description="rate of an SM with fewer blocks than it can hold")
    hbm_efficiency: Efficiency
    l2_bandwidth_GBps: Rate
    fixed_us: Amount
    split_us: Amount
    throttle_GFLOP: Positive
    throttle_depth: Amount


class AttentionFit(Block):
    """Constants of `cimsim.baseline.attention`."""

    full_efficiency: Efficiency = Field(description="share of peak where no score is masked")
    causal_efficiency: Efficiency = Field(description="share of peak on the masked triangle")
    hbm_efficiency: Efficiency
    cached_fixed_us: Amount = Field(description="of one query a head against a cache")
    plain_fixed_us: Amount = Field(description="of many queries a head")
    chain_us: Amount = Field(description="of 128 keys, processed one after another")
    grouped_high: AtLeastOne = Field(
        description="high end of a decode step's time where query heads of several sequences share "
        "K and V, over the value"
    )


class StreamFit(Block):
    """Constants of kernels that only move data: t = fixed + norm row + bytes / bandwidth."""

    hbm_efficiency: Efficiency
    fixed_us: Amount
    norm_ns_per_element: Amount = Field(
        description="of one row of a normalisation: a block of threads walks over it twice"
    )


class LoraFit(Block):
    """What a serving stack keeps of its merged rate where LoRA is unmerged: a band."""

    rate_low: Efficiency
    rate_high: Efficiency

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.rate_low <= self.rate_high:
            raise ValueError(f"rate_low {self.rate_low} <= rate_high {self.rate_high} must hold")
        return self


class ServingStack(Block):
    """Host time of a step under one serving stack: a band, whose middle counts."""

    host_ms_low: Amount = Field(description="on any number of cards")
    host_ms_high: Amount = Field(description="on one card")
    host_ms_a_further_card: Amount = Field(description="added to the high end")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.host_ms_low <= self.host_ms_high:
            raise ValueError(
                f"host_ms_low {self.host_ms_low} <= host_ms_high {self.host_ms_high} must hold"
            )
        return self

    def host_s(self, cards: int) -> tuple[float, float]:
        """Low and high end (s) on `cards` cards."""
        high_ms = self.host_ms_high + (cards - 1) * self.host_ms_a_further_card
        return 1e-3 * self.host_ms_low, 1e-3 * high_ms


class PowerFit(Block):
    """Constants of `cimsim.baseline.power`."""

    idle_W: Positive
    active_W: Positive = Field(description="a running card, before work is done")
    compute_pJ_per_FLOP: Amount
    hbm_pJ_per_byte: Amount
    tdp_W: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.idle_W <= self.active_W <= self.tdp_W:
            raise ValueError(
                f"idle_W {self.idle_W} <= active_W {self.active_W} <= tdp_W {self.tdp_W} must hold"
            )
        return self


class CardLink(Block):
    """All-reduce of B bytes between p cards, in a ring:

    t = latency + wait B / (B + wait_half) + 2 (p - 1) / p B / (efficiency bandwidth)

    `wait` is what larger messages lose to another protocol and to cards that come late; no further
    byte makes it shorter.
    """

    bandwidth_GBps: Rate = Field(description="one direction of one card")
    efficiency: Efficiency
    pair_latency_us: Amount = Field(description="of two cards")
    latency_us: Amount = Field(description="of more than two")
    wait_us: Amount = Field(description="of a large message")
    wait_half_kB: Positive = Field(description="size of a message that waits half as long")

    def all_reduce_s(self, size_bytes: Array, cards: int) -> Array:
        """Seconds of an all-reduce of `size_bytes` (B) over `cards` cards."""
        latency_us = self.pair_latency_us if cards == 2 else self.latency_us
        wait_us = self.wait_us * size_bytes / (size_bytes + 1e3 * self.wait_half_kB)
        wire_s = ring_bytes(size_bytes, cards) / (1e9 * self.bandwidth_GBps * self.efficiency)
        seconds: Array = 1e-6 * (latency_us + wait_us) + wire_s
        return seconds


def ring_bytes(size_bytes: Array, cards: int) -> Array:
    """Bytes (B) that each card sends: every part goes round twice, to be summed and to be known."""
    sent: Array = 2.0 * (cards - 1) / cards * size_bytes
    return sent
