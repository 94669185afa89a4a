"""Does the model fit the cards: weights, adapter and KV cache against what is usable of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cimsim.baseline.graph import PhaseGraph
from cimsim.errors import CapacityError
from cimsim.ir import Workload

if TYPE_CHECKING:
    from cimsim.baseline.spec import Gpu

GIB = 2**30


def weight_bytes(workload: Workload, element_bytes: int) -> int:
    """Bytes of all stored values with the adapter, tied tensors once."""
    return element_bytes * sum(p.size for p in workload.parameters if p.tied_to is None)


def kv_cache_bytes(workload: Workload, element_bytes: int, batch: int) -> int:
    """Bytes of keys and values after the last decode step; none where nothing is generated."""
    total = 0
    for phase in workload.phases:
        if phase.name == "decode":
            for attention in PhaseGraph(phase).attentions:
                last = attention.scores.at(phase.steps - 1)
                kept = min(last.n, last.window or last.n)
                total += 2 * last.stationary_batch * kept * last.k
    return batch * element_bytes * total


def check(gpu: Gpu, weights: int, cache: int, batch: int, tensor_parallel: int) -> None:
    """Raise CapacityError unless weights and cache, split evenly, fit what is usable of the memory.

    A run beyond it queues, or moves its cache out and in; neither is modelled.
    """
    bound = int(gpu.memory_GiB * gpu.memory_usable_share * GIB) * tensor_parallel
    if weights + cache <= bound:
        return
    cards = f"{tensor_parallel} x {gpu.memory_GiB:g} GiB (memory_GiB)"
    message = (
        f"{gpu.name}: weights and KV cache need {(weights + cache) / GIB:.1f} GiB, "
        f"{bound / GIB:.1f} GiB are usable: {gpu.memory_usable_share:.0%} (memory_usable_share) of "
        f"{cards}: {(weights + cache - bound) / GIB:.1f} GiB short."
    )
    largest = (("weight bytes", weights), (f"KV cache bytes at batch {batch}", cache))
    raise CapacityError(
        message,
        unit="bytes",
        demand=weights + cache,
        bound=bound,
        largest=tuple(sorted(largest, key=lambda entry: -entry[1])),
        levers=(
            f"Raise tensor_parallel (now {tensor_parallel})",
            *((f"lower batch (now {batch})",) if batch > 1 else ()),
        ),
    )
