"""Tracing: run a model on shapes, lower what was recorded, and zip the passes into phases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from cimsim.errors import WorkloadError
from cimsim.frontend.builder import ParameterRole, Parts
from cimsim.frontend.experts import is_mixture, most_experts
from cimsim.frontend.forward import check_limit, drive, has_decoder, sequence_limit
from cimsim.frontend.graph import Draft
from cimsim.frontend.lowering import lower
from cimsim.frontend.phases import (
    Growth,
    check_step,
    decode_phase,
    growth_ends,
    growth_of,
    prefill_phase,
)
from cimsim.frontend.positions import check_positions, position_limit
from cimsim.frontend.quiet import quietly
from cimsim.frontend.recording import Literals, Recorder, Recording
from cimsim.frontend.sequences import token_axis
from cimsim.frontend.streams import TokenAxis
from cimsim.ir import Phase
from cimsim.values.display import brief


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % d for d in range(2, isqrt(number) + 1))


PROBE_PRIMES = tuple(n for n in range(131, 4, -1) if _is_prime(n))
"""Lengths of the probe prompt: enough to choose from, short enough to be quick."""

SHORT = 1 << 12
"""Numbers of at most so many values are followed where passes run at their own lengths."""

LONGEST_WINDOW = 1 << 14
"""The numbers of a mask are read, which are the square of the tokens."""

Driver = Callable[[Callable[..., Any]], object]
"""Calls the model that it is handed, once for each segment."""


@brief
@dataclass(frozen=True)
class Traced:
    """The phases, and the roles in which and parts of which they use the parameters.

    Up to `tokens_max` tokens (0: any number) the model runs the same operations.
    """

    phases: tuple[Phase, ...]
    roles: dict[str, ParameterRole]
    parts: Parts
    tokens_max: int = 0


def record(
    model: nn.Module,
    driver: Driver,
    real: Mapping[int, torch.Tensor] | None = None,
    most: int | None = None,
    *,
    samples: bool = False,
) -> Recording:
    """Everything that `model` computes while `driver` calls it, one segment a call.

    `real` and `most` are those of `Recorder`; with `samples` each call ends with the choice of the
    next token, the largest of the last token's logits. Raises WorkloadError, naming the module, if
    the forward pass fails on the meta device. What the model warns of is its author's business
    and goes unheard.
    """
    recorder = Recorder(model, real, most)

    def run(*args: Any, **kwargs: Any) -> Any:
        recorder.begin((args, kwargs))
        with Literals(recorder), recorder:
            output = model(*args, **kwargs)
            if samples:
                output.logits[:, -1].argmax(-1)
            return output

    try:
        with torch.no_grad(), recorder.watch(model), quietly():
            driver(run)
    except WorkloadError:
        raise
    except Exception as problem:
        if is_mixture(model, recorder.path):
            raise WorkloadError(
                f"module {recorder.path!r} is part of a mixture of experts of a kind that is not "
                "supported: which experts a token goes to depends on weights. Use a release of "
                "transformers that keeps all experts in one module, or trace a dense model."
            ) from problem
        raise WorkloadError(
            f"module {recorder.path or '(the model itself)'!r} cannot run on shapes alone: "
            f"{type(problem).__name__}: {problem}"
        ) from problem
    return recorder.recording


def trace_fixed(model: nn.Module, driver: Driver, real: Mapping[int, torch.Tensor]) -> Traced:
    """One phase whose number of tokens the inputs fix."""
    recording = record(model, driver, real)
    lowered = lower(model, recording, TokenAxis(0))
    (nodes,) = lowered.segments
    axis = token_axis(recording, nodes)
    (seen,) = lower(model, recording, axis).segments
    return Traced((prefill_phase(nodes, seen, axis.length),), lowered.roles, lowered.parts)


def trace_features(
    model: PreTrainedModel, decode: int, buffers: Mapping[int, torch.Tensor]
) -> Traced:
    """An image or a spectrogram, whose size the model fixes, and what a decoder makes of it."""
    if has_decoder(model):
        _check_decoder(model, 1, decode, dict(buffers))
    recording = _long(model, 1, min(decode, 2), 0, buffers)
    lowered = lower(model, recording, TokenAxis(0))
    first, *later = lowered.segments
    axis = token_axis(recording, first)
    seen = lower(model, recording, axis).segments[0]
    phases = _decode_phases(model, 1, decode, later, seen, buffers)
    return Traced((prefill_phase(first, seen, axis.length), *phases), lowered.roles, lowered.parts)


def _decode_phases(
    model: PreTrainedModel,
    prefill: int,
    decode: int,
    steps: Sequence[Sequence[Draft]],
    probe: Sequence[Draft],
    buffers: Mapping[int, torch.Tensor],
) -> list[Phase]:
    """The decode phase from its first steps, if there is one; completes `probe`."""
    if not decode:
        return []
    growth = growth_of(steps[0], steps[-1])
    ends = _growth_ends(model, prefill, decode, steps, growth, buffers)
    return [decode_phase(steps[0], growth, ends, probe, decode)]


def trace_text(
    model: PreTrainedModel, prefill: int, decode: int, buffers: Mapping[int, torch.Tensor]
) -> Traced:
    """Prefill and decode of a model that reads token ids; `buffers` holds their real numbers."""
    prime = probe_length(model, prefill + decode)
    numbers = dict(buffers)
    probing = record(
        model, lambda run: drive(model, run, prime, 0, 0, numbers), numbers, samples=decode > 0
    )
    _check_positions(model, probing, prime, prefill, decode, numbers)
    (probe,) = lower(model, probing, TokenAxis(prime)).segments
    recording = _long(model, prefill, min(decode, 2), 0, buffers)
    lowered = lower(model, recording, TokenAxis(0))
    first, *later = lowered.segments
    phases = _decode_phases(model, prefill, decode, later, probe, buffers)
    most = sequence_limit(model, position_limit(probing))
    return Traced(
        (prefill_phase(first, probe, prefill), *phases), lowered.roles, lowered.parts, most
    )


def _growth_ends(
    model: PreTrainedModel,
    prefill: int,
    decode: int,
    steps: Sequence[Sequence[Draft]],
    growth: Growth,
    buffers: Mapping[int, torch.Tensor],
) -> dict[str, int]:
    """Op -> step at which its window is full, looked up at the last step and around each end."""
    if decode < 3:
        return {}
    first = steps[0]

    def nodes_at(step: int, count: int) -> list[list[Draft]]:
        late = _long(model, prefill, count, step, buffers)
        return lower(model, late, TokenAxis(0)).segments[1:]

    ends = growth_ends(first, nodes_at(decode - 1, 1)[0], growth, decode)
    for end in sorted(set(ends.values())):
        for step, nodes in enumerate(nodes_at(end - 1, 2), end - 1):
            check_step(first, nodes, growth, ends, step)
    return ends


def _long(
    model: PreTrainedModel,
    prefill: int,
    steps: int,
    ahead: int,
    buffers: Mapping[int, torch.Tensor],
) -> Recording:
    """The passes at their own lengths, where only short numbers are followed (no masks).

    Where there are decode steps every pass chooses the token of the next.
    """
    numbers = dict(buffers)
    return record(
        model, lambda run: drive(model, run, prefill, steps, ahead, numbers), numbers, SHORT,
        samples=steps > 0,
    )  # fmt: skip


def _check_positions(
    model: PreTrainedModel,
    probing: Recording,
    prime: int,
    prefill: int,
    decode: int,
    numbers: dict[int, torch.Tensor],
) -> None:
    """Raises WorkloadError if a table or the configuration has positions for fewer tokens."""
    if has_decoder(model):
        check_positions(model, probing, {prime: prefill})
        _check_decoder(model, 5, decode, numbers)
    else:
        check_positions(model, probing, {prime: prefill + decode})
    check_limit(model, prefill, decode)


def _check_decoder(
    model: PreTrainedModel, prefill: int, decode: int, numbers: dict[int, torch.Tensor]
) -> None:
    """Raises WorkloadError if a decoder has no positions for its start token and `decode` more."""
    looking = record(model, lambda run: drive(model, run, prefill, 0, 2, numbers), numbers)
    check_positions(model, looking, {3: 1 + decode})


def probe_length(model: PreTrainedModel, tokens: int) -> int:
    """A prompt length that is prime, divides no size of the model, and is longer than windows.

    Only windows shorter than a sequence of `tokens` tokens matter. Every expert gets a token.
    """
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or tokens + PROBE_PRIMES[0]
    window = max((w for w in _windows(model.config.to_dict()) if w < tokens), default=0)
    window = max(window, most_experts(model))
    if window > LONGEST_WINDOW:
        raise WorkloadError(
            f"{type(model).__name__} has a window of {window} tokens, shorter than the {tokens} "
            f"that were asked; masks are read of windows up to {LONGEST_WINDOW}. Lower prefill or "
            f"decode to {window} tokens in all."
        )
    sizes = set(_whole_numbers(model.config.to_dict()))
    for tensor in [*model.parameters(), *model.buffers()]:
        sizes.update(tensor.shape)
    longer = (n for n in range(window + 1, window + 2000) if _is_prime(n))
    for prime in longer if window >= PROBE_PRIMES[0] else PROBE_PRIMES:
        if window < prime <= limit and all(size % prime for size in sizes if size > 0):
            return prime
    raise WorkloadError(
        f"{type(model).__name__}: every prime from {window + 1} up to {limit} divides one of its "
        "sizes, so token axes cannot be told. Raise max_position_embeddings."
    )


def _windows(data: Any) -> Iterator[int]:
    """What a configuration says of attention windows and chunks."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if any(word in str(key) for word in ("window", "chunk", "local_attention")):
                yield from _whole_numbers(value)
            else:
                yield from _windows(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _windows(value)


def _whole_numbers(data: Any) -> Iterator[int]:
    if isinstance(data, int) and not isinstance(data, bool):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _whole_numbers(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _whole_numbers(value)
