"""Strategies worth a try: those with a name, one block for all, and a block for each shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from cimsim.schedule.pipelines import (
    PIPELINES,
    AsIs,
    Auto,
    GivenBlock,
    Replicated,
    ShapedBlock,
    Strategy,
)
from cimsim.schedule.pipelines.blocks import DEFAULT_BLOCK
from cimsim.search.shapes import BlockTime, ShapeTimes

UNIFORM = 1, 4, 64
"""Choice: blocks tried for all stages alike, beside the 16 of `layer`."""
WORK_SHARES = 0.0, 1 / 16, 1 / 4, 1.0
"""Choice: how much the work of a block counts beside its latency where shapes choose."""


def named(auto: Auto) -> list[Strategy]:
    """The strategies that have a name, copies within the budget of `auto`."""
    found = []
    for strategy in PIPELINES.values():
        if isinstance(strategy.machine, Replicated):
            if not auto.extra_tiles:
                continue
            machine = replace(strategy.machine, extra_tiles=auto.extra_tiles)
            strategy = replace(strategy, machine=machine)
        found.append(strategy)
    return found


def uniform(longest: int) -> list[Strategy]:
    """Every layer streams, all stages in blocks of one size, of at most `longest` tokens."""
    return [Strategy(GivenBlock(size), "never", AsIs()) for size in UNIFORM if size <= longest]


def shaped(times: ShapeTimes) -> list[Strategy]:
    """Every layer streams, each shape in its own block.

    Small blocks start the next layer early, large ones need less work: a shape takes the block
    with the least of its latency and a share of its work.
    """
    found: dict[Strategy, None] = {}
    for share in WORK_SHARES:
        sizes = {
            shape: min(by_block, key=lambda size: (_price(by_block[size], share), size))
            for shape, by_block in times.items()
        }
        found[Strategy(ShapedBlock(tuple(sorted(sizes.items()))), "never", AsIs())] = None
    return list(found)


def _price(time: BlockTime, share: float) -> float:
    return time.latency_ps + share * time.work_ps


def variants(best: Strategy, auto: Auto) -> Iterator[Strategy]:
    """`best` with one of its choices changed."""
    if isinstance(best.blocks, ShapedBlock):
        yield replace(best, blocks=replace(best.blocks, split=not best.blocks.split))
    if isinstance(best.machine, AsIs):
        if auto.extra_tiles:
            yield replace(best, machine=Replicated(auto.extra_tiles))
        yield replace(best, machine=PIPELINES["cores-only"].machine)
    yield from (replace(best, barrier=b) for b in ("never", "layers") if b != best.barrier)


def neighbours(best: Strategy, shape: str, times: ShapeTimes, longest: int) -> Iterator[Strategy]:
    """`best` with half, double and other blocks for one `shape`, all shapes with their own."""
    if isinstance(best.blocks, ShapedBlock):
        blocks = best.blocks
    elif isinstance(best.blocks, GivenBlock):
        wanted = best.blocks.block_tokens or DEFAULT_BLOCK
        sizes = ((name, _nearest(by_block, wanted)) for name, by_block in sorted(times.items()))
        blocks = ShapedBlock(tuple(sizes))
    else:
        return
    size = dict(blocks.sizes)[shape]
    for other in (size // 2, 2 * size, size // 4, 4 * size):
        if 1 <= other <= longest:
            changed = dict(blocks.sizes) | {shape: other}
            yield replace(best, blocks=replace(blocks, sizes=tuple(changed.items())))


def _nearest(by_block: Mapping[int, BlockTime], wanted: int) -> int:
    """The largest block that was tried up to `wanted`: larger ones do not fit."""
    return max((size for size in by_block if size <= wanted), default=min(by_block))
