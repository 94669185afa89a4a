"""Which adapters are in the buffer when a switch needs them, and which have to come out of DRAM."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from cimsim.errors import CapacityError, SpecError
from cimsim.serving.requests import Residency
from cimsim.spec import Architecture

BYTES_PER_KIB = 1024  # counted: 2**10
BYTES_PER_GIB = 1024**3  # counted: 2**30


def hits(residency: Residency | None, names: Sequence[str], sizes_bits: Sequence[int],
         loads: Sequence[int]) -> list[bool]:  # fmt: skip
    """For each of `loads` (tasks by index, in order) whether its adapter is in the buffer.

    `sizes_bits` are what each task takes. Nothing is without a residency.
    """
    if residency is None:
        return [False] * len(loads)
    pinned = {names.index(name) for name in residency.pinned}
    room = _room_bits(residency) - sum(sizes_bits[task] for task in pinned)
    kept: OrderedDict[int, int] = OrderedDict()
    found, seen = [], set[int]()
    for task in loads:
        if task in pinned:
            found.append(task in seen)
            seen.add(task)
            continue
        found.append(task in kept)
        kept.pop(task, None)
        if residency.policy == "lru":
            while kept and sum(kept.values()) + sizes_bits[task] > room:
                kept.popitem(last=False)
            kept[task] = sizes_bits[task]
    return found


def check_room(
    architecture: Architecture,
    residency: Residency | None,
    names: Sequence[str],
    sizes_bits: Sequence[int],
) -> None:
    """Refuse adapters that the memories cannot keep as the scenario wants them.

    Raises CapacityError for adapters that do not fit, SpecError for a residency that the machine
    has no use for.
    """
    total = sum(-(-bits // 8) for bits in sizes_bits)
    buffer = int(architecture.buffer.capacity_KiB * BYTES_PER_KIB)
    if architecture.adapters_in == "buffer":
        if residency is not None:
            raise SpecError(
                f"residency: machine {architecture.name!r} keeps all adapters in its buffer "
                "(adapters_in), there is no DRAM behind: leave residency out, or set adapters_in "
                "to dram"
            )
        _fit(total, buffer, f"adapters of {len(names)} tasks take", "the buffer (adapters_in)",
             ("Raise buffer.capacity_KiB", "name fewer tasks"))  # fmt: skip
        return
    dram = int(architecture.dram.capacity_GiB * BYTES_PER_GIB)
    _fit(total, dram, f"adapters of {len(names)} tasks take", "dram (adapters_in)",
         ("Raise dram.capacity_GiB", "name fewer tasks"))  # fmt: skip
    if residency is None:
        return
    size = _room_bits(residency) // 8
    _fit(size, buffer, f"residency.size_KiB {residency.size_KiB:g} sets aside", "the buffer",
         ("Raise buffer.capacity_KiB", "lower residency.size_KiB"))  # fmt: skip
    levers = ("Raise residency.size_KiB", "leave residency out, then every switch loads")
    by_name = dict(zip(names, sizes_bits, strict=True))
    pinned = sum(-(-by_name[name] // 8) for name in residency.pinned)
    _fit(pinned, size, "the adapters of residency.pinned take", "residency.size_KiB",
         (*levers, "pin fewer"))  # fmt: skip
    others = {name: bits for name, bits in by_name.items() if name not in residency.pinned}
    if others and (residency.policy == "lru" or residency.prefetch):
        largest = max(others, key=lambda name: others[name])
        beside = " beside those pinned" if pinned else ""
        _fit(-(-others[largest] // 8), size - pinned, f"the adapter of {largest!r} takes",
             f"residency.size_KiB{beside}", levers)  # fmt: skip


def _room_bits(residency: Residency) -> int:
    return 8 * int(residency.size_KiB * BYTES_PER_KIB)


def _fit(demand: int, bound: int, what: str, where: str, levers: tuple[str, ...]) -> None:
    if demand > bound:
        raise CapacityError(
            f"{what} {demand} bytes, {where} holds {bound}.",
            unit="bytes", demand=demand, bound=bound, levers=levers,
        )  # fmt: skip
