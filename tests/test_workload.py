"""The workload schema: sizes, growth, files, and every way a file can be wrong."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cimsim.errors import OutputError, WorkloadError
from cimsim.workload import (
    Adapter,
    Elementwise,
    Embedding,
    Linear,
    MatMul,
    Move,
    Norm,
    Parameter,
    Phase,
    Reduce,
    Softmax,
    Workload,
    load_workload,
    save_workload,
)

SIZES = st.integers(1, 40)


def linear(name="fc", inputs=(), **changes):
    sizes = {"rows": 6, "in_features": 4, "out_features": 3, "weight": "fc.weight"} | changes
    return Linear(name=name, inputs=inputs, tokens=sizes.pop("tokens", 6), **sizes)


def matmul(name="scores", inputs=(), **changes):
    sizes = {
        "batch": 2,
        "m": 1,
        "k": 4,
        "n": 7,
        "stationary_batch": 1,
        "stationary_token_axis": "n",
    } | changes
    return MatMul(name=name, inputs=inputs, tokens=1, **sizes)


def workload(*phases, **changes):
    fields = {
        "name": "w",
        "origin": {"made": "by hand"},
        "architecture": "Net",
        "parameters": (Parameter(name="fc.weight", shape=(3, 4)),),
        "phases": phases or (Phase(name="prefill", tokens=6, ops=(linear(),)),),
    }
    return Workload(**fields | changes)


def full_workload():
    """Every kind of op, every optional field, both phases."""
    prefill = (
        Embedding(name="table", inputs=(), tokens=6, weight="table", rows=6, columns=4),
        Norm(name="norm", inputs=("table",), tokens=6, norm="rms", rows=6, columns=4),
        linear("fc", ("norm",), bias=True),
        linear("fc.a", ("norm",), weight="a", out_features=1, role="lora_a", adapts="fc"),
        linear("fc.b", ("fc.a",), weight="b", in_features=1, role="lora_b", adapts="fc"),
        Elementwise(
            name="merge", inputs=("fc", "fc.b"), tokens=6, elements=18, functions={"add": 1}
        ),
        matmul(
            "scores", ("merge", "fc"), m=6, n=6, causal=True, stationary_token_axis="n"
        ).model_copy(update={"tokens": 6}),
        Softmax(name="softmax", inputs=("scores",), tokens=6, rows=12, columns=6, causal=True),
        Move(name="pad", inputs=("softmax",), tokens=6, gathers=True, elements=72),
        Reduce(
            name="mean", inputs=("pad",), tokens=1, function="mean", elements=3, inputs_per_output=6
        ),
    )
    decode = (
        linear("fc", rows=1, tokens=1),
        matmul("scores", ("fc", "fc", "cache:fc"), growth={"n": 1}),
    )
    return workload(
        Phase(name="prefill", tokens=6, ops=prefill),
        Phase(name="decode", tokens=1, steps=5, ops=decode),
        parameters=(
            Parameter(name="fc.weight", shape=(3, 4)),
            Parameter(name="table", shape=(9, 4), role="embedding"),
            Parameter(name="head", shape=(9, 4), tied_to="table"),
            Parameter(name="a", shape=(1, 4), role="lora_a"),
            Parameter(name="b", shape=(3, 1), role="lora_b"),
            Parameter(name="scale", shape=(), role="other"),
        ),
        adapter=Adapter(rank=1, alpha=2.0, targets=("fc",), parameter_count=7),
    )


@given(batch=SIZES, m=SIZES, k=SIZES, n=SIZES, growth=st.integers(0, 5), steps=st.integers(1, 20))
def test_macs_of_all_steps_are_the_sum_over_the_steps(batch, m, k, n, growth, steps):
    fixed = linear(rows=m, in_features=k, out_features=n, tokens=1, weight="w")
    op = matmul("s", ("fc", "fc"), batch=batch, m=m, k=k, n=n, growth={"n": growth})
    phases = (
        Phase(name="prefill", tokens=6, ops=(linear("other"),)),
        Phase(name="decode", tokens=1, steps=steps, ops=(fixed, op)),
    )
    parameters = (Parameter(name="fc.weight", shape=(3, 4)), Parameter(name="w", shape=(n, k)))
    decode = workload(*phases, parameters=parameters).phases[1]
    products = batch * m * k * (n * steps + growth * steps * (steps - 1) // 2)
    assert decode.macs() == products + steps * m * k * n
    assert decode.macs() == sum(decode.macs(step) for step in range(steps))
    assert workload(*phases, parameters=parameters).macs == decode.macs() + 6 * 4 * 3
    assert op.at(3).n == n + 3 * growth
    assert op.at(3).at(3) == op.at(3)
    assert op.at(3).growth == {}


def test_counts_of_parameters_leave_out_adapter_and_copies():
    work = full_workload()
    assert work.parameter_count == 12 + 36 + 1
    assert [p.size for p in work.parameters] == [12, 36, 36, 4, 3, 1]


def test_a_file_gives_back_what_was_saved(tmp_path):
    for work in (workload(), full_workload()):
        save_workload(work, tmp_path / "w.json")
        assert load_workload(tmp_path / "w.json") == work
        text = (tmp_path / "w.json").read_text()
        assert json.loads(text)["format"] == 1
        save_workload(load_workload(tmp_path / "w.json"), tmp_path / "again.json")
        assert (tmp_path / "again.json").read_text() == text


def test_weights_saved_with_the_adapter_are_named_in_the_file(tmp_path):
    head = linear(saved=True)
    adapter = Adapter(
        rank=1, alpha=2.0, targets=("fc",), parameter_count=7, saved_parameter_count=12
    )
    branch = (
        Parameter(name="a", shape=(1, 4), role="lora_a"),
        Parameter(name="b", shape=(3, 1), role="lora_b"),
    )
    base = Parameter(name="fc.weight", shape=(3, 4))
    work = workload(
        Phase(name="prefill", tokens=6, ops=(head,)), adapter=adapter, parameters=(base, *branch)
    )
    save_workload(work, tmp_path / "w.json")
    text = (tmp_path / "w.json").read_text()
    assert load_workload(tmp_path / "w.json") == work
    assert text.count('"saved":true') == text.count('"saved_parameter_count":12') == 1
    save_workload(full_workload(), tmp_path / "w.json")
    assert "saved" not in (tmp_path / "w.json").read_text()
    assert work.parameter_count == 12
    lora = linear(role="lora_a", adapts="x")
    assert [op.in_adapter for op in (head, linear(), lora)] == [True, False, True]


def test_lora_is_not_saved_beside_itself():
    with pytest.raises(ValidationError, match=r"'fc' is saved and of role lora_a: LoRA is exch"):
        linear(role="lora_a", adapts="x", saved=True)


def test_ops_come_with_their_phase():
    pairs = list(full_workload().ops())
    assert [phase.name for phase, _ in pairs] == ["prefill"] * 10 + ["decode"] * 2
    assert pairs[-1][1].name == "scores"


@pytest.mark.parametrize("key", ["tokens", "causal", "gathers", "weight", "name", "nothing"])
def test_only_sizes_grow(key):
    with pytest.raises(ValidationError, match=f"growth of '{key}', which is no size of a MatMul"):
        matmul(growth={key: 1})


@pytest.mark.parametrize("field", ["batch", "m", "k", "n", "stationary_batch"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "x", None])
def test_sizes_are_whole_and_positive(field, value):
    with pytest.raises(ValidationError, match=field):
        matmul(**{field: value})


def damaged(change):
    """The dumped full workload after `change` edited it."""
    data = json.loads(full_workload().model_dump_json())
    change(data)
    return data


def prefill_op(data, position):
    return data["phases"][0]["ops"][position]


DAMAGES = {
    "unknown key": (
        lambda d: d.update(extra=1),
        r"extra: Extra inputs are not permitted \(got 1\)",
    ),
    "missing key": (lambda d: d.pop("name"), r"name: Field required"),
    "other format": (lambda d: d.update(format=2), r"format: Input should be 1 \(got 2\)"),
    "no phase": (lambda d: d.update(phases=[]), r"phases must be prefill, or prefill and decode"),
    "decode first": (
        lambda d: d["phases"].reverse(),
        r"phases must be prefill, or prefill and decode, not \['decode', 'prefill'\]",
    ),
    "unknown kind": (
        lambda d: prefill_op(d, 2).update(kind="magic"),
        r"phases\.0\.ops\.2: Input tag 'magic' found using 'kind' does not match",
    ),
    "same name": (
        lambda d: prefill_op(d, 3).update(name="fc"),
        r"phases\.0: phase prefill: two ops are named 'fc'",
    ),
    "later input": (
        lambda d: prefill_op(d, 1).update(inputs=["fc"]),
        r"phase prefill: op 'norm' reads 'fc', which is not an earlier op of the phase",
    ),
    "unlisted weight": (
        lambda d: prefill_op(d, 2).update(weight="gone"),
        r"phase prefill: op 'fc' uses parameter 'gone', which is not listed",
    ),
    "tied to nothing": (
        lambda d: d["parameters"][2].update(tied_to="gone"),
        r"parameter 'head' is tied to 'gone', which is not listed",
    ),
    "cache of nothing": (
        lambda d: d["phases"][1]["ops"][1].update(inputs=["fc", "cache:gone"]),
        r"phase decode: op 'scores' reads 'cache:gone', but no op of an earlier phase has that",
    ),
    "cache too early": (
        lambda d: prefill_op(d, 6).update(inputs=["merge", "cache:fc"]),
        r"phase prefill: op 'scores' reads 'cache:fc', but no op of an earlier phase",
    ),
    "negative size": (
        lambda d: d["parameters"][0].update(shape=[3, -4]),
        r"parameters\.0\.shape\.1: Input should be greater than or equal to 0 \(got -4\)",
    ),
    "no functions": (
        lambda d: prefill_op(d, 5).update(functions={"add": 0}),
        r"ops\.5\.elementwise\.functions\.add: Input should be greater than 0",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_by_field(tmp_path, damage):
    change, message = DAMAGES[damage]
    path = tmp_path / "w.json"
    path.write_text(json.dumps(damaged(lambda data: None)))
    assert load_workload(path) == full_workload()
    path.write_text(json.dumps(damaged(change)))
    with pytest.raises(WorkloadError, match=message) as caught:
        load_workload(path)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(WorkloadError, match=re.escape(f"{tmp_path / 'no'}: cannot read the workl")):
        load_workload(tmp_path / "no")
    (tmp_path / "w.json").write_text('{"name": "a", "name": "b"}')
    with pytest.raises(WorkloadError, match=r"the key 'name' stands twice in one object"):
        load_workload(tmp_path / "w.json")
    with pytest.raises(OutputError, match=r"cannot write"):
        save_workload(workload(), tmp_path / "w.json" / "below.json")
