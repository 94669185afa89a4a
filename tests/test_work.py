"""Work of a block against masks and growth by hand."""

from __future__ import annotations

import numpy as np
import small
from hypothesis import given
from hypothesis import strategies as st

from cimsim.costs import product_busy, reduction_busy, softmax_busy
from cimsim.ir import Embedding, Linear, Phase, Reduce, Softmax
from cimsim.schedule.pipelines.copies import adapted
from cimsim.schedule.work import block_elements, op_busy
from cimsim.simulation import simulate
from cimsim.studies.layer import layer_workload


def scores(tokens: int, earlier: int, heads: int, *, causal: bool = True) -> Softmax:
    return Softmax(
        name="softmax", inputs=(), tokens=tokens, rows=heads * tokens, columns=tokens + earlier,
        causal=causal,
    )  # fmt: skip


def test_a_causal_block_sees_all_earlier_tokens() -> None:
    """Four tokens over eight columns: the first two see five and six of them, in six heads."""
    op = scores(4, 4, 6)
    assert block_elements(op, 0, 2, 2, op) == 6 * (5 + 6)
    assert block_elements(op, 0, 2, 4, op) == 6 * (7 + 8)


@given(
    tokens=st.integers(1, 20), earlier=st.integers(0, 20), heads=st.integers(1, 5),
    causal=st.booleans(), data=st.data(),
)  # fmt: skip
def test_a_block_has_as_many_scores_as_the_mask_shows(
    tokens: int, earlier: int, heads: int, causal: bool, data: st.DataObject
) -> None:
    shown = np.ones((tokens, tokens + earlier), bool)
    if causal:
        shown = np.tril(shown, earlier)
    end = data.draw(st.integers(1, tokens))
    size = data.draw(st.integers(1, end))
    op = scores(tokens, earlier, heads, causal=causal)
    found = block_elements(op, 0, size, end, op)
    assert round(found, 6) == heads * shown[end - size : end].sum()


def test_rows_that_grow_are_worked_on() -> None:
    """Two rows of ten more a step: 2, 4 and 6."""
    pmca = small.machine().pmca
    growing = {"rows": 2}
    softmax = Softmax(name="s", inputs=(), tokens=1, rows=2, columns=10, growth=growing)
    linear = Linear(
        name="l", inputs=(), tokens=1, rows=2, weight="w", in_features=64, out_features=48,
        growth=growing,
    )  # fmt: skip
    wider = Reduce(
        name="r", inputs=(), tokens=1, elements=3, inputs_per_output=5, function="sum",
        growth={"inputs_per_output": 7},
    )  # fmt: skip
    for step in range(3):
        rows = 2 + 2 * step
        assert op_busy(softmax, pmca, step, 1, 1, None) == softmax_busy(pmca, 10 * rows, rows)
        assert op_busy(linear, pmca, step, 1, 1, None) == product_busy(pmca, 1, rows, 64, 48)
        many = 3 * (5 + 7 * step)
        assert op_busy(wider, pmca, step, 1, 1, None) == reduction_busy(pmca, many, 3)


def test_a_look_up_that_grows_moves_what_it_fetches() -> None:
    """Five rows of 16 values, then four and two more each of three steps: 4 + 6 + 8 from DRAM."""
    table = Embedding(
        name="bias", inputs=(), tokens=1, weight="bias.weight", rows=4, columns=16,
        growth={"rows": 2},
    )  # fmt: skip
    machine = small.machine()
    first = table.model_copy(update={"rows": 5, "growth": {}})
    phases = (
        Phase(name="prefill", tokens=1, ops=(first,)),
        Phase(name="decode", tokens=1, steps=3, ops=(table,)),
    )
    done = simulate(small.workload_of("bias", phases), machine, pipeline="token")
    moved = done.report.energy_by_component_J["dram.access"]
    assert moved == small.close((5 + 4 + 6 + 8) * 16 * 16 * machine.dram.energy_pJ_per_bit * 1e-12)


def test_the_slowest_layers_are_found_on_any_unit() -> None:
    workload = layer_workload(64, 40, 4, 8)
    on_sram = small.machine(weights_on="sram", rram=None)
    on_rram = small.machine(rram={"rows": 32})
    assert adapted(workload, on_sram, slowest=True) == [("layer.weight", 4 * 3)]
    assert adapted(workload, on_rram, slowest=True) == [("layer.weight", 2 * 3)]
