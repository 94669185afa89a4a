"""The workload as one graph over all phases: an op is a node, its data a stream of tokens.

Prefill and decode share the hardware: op `q_proj` of decode is the same node as in prefill, and
its actor processes the prompt's tokens first, then one token a decode step.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import IntArray
from cimsim.errors import WorkloadError
from cimsim.ir import MatMul, Op, Workload
from cimsim.values.display import brief


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """An op in each of its phases, without names: one object for equal contents."""

    ops: Hashable


@lru_cache(maxsize=4096)
def _content(ops: Hashable) -> Content:
    return Content(ops)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One op; `ops[p]` is its form in phase p, absent where the phase lacks it.

    `any` is the op in its first phase, `content` what it does.
    """

    name: str
    ops: dict[int, Op]
    any: Op = field(init=False, repr=False)
    content: Content = field(init=False, repr=False)

    def __post_init__(self) -> None:
        content = _content(tuple([(phase, op.content()) for phase, op in self.ops.items()]))
        object.__setattr__(self, "content", content)
        object.__setattr__(self, "any", self.ops[min(self.ops)])


@brief
@dataclass(frozen=True, slots=True)
class Edge:
    """Data from `producer` to `consumer` in some phases; `stationary` is a matmul's K or V."""

    producer: str
    consumer: str
    stationary: bool
    phases: tuple[int, ...]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes in an order that every phase's data flow respects, and their edges."""

    nodes: dict[str, Node]
    edges: tuple[Edge, ...]
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    sequences: int = 1
    _in: dict[str, list[Edge]] = field(default_factory=dict)
    _out: dict[str, list[Edge]] = field(default_factory=dict)
    _reads: dict[str, frozenset[tuple[str, bool]]] = field(default_factory=dict)

    def into(self, name: str) -> list[Edge]:
        """Edges into `name`."""
        return self._in.get(name, [])

    def out_of(self, name: str) -> list[Edge]:
        """Edges out of `name`."""
        return self._out.get(name, [])

    def reads(self, name: str) -> frozenset[tuple[str, bool]]:
        """The ops that `name` reads, and whether as its stationary operand."""
        if name not in self._reads:
            found = [(edge.producer, edge.stationary) for edge in self.into(name)]
            self._reads[name] = frozenset(found)
        return self._reads[name]


@dataclass(frozen=True, slots=True, eq=False)
class _Very:
    """A workload that equals itself alone, at once."""

    workload: Workload

    def __hash__(self) -> int:
        return id(self.workload)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Very) and self.workload is other.workload


def build_graph(workload: Workload) -> Graph:
    """Merge the phases of `workload` on op names; found once for a workload that is still there."""
    return _graph(_Very(workload))


@lru_cache(maxsize=8)  # choice: parts of a workload that a search goes through
def _graph(very: _Very) -> Graph:
    workload = very.workload
    ops: dict[str, dict[int, Op]] = {}
    links: dict[tuple[str, str, bool], list[int]] = {}
    for index, phase in enumerate(workload.phases):
        for op in phase.ops:
            ops.setdefault(op.name, {})[index] = op
            for position, source in enumerate(op.inputs):
                if source.startswith("cache:"):
                    continue
                stationary = (
                    isinstance(op, MatMul) and position == 1 and op.stationary_token_axis != "none"
                )
                phases = links.setdefault((source, op.name, stationary), [])
                if index not in phases:
                    phases.append(index)
    edges = tuple(
        Edge(producer, consumer, stationary, tuple(phases))
        for (producer, consumer, stationary), phases in links.items()
    )
    order = _order(ops, edges)
    graph = Graph(
        {name: Node(name, ops[name]) for name in order},
        edges,
        tuple(phase.steps for phase in workload.phases),
        tuple(phase.tokens for phase in workload.phases),
        workload.sequences,
    )
    for edge in edges:
        graph._in.setdefault(edge.consumer, []).append(edge)
        graph._out.setdefault(edge.producer, []).append(edge)
    return graph


