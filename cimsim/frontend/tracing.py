"""Tracing: run a model on shapes, lower what was recorded, and zip the passes into phases."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from cimsim.display import brief
from cimsim.errors import WorkloadError
from cimsim.frontend.builder import ParameterRole
from cimsim.frontend.forward import check_limit, drive, has_decoder
from cimsim.frontend.lowering import lower
from cimsim.frontend.phases import decode_phase, prefill_phase, stream_length
from cimsim.frontend.positions import check_positions
from cimsim.frontend.recording import Recorder, Recording
from cimsim.frontend.streams import TokenAxis
from cimsim.workload import Phase

PROBE_PRIMES = tuple(n for n in range(131, 4, -1) if all(n % d for d in range(2, n)))
"""Lengths of the probe prompt: enough to choose from, short enough to be quick."""

SHORT = 1 << 12
"""Numbers of at most so many values are followed where passes run at their own lengths."""

Driver = Callable[[Callable[..., Any]], object]
"""Calls the model that it is handed, once for each segment."""


@brief
@dataclass(frozen=True)
class Traced:
    """The phases, and the roles in which they use the parameters."""

    phases: tuple[Phase, ...]
    roles: dict[str, ParameterRole]


def record(
    model: nn.Module,
    driver: Driver,
    real: Mapping[int, torch.Tensor] | None = None,
    most: int | None = None,
) -> Recording:
    """Everything that `model` computes while `driver` calls it, one segment a call.

    `real` and `most` are those of `Recorder`. Raises WorkloadError, naming the module, if the
    forward pass fails on the meta device. What the model warns of is its author's business and
    goes unheard.
    """
    recorder = Recorder(model, real, most)

    def run(*args: Any, **kwargs: Any) -> Any:
        recorder.begin((args, kwargs))
        with recorder:
            return model(*args, **kwargs)

    try:
        with torch.no_grad(), recorder.watch(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            driver(run)
    except WorkloadError:
        raise
    except Exception as problem:
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
    tokens = stream_length(nodes)
    (seen,) = lower(model, recording, TokenAxis(tokens, divides=False)).segments
    return Traced((prefill_phase(nodes, seen, tokens),), lowered.roles)


def trace_text(
    model: PreTrainedModel, prefill: int, decode: int, buffers: Mapping[int, torch.Tensor]
) -> Traced:
    """Prefill and decode of a model that reads token ids; `buffers` holds their real numbers."""
    prime = probe_length(model)
    numbers = dict(buffers)
    probing = record(model, lambda run: drive(model, run, prime, 0, 0, numbers), numbers)
    _check_positions(model, probing, prime, prefill, decode, numbers)
    (probe,) = lower(model, probing, TokenAxis(prime)).segments
    steps = min(decode, 2)
    recording = _long(model, prefill, steps, 0, buffers)
    lowered = lower(model, recording, TokenAxis(0))
    first, *later = lowered.segments
    phases = []
    if decode:
        last = later[-1]
        if decode > 2:
            late = _long(model, prefill, 1, decode - 1, buffers)
            last = lower(model, late, TokenAxis(0)).segments[1]
        phases.append(decode_phase(later, last, probe, decode))
    phases.insert(0, prefill_phase(first, probe, prefill))
    return Traced(tuple(phases), lowered.roles)


def _long(
    model: PreTrainedModel,
    prefill: int,
    steps: int,
    ahead: int,
    buffers: Mapping[int, torch.Tensor],
) -> Recording:
    """The passes at their own lengths, where only short numbers are followed (no masks)."""
    numbers = dict(buffers)
    return record(
        model, lambda run: drive(model, run, prefill, steps, ahead, numbers), numbers, SHORT
    )


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
        looking = record(model, lambda run: drive(model, run, 5, 0, 2, numbers), numbers)
        check_positions(model, looking, {3: 1 + decode})
    else:
        check_positions(model, probing, {prime: prefill + decode})
    check_limit(model, prefill, decode)


def probe_length(model: PreTrainedModel) -> int:
    """A prompt length that is prime and divides no size of the model."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or PROBE_PRIMES[0]
    sizes = set(_whole_numbers(model.config.to_dict()))
    for tensor in [*model.parameters(), *model.buffers()]:
        sizes.update(tensor.shape)
    for prime in PROBE_PRIMES:
        if prime <= limit and all(size % prime for size in sizes if size > 0):
            return prime
    raise WorkloadError(
        f"{type(model).__name__}: every prime up to {min(limit, PROBE_PRIMES[0])} divides one of "
        "its sizes, so token axes cannot be told. Raise max_position_embeddings."
    )


def _whole_numbers(data: Any) -> Iterator[int]:
    if isinstance(data, int) and not isinstance(data, bool):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _whole_numbers(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _whole_numbers(value)
