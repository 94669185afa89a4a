"""The workload schema: sizes, growth, files, and every way a file can be wrong."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cimsim.errors import OutputError, WorkloadError
from cimsim.ir import (
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


@pytest.mark.parametrize("key", ["causal", "gathers", "weight", "name", "nothing"])
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


def decode_op(data, position):
    return data["phases"][1]["ops"][position]


DAMAGES = {
    "tokens of no phase": (
        lambda d: prefill_op(d, 0).update(tokens=3),
        r"phase prefill: op 'table' has tokens 3, the phase has 6: .* \(tokens 6\) or .*tokens 1",
    ),
    "tokens of the phase": (
        lambda d: d["phases"][0].update(tokens=10**6),
        r"phase prefill: op 'table' has tokens 6, the phase has 1000000",
    ),
    "rows that tokens do not share": (
        lambda d: prefill_op(d, 1).update(rows=7),
        r"op 'norm' has rows 7, which its 6 tokens do not share evenly",
    ),
    "features of another weight": (
        lambda d: d["parameters"][0].update(shape=[3, 5]),
        r"op 'fc' has in_features 4 and out_features 3, parameter 'fc.weight' has shape \[3, 5\]",
    ),
    "features that multiply to the same": (
        lambda d: d["parameters"][0].update(shape=[2, 6]),
        r"op 'fc' has in_features 4 and out_features 3, parameter 'fc.weight' has shape \[2, 6\]",
    ),
    "features of one of a stack": (
        lambda d: d["parameters"][0].update(shape=[2, 3, 4]),
        r"out_features 3, parameter 'fc.weight' has shape \[2, 3, 4\]",
    ),
    "columns of another table": (
        lambda d: prefill_op(d, 0).update(columns=9),
        r"op 'table' has columns 9, parameter 'table' has shape \[9, 4\]",
    ),
    "adapts nothing": (
        lambda d: prefill_op(d, 3).update(adapts="gone"),
        r"op 'fc.a' of role lora_a adapts 'gone', which is no linear base op of the phase",
    ),
    "base that adapts": (
        lambda d: prefill_op(d, 2).update(adapts="fc"),
        r"op 'fc' adapts 'fc', but its role is base",
    ),
    "branch of other features": (
        lambda d: prefill_op(d, 4).update(out_features=5),
        r"op 'fc.b' has out_features 5, 'fc' that it adapts has 3: make them equal",
    ),
    "role of another parameter": (
        lambda d: d["parameters"][3].update(role="base"),
        r"op 'fc.a' has role lora_a, parameter 'a' has base",
    ),
    "adapter without a name": (
        lambda d: d.update(adapter=None),
        r"op 'fc.a' belongs to an adapter, but the workload names none",
    ),
    "adapter of more than is stored": (
        lambda d: d["adapter"].update(parameter_count=10**9),
        r"the adapter has 1000000000 trained values, the parameters listed 92",
    ),
    "product of one": (
        lambda d: prefill_op(d, 6).update(inputs=["merge"]),
        r"op 'scores' is a product with 1 inputs: name the moving operand first",
    ),
    "heads that do not share": (
        lambda d: prefill_op(d, 6).update(stationary_batch=3),
        r"op 'scores' has stationary_batch 3, which does not divide batch 2",
    ),
    "causal over nothing": (
        lambda d: prefill_op(d, 6).update(stationary_token_axis="none"),
        r"op 'scores' is causal, but stationary_token_axis is 'none'",
    ),
    "causal over too few": (
        lambda d: prefill_op(d, 6).update(n=5),
        r"op 'scores' is causal over n 5, fewer than its 6 tokens: raise n or drop causal",
    ),
    "no functions at all": (
        lambda d: prefill_op(d, 5).update(functions={}),
        r"op 'merge' has no functions: name one, or make it a move",
    ),
    "a context that shrinks": (
        lambda d: decode_op(d, 1).update(growth={"n": -1}),
        r"growth\.n: Input should be greater than or equal to 0 \(got -1\)",
    ),
    "a weight that grows": (
        lambda d: decode_op(d, 0).update(growth={"in_features": 1}),
        r"op 'fc' has growth of in_features, which weights and heads fix",
    ),
    "growth beyond counting": (
        lambda d: decode_op(d, 1).update(growth={"n": 2**40}),
        r"op 'scores' has n 7 and growth 1099511627776: 4398046511111 in step 5 of 5",
    ),
    "another op in decode": (
        lambda d: decode_op(d, 0).update(weight="head"),
        r"phase decode: op 'fc' has weight 'head', in prefill 'fc.weight'",
    ),
    "a prompt in steps": (
        lambda d: d["phases"][0].update(steps=2),
        r"phase prefill: steps is 2, the prompt is processed in 1 step",
    ),
    "no ops": (
        lambda d: d["phases"][1].update(ops=[]),
        r"phases\.1\.ops: Tuple should have at least 1 item",
    ),
    "listed twice": (
        lambda d: d["parameters"].append(d["parameters"][0]),
        r"parameter 'fc.weight' is listed twice: keep one",
    ),
    "tied in a circle": (
        lambda d: d["parameters"][1].update(tied_to="head"),
        r"parameter 'table' is tied to 'head', which is itself tied to 'table'",
    ),
    "tied to another shape": (
        lambda d: d["parameters"][2].update(shape=[9, 5]),
        r"parameter 'head' has shape \[9, 5\], 'table' that it is tied to has \[9, 4\]",
    ),
    "a truth for a size": (
        lambda d: prefill_op(d, 1).update(rows=True),
        r"ops\.1\.norm\.rows: Input should be a valid integer \(got True\)",
    ),
    "a table of 2**53": (
        lambda d: d["parameters"].append({"name": "big", "shape": [2**40, 2**20]}),
        r"parameter 'big' has 1152921504606846976 values, more than 9007199254740992",
    ),
    "values beyond counting": (
        lambda d: prefill_op(d, 9).update(elements=2**40, inputs_per_output=2**40),
        r"op 'mean' has elements x inputs_per_output of \d+ values over 1 steps, more than",
    ),
    "a name that moves the cursor": (
        lambda d: d.update(name="a\x1b[2J"),
        r"name: text holds printable characters alone, character 2 is U\+001B \(got 'a\\x1b\[2J'\)",
    ),
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
