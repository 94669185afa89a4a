"""Stages: ops grouped into what one unit does at a time.

A linear op with its weight in an array is a stage of its own; so is an attention product with K
or V in arrays. Work on a cluster is fused: a chain of ops in which each is the only reader of
the one before runs on one block of tokens in TCDM, with one DMA transfer in and one out. Linear
layers on a cluster work beside their weights and end such a chain: LoRA with its merge is a stage
of its own, and so is a layer that is saved with an adapter.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from cimsim.blocks import PmcaClusters
from cimsim.ir import (
    Elementwise,
    Embedding,
    Linear,
    MatMul,
    Op,
    Softmax,
    output_elements,
)
from cimsim.mapping import Mapping
from cimsim.schedule.graph import Graph, Node
from cimsim.schedule.tabled import check_refused, tabled_ops
from cimsim.schedule.work import is_masked
from cimsim.spec import Architecture
from cimsim.values.display import brief

StageWork = Literal["array", "attention", "cluster", "look-up", "table"]
"""What is done: a matrix in its array, K or V in arrays, on clusters, rows of a table in DRAM, or
on units that take what a table of costs says.
"""


@brief
@dataclass(frozen=True, slots=True)
class Stage:
    """Ops that one unit runs together; data leaves only from the last.

    `clusters` is (first, count) of the clusters at home there; of those that may share vector work
    it is the first at home, and how many there are in all. `pools` has (number, clusters) of each
    group of neighbours among them, that at home first. `layer` names the linear layer that a LoRA
    branch and its merge belong to, else the stage itself.
    """

    name: str
    work: StageWork
    nodes: tuple[Node, ...]
    clusters: tuple[int, int]
    layer: str
    pools: tuple[tuple[int, int], ...] = ()

    @property
    def near(self) -> int:
        """Clusters in the group at home, which tiles there send to over their own links."""
        return self.pools[0][1] if self.pools else self.clusters[1]

    @property
    def phases(self) -> tuple[int, ...]:
        """Phases in which the stage runs."""
        return tuple(sorted(self.nodes[0].ops))

    @property
    def is_causal(self) -> bool:
        """Whether later tokens take longer."""
        ops = [op for node in self.nodes for op in node.ops.values()]
        return any(isinstance(op, MatMul | Softmax) and is_masked(op) for op in ops)

    @property
    def in_layer(self) -> bool:
        """Whether this is LoRA or the merge of a linear layer, at work beside its tile."""
        return self.work == "cluster" and self.layer != self.nodes[0].name

    def tokens(self) -> dict[int, int]:
        """Tokens of the first step, by phase."""
        return {phase: op.tokens for phase, op in self.nodes[0].ops.items()}

    def growth(self) -> dict[int, int]:
        """Tokens that each further step has more, by phase in which it has."""
        found = {phase: op.growth.get("tokens", 0) for phase, op in self.nodes[0].ops.items()}
        return {phase: by for phase, by in found.items() if by}


def is_whole(producer: Op, consumer: Op, stationary: bool) -> bool:
    """True where `consumer` needs every token of `producer` in a step before its first."""
    if stationary:
        causal = isinstance(consumer, MatMul) and consumer.causal
        return not (causal and producer.tokens == consumer.tokens)
    return consumer.gathers or producer.tokens != consumer.tokens


def work_of(node: Node, mapping: Mapping, tabled: Container[str]) -> StageWork:
    """What is done to run `node`: a weight without units of its own is with the clusters.

    `tabled` names the ops that tables of costs have.
    """
    op = node.any
    if node.name in tabled:
        return "table"
    if isinstance(op, Linear):
        return "array" if mapping.placements[op.weight].units.size else "cluster"
    if isinstance(op, MatMul) and op.name in mapping.kv:
        return "attention"
    return "look-up" if isinstance(op, Embedding) else "cluster"


MaskedScores = dict[str, Node]
"""Op -> the operation whose masked attention scores it works on, maybe itself."""


@lru_cache(maxsize=8)
def masked_scores(graph: Graph) -> MaskedScores:
    """Ops over masked attention scores: a token has only those that its mask lets through."""
    found: MaskedScores = {}
    for name, node in graph.nodes.items():
        op = node.any
        if isinstance(op, MatMul):
            if is_masked(op) and op.stationary_token_axis == "n":
                found[name] = node
        elif isinstance(op, Softmax) and is_masked(op):
            found[name] = node
        elif isinstance(op, Elementwise):
            size = output_elements(op)
            for edge in graph.into(name):
                producer = graph.nodes[edge.producer].any
                if edge.producer in found and output_elements(producer) == size:
                    found[name] = found[edge.producer]
    return found


def build_stages(
    graph: Graph, architecture: Architecture, mapping: Mapping, share_clusters: int
) -> list[Stage]:
    """Stages in the graph's order; `share_clusters` clusters may share vector work."""
    tabled = tabled_ops(graph, architecture)
    works = tuple([work_of(node, mapping, tabled) for node in graph.nodes.values()])
    on_clusters = (n for n, work in zip(graph.nodes, works, strict=True) if work == "cluster")
    check_refused(graph, architecture, on_clusters)
    homes, pmca = mapping.clusters, architecture.pmca
    return [
        Stage(chain.nodes[-1].name, chain.work, chain.nodes, clusters, chain.layer, pools)
        for chain in _chains(graph, works, tuple(tabled.items()), frozenset(homes))
        for home in [(0, 1) if chain.home is None else homes[chain.home]]
        for clusters, pools in [_clusters(chain, pmca, home, share_clusters)]
    ]


