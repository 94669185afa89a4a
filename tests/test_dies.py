"""Several dies in a package: what crosses their borders, and what that costs, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close
from timed import charged_J, ends_ps, takes_ps

from cimsim.costs.dies import Sent, die_of, links_between, sent, shares_of, wanted
from cimsim.errors import SpecError
from cimsim.ir import Elementwise, Embedding, Linear, Phase
from cimsim.schedule.borders import Borders, token_bits
from cimsim.schedule.edges import StageEdge
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture

PACKAGE: dict[str, Any] = {
    "dies": 4, "bandwidth_GBps": 8.0, "crossing_ns": 2.0, "energy_pJ_per_bit": 0.5,
    "port_area_mm2": 0.25,
}  # fmt: skip
ONE_TILE = {"cluster_count": 4, "weights_per_cluster": 256, "pool_clusters": 1}
"""A cluster serves one tile of 16 x 16, so that layer i of a chain is on cluster i."""
BYTE_PS = 125
"""A byte at 8 GB/s."""

both_engines = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def machine(dies: int = 4, **changes: Any) -> Architecture:
    package = {**PACKAGE, "dies": dies, **changes}
    return small.machine(adaptation="none", pmca=ONE_TILE, package=small.sourced(package))


def layer(name: str, *inputs: str) -> Linear:
    return Linear(
        name=name, inputs=inputs, tokens=3, weight=f"{name}.weight", rows=3, in_features=16,
        out_features=16,
    )  # fmt: skip


CHAIN = (layer("a"), layer("b", "a"), layer("c", "b"), layer("d", "c"))


def run(on: Architecture, *ops: Linear, engine: Any = "compiled") -> Simulation:
    phase = Phase(name="prefill", tokens=3, ops=ops)
    return simulate(small.workload_of("dies", (phase,)), on, pipeline="layer:1", engine=engine)


def test_dies_lie_in_a_square() -> None:
    assert [links_between(0, other, 4) for other in range(4)] == [0, 1, 1, 2]
    assert [links_between(4, other, 9) for other in range(9)] == [2, 1, 2, 1, 0, 1, 2, 1, 2]
    assert links_between(0, 1, 2) == 1
    assert [die_of(cluster, 8, 2) for cluster in range(8)] == [0] * 4 + [1] * 4
    assert [die_of(cluster, 5, 4) for cluster in range(5)] == [0, 0, 1, 2, 3]


def test_what_leaves_a_die_by_hand() -> None:
    """Made on die 0 of four, read a quarter each: three quarters leave, over 1, 1 and 2 links."""
    assert sent((1, 0, 0, 0), (0.25,) * 4) == Sent(0.75, 1.0, 2)
    assert sent((1, 0, 0, 0), (1.0,) * 4) == Sent(3.0, 4.0, 2)
    assert sent((0.5, 0.5), (0.5, 0.5)) == Sent(0.5, 0.5, 1)
    assert sent((0, 1), (0, 1)) == Sent(0.0, 0.0, 0)
    assert wanted([(1.0, 0.0), (0.25, 0.75)]) == (1.0, 0.75)
    assert shares_of([0, 0, 0, 1], 2) == (0.75, 0.25)


@both_engines
def test_a_chain_of_layers_on_four_dies(engine: Any) -> None:
    """16 bytes a token: over one link to the next die, two from die 1 to die 2, one to die 3."""
    done, alone = (run(machine(dies), *CHAIN, engine=engine) for dies in (4, 1))
    report = done.report
    assert report.dies == 4
    assert report.die_to_die_bytes == {"prefill": 3 * 16 * (1 + 2 + 1)}
    for name, links in (("a", 1), ("b", 2), ("c", 1)):
        assert takes_ps(done, f"{name}:cross") == [[16 * BYTE_PS + links * 2000] * 3]
        energy = 3 * 16 * 8 * links * 0.5e-12
        assert charged_J(done, name)["die_to_die.links"] == close([energy])
    assert report.energy_by_unit_J["die_to_die"] == close(3 * 16 * 8 * 4 * 0.5e-12)
    assert report.unit_times["die_to_die"].units == 3
    assert report.unit_times["die_to_die"].busy_s == close(3 * 16 * BYTE_PS * 1e-12)
    # a token waits for its crossings and nothing else is in its way
    first = ends_ps(done, "d:send")[0] - ends_ps(alone, "d:send")[0]
    assert first == 3 * 16 * BYTE_PS + 4 * 2000
    assert alone.report.die_to_die_bytes == {}


@both_engines
def test_readers_on_one_die_are_sent_one_copy(engine: Any) -> None:
    """Two dies: `a` and `b` on the first, `c` and `d` on the other both read `b`."""
    ops = (layer("a"), layer("b", "a"), layer("c", "b"), layer("d", "b"))
    done = run(machine(2), *ops, engine=engine)
    assert done.report.die_to_die_bytes == {"prefill": 3 * 16}
    assert [a.name for a in done.plan.program.actors if "cross" in a.name] == ["b:cross"]


def test_each_die_sends_over_links_of_its_own() -> None:
    """On two dies of two clusters: `a` and `b` leave the first die one token after the other."""
    ops = (layer("a"), layer("b"), layer("c", "a"), layer("d", "b"))
    done = run(machine(2, bandwidth_GBps=0.1), *ops)
    assert done.report.die_to_die_bytes == {"prefill": 2 * 3 * 16}
    assert done.report.unit_times["die_to_die"].busy_s == close(6 * 160_000e-12)
    assert done.run.makespan_ps > 6 * 160_000


def test_one_die_is_a_machine_without_package() -> None:
    packed, plain = (run(m, *CHAIN) for m in (machine(1), small.machine(
        adaptation="none", pmca=ONE_TILE)))  # fmt: skip
    assert packed.run.makespan_ps == plain.run.makespan_ps
    assert packed.report.energy_J == plain.report.energy_J
    assert packed.report.area_mm2 == close(plain.report.area_mm2 + 0.25)


def test_area_of_a_die() -> None:
    one, four = machine(1), machine(4)
    assert four.area_mm2()["die_to_die"] == 1.0
    assert four.die_area_mm2 == close((one.die_area_mm2 - 0.25) / 4 + 0.25)


def test_every_die_takes_a_cluster() -> None:
    with pytest.raises(SpecError, match=r"package.dies 9 exceed pmca.cluster_count 8"):
        small.machine(package=small.sourced(PACKAGE)).with_values({"package.dies": 9})


@given(st.sampled_from(["bandwidth_GBps", "crossing_ns", "energy_pJ_per_bit"]), st.floats(1, 20))
@settings(max_examples=12)
def test_a_better_link_is_never_slower_or_dearer(field: str, factor: float) -> None:
    better = PACKAGE[field] * factor if field == "bandwidth_GBps" else PACKAGE[field] / factor
    before, after = (run(m, *CHAIN).report for m in (machine(), machine(**{field: better})))
    assert after.latency_s <= before.latency_s
    # leakage goes with the time
    assert after.energy_J <= before.energy_J * (1 + 1e-12)
    assert after.die_to_die_bytes == before.die_to_die_bytes


DECODER = small.decoder(prompt=4, steps=2)
"""Attention, norms and LoRA of two layers."""


@pytest.mark.parametrize("pipeline", ["token", "layer:block_tokens=1,share_clusters=4"])
@pytest.mark.parametrize("attention", ["pmca", "sram"])
def test_engines_agree_on_a_decoder(pipeline: str, attention: Any) -> None:
    on = small.machine(
        attention_on=attention, package=small.sourced({**PACKAGE, "dies": 4}),
        pmca={"weights_per_cluster": 1024, "pool_clusters": 2, "cluster_count": 8},
        sram={"unit_count": 4096},
    )  # fmt: skip
    one, other = (simulate(DECODER, on, pipeline=pipeline, engine=e) for e in ("simpy", "compiled"))
    assert one.run.makespan_ps == other.run.makespan_ps
    assert one.report == other.report
    moved = other.report.die_to_die_bytes
    assert set(moved) == {"prefill", "decode"}
    assert sum(moved.values()) > 0
    spent = sum(
        c.energy_J[0] + c.energy_J[1]
        for c in other.plan.charges(other.architecture)
        if c.unit == "die_to_die"
    )
    assert spent == close(sum(moved.values()) * 8 * 0.5e-12)


def test_shared_work_is_where_its_lanes_are() -> None:
    """Four tokens over four clusters of two dies: half of a row of 4,096 values is read away."""
    on = small.machine(
        adaptation="none", package=small.sourced({**PACKAGE, "dies": 2}),
        pmca={"cluster_count": 4, "pool_clusters": 2},
    )  # fmt: skip
    table = Embedding(
        name="table", inputs=(), tokens=4, weight="table.weight", rows=4, columns=4096
    )
    act = Elementwise(
        name="act", inputs=("table",), tokens=4, elements=4 * 4096, functions={"relu": 1}
    )
    workload = small.workload_of("shared", (Phase(name="prefill", tokens=4, ops=(table, act)),))
    done = simulate(workload, on, pipeline="layer:block_tokens=1,share_clusters=4")
    assert len([a for a in done.plan.actors if a.stage == "act" and "block" in a.part]) == 4
    assert done.report.die_to_die_bytes == {"prefill": 4 * 4096 / 2}


def test_k_and_v_go_to_every_die_with_clusters_that_read_them() -> None:
    package = machine().package
    assert package is not None
    places = {"k": {0: (1.0, 0.0, 0.0, 0.0)}, "scores": {0: (0.0, 0.5, 0.25, 0.25)}}
    moving, kept = (
        StageEdge("k", "scores", stationary, {0: 3}, {}, {}, 3) for stationary in (False, True)
    )
    borders = Borders(package, places, frozenset({"scores"}))
    assert borders.sent((moving,), 0) == Sent(1.0, 0.5 + 0.25 + 2 * 0.25, 2)
    assert borders.sent((kept,), 0) == Sent(3.0, 1 + 1 + 2, 2)
    # arrays hold the K of their own heads only
    assert Borders(package, places, frozenset()).sent((kept,), 0) == borders.sent((moving,), 0)


def test_bits_of_a_token() -> None:
    assert token_bits(layer("a"), 0, machine()) == 128


@pytest.mark.parametrize(
    ("kind", "rate", "expected"),
    [
        ("ucie_standard", 4, (28 * 5, 0.5, 5 * 1.792)),
        ("ucie_standard", 32, (224 * 5, 0.6, 5 * 1.792)),
        ("ucie_advanced", 16, (1317 / 2 * 5, 0.25, 5 * 1317 / 1350)),
        ("ucie_advanced", 32, (1317 * 5, 0.3, 5 * 1317 / 1350)),
    ],
)
def test_links_after_ucie(kind: str, rate: float, expected: tuple[float, ...]) -> None:
    """5 mm of edge; published figures at the ends of the range of rates."""
    link = small.sourced({"kind": kind, "rate_GTps": rate, "edge_mm": 5})
    package = {**small.sourced({"dies": 2}), "models": {"link": link}}
    data = small.machine().model_dump(mode="json", exclude_none=True) | {"package": package}
    made = Architecture.model_validate(data).package
    assert made is not None
    found = (made.bandwidth_GBps, made.energy_pJ_per_bit, made.port_area_mm2)
    assert found == close(expected)
    assert made.crossing_ns == 2.0
    assert Architecture.model_validate(data).area_mm2()["die_to_die"] == close(2 * expected[2])


@pytest.mark.parametrize("rate", [3, 33])
def test_rates_beyond_ucie_are_refused(rate: float) -> None:
    link = small.sourced({"kind": "ucie_standard", "rate_GTps": rate, "edge_mm": 5})
    package = {**small.sourced({"dies": 2}), "models": {"link": link}}
    data = small.machine().model_dump(mode="json", exclude_none=True) | {"package": package}
    with pytest.raises(ValueError, match=r"package\.models\.link\.rate_GTps"):
        Architecture.model_validate(data)
