"""Pipeline strategies side by side: one layer, or a whole model and each shape of its layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cimsim.adaptation import Adaptation, adaptation_for, adaptation_of
from cimsim.errors import WorkloadError
from cimsim.ir import Linear, Workload, branches_of
from cimsim.mappers import Mapper, OneBlockPerTile
from cimsim.schedule.pair import LoraBranch, Pair
from cimsim.schedule.pipelines import (
    Auto,
    GivenBlock,
    Pipeline,
    SearchedBlock,
    SplitBlock,
    Strategy,
)
from cimsim.schedule.work import dma_ps
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture
from cimsim.studies.layer import check_rank, layer_workload
from cimsim.unit_kinds import PMCA
from cimsim.units import ps_to_seconds
from cimsim.values.display import brief, shown
from cimsim.values.parsing import parse_whole


@dataclass(frozen=True, slots=True)
class PipelineRow:
    """One strategy on one layer, or on a model (`layer` is its name, times of a block None).

    `tile_time_s` and `pmca_time_s` are for one block of `block_tokens` tokens on one tile and one
    cluster, None where the adaptation does not run LoRA on clusters (`block_tokens` where nothing
    runs there); makespans are for all tokens. `aimc_only_s` is the same machine and strategy
    without LoRA; `overhead` is makespan_s / aimc_only_s - 1. `tcdm_bytes` is what a block of a
    layer needs to be held whole, and the most that one of a model takes; `spill_bytes` and
    `spill_time_s` are what moves only because blocks pass the TCDM in tiles, and its time on the
    DMA engine, over all tokens. Areas are of all that is built, and of what the run used. `chosen`
    is the text of the strategy that ran: what `auto` has found.
    """

    strategy: str
    adaptation: str
    layer: str
    integration_ns: float | None
    block_tokens: int | None
    tile_time_s: float | None
    pmca_time_s: float | None
    pmca_tile_ratio: float | None
    makespan_s: float
    aimc_only_s: float
    overhead: float
    tcdm_bytes: int
    energy_J: float
    area_mm2: float
    area_used_mm2: float
    pmca_utilisation: float
    tile_utilisation: float
    spill_bytes: int
    spill_time_s: float
    chosen: str

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """A linear layer with LoRA over a number of tokens."""

    in_features: int
    out_features: int
    rank: int
    tokens: int

    @property
    def name(self) -> str:
        """As `--layer` takes it."""
        return f"{self.in_features}x{self.out_features}"


@brief
@dataclass
class Study:
    """Rows on one machine; runs without LoRA are kept for strategies that share them.

    `adaptation` defaults to the machine's.
    """

    architecture: Architecture
    mapper: Mapper = field(default_factory=OneBlockPerTile)
    adaptation: Adaptation | str | None = None
    _aimc_only: list[tuple[tuple[str, int, Pipeline | Auto], float]] = field(default_factory=list)

    def layer(self, shape: Shape, pipeline: Pipeline | Auto) -> PipelineRow:
        """One layer under one strategy; raises WorkloadError or MappingError."""
        workload = layer_workload(shape.in_features, shape.out_features, shape.rank, shape.tokens)
        return self._row(workload, pipeline, shape)

    def model(self, workload: Workload, pipeline: Pipeline | Auto) -> PipelineRow:
        """A whole workload under one strategy."""
        return self._row(workload, pipeline, None)

    def _row(
        self, workload: Workload, pipeline: Pipeline | Auto, shape: Shape | None
    ) -> PipelineRow:
        simulation = self.simulation(workload, pipeline)
        report, plan = simulation.report, simulation.plan
        alone = self._without_lora(workload, pipeline)
        block = tile = cluster = ratio = None
        tcdm_bytes = max(plan.tcdm_bytes.values(), default=0)
        spill_bytes = spill_ps = 0
        if shape is not None:
            block = max(plan.block_tokens.values(), default=None)
        beside_tile = shape is not None and _beside_tile(simulation)
        if shape is not None and block is not None and beside_tile:
            pair = _pair(simulation, shape)
            tile = ps_to_seconds(pair.tile_ps(block))
            cluster = ps_to_seconds(pair.pmca_ps(block))
            ratio = pair.ratio(block)
            tcdm_bytes = pair.adapter.whole_bytes(simulation.architecture.pmca, block)
            spill_bytes, spill_ps = _spill(pair, shape.tokens, block)
        rram = self.architecture.rram
        return PipelineRow(
            strategy=pipeline.name,
            adaptation=report.adaptation,
            layer=workload.name if shape is None else shape.name,
            integration_ns=None if rram is None else rram.integration_ns,
            block_tokens=block,
            tile_time_s=tile,
            pmca_time_s=cluster,
            pmca_tile_ratio=ratio,
            makespan_s=report.latency_s,
            aimc_only_s=alone,
            overhead=report.latency_s / alone - 1.0 if alone else 0.0,
            tcdm_bytes=tcdm_bytes,
            energy_J=report.energy_J,
            area_mm2=report.area_mm2,
            area_used_mm2=report.area_used_mm2,
            pmca_utilisation=_pmca_utilisation(simulation, beside_tile),
            tile_utilisation=report.utilisation.get(self.architecture.weights_on, 0.0),
            spill_bytes=spill_bytes,
            spill_time_s=ps_to_seconds(spill_ps),
            chosen=report.pipeline,
        )

    def simulation(self, workload: Workload, pipeline: Pipeline | Auto) -> Simulation:
        """The run behind a row."""
        return simulate(
            workload,
            self.architecture,
            pipeline=pipeline,
            adaptation=adaptation_for(self.architecture, self.adaptation),
            mapper=self.mapper,
        )

    def _without_lora(self, workload: Workload, pipeline: Pipeline | Auto) -> float:
        simpler = _same_without_lora(pipeline)
        wanted = workload.name, workload.phases[0].tokens, simpler
        for known, latency_s in self._aimc_only:
            if known == wanted:
                return latency_s
        latency_s = simulate(
            workload, self.architecture, pipeline=simpler, adaptation="none", mapper=self.mapper
        ).report.latency_s  # fmt: skip
        self._aimc_only.append((wanted, latency_s))
        return latency_s


def _same_without_lora(pipeline: Pipeline | Auto) -> Pipeline | Auto:
    """A simpler strategy that schedules a workload without LoRA in the same way.

    `auto` searches anew: the overhead of LoRA is that of the best with it over the best without. A
    strategy kept from the run with LoRA has blocks for shapes that are not there. No block is
    searched beside a tile.
    """
    if not isinstance(pipeline, Strategy):
        return pipeline
    blocks = pipeline.blocks
    if isinstance(blocks, SearchedBlock | SplitBlock):
        blocks = GivenBlock(blocks.block_tokens if isinstance(blocks, SplitBlock) else None)
    return replace(pipeline, blocks=blocks)


def _beside_tile(simulation: Simulation) -> bool:
    """Whether clusters beside the tiles compute LoRA."""
    home = adaptation_of(simulation.mapping).home
    ops = (op for _, op in simulation.workload.ops())
    return any(isinstance(op, Linear) and op.in_adapter and home(op) == PMCA.name for op in ops)


def _pmca_utilisation(simulation: Simulation, beside_tile: bool) -> float:
    """Busy share of the clusters in use: those of the pools, or of one layer and its copies."""
    time = simulation.report.unit_times.get(PMCA.name)
    if time is None or not simulation.report.latency_s:
        return 0.0
    homes = simulation.mapping.clusters.values()
    units = max(count for _, count in homes) if beside_tile else time.units
    return time.busy_s * time.units / units / simulation.report.latency_s


def _pair(simulation: Simulation, shape: Shape) -> Pair:
    """The pair as it ran: on the prepared machine (without a matrix engine, say)."""
    adapter = LoraBranch(shape.in_features, shape.out_features, shape.rank)
    return Pair(adapter, simulation.architecture)


def _spill(pair: Pair, tokens: int, block: int) -> tuple[int, int]:
    """What `tokens` tokens move because blocks do not fit whole: bytes, and DMA time (ps)."""
    whole, rest = divmod(tokens, block)
    total = time = 0
    for size, count in ((block, whole), (rest, 1)):
        if not size:
            continue
        tiles = pair.adapter.tiles(pair.architecture.pmca, size)
        total += count * tiles.spilled_bytes
        transfers = tiles.fetches(first=False)
        time += count * dma_ps(pair.architecture, tiles.spilled_bytes, transfers)
    return total, time


def parse_layer(text: str, rank: int, tokens: int) -> Shape:
    """A shape from INxOUT; raises WorkloadError for another text or a rank above the layer's."""
    left, _, right = text.partition("x")
    try:
        sizes = parse_whole(left), parse_whole(right)
    except ValueError:
        sizes = 0, 0
    if min(sizes) < 1:
        raise WorkloadError(f"--layer takes INxOUT, such as 512x128, got {shown(text)}")
    if rank < 1 or tokens < 1:
        raise WorkloadError(f"--rank and --tokens must be at least 1, got {rank} and {tokens}")
    check_rank(*sizes, rank)
    return Shape(*sizes, rank, tokens)


