"""Dies of a package: which die a cluster is on, how many links apart dies lie, what crosses them.

Clusters, with their tiles and units, fill the dies in order, in equal shares. Dies lie in a square,
as wide as it needs to be, each linked to its neighbours; data for a die further away passes those
between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

Shares = tuple[float, ...]
"""What part of something each die has."""


def die_of(cluster: int, clusters: int, dies: int) -> int:
    """The die of a cluster, of `clusters` on `dies`."""
    return cluster * dies // clusters


def shares_of(on: Iterable[int], dies: int) -> Shares:
    """What part of clusters each die has, given the die of every one of them."""
    counts = [0] * dies
    for die in on:
        counts[die] += 1
    whole = sum(counts)
    return tuple(count / whole for count in counts)


def links_between(one: int, other: int, dies: int) -> int:
    """Die-to-die links between two dies: columns and rows apart."""
    width = math.isqrt(dies - 1) + 1
    return abs(one % width - other % width) + abs(one // width - other // width)


def wanted(readers: Sequence[Shares]) -> Shares:
    """What part of a value each die reads, where dies keep what they were sent for all readers."""
    return tuple(max(parts) for parts in zip(*readers, strict=True))


@dataclass(frozen=True, slots=True)
class Sent:
    """Of a value: the copies that leave its die, all links that they pass, most of one copy."""

    copies: float
    crossings: float
    farthest: int


def sent(made: Shares, read: Shares) -> Sent:
    """What of a value that is made by parts on `made` passes between dies, read by `read`.

    Which part is read where does not depend on where it was made.
    """
    dies = len(made)
    copies = crossings = 0.0
    farthest = 0
    for source, target in product(range(dies), repeat=2):
        part, links = made[source] * read[target], links_between(source, target, dies)
        if part and links:
            copies += part
            crossings += part * links
            farthest = max(farthest, links)
    return Sent(copies, crossings, farthest)
