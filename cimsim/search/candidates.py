"""Strategies worth a try: those with a name, one block for all, a block for each shape, copies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from cimsim.schedule.pipelines import (
    PIPELINES,
    AsIs,
    Auto,
    EngineOnly,
    GivenBlock,
    Replicated,
    SearchedBlock,
    ShapedBlock,
    SplitBlock,
    Strategy,
    WithoutEngine,
)
from cimsim.schedule.pipelines.blocks import DEFAULT_BLOCK
from cimsim.search.shapes import BlockTime, ShapeTimes

ORDERS: tuple[Literal["slowest", "first"], ...] = ("slowest", "first")
UNIFORM = 1, 4, 64
"""Choice: blocks tried for all stages alike, beside the 16 of `layer`."""
PRODUCTS = {"lora", "linear", "matmul"}
"""Kinds of ops that matrix engines may do, see `cimsim.schedule.shapes`."""
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


def plainest(strategy: Strategy, shapes: Collection[str], *, has_engine: bool) -> Strategy:
    """The plainest strategy that runs the same where the stages on clusters are of `shapes`.

    Without LoRA on clusters its blocks make no difference, without products the unit for them,
    as long as there is the one that is asked for.
    """
    kinds = {kind for shape in shapes for kind in shape.split("-")}
    as_given = isinstance(strategy.blocks, SearchedBlock | SplitBlock)
    if as_given and "lora" not in kinds and not isinstance(strategy.machine, Replicated):
        given = getattr(strategy.blocks, "block_tokens", None)
        strategy = replace(strategy, blocks=GivenBlock(given))
    engines = isinstance(strategy.machine, WithoutEngine | EngineOnly)
    if has_engine and engines and not kinds & PRODUCTS:
        strategy = replace(strategy, machine=AsIs())
    return strategy


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


def variants(best: Strategy) -> Iterator[Strategy]:
    """`best` with one of its choices changed."""
    if isinstance(best.blocks, ShapedBlock):
        yield replace(best, blocks=replace(best.blocks, split=not best.blocks.split))
    if isinstance(best.machine, AsIs):
        yield replace(best, machine=WithoutEngine())
    yield from (replace(best, barrier=b) for b in ("never", "layers") if b != best.barrier)


def copying(best: Strategy, auto: Auto) -> Iterator[Strategy]:
    """`best` with copies of layers within the budget of `auto`: of the slowest, of the first.

    Which layers are the slowest depends on the machine, which come first does not: a machine that
    is faster in one unit may hold up the others elsewhere.
    """
    if auto.extra_tiles and isinstance(best.machine, AsIs):
        for order in ORDERS:
            yield replace(best, machine=Replicated(auto.extra_tiles, order=order))


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
