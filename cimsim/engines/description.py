"""A program as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from cimsim.engines.actors import Count, Duration, Get, Hold, Put, Use, Verb

if TYPE_CHECKING:
    from cimsim.engines.program import Program


def described(program: Program, limit: int) -> str:
    """The program as text, at most `limit` lines each for buffers, resources and actors."""
    head = (
        f"program: {_plural(program.actor_count, 'actor')}, "
        f"{_plural(program.buffer_count, 'buffer')}, "
        f"{_plural(len(program.resources), 'resource')}, {_plural(program.verb_count, 'verb')}"
    )
    lines = [head]
    for kind in (_buffer_lines(program), _resource_lines(program), _actor_lines(program)):
        for shown, line in enumerate(kind):
            if shown >= limit:
                lines.append(f"  ... {_plural(1 + sum(1 for _ in kind), 'line')} more")
                break
            lines.append("  " + line)
    return "\n".join(lines)


def _buffer_lines(program: Program) -> Iterator[str]:
    producer: dict[int, str] = {}
    consumer: dict[int, str] = {}
    for actor in program.actors:
        for verb in actor.steps:
            if isinstance(verb, (Get, Put)):
                (producer if isinstance(verb, Put) else consumer)[verb.buffer] = actor.name
    for index, buffer in enumerate(program.buffers):
        filled = f", {buffer.initial} at time 0" if buffer.initial else ""
        yield (
            f"buffer {buffer.name}: {producer[index]} -> {consumer[index]}, "
            f"capacity {buffer.capacity}{filled}"
        )


def _resource_lines(program: Program) -> Iterator[str]:
    clients: list[set[int]] = [set() for _ in program.resources]
    for number, actor in enumerate(program.actors):
        for verb in actor.steps:
            if isinstance(verb, Use):
                clients[verb.resource].add(number)
    for resource, users in zip(program.resources, clients, strict=True):
        servers = _plural(resource.servers, "server")
        shared = _plural(len(users), "actor")
        yield f"resource {resource.name}: {servers}, {resource.policy}, shared by {shared}"


def _actor_lines(program: Program) -> Iterator[str]:
    for actor in program.actors:
        steps = "; ".join(_verb_text(program, verb) for verb in actor.steps)
        yield f"actor {actor.name} x {actor.iterations}: {steps or 'nothing'}"


def _verb_text(program: Program, verb: Verb) -> str:
    if isinstance(verb, Hold):
        return f"hold {_range(verb.duration)} ps"
    if isinstance(verb, Use):
        return f"use {program.resources[verb.resource].name} {_range(verb.duration)} ps"
    kind = "get" if isinstance(verb, Get) else "put"
    return f"{kind} {_range(verb.count)} {program.buffers[verb.buffer].name}"


def _range(amount: Duration | Count) -> str:
    if not isinstance(amount, np.ndarray):
        return str(amount)
    if amount.size == 0:
        return "none"
    low, high = int(amount.min()), int(amount.max())
    return str(low) if low == high else f"{low}..{high}"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")
