"""CPU time of the compiled engine against the SimPy reference, on the same programs in one run.

    python benchmarks/perf/engine.py [--smoke] [--json]

Both engines run each program to its end, records included, and their records are compared. The
time is that of the process on the CPU (`time.process_time`); for the compiled engine the median
of several runs, encoding of the program included, machine code compiled beforehand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from cimsim.engines import Engine, Run, run
from cimsim.engines.program import Get, Hold, Policy, Program, ProgramBuilder, Put, Use, Verb


@dataclass(frozen=True)
class Row:
    """One measured program."""

    case: str
    actors: int
    verbs: int
    simpy_s: float | None
    compiled_s: float

    @property
    def ratio(self) -> float | None:
        """How many times faster the compiled engine is, if the reference ran."""
        return None if self.simpy_s is None else self.simpy_s / self.compiled_s


def tandem(tokens: int, policy: Policy | None = None) -> Program:
    """Three stages with buffers of 4; with a `policy`, each also uses one shared resource."""
    rng = np.random.default_rng(0)
    builder = ProgramBuilder()
    if policy:
        builder.resource("shared", 1, policy)
    buffers = [builder.buffer(name, 4) for name in ("b0", "b1")]
    for stage in range(3):
        steps: list[Verb] = [Hold(rng.integers(1, 10, tokens))]
        if policy:
            steps.append(Use(0, rng.integers(1, 10, tokens)))
        if stage > 0:
            steps.insert(0, Get(buffers[stage - 1]))
        if stage < 2:
            steps.append(Put(buffers[stage]))
        builder.actor(f"stage{stage}", tokens, *steps)
    return builder.build()


def transformer(layers: int, tiles: tuple[int, ...], tokens: int) -> Program:
    """Layers of matrix products, each scattered to tiles and gathered; a cluster a layer.

    Each product is `tiles` long: a scatter, the tiles, a gather that sums on the layer's cluster
    (a shared resource). A layer ends with attention and normalisation on that cluster, so it has
    sum(tiles) + 2 len(tiles) + 2 actors.
    """
    builder = ProgramBuilder()
    feed = builder.buffer("input", 2)
    builder.actor("source", tokens, Hold(10_000), Put(feed))
    for layer in range(layers):
        cluster = builder.resource(f"cluster{layer}", 1, "fifo")
        for product, count in enumerate(tiles):
            feed = _product(builder, f"{layer}.{product}", count, feed, cluster, tokens)
        for name, duration_ps in (("attention", 20_000), ("norm", 8_000)):
            out = builder.buffer(f"{name}{layer}", 2)
            step = Use(cluster, duration_ps)
            builder.actor(f"{name}{layer}", tokens, Get(feed), step, Put(out))
            feed = out
    builder.actor("sink", tokens, Get(feed))
    return builder.build()


def _product(
    builder: ProgramBuilder, name: str, count: int, feed: int, cluster: int, tokens: int
) -> int:
    to = [builder.buffer(f"to{name}.{i}", 2) for i in range(count)]
    back = [builder.buffer(f"from{name}.{i}", 2) for i in range(count)]
    out = builder.buffer(f"out{name}", 2)
    builder.actor(f"scatter{name}", tokens, Get(feed), Hold(1_000), *(Put(b) for b in to))
    for i in range(count):
        builder.actor(f"tile{name}.{i}", tokens, Get(to[i]), Hold(100_000 + 700 * i), Put(back[i]))
    builder.actor(f"gather{name}", tokens, *(Get(b) for b in back), Use(cluster, 5_000), Put(out))
    return out


def cpu_s(program: Program, engine: Engine) -> tuple[float, Run]:
    """CPU time of one run, and the run."""
    start = time.process_time()
    result = run(program, engine)
    return time.process_time() - start, result


def measure(case: str, program: Program, repeats: int, *, reference: bool = True) -> Row:
    """Time `program` on both engines; raises AssertionError if their records differ."""
    cpu_s(program, "compiled")
    samples = [cpu_s(program, "compiled") for _ in range(repeats)]
    compiled_s = statistics.median(seconds for seconds, _ in samples)
    simpy_s = None
    if reference:
        simpy_s, expected = cpu_s(program, "simpy")
        found = samples[0][1]
        assert np.array_equal(expected.start_ps, found.start_ps)
        assert np.array_equal(expected.end_ps, found.end_ps)
        assert np.array_equal(expected.iteration_end_ps, found.iteration_end_ps)
    return Row(case, len(program.actors), program.verb_count, simpy_s, compiled_s)


BERT_TILES = (10, 4, 12, 12)
"""Tiles of the products of a layer: 48 actors with the others, 578 in 12 layers."""

LLAMA_TILES = (36, 16, 116, 1000)
"""So many tiles as a decoder of 1e9 weights takes in 256 x 256 tiles, in 16 layers."""


def cases(*, smoke: bool) -> dict[str, tuple[Callable[[], Program], bool]]:
    """Programs by name, and whether the reference can run them in reasonable time."""
    tokens = 300 if smoke else 20_000
    layers, stream = (1, 8) if smoke else (12, 320)
    found: dict[str, tuple[Callable[[], Program], bool]] = {
        "3-stage tandem": (lambda: tandem(tokens), True),
        "tandem, shared resource, fifo": (lambda: tandem(tokens, "fifo"), True),
        "tandem, shared resource, round robin": (lambda: tandem(tokens, "round_robin"), True),
        "transformer, BERT-like": (lambda: transformer(layers, BERT_TILES, stream), True),
    }
    if not smoke:
        wide = "transformer, 18,850 actors x 640, no reference"
        found[wide] = (lambda: transformer(16, LLAMA_TILES, 640), False)
    return found


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = [f"{'case':48} {'verbs':>11} {'SimPy':>9} {'compiled':>10} {'ratio':>6} {'ns/verb':>8}"]
    for row in rows:
        simpy = f"{row.simpy_s:8.3f}s" if row.simpy_s is not None else "-"
        ratio = f"{row.ratio:.0f}x" if row.ratio is not None else "-"
        lines.append(
            f"{row.case:48} {row.verbs:11,} {simpy:>9} {row.compiled_s * 1e3:8.2f}ms {ratio:>6} "
            f"{row.compiled_s / row.verbs * 1e9:8.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small programs, one repeat")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = [
        measure(name, make(), 1 if options.smoke else 7, reference=reference)
        for name, (make, reference) in cases(smoke=options.smoke).items()
    ]
    if options.json:
        print(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