class _Chain(NamedTuple):
    """Ops of a stage, what is done, the layer, and the weight whose clusters it is at home on."""

    nodes: tuple[Node, ...]
    work: StageWork
    layer: str
    home: str | None


@lru_cache(maxsize=32)  # choice: ways in which the parts of a workload that are tried are divided
def _chains(
    graph: Graph, work_of_each: tuple[StageWork, ...], groups: tuple[tuple[str, str], ...],
    placed: frozenset[str],
) -> tuple[_Chain, ...]:  # fmt: skip
    """The ops of each stage, by what is done for each op in turn, `groups` of tables, and the
    weights that are `placed` beside clusters.
    """
    works, tabled = dict(zip(graph.nodes, work_of_each, strict=True)), dict(groups)
    chain_of: dict[str, list[str]] = {}
    chains: list[list[str]] = []
    latest: dict[str, list[str]] = {}
    layers = _layers(graph)
    for name in graph.nodes:
        ends = (p for p in _read_only_by(graph, works, name) if chain_of[p][-1] == p)
        previous = next(ends, None)
        chain = None if previous is None else chain_of[previous]
        if chain is None or _parts(graph, layers, chain, name):
            chain = _beside(graph, works, latest.get(layers[name]), name)
        if name in tabled:
            chain = chain_of.get(tabled[name])
        if chain is None:
            chain = []
            chains.append(chain)
            if works[name] == "cluster":
                latest[layers[name]] = chain
        chain.append(name)
        chain_of[name] = chain
    homes = _homes(graph, placed)
    return tuple(
        [
            _Chain(
                tuple([graph.nodes[name] for name in chain]), works[chain[0]], layers[chain[0]],
                homes[chain[0]],
            )
            for chain in chains
        ]
    )  # fmt: skip