def adapted_shapes(workload: Workload) -> list[tuple[Shape, int]]:
    """Shapes of the adapted linear layers in the first phase, and how many layers have each.

    Raises WorkloadError for a workload without LoRA.
    """
    ops = {op.name: op for op in workload.phases[0].ops if isinstance(op, Linear)}
    count: dict[Shape, int] = {}
    for adapted, its in branches_of(ops.values()).items():
        base = ops[adapted]
        shape = Shape(base.in_features, base.out_features, its.rank, base.rows)
        count[shape] = count.get(shape, 0) + 1
    if not count:
        raise WorkloadError(
            f"{workload.name} has no LoRA layers to pipeline: trace it with an adapter (--rank)"
        )
    return sorted(count.items())


def with_blocks(
    pipelines: Iterable[Pipeline | Auto], block_tokens: Sequence[int]
) -> list[Pipeline | Auto]:
    """`pipelines`, those that run in a block of the user's choice once for each `block_tokens`."""
    result: list[Pipeline | Auto] = []
    for pipeline in pipelines:
        strategy = pipeline if isinstance(pipeline, Strategy) else None
        if block_tokens and strategy and isinstance(strategy.blocks, GivenBlock):
            result += [replace(strategy, blocks=GivenBlock(t)) for t in block_tokens]
        else:
            result.append(pipeline)
    return result
