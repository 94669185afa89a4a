"""The axes whose members the command line takes by name: lists, help and completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cimsim.values.codec import Codec


def _pipelines() -> Codec[Any]:
    from cimsim.schedule.pipelines import PIPELINE_CODEC

    return PIPELINE_CODEC


def _noises() -> Codec[Any]:
    from cimsim.noise import DEVICE_CODEC

    return DEVICE_CODEC


def _methods() -> Codec[Any]:
    from cimsim.training import METHOD_CODEC

    return METHOD_CODEC


def _mappers() -> Codec[Any]:
    from cimsim.mappers import MAPPER_CODEC

    return MAPPER_CODEC


def _adaptations() -> Codec[Any]:
    from cimsim.adaptation import adaptation_codec

    return adaptation_codec()


AXES: dict[str, Callable[[], Codec[Any]]] = {
    "pipelines": _pipelines,
    "noises": _noises,
    "methods": _methods,
    "mappers": _mappers,
    "adaptations": _adaptations,
}
"""What `cimsim list` calls an axis, and what reads its members."""
SUMMARIES = {
    "pipelines": "auto[:extra_tiles], sequential[:share_clusters], token[:block_tokens], "
    "balanced[:share_clusters], layer[:block_tokens], balanced+layer[:share_clusters], "
    "replicated, split[:block_tokens], "
    "cores-only[:block_tokens], engine-only[:block_tokens]",
    "noises": "ideal, gaussian[:sigma_ratio], read_noise[:sigma_ratio], stuck_at, retention, pcm, "
    "hermes, neurram[:scale], cmo_hfox[:window_percent], table, write_verify",
    "methods": "plain, noise-aware, halora, halora-every-step, ahwa, ahwa-full, piggyback, xbm, "
    "xma, xma2, full, delta, lora-fusion, dora, pruned-lora, fisher-sparse",
    "mappers": "one-per-tile, dense[:replicate], reload[:groups]",
    "adaptations": "none, lora-sram, lora-pmca, lora-rram, merged[:delta_ratio], full, "
    "piggyback[:zeroed], pruned-lora, fisher-sparse, delta, lora-fusion, xbm, xma, xma2, "
    "protected[:rescale]",
}
"""`Codec.summary` of each axis as help prints it, which loads no axis for that."""
OPTIONS = {
    "pipeline": "pipelines",
    "strategy": "pipelines",
    "noise": "noises",
    "method": "methods",
    "mapper": "mappers",
    "adapt": "adaptations",
}
"""Options of the verbs that take members of an axis."""


def completing(axis: str) -> Callable[[str], list[str]]:
    """What completes the text of a member in a shell."""
    return lambda incomplete: AXES[axis]().complete(incomplete)


def helped(option: str | None, text: str) -> str:
    """The help of an option, with the names that it takes where they are those of an axis."""
    axis = OPTIONS.get(option or "")
    if axis is None:
        return text
    return f"{text} Names: {SUMMARIES[axis]} (`cimsim list {axis}` tells their options)."
