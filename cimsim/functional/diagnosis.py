"""Where accuracy is lost: error of every analog layer against its digital original.

Signal-to-noise ratios are of powers, 10 log10(sum y^2 / sum e^2), in dB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from cimsim.adaptation.layers.protected import with_rest
from cimsim.errors import SpecError
from cimsim.frontend.dora import with_folded_dora
from cimsim.functional.layers import AnalogLayer
from cimsim.functional.mode import in_evaluation
from cimsim.functional.model import AnalogModel, Samples
from cimsim.functional.padding import Padding
from cimsim.functional.sites import find_sites
from cimsim.values.display import brief

KEPT_VECTORS = 256
"""Vectors of each layer whose digital outputs are kept for comparison, the first ones."""
EDGES = tuple(float(edge) for edge in np.linspace(-1.0, 1.0, 41))
"""Histogram edges, in units of the layer's output standard deviation."""


@brief
@dataclass(frozen=True)
class LayerError:
    """How far one layer is off.

    snr_dB: this layer alone, against exact arithmetic on the very inputs it received.
    cells_snr_dB: the part that its cells cause (exact converters); the rest is converters and
    read noise. accumulated_snr_dB: against the same layer of the digital model, so with the
    errors of all layers before it. clipping_ratio: norm of the outputs that the clipped parts of
    its weights would have made, over that of its outputs without bias. saturated_ratio: share of
    its ADC conversions at the end of their range; clipped_ratio: share of its inputs beyond that of
    the DAC.
    histogram: counts of (error / standard deviation of the exact outputs) between `EDGES`, errors
    beyond them in the outermost. Infinite where there is no error at all.
    """

    weight: str
    snr_dB: float
    cells_snr_dB: float
    accumulated_snr_dB: float
    clipping_ratio: float
    saturated_ratio: float
    clipped_ratio: float
    histogram: tuple[int, ...]


@dataclass
class _Seen:
    digital: torch.Tensor | None = None
    signal: float = 0.0
    error: float = 0.0
    cells: float = 0.0
    whole: float = 0.0
    clipped: float = 0.0
    far_signal: float = 0.0
    far_error: float = 0.0
    inputs: int = 0
    histogram: np.ndarray[Any, Any] | None = None


def diagnose(model: nn.Module, converted: AnalogModel, inputs: Samples) -> tuple[LayerError, ...]:
    """Run `inputs` (arguments of one call) through both models and compare layer by layer.

    Layers come in the order in which they are first used; a layer used several times counts all
    uses but compares the first with the digital model. Looks at the first `KEPT_VECTORS` vectors
    of each use and at one chip; `converted` counts from 0 again afterwards. Raises SpecError where
    a layer is never used.
    """
    if converted.draws != 1:
        raise SpecError(
            f"diagnosis looks at one chip, the model has {converted.draws} side by side; convert "
            "with one seed."
        )
    model = with_folded_dora(model)
    seen = {name: _Seen() for name in converted.layers}
    args, kwargs = ((), inputs) if isinstance(inputs, Mapping) else (inputs, {})
    padding = Padding.of(model, args, kwargs)
    with _hooks(_digital_hooks(model, seen, padding)):
        _call(model, args, kwargs)
    order: list[str] = []
    converted.restart()
    with _hooks(_analog_hooks(converted, seen, order)):
        _call(converted, args, kwargs)
    if idle := sorted(set(seen) - set(order)):
        raise SpecError(f"the inputs never reach {', '.join(idle)}; give inputs that do.")
    found = tuple(_summary(name, converted.layers[name], seen[name]) for name in order)
    converted.restart()
    return found


def _call(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    with in_evaluation(model):
        model(*args, **kwargs)


@contextmanager
def _hooks(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _vectors(
    name: str, y: torch.Tensor, layer: nn.Module, padding: Padding | None
) -> torch.Tensor:  # fmt: skip
    """The first vectors that are no padding, float64."""
    if isinstance(layer, nn.Conv2d) or y.dim() == 4:
        y = y.flatten(2).transpose(1, 2)
    tokens = None if padding is None else padding.tokens(name, y)
    flat = y.reshape(-1, y.shape[-1])
    return (flat if tokens is None else flat[tokens])[:KEPT_VECTORS].to(torch.float64)


def _digital_hooks(
    model: nn.Module, seen: dict[str, _Seen], padding: Padding | None
) -> list[Any]:  # fmt: skip
    def keep(name: str, state: _Seen) -> Any:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            if state.digital is None:
                state.digital = _vectors(name, output.detach(), module, padding).float()

        return hook

    sites = find_sites(model)
    return [
        sites[name].layer.register_forward_hook(keep(name, state)) for name, state in seen.items()
    ]


def _analog_hooks(
    converted: AnalogModel, seen: dict[str, _Seen], order: list[str]
) -> list[Any]:  # fmt: skip
    def compare(name: str, layer: AnalogLayer, state: _Seen) -> Any:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            rows = layer.tokens_of(args[0])
            state.inputs += rows.numel()
            rows = rows[:KEPT_VECTORS]
            exact = layer.weight_KN().detach().to(torch.float64)
            off = torch.from_numpy(layer.cells_as_weight()).to(exact) - exact
            wanted, caused = (rows.to(torch.float64) @ matrix for matrix in (exact, off))
            state.cells += float(caused.square().sum())
            away = torch.from_numpy(layer.clipped_away()).to(exact)
            state.whole += float(wanted.square().sum())
            state.clipped += float((rows.to(torch.float64) @ away).square().sum())
            wanted = with_rest(wanted, rows, layer.rest)
            if layer.bias is not None:
                wanted = wanted + layer.bias.detach().to(torch.float64)
            got = _vectors(name, output, module, layer.padding)
            _add(state, wanted, got)
            if name not in order:
                order.append(name)
                assert state.digital is not None
                far = state.digital.to(torch.float64)
                state.far_signal = float(far.square().sum())
                state.far_error = float((got - far).square().sum())

        return hook

    return [
        layer.register_forward_hook(compare(name, layer, seen[name]))
        for name, layer in converted.layers.items()
    ]


def _add(state: _Seen, wanted: torch.Tensor, got: torch.Tensor) -> None:
    error = got - wanted
    state.signal += float(wanted.square().sum())
    state.error += float(error.square().sum())
    scale = float(wanted.std()) if wanted.numel() > 1 else 0.0
    ratio = (error / scale if scale > 0.0 else error).clamp(EDGES[0], EDGES[-1])
    counts = np.histogram(ratio.cpu().numpy(), bins=EDGES)[0]
    state.histogram = counts if state.histogram is None else state.histogram + counts


def _summary(name: str, layer: AnalogLayer, state: _Seen) -> LayerError:
    counts = layer.counts
    assert state.histogram is not None
    return LayerError(
        weight=name,
        snr_dB=snr_dB(state.signal, state.error),
        cells_snr_dB=snr_dB(state.signal, state.cells),
        accumulated_snr_dB=snr_dB(state.far_signal, state.far_error),
        clipping_ratio=math.sqrt(state.clipped / state.whole) if state.whole > 0.0 else 0.0,
        saturated_ratio=counts.saturated / max(1, counts.conversions),
        clipped_ratio=counts.clipped / max(1, state.inputs),
        histogram=tuple(int(count) for count in state.histogram),
    )


def snr_dB(signal: float, error: float) -> float:
    """Ratio of two powers in dB; infinite without error, minus infinite without signal."""
    if error == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / error) if signal > 0.0 else -math.inf
