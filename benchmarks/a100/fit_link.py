"""Fit of the all-reduce on measured times of cards in one machine.

all_reduce.csv (licence beside it) is a part of Vidur's profile: the rows in which all ranks are in
one machine (its devices_per_node equals num_workers; the others cross a network), sizes spread
from 2 kB to 67 MB. Each size was launched three times. A launch waits for the card that comes last,
which for two ranks makes launches of one size differ by up to a factor of four, in no order with
the size: for two the fastest of the three counts, and gives nothing but their latency.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data import Array, read_rows
from scipy.optimize import least_squares

from cimsim.baseline.fits import CardLink, ring_bytes

TABLE = Path(__file__).with_name("all_reduce.csv")
BANDWIDTH_GBPS = 300.0  # NVLink 3, one direction: NVIDIA A100 data sheet
LARGE_BYTES = 5e6  # sizes above weigh as much as those below: there are fewer
# name, start, low, high
FIELDS = (
    ("latency_us", 20.0, 1.0, 60.0),
    ("wait_us", 20.0, 0.0, 60.0),
    ("wait_half_kB", 60.0, 5.0, 1000.0),
    ("efficiency", 0.6, 0.2, 1.0),
)


def read_link() -> tuple[Array, Array, Array]:
    """Ranks, bytes and seconds of every row."""
    rows = read_rows(TABLE)
    ranks, size = (np.array([float(r[name]) for r in rows]) for name in ("ranks", "bytes"))
    return ranks, size, np.array([1e-6 * float(r["latency_us"]) for r in rows])


def predict_link(fields: dict[str, float], ranks: Array, size: Array) -> Array:
    """Seconds of all-reduces with the constants in `fields`."""
    link = CardLink.model_construct(None, bandwidth_GBps=BANDWIDTH_GBPS, **fields)
    seconds = np.zeros_like(size)
    for cards in np.unique(ranks):
        mine = ranks == cards
        seconds[mine] = link.all_reduce_s(size[mine], int(cards))
    return seconds


def fit_link() -> tuple[dict[str, float], str]:
    """Fields of CardLink that are fitted, and a line on the errors."""
    ranks, size, seconds = read_link()
    many = ranks > 2
    weight = np.zeros_like(size)
    for cards in np.unique(ranks[many]):
        for large in (False, True):
            mine = (ranks == cards) & ((size > LARGE_BYTES) == large)
            weight[mine] = mine.sum() ** -0.5
    names, start, low, high = zip(*FIELDS, strict=True)

    def fields(x: Array) -> dict[str, float]:
        return {"pair_latency_us": 0.0, **dict(zip(names, x.tolist(), strict=True))}

    def residual(x: Array) -> Array:
        found = predict_link(fields(x), ranks[many], size[many])
        return np.asarray(weight[many] * np.log(found / seconds[many]))

    found = least_squares(
        residual, start, bounds=(low, high), x_scale=start, loss="soft_l1", f_scale=0.1
    )
    fitted = fields(found.x)
    wire_s = ring_bytes(size, 2) / (1e9 * BANDWIDTH_GBPS * fitted["efficiency"])
    fitted["pair_latency_us"] = float(1e6 * np.median((seconds - wire_s)[~many]))
    error = 100 * (predict_link(fitted, ranks, size) / seconds - 1)
    parts = [
        f"{cards:.0f} ranks {np.abs(error[ranks == cards]).mean():.0f} %, "
        f"bias {error[ranks == cards].mean():+.0f} %"
        for cards in np.unique(ranks[many])
    ]
    return fitted, "MAPE in sample: " + "; ".join(parts)
