"""The torch path of one crossbar: the sums of `cimsim.analog.mvm`, on any device, with gradients.

Converters and noise are passed straight through: the gradient is that of the linear map of the
cells as read, without what a converter clipped (for single-pulse, single-slice tiles; elsewhere
saturation does not stop a gradient). Its weight gradient is that of the weight aimed at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from cimsim.analog.converters import Dac
from cimsim.functional.operands import Normals, TorchOperands
from cimsim.values.ranges import SMALLEST

CHUNK = 1 << 25
"""Column sums held at a time: bounds the scratch of bit-sliced products."""


@dataclass
class Counts:
    """Conversions, those that saturated, and inputs that were clipped, since the last restart.

    Of conversions that were shifted, those that overflowed their word and that lost bits.
    """

    conversions: int = 0
    saturated: int = 0
    clipped: int = 0
    overflowed: int = 0
    shortened: int = 0


def multiply(
    x_BK: torch.Tensor,
    weight_KN: torch.Tensor | None,
    operands: TorchOperands,
    normals: Normals | None,
    counts: Counts,
    numbers_TN: torch.Tensor | None = None,
    word_bits: int | None = None,
) -> torch.Tensor:
    """Outputs [B, N] of float32 inputs; `weight_KN` receives a gradient if given.

    So do the numbers on columns, which act on codes as in `cimsim.analog.mvm.ColumnNumbers`: the
    sum over vectors of the output's gradient times the partial sum, as if nothing were rounded.
    """
    # Codes and column sums are exact in float32 only.
    with torch.autocast(x_BK.device.type, enabled=False):
        out: torch.Tensor = _Product.apply(  # type: ignore[no-untyped-call]
            x_BK, weight_KN, numbers_TN, operands, normals, counts, word_bits
        )
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor | None, numbers: torch.Tensor | None,
        operands: TorchOperands, normals: Normals | None, counts: Counts, word_bits: int | None,
    ) -> torch.Tensor:  # fmt: skip
        code, step, inside = to_codes(x, operands.dac, counts, operands.rows)
        keep = x.requires_grad and len(operands.significance_S) == operands.dac.pulses == 1
        shape = len(operands.rows), len(code), operands.gain_TN.shape[1]
        trained = numbers is not None and numbers.requires_grad
        partial = torch.zeros(shape, device=code.device) if trained else None
        columns = None if numbers is None else _Columns(numbers.detach(), word_bits, partial)
        out, masks = _convert_all(code, step, operands, normals, counts, keep, columns)
        if partial is not None:
            partial *= step[:, :, None]
        if operands.has_offset:
            for t, rows in enumerate(operands.rows):
                total = code[:, rows].sum(1) * step[t]
                offset = operands.offset_TN[t]
                out -= total[:, None] * (offset if columns is None else offset * columns.numbers[t])
                if partial is not None:
                    partial[t] -= total[:, None] * offset
        ctx.operands, ctx.inside, ctx.masks = operands, inside, masks
        ctx.numbers, ctx.partial = None if columns is None else columns.numbers, partial
        # Only a trained weight needs the inputs again.
        ctx.quantised = _worth(code, step, operands.rows) if weight is not None else None
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        operands: TorchOperands = ctx.operands
        numbers: torch.Tensor | None = ctx.numbers
        grad_x = grad_w = grad_a = None
        behind = [grad if numbers is None else grad * numbers[t] for t in range(len(operands.rows))]
        if ctx.needs_input_grad[0]:
            grad_x = torch.cat(
                [_back(part, operands, t, ctx.masks) for t, part in enumerate(behind)], dim=1
            )
            if ctx.inside is not None:
                grad_x = grad_x * ctx.inside
        if ctx.needs_input_grad[1]:
            if numbers is None:
                grad_w = ctx.quantised.T @ grad
            else:
                grad_w = torch.cat(
                    [
                        ctx.quantised[:, rows].T @ part
                        for rows, part in zip(operands.rows, behind, strict=True)
                    ]
                )
        if ctx.needs_input_grad[2]:
            grad_a = torch.einsum("bn,tbn->tn", grad, ctx.partial)
        return grad_x, grad_w, grad_a, None, None, None, None


@dataclass(frozen=True)
class _Columns:
    """Numbers on columns [T, N]; `partial` [T, B, N] collects what they act on, where wanted."""

    numbers: torch.Tensor
    word_bits: int | None
    partial: torch.Tensor | None


def _back(
    grad: torch.Tensor, operands: TorchOperands, t: int, masks: dict[int, torch.Tensor]
) -> torch.Tensor:
    rows = operands.rows[t]
    cells = operands.steps_KSN[rows]
    seen = cells[:, 0]
    if cells.shape[1] > 1:
        seen = torch.einsum("ksn,s->kn", cells, operands.significance_S)
    scaled = grad * operands.gain_TN[t]
    if t in masks:
        scaled = scaled.masked_fill(masks[t], 0.0)
    back = scaled @ seen.T
    if operands.has_offset:
        back = back - (grad @ operands.offset_TN[t])[:, None]
    return back


def _worth(
    code: torch.Tensor, step_TB: torch.Tensor, rows: tuple[slice, ...]
) -> torch.Tensor:  # fmt: skip
    """Codes [B, K] times the value of a step in their row of tiles."""
    return torch.cat([code[:, part] * step_TB[t, :, None] for t, part in enumerate(rows)], dim=1)


def to_codes(
    x: torch.Tensor, dac: Dac, counts: Counts, rows: tuple[slice, ...]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Codes, the value of one code step by row of tiles and vector [T, B], and where inputs were
    not clipped.
    """
    if dac.bits is None:
        return x, torch.ones((len(rows), len(x)), device=x.device), None
    if dac.range == "tile" and len(rows) > 1:
        parts = [to_codes(x[:, part], dac, counts, (part,)) for part in rows]
        codes, steps, masks = zip(*parts, strict=True)
        inside = None if masks[0] is None else torch.cat(masks, dim=1)
        return torch.cat(codes, dim=1), torch.cat(steps), inside
    low, high = dac.ends
    scaled = dac.range in ("token", "tile")
    if scaled:
        full = x.abs().amax(1)
        full = torch.where(full > SMALLEST, full, torch.ones_like(full))
    else:
        full = torch.full((len(x),), float(dac.full_scale or 1.0), device=x.device)
    value = x * (dac.steps / full)[:, None]
    inside = None
    if not scaled or high < dac.steps:
        inside = (value <= high + 0.5) & (value >= low - 0.5)
        counts.clipped += int(inside.numel() - int(inside.sum()))
        value = value.clamp(low, high)
    return value.round_(), (full / dac.steps).expand(len(rows), -1), inside