def _clusters(
    chain: _Chain, pmca: PmcaClusters, home: tuple[int, int], share: int
) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    """`Stage.clusters` and `pools`: beside the weight for a LoRA branch, else those that share.

    A saved layer without tiles is at home on the clusters of what it reads.
    """
    if chain.work != "cluster":
        return home, ()
    pool, size = pool_of(pmca, home[0])
    if any(isinstance(node.any, Linear) for node in chain.nodes):
        count = min(home[1], size)
        return (home[0], count), ((pool, count),)
    start = home[0] // share * share
    last = min(start + share, pmca.cluster_count) - 1
    every = range(start // pmca.pool_clusters, last // pmca.pool_clusters + 1)
    pools = tuple(
        pool_of(pmca, number * pmca.pool_clusters)
        for number in (*every[pool - every[0] :], *every[: pool - every[0]])
    )
    return (pool * pmca.pool_clusters, sum(count for _, count in pools)), pools


def pool_of(pmca: PmcaClusters, cluster: int) -> tuple[int, int]:
    """Number of the group of neighbours that `cluster` belongs to, and the clusters in it."""
    pool = cluster // pmca.pool_clusters
    return pool, min(pmca.pool_clusters, pmca.cluster_count - pool * pmca.pool_clusters)


def _read_only_by(graph: Graph, works: dict[str, StageWork], name: str) -> Iterator[str]:
    """The ops whose result only `name` reads, token by token on the same cluster."""
    if works[name] != "cluster":
        return
    node = graph.nodes[name]
    for edge in graph.into(name):
        producer = graph.nodes[edge.producer]
        if (
            works[edge.producer] == "cluster"
            and len(graph.out_of(edge.producer)) == 1
            and not edge.stationary
            and set(producer.ops) == set(node.ops) == set(edge.phases)
            and not any(is_whole(producer.ops[p], node.ops[p], False) for p in edge.phases)
        ):
            yield edge.producer


def _beside(
    graph: Graph, works: dict[str, StageWork], latest: list[str] | None, name: str
) -> list[str] | None:
    """The `latest` chain of the same layer, where it is LoRA branches and `name` A or B of another.

    Branches of a layer work on one block of X together.
    """
    node = graph.nodes[name]
    if works[name] != "cluster" or not _in_branch(node) or latest is None:
        return None
    nodes = [graph.nodes[member] for member in latest]
    alike = all(_in_branch(other) and set(other.ops) == set(node.ops) for other in nodes)
    return latest if alike else None


def _in_branch(node: Node) -> bool:
    return isinstance(node.any, Linear) and node.any.role != "base"


def _parts(graph: Graph, layers: dict[str, str], chain: list[str], name: str) -> bool:
    """True where `name` is of another layer than `chain` and either holds weights.

    Weights stay with their clusters; before and after them the pool does the work.
    """
    weights = any(isinstance(graph.nodes[member].any, Linear) for member in (*chain, name))
    return weights and layers[chain[0]] != layers[name]


def _homes(graph: Graph, placed: frozenset[str]) -> dict[str, str | None]:
    """The weight whose clusters serve each op: its own, else that of the data it reads first."""
    homes: dict[str, str | None] = {}
    weight_of = {
        n: node.any.weight for n, node in graph.nodes.items() if isinstance(node.any, Linear)
    }
    for name, node in graph.nodes.items():
        op = node.any
        if isinstance(op, Linear) and op.role == "base" and op.weight in placed:
            homes[name] = op.weight
        elif isinstance(op, Linear) and op.adapts is not None and op.adapts in weight_of:
            homes[name] = weight_of[op.adapts]
        else:
            for edge in graph.into(name):
                if edge.producer in homes:
                    homes[name] = homes[edge.producer]
                    break
    for name in reversed(list(graph.nodes)):
        if name not in homes:
            readers = [homes[e.consumer] for e in graph.out_of(name) if e.consumer in homes]
            homes[name] = readers[0] if readers else None
    return homes


def _layers(graph: Graph) -> dict[str, str]:
    """The linear layer of each op: a LoRA branch and its merge belong to the layer adapted."""
    layers: dict[str, str] = {}
    branch: set[str] = set()
    for name, node in graph.nodes.items():
        op = node.any
        sources = [edge.producer for edge in graph.into(name)]
        inherited = [source for source in sources if source in branch]
        if isinstance(op, Linear):
            layers[name] = op.adapts or name
            if op.role != "base" or op.nonzeros is not None:
                branch.add(name)
        elif inherited and isinstance(op, Elementwise):
            layers[name] = layers[inherited[0]]
            if len(inherited) == len(sources):
                branch.add(name)
        else:
            layers[name] = name
    return layers
