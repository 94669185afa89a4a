"""Numbers of the clusters' cores: in the file with a source, in the report, and felt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small
from conftest import Cli

from cimsim.blocks import PmcaCore
from cimsim.errors import SpecError
from cimsim.ir import Elementwise, Norm, Op, Phase, Reduce, Softmax, Workload
from cimsim.simulation import simulate
from cimsim.spec import Architecture, load_architecture

NUMBERS = [name for name in PmcaCore.model_fields if name != "sources"]
TOKENS, WIDTH = 4, 96
FUNCTIONS = {
    "stream": "add", "convert": "to", "select": "where", "divide": "div", "root": "sqrt",
    "power": "pow", "sine": "cos", "sigmoid": "sigmoid", "silu": "silu", "tanh": "tanh",
    "erf": "erf", "gelu": "gelu",
}  # fmt: skip


def workload_of(*ops: Op) -> Workload:
    return small.workload_of("one-op", (Phase(name="prefill", tokens=ops[0].tokens, ops=ops),))


def elementwise(function: str, tokens: int = TOKENS) -> Workload:
    return workload_of(
        Elementwise(
            name="op", inputs=(), tokens=tokens, elements=tokens * WIDTH, functions={function: 1}
        )
    )


def rows(kind: type[Any], **more: Any) -> Workload:
    size: dict[str, Any] = {"tokens": TOKENS}
    if kind is Reduce:
        size |= {"elements": TOKENS, "inputs_per_output": WIDTH, "function": "sum"}
    else:
        size |= {"rows": TOKENS, "columns": WIDTH}
    return workload_of(kind(name="op", inputs=(), **size, **more))


def felt_by(field: str) -> Workload:
    """A workload that takes longer with more of `field`."""
    first = field.split("_")[0]
    if first in FUNCTIONS and field != "stream_setup_cycles":
        return elementwise(FUNCTIONS[first])
    match first:
        case "layer" | "norm":
            return rows(Norm, norm="layer")
        case "rms":
            return rows(Norm, norm="rms")
        case "reduce":
            return rows(Reduce)
        case "softmax":
            return rows(Softmax)
        case "product":
            return small.encoder(tokens=TOKENS)
        case "least":
            return elementwise("pow", tokens=1)
        case _:
            return elementwise("add")


def machine() -> Architecture:
    """A small machine without an engine, whose clusters compute one after the other."""
    tiny = small.machine(pmca={"matrix_engine": None})
    return tiny.with_values({"pmca.core.least_part_elements": 24, "pmca.dma_setup_cycles": 0})


@pytest.mark.parametrize("field", NUMBERS)
def test_more_cycles_are_slower_and_cost_energy(field: str) -> None:
    before = machine()
    value = getattr(before.pmca.core, field)
    factors = (0.5, 0.25) if field == "product_utilisation_ratio" else (2, 4)
    workload = felt_by(field)
    reports = [simulate(workload, before, pipeline="token").report]
    for factor in factors:
        slower = before.with_values({f"pmca.core.{field}": value * factor})
        reports.append(simulate(workload, slower, pipeline="token").report)
        assert slower.assumed()[f"pmca.core.{field}"] == "set by the user"
    times = [report.latency_s for report in reports]
    assert times == sorted(times)
    assert times[0] < times[-1]
    spent = [report.energy_by_component_J["pmca.shared"] for report in reports]
    if field == "least_part_elements":
        assert spent[0] > spent[-1], "fewer parts: fewer set-ups"
    else:
        assert spent[0] < spent[1] < spent[2]


CYCLES = [
    *(f"core.{name}" for name in NUMBERS if "cycles" in name or name == "tcdm_contention_ratio"),
    "exp_cycles", "softmax_other_cycles_per_word", "merge_cycles_per_element", "barrier_cycles",
    "dma_setup_cycles", "matrix_engine.job_cycles",
]  # fmt: skip
WHOLE = {"decoder": small.decoder(), "encoder": small.encoder(tokens=9)}
UNUSED = {
    "decoder": ("gelu", "layer"), "encoder": ("silu", "rms"),
    "both": (
        "convert", "select", "divide", "root", "power", "sine", "sigmoid", "tanh", "erf",
        "reduce_cycles_per_word",
    ),
}  # fmt: skip
"""How the numbers begin that no operation of the model takes."""


@pytest.mark.parametrize("field", CYCLES)
@pytest.mark.parametrize("model", WHOLE)
def test_more_cycles_are_never_faster_in_a_whole_model(model: str, field: str) -> None:
    engine = field.startswith("matrix_engine")
    tiny = small.machine(pmca={"products_on": "engine" if engine else "faster"})
    value = tiny.pmca
    for part in field.split("."):
        value = getattr(value, part)
    slower = tiny.with_values({f"pmca.{field}": value * 3})
    before, after = (
        simulate(WHOLE[model], machine, pipeline="sequential").run.makespan_ps
        for machine in (tiny, slower)
    )
    assert after >= before
    unused = field.removeprefix("core.").startswith(UNUSED[model] + UNUSED["both"])
    assert (after > before) != unused


@pytest.mark.parametrize("path", small.ARCHITECTURES, ids=lambda path: path.stem)
def test_shipped_machines_say_where_the_numbers_are_from(path: Path) -> None:
    machine = load_architecture(path)
    sources = machine.pmca.core.sources
    assert set(sources) == set(NUMBERS)
    published = {name for name, text in sources.items() if not text.startswith("assumed: ")}
    assert published == {"stream_cycles_per_word", "product_utilisation_ratio"}
    assumed = machine.assumed()
    for name in set(NUMBERS) - published:
        assert assumed[f"pmca.core.{name}"] == sources[name].removeprefix("assumed: ")
    assert not {f"pmca.core.{name}" for name in published} & set(assumed)


@pytest.mark.parametrize("path", ["core", "core.tcdm_contention_ratio", "core.sources"])
def test_nothing_of_the_block_has_a_default(tmp_path: Path, path: str) -> None:
    data = json.loads(small.ARCHITECTURES[0].read_text())
    *blocks, last = path.split(".")
    inner = data["pmca"]
    for block in blocks:
        inner = inner[block]
    del inner[last]
    (tmp_path / "m.json").write_text(json.dumps(data))
    with pytest.raises(SpecError, match=rf"pmca\.{path}: Field required"):
        load_architecture(tmp_path / "m.json")


def test_reports_and_checks_list_them(cimsim: Cli) -> None:
    shipped = load_architecture(small.ARCHITECTURES[0])
    report = simulate(small.one_layer(), shipped, pipeline="token").report
    listed = json.loads(cimsim("check", small.ARCHITECTURES[0], "--json")[1])["assumed"]
    paths = {f"pmca.core.{name}" for name in NUMBERS} & set(shipped.assumed())
    assert len(paths) == len(NUMBERS) - 2
    for path in paths:
        assert report.assumed[path] == listed[path] == shipped.assumed()[path]


def test_the_command_line_sets_them(cimsim: Cli) -> None:
    arguments = (
        "run",
        "--pipeline",
        "token",
        "ahwa_pcm_pmca",
        "minilm_sentiment_r8_s32",
        "--json",
        "--set",
    )
    path = "pmca.core.tcdm_contention_ratio"
    same, slower = (json.loads(cimsim(*arguments, f"{path}={value}")[1]) for value in (1.4, 2.8))
    assert slower["latency_s"] > same["latency_s"]
    assert slower["assumed"][path] == "set on the command line"
    code, _, said = cimsim(*arguments, f"{path}=0.9")
    assert code == 2
    assert "pmca.core.tcdm_contention_ratio" in said
    assert "greater than or equal to 1" in said
