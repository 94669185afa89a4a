"""Edges between stages: which tokens pass in which iteration, on which side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cimsim.engines.program import IntArray
from cimsim.schedule.graph import Edge, Graph, Stream, plain
from cimsim.schedule.pipelines import Pipeline
from cimsim.schedule.stages import Stage, is_whole
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True)
class StageEdge:
    """Tokens from one stage to another.

    By phase: `tokens` produced in the first step and their `growth`, and whether the consumer needs
    the `whole` step first. `capacity` is how many the buffer must hold: one step of the longest
    phase, of every sequence.
    """

    producer: str
    consumer: str
    stationary: bool
    tokens: dict[int, int]
    whole: dict[int, bool]
    growth: dict[int, int]
    capacity: int

    def put_counts(self, stream: Stream) -> int | IntArray:
        """Tokens put in each iteration of the producer's `stream`."""
        return _put_counts(stream, tuple(self.tokens))

    def get_counts(self, stream: Stream) -> int | IntArray:
        """Tokens taken in each iteration of the consumer's `stream`."""
        rules = (
            (p, tokens, self.growth.get(p, 0), self.whole[p]) for p, tokens in self.tokens.items()
        )
        return _get_counts(stream, tuple(rules))


@lru_cache(maxsize=1024)
def _put_counts(stream: Stream, phases: tuple[int, ...]) -> int | IntArray:
    return plain(np.where(np.isin(stream.phase, phases), stream.size, 0))


@lru_cache(maxsize=1024)
def _get_counts(stream: Stream, rules: tuple[tuple[int, int, int, bool], ...]) -> int | IntArray:
    counts = np.zeros(stream.iterations, np.int64)
    for phase, tokens, growth, whole in rules:
        here = stream.phase == phase
        step_tokens = tokens + growth * stream.step[here]
        counts[here] = stream.first_of_step[here] * step_tokens if whole else stream.size[here]
    return plain(counts)


def stage_edges(graph: Graph, stages: list[Stage], pipeline: Pipeline) -> list[StageEdge]:
    """Edges between different stages, parallel ones joined."""
    home = {node.name: stage for stage in stages for node in stage.nodes}
    joined: dict[tuple[str, str, bool], list[Edge]] = {}
    for edge in graph.edges:
        source, target = home[edge.producer], home[edge.consumer]
        if source is not target:
            joined.setdefault((source.name, target.name, edge.stationary), []).append(edge)
    return [
        _stage_edge(graph, key, edges, pipeline.is_barrier(home[key[0]], home[key[1]]))
        for key, edges in joined.items()
    ]


def _stage_edge(
    graph: Graph, ends: tuple[str, str, bool], edges: list[Edge], barrier: bool
) -> StageEdge:
    tokens: dict[int, int] = {}
    wholes: dict[int, bool] = {}
    growth: dict[int, int] = {}
    capacity = 0
    for edge in edges:
        producers, consumers = graph.nodes[edge.producer].ops, graph.nodes[edge.consumer].ops
        for phase in edge.phases:
            producer = producers[phase]
            whole = barrier or is_whole(producer, consumers[phase], edge.stationary)
            tokens[phase] = producer.tokens
            wholes[phase] = wholes.get(phase, False) or whole
            if by := producer.growth.get("tokens", 0):
                growth[phase] = by
            longest = producer.tokens + by * (graph.steps[phase] - 1)
            capacity = max(capacity, graph.sequences * longest)
    return StageEdge(*ends, tokens, wholes, growth, capacity)


def ended_counts(
    stream: Stream,
    totals: dict[int, int],
    growth: dict[int, int],
    steps: tuple[int, ...],
    phases: tuple[int, ...],
    waiting: tuple[int, ...],
) -> IntArray:
    """Tokens of the loop that starts each decode step, put by what ends the steps of `phases`.

    One at the end of every step, of `totals` tokens by phase in the first and `growth` more in each
    further one, that a step of the phases `waiting` follows.
    """
    total, by = (
        np.array([known.get(p, 0) for p in range(len(steps))], np.int64)[stream.phase]
        for known in (totals, growth)
    )
    total = total + by * stream.step
    closes = (stream.end == total) & np.isin(stream.phase, phases)
    leaves = stream.step == np.array(steps, np.int64)[stream.phase] - 1
    return np.asarray(closes & np.isin(stream.phase + leaves, waiting), np.int64)


def started_counts(stream: Stream, phases: tuple[int, ...]) -> IntArray:
    """Tokens of that loop taken in each iteration, of what ends the steps of `phases`.

    One at the start of every step after the first phase that follows a step of `phases`.
    """
    before = np.where(stream.step > 0, stream.phase, stream.phase - 1)
    opens = (stream.phase > 0) & (stream.end == stream.size)
    return np.asarray(opens & np.isin(before, phases), np.int64)
