"""How values show themselves: short lines, escaped tables, and nothing else changed by it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from functools import cache
from html.parser import HTMLParser
from typing import Any

import analog
import numpy as np
import pytest
import small
import tiny_tasks
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import cimsim
from cimsim.functional import program_chip
from cimsim.noise import Ideal
from cimsim.simulation import simulate
from cimsim.values.display import LINE, Brief, brief, shown
from cimsim.values.history import Changeable

LIMIT = 500
LONG = (
    "tuple[", "dict[", "list[", "Mapping[", "Sequence[", "Array", "Tensor", "Module", "Any",
    "F32", "Plan", "Program", "Workload", "Architecture",
)  # fmt: skip
"""Types that can hold more than a word or a number."""


@cache
def classes() -> tuple[type, ...]:
    """Every public class: of the modules of the package, and what its folders export."""
    found = {}
    for info in pkgutil.walk_packages(cimsim.__path__, "cimsim."):
        if info.name.endswith("__main__") or (info.name.count(".") > 1 and not info.ispkg):
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", vars(module)):
            value = getattr(module, name)
            if inspect.isclass(value) and value.__module__.startswith(info.name):
                found[value] = name[0] != "_"
    return tuple(kind for kind, public in found.items() if public)


def test_whatever_can_be_long_shows_itself_briefly() -> None:
    seen = 0
    for kind in classes():
        if kind is Changeable:
            continue
        if issubclass(kind, BaseModel):
            assert issubclass(kind, Brief), kind
            assert "__repr__" not in vars(kind), kind
            seen += 1
        elif is_dataclass(kind):
            long = [f.name for f in fields(kind) if f.repr and any(t in str(f.type) for t in LONG)]
            assert not long or hasattr(kind, "_repr_html_"), f"{kind} lacks @brief: {long}"
            seen += 1
    assert seen > 70


@pytest.mark.parametrize(
    "kind",
    [k for k in classes() if is_dataclass(k) and hasattr(k, "_repr_html_")],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_a_line_is_bounded_whatever_the_fields_hold(kind: type) -> None:
    if hasattr(kind, "_facts"):
        pytest.skip("shown by its own facts, see below")
    value = object.__new__(kind)
    for item in fields(kind):
        object.__setattr__(value, item.name, tuple(range(10_000)))
    assert len(repr(value)) < LIMIT
    assert len(value._repr_html_()) < 20_000


@cache
def values() -> dict[str, Any]:
    """One of each that a user meets, of real size where that is quick."""
    simulation = simulate(small.decoder(), small.machine(), pipeline="token")
    work = cimsim.load_workload(small.ROOT / "workloads" / "llama3.2_1b_r4_p512_d128.json")
    gpu = cimsim.load_gpu(small.ROOT / "arch_configs" / "gpu" / "a100_sxm4_80gb.json")
    network = analog.network(16, 8, 4)
    machine = analog.machine()
    import torch

    mapping = analog.of_module(network, machine, torch.zeros(1, 16))
    chip = program_chip(network, mapping, machine, Ideal())
    return {
        "simulation": simulation, "report": simulation.report, "workload": work,
        "phase": work.phases[0], "op": work.phases[0].ops[3], "adapter": work.adapter,
        "architecture": simulation.architecture, "tiles": simulation.architecture.rram,
        "mapping": simulation.mapping, "plan": simulation.plan, "run": simulation.run,
        "placement": next(iter(simulation.mapping.placements.values())),
        "program": simulation.plan.program, "actor": simulation.plan.program.actors[0],
        "gpu": gpu, "estimate": gpu.estimate(small.decoder()),
        "chip": chip, "model": chip.at(samples=(torch.zeros(1, 16),)),
        "task model": tiny_tasks.encoder(), "dense": cimsim.DensePacking(),
        "baseline": cimsim.with_baseline(simulation.report, simulation.workload, gpu),
    }  # fmt: skip


@pytest.mark.parametrize("name", values())
def test_one_of_each_has_a_short_line_and_a_small_table(name: str) -> None:
    value = values()[name]
    line = repr(value)
    assert line.startswith(f"{type(value).__name__}(")
    assert len(line) < LIMIT
    assert "\n" not in line
    assert line == str(value)
    table = value._repr_html_()
    assert table.startswith("<table>")
    assert len(table) < 20_000


def test_a_value_says_what_matters() -> None:
    found = values()
    assert "latency_s=" in repr(found["report"])
    assert "prefill='512 tokens x 1, 628 ops'" in repr(found["workload"])
    assert "tiles_used=" in repr(found["mapping"])
    assert repr(cimsim.DensePacking()) == "DensePacking(replicate=(), name='dense')"
    assert dict(found["report"].__repr_args__())["workload"] == "'tiny-decoder'"


class Tags(HTMLParser):
    """The tags that a notebook would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


@given(st.text(st.characters(), max_size=40))
def test_names_are_text_in_a_notebook_not_markup(name: str) -> None:
    work = small.decoder().model_copy(update={"name": f"<script>alert(1)</script>{name}"})
    parser = Tags()
    table = work._repr_html_()
    parser.feed(table)
    assert parser.tags == {"table", "caption", "tr", "th", "td"}
    table.encode("utf-8")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_is_shown_in_60_characters(value: Any) -> None:
    assert len(shown(value)) <= 60


def test_arrays_are_shown_by_type_and_shape() -> None:
    assert shown(np.zeros((3, 4))) == "<float64 3x4>"
    assert shown(np.float64(0.25)) == "0.25"
    assert shown(np.int64(7)) == "7"
    assert shown(10**5000) == "<a large number>"


def test_the_line_ends_where_it_gets_too_long() -> None:
    many = brief(type("Many", (), {"_facts": lambda self: {f"field{i}": i for i in range(200)}}))()
    assert repr(many).endswith(", ...)")
    assert LINE - 40 < len(repr(many)) <= LINE


def test_showing_changes_neither_files_nor_equality() -> None:
    one, two = small.decoder(), small.decoder()
    assert one == two
    assert one.model_dump(mode="json") == two.model_dump(mode="json")
    assert type(one).model_validate(one.model_dump(mode="json")) == one
    assert "_facts" not in type(one).model_json_schema()["properties"]


PACKAGES = (
    "", ".accuracy", ".baseline", ".costs", ".engines", ".frontend", ".functional", ".mappers",
    ".noise", ".schedule", ".schedule.pipelines", ".tasks", ".training", ".validation",
)  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_dir_lists_the_public_names_and_only_those(name: str) -> None:
    package = importlib.import_module(f"cimsim{name}")
    assert dir(package) == sorted(package.__all__)
    for public in dir(package):
        assert getattr(package, public) is not None
    assert len(set(package.__all__)) == len(package.__all__)


def test_a_star_import_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'peft', 'matplotlib')))\n"
        "from cimsim import *\n"
        "assert Report and simulate and not {'torch'} & {m for m in sys.modules if sys.modules[m]}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