def pulses_of(code: torch.Tensor, dac: Dac) -> torch.Tensor:
    """Pulses [B, P, K] of two's-complement codes, as in `cimsim.analog.converters.digits`."""
    if dac.pulses == 1:
        return code[:, None, :]
    width = dac.pulse_bits or 1
    whole = code.to(torch.int32)
    parts = [(whole >> (width * p)) & (2**width - 1) for p in range(dac.pulses - 1)]
    last = whole >> (width * (dac.pulses - 1))
    parts.append(-last if width == 1 else last)
    return torch.stack(parts, 1).to(torch.float32)


def _pulse_weights(dac: Dac, device: torch.device) -> torch.Tensor:
    from cimsim.analog.converters import pulse_weights

    return torch.from_numpy(pulse_weights(dac)).to(device)


def _convert_all(
    code: torch.Tensor, step_TB: torch.Tensor, operands: TorchOperands, normals: Normals | None,
    counts: Counts, keep: bool, numbers: _Columns | None,
) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:  # fmt: skip
    """Outputs [B, N] without offsets, and where conversions of a row of tiles saturated."""
    vectors, columns = len(code), operands.gain_TN.shape[1]
    slices, dac = len(operands.significance_S), operands.dac
    out = torch.zeros((vectors, columns), device=code.device)
    masks: dict[int, torch.Tensor] = {}
    size = max(1, CHUNK // max(1, columns * slices * dac.pulses))
    own = dac.range == "tile" and len(operands.rows) > 1
    for t, rows in enumerate(operands.rows):
        z = None if normals is None else _streams(normals, t, dac.pulses, slices)
        into = torch.zeros_like(out) if own else out
        for start in range(0, vectors, size):
            part = slice(start, start + size)
            drive = pulses_of(code[part, rows], dac)
            noise = None if z is None else z[part]
            over = _accumulate(into, part, drive, operands, t, noise, counts, numbers)
            if keep and over is not None and vectors <= size:
                masks[t] = over
        if own:
            out += into * step_TB[t, :, None]
    if not own:
        out *= step_TB[0, :, None]
    if operands.hardware.adc.bits is not None:
        kept = columns * len(operands.rows)
        if numbers is not None:
            kept = int(torch.count_nonzero(numbers.numbers))
        counts.conversions += vectors * kept * slices * dac.pulses
    return out, masks


def _streams(normals: Normals, t: int, pulses: int, slices: int) -> torch.Tensor:
    """[B, P, S, N]."""
    rows = [
        torch.stack([normals(t, p * slices + s) for s in range(slices)], 1) for p in range(pulses)
    ]
    return torch.stack(rows, 1)


def _accumulate(
    whole: torch.Tensor, part: slice, drive: torch.Tensor, operands: TorchOperands, t: int,
    noise: torch.Tensor | None, counts: Counts, columns: _Columns | None,
) -> torch.Tensor | None:  # fmt: skip
    """Add one row of tiles to `part` of `whole`, in codes of the DAC.

    Returns where the ADCs saturated, if at all.
    """
    adc, rows = operands.hardware.adc, operands.rows[t]
    vectors, pulses, depth = drive.shape
    flat = drive.reshape(-1, depth)
    cells = operands.steps_KSN[rows]
    slices, width = cells.shape[1:]
    sums = (flat @ cells.reshape(depth, -1)).view(vectors, pulses, slices, width)
    if noise is not None:
        sums += noise * _sigma(flat, operands, t, sums.shape)
    gain = operands.significance_S[:, None] * operands.gain_TN[t]
    over = None
    if adc.bits is not None:
        low, high = adc.ends
        lsb = operands.full_scale_TS[t] / adc.steps
        sums *= (1.0 / lsb)[:, None]
        if columns is not None:
            sums *= columns.numbers[t] != 0
        over = _saturated(sums, (low, high), counts)
        sums.clamp_(low, high).round_()
        gain = gain * lsb[:, None]
    if columns is not None:
        if columns.partial is not None:
            _add(columns.partial[t, part], sums, gain, operands)
        if columns.word_bits is not None and adc.bits is not None:
            least = -(2.0 ** (columns.word_bits - 1))
            shifted = sums * columns.numbers[t]
            words = shifted.floor()
            sums = words.clamp(least, -least - 1.0)
            counts.overflowed += int((sums != words).sum())
            counts.shortened += int((words != shifted).sum())
        else:
            gain = gain * columns.numbers[t]
    _add(whole[part], sums, gain, operands)
    return None if over is None else over[:, 0, 0]


def _add(
    out: torch.Tensor, sums: torch.Tensor, gain: torch.Tensor, operands: TorchOperands
) -> None:
    """Add codes [B, P, S, N], each worth its `gain` [S, N] and its pulse."""
    if sums.shape[1] == sums.shape[2] == 1:
        out.addcmul_(sums[:, 0, 0], gain[0])
    else:
        out += torch.einsum("bpsn,p,sn->bn", sums, _pulse_weights(operands.dac, out.device), gain)


def _saturated(
    sums: torch.Tensor, ends: tuple[int, int], counts: Counts
) -> torch.Tensor | None:  # fmt: skip
    low, high = ends[0] - 0.5, ends[1] + 0.5
    least, most = sums.aminmax()
    if float(least) >= low and float(most) <= high:
        return None
    over = (sums > high) | (sums < low)
    counts.saturated += int(over.sum())
    return over


def _sigma(
    flat: torch.Tensor, operands: TorchOperands, t: int, shape: torch.Size
) -> torch.Tensor | float:
    """Standard deviation of every column sum: output noise, and the exact sum over the cells."""
    output = operands.hardware.adc.noise_ratio * operands.unit
    if operands.variance_KSN is None:
        return output
    spread = operands.variance_KSN[operands.rows[t]]
    variance = (flat * flat) @ spread.reshape(flat.shape[1], -1)
    return (variance.view(shape) + output * output).sqrt_()