def _order(ops: dict[str, dict[int, Op]], edges: tuple[Edge, ...]) -> list[str]:
    """Topological order of the merged graph, first come first where it is free to choose."""
    waiting = dict.fromkeys(ops, 0)
    consumers: dict[str, list[str]] = {}
    for edge in edges:
        waiting[edge.consumer] += 1
        consumers.setdefault(edge.producer, []).append(edge.consumer)
    ready = [name for name, count in waiting.items() if count == 0]
    order: list[str] = []
    for name in ready:
        order.append(name)
        for consumer in consumers.get(name, ()):
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                ready.append(consumer)
    if len(order) < len(ops):
        stuck = next(name for name, count in waiting.items() if count)
        raise WorkloadError(
            f"the phases order their ops differently: {stuck!r} would wait for itself; trace "
            "both phases from the same model"
        )
    return order


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The iterations of an actor: blocks of consecutive tokens, step by step, phase by phase.

    Several sequences take each step one after the other; a block has tokens of one of them.

    Arrays over iterations: `phase`, `step` within it, `size` (tokens of the block) and `end`
    (tokens of the step done with this block).
    """

    phase: IntArray
    step: IntArray
    size: IntArray
    end: IntArray

    @property
    def iterations(self) -> int:
        """Blocks in all."""
        return int(self.size.size)

    @property
    def first_of_step(self) -> IntArray:
        """1 where a block opens a step."""
        return np.asarray(self.end == self.size, np.int64)

    def in_phases(self, phases: frozenset[int]) -> int | IntArray:
        """1 in the iterations of `phases`, 0 in others; one int where all are alike."""
        return plain(np.isin(self.phase, tuple(phases)).astype(np.int64))

    def of(self, picked: npt.NDArray[np.bool_] | IntArray | slice) -> Stream:
        """Some of the iterations."""
        return Stream(self.phase[picked], self.step[picked], self.size[picked], self.end[picked])


def joined(streams: Sequence[Stream]) -> Stream:
    """The blocks of several streams, one behind the other."""
    columns = ((s.phase, s.step, s.size, s.end) for s in streams)
    return Stream(*(np.concatenate(column) for column in zip(*columns, strict=True)))


@lru_cache(maxsize=1024)
def block_classes(stream: Stream) -> tuple[list[tuple[int, int, int, int]], IntArray]:
    """(phase, step, size, end) of one block of each kind, and the kind of every block.

    Blocks are of a kind where phase and size agree and both open a step, or neither does.
    """
    opens = stream.end == stream.size
    codes = (stream.phase * (int(stream.size.max(initial=1)) + 1) + stream.size) * 2 + opens
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    examples = []
    for i in first.tolist():
        size = int(stream.size[i])
        examples.append((int(stream.phase[i]), 0, size, size if opens[i] else size + 1))
    return examples, inverse


def plain(values: IntArray) -> int | IntArray:
    """One int where all `values` are equal, else one read-only array for equal contents.

    Transformer blocks repeat, and engines treat an array that they have seen as known.
    """
    if values.size and (values.size == 1 or (values == values[0]).all()):
        return int(values[0])
    return _shared(values.astype(np.int64, copy=False).tobytes())


@lru_cache(maxsize=4096)
def _shared(data: bytes) -> IntArray:
    return np.frombuffer(data, np.int64)


def phase_sums(stream: Stream, amounts: float | IntArray | np.ndarray, phases: int) -> list[float]:
    """Sum of `amounts` over the iterations of each of so many phases."""
    weights = np.broadcast_to(np.asarray(amounts, np.float64), stream.phase.shape)
    found: list[float] = np.bincount(stream.phase, weights=weights, minlength=phases).tolist()
    return found


def build_stream(
    tokens: Mapping[int, int], steps: tuple[int, ...], block_tokens: int,
    growth: Mapping[int, int] | None = None, sequences: int = 1,
) -> Stream:  # fmt: skip
    """Blocks of at most `block_tokens` over `tokens[p]` tokens in each of `steps[p]` steps.

    Further steps of phase p have `growth[p]` more each; every step is taken by `sequences`
    sequences in turn. Equal arguments give the same object.
    """
    grown = tuple(sorted((growth or {}).items()))
    return _stream(tuple(sorted(tokens.items())), steps, block_tokens, grown, sequences)


@lru_cache(maxsize=1024)
def _stream(
    tokens: tuple[tuple[int, int], ...], steps: tuple[int, ...], block_tokens: int,
    growth: tuple[tuple[int, int], ...], sequences: int,
) -> Stream:  # fmt: skip
    columns: list[list[IntArray]] = [[], [], [], []]
    for phase, first, count, repeats in _alike(tokens, steps, dict(growth)):
        full, rest = divmod(count, block_tokens)
        size = np.array([block_tokens] * full + ([rest] if rest else []), np.int64)
        n = repeats * sequences
        values = (
            np.full(size.size * n, phase, np.int64),
            np.repeat(np.arange(first, first + repeats, dtype=np.int64), size.size * sequences),
            np.tile(size, n),
            np.tile(np.cumsum(size), n),
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return Stream(*(np.concatenate(column) for column in columns))


def _alike(
    tokens: tuple[tuple[int, int], ...], steps: tuple[int, ...], growth: dict[int, int]
) -> Iterator[tuple[int, int, int, int]]:
    """Phase, first step, tokens and number of steps in a row that have as many tokens."""
    for phase, count in tokens:
        by = growth.get(phase, 0)
        if by:
            yield from ((phase, step, count + step * by, 1) for step in range(steps[phase]))
        else:
            yield phase, 0, count, steps[phase]
