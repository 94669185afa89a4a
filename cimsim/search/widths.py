"""How wide vector work may be shared: the fourth choice of a strategy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cimsim.blocks import PmcaClusters
from cimsim.schedule.pipelines import Sharing, Strategy

NARROWER = 4
"""Choice: widths that are tried first differ by so much."""


def widths(best: Strategy, pmca: PmcaClusters) -> Iterator[Strategy]:
    """`best` shared by all clusters, a quarter of them in whole groups, a quarter of that, ..."""
    every, group = pmca.cluster_count, pmca.pool_clusters
    if every <= group:
        return
    yield replace(best, sharing=Sharing(every))
    groups = every // group // NARROWER
    while groups > 1:
        yield replace(best, sharing=Sharing(groups * group))
        groups //= NARROWER


def beside(best: Strategy, pmca: PmcaClusters) -> Iterator[Strategy]:
    """`best` shared twice and half as wide, as far as it is shared."""
    shared, group = best.sharing.share_clusters, pmca.pool_clusters
    for groups in () if shared is None else (2 * (shared // group), shared // group // 2):
        if 1 < groups <= pmca.cluster_count // group:
            yield replace(best, sharing=Sharing(groups * group))
