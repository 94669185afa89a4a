"""Spaces, points, rows and sweeps: what is varied, what it resolves to, and what is kept."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
from pathlib import Path

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

import cimsim
from cimsim.errors import (
    CapacityError,
    CimsimError,
    MappingError,
    OutputError,
    SpecError,
    WorkloadError,
)
from cimsim.exploration.checks import check_space
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.executors import Executor, OneProcess
from cimsim.exploration.measured import content_of, key_of
from cimsim.exploration.outputs import check_outputs
from cimsim.exploration.points import Base, Point, resolve
from cimsim.exploration.rows import Row
from cimsim.exploration.samplers import Sampling
from cimsim.exploration.scoring import Scoring
from cimsim.exploration.space import Choice, Range, Space
from cimsim.exploration.store import open_store
from cimsim.exploration.sweep import Sweep

TINY = small.one_layer()
MACHINE = small.machine()


def swept(vary: dict[str, object] | None, **given: object) -> Sweep:
    return cimsim.sweep(TINY, MACHINE, vary, **{"pipeline": "token", **given})  # type: ignore[arg-type]


BASE = Base(TINY, MACHINE, pipeline="token")


@given(
    st.lists(st.integers(-3, 9), min_size=1, max_size=4, unique=True),
    st.integers(0, 5),
    st.integers(0, 7),
)
def test_a_grid_is_the_product_of_its_axes(values: list[int], low: int, more: int) -> None:
    space = Space({"a": Choice(tuple(values)), "b": Range(low, low + more, whole=True)})
    found = [tuple(point.values()) for point in space.grid()]
    assert found == list(itertools.product(values, range(low, low + more + 1)))
    assert len(found) == space.size


@given(st.integers(1, 40), st.integers(0, 60), st.booleans())
def test_whole_numbers_have_both_ends_and_equal_or_logarithmic_shares(
    low: int, more: int, log: bool
) -> None:
    axis = Range(low, low + more, whole=True, log=log)
    found = [axis.value(u / 4096) for u in range(4096)]
    assert all(type(value) is int for value in found)
    assert found == sorted(found)  # type: ignore[type-var]
    assert (found[0], found[-1]) == (low, low + more)
    if log:  # each number as often as the logarithm of the step to the next one
        assert found.count(low) >= found.count(low + more) - 1
    else:
        counts = [found.count(value) for value in range(low, low + more + 1)]
        assert max(counts) - min(counts) <= 1


def test_steps_end_where_they_should() -> None:
    axis = Range(0, 1, step=0.1)
    assert [axis.at(i) for i in range(axis.size or 0)] == [round(i / 10, 1) for i in range(11)]
    assert Range(0, 1, step=0.3).size == 4


@pytest.mark.parametrize("method", ["random", "lhs", "sobol"])
def test_samples_lie_in_the_space_and_follow_from_their_seed(method: str) -> None:
    space = Space({
        "a": Range(0.5, 400.0, log=True), "b": Range(-1.0, 1.0), "c": Choice(("x", "y")),
        "d": Range(3, 9, whole=True),
    })  # fmt: skip
    drawn = [list(Sampling(method, 70, seed).settings(space)) for seed in (0, 0, 1)]  # type: ignore[arg-type]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 70
    for point in drawn[0]:
        assert 0.5 <= point["a"] <= 400.0  # type: ignore[operator]
        assert -1.0 <= point["b"] <= 1.0  # type: ignore[operator]
        assert point["c"] in ("x", "y")
        assert point["d"] in range(3, 10)


def test_a_latin_hypercube_has_one_point_a_row_and_column() -> None:
    space = Space({"a": Range(0.0, 1.0), "b": Range(0, 9, whole=True)})
    found = list(Sampling("lhs", 10).settings(space))
    assert sorted(int(point["a"] * 10) for point in found) == list(range(10))  # type: ignore[operator]
    assert sorted(point["b"] for point in found) == list(range(10))  # type: ignore[type-var]


def test_a_list_takes_values_side_by_side() -> None:
    space = Space({"a": Choice((1, 2)), "b": Choice(("x", "y"))})
    assert list(Sampling("list").settings(space)) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    with pytest.raises(SpecError, match="different numbers of them: a 2, b 1"):
        Sampling("list").size(Space({"a": Choice((1, 2)), "b": Choice((1,))}))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: Choice(()), "no values"),
        (lambda: Choice((1, 2, 1)), "stands twice"),
        (lambda: Range(2, 1), "from low to high"),
        (lambda: Range(0, 1, log=True), "above 0"),
        (lambda: Range(0, 1, step=0), "step is above 0"),
        (lambda: Range(0.5, 3, whole=True), "whole ends"),
        (lambda: Space({}), "nothing is varied"),
        (lambda: list(Space({"a": Range(0, 1)}).grid()), "without end"),
        (lambda: Sampling("sobol"), "how many points"),
        (lambda: Sampling("lhs", 0), "1 to"),
        (lambda: Sampling("grid", 5), "no effect"),
        (lambda: Sampling("sobel", 5), "'sobol'"),  # type: ignore[arg-type]
    ],
)
def test_spaces_that_make_no_sense(made: object, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        made()  # type: ignore[operator]


def test_equal_designs_have_one_digest_and_others_have_others() -> None:
    plain = resolve(BASE, {}).digest
    own = {"rram.adc_bits": MACHINE.rram.adc_bits, "adaptation": "lora-pmca", "pipeline": "token"}  # type: ignore[union-attr]
    assert resolve(BASE, own).digest == plain  # type: ignore[arg-type]
    others = [{"rram.adc_bits": 6}, {"pipeline": "sequential"}, {"mapper": "dense"},
              {"adaptation": "none"}, {"architecture": "halora_rram_sram"},
              {"workload": "resnet50_224"}]  # fmt: skip
    digests = [resolve(BASE, settings).digest for settings in others]  # type: ignore[arg-type]
    assert len({plain, *digests}) == 7


def test_lengths_and_ranks_are_those_of_the_workload() -> None:
    whole = cimsim.workload("minilm_sentiment_r8_s32")
    base = Base(whole, MACHINE)
    point = resolve(base, {"rank": 3, "tokens": 7})
    assert base.traced(point.traced) == whole.with_rank(3).with_tokens(7)
    with pytest.raises(WorkloadError):
        resolve(BASE, {"rank": 3})
    with pytest.raises(SpecError, match=r"tokens takes .* whole number"):
        resolve(base, {"tokens": "many"})


def test_a_row_is_what_the_report_says() -> None:
    keys = ("latency_s", "phases.prefill.energy_J", "energy_by_unit_J.rram", "workload")
    done = swept({"rram.integration_ns": [100.0, 200.0]}, outputs=keys)
    assert done.reached.done == 2
    for row in done.rows:
        machine = MACHINE.with_values(dict(row.settings))
        report = cimsim.simulate(TINY, machine, pipeline="token").report
        assert row.values == {
            "latency_s": report.latency_s,
            "phases.prefill.energy_J": report.phases["prefill"].energy_J,
            "energy_by_unit_J.rram": report.energy_by_unit_J["rram"],
            "workload": "one-layer",
        }


def test_what_does_not_fit_is_a_row_with_its_shortage() -> None:
    few = MACHINE.with_values({"rram.tile_count": 1})
    wide = small.one_layer(inputs=64)
    with pytest.raises(CapacityError) as shortage:
        cimsim.simulate(wide, few, pipeline="token")
    done = cimsim.sweep(wide, few, {"rram.tile_count": [1, 4]}, pipeline="token")
    assert [row.status for row in done.rows] == ["infeasible", "done"]
    assert done.rows[0].shortage == str(shortage.value)
    assert (done.reached.done, done.reached.infeasible) == (1, 1)


def test_values_that_go_with_some_others_only_are_rows_that_say_so() -> None:
    vary = {"pmca.voltage_V": [0.7], "pmca.clock_MHz": [500.0, 1000.0]}
    done = swept(vary)
    assert [row.status for row in done.rows] == ["done", "infeasible"]
    assert "needs" in done.rows[1].shortage


@pytest.mark.parametrize(
    ("vary", "told"),
    [
        ({"rram.adc_bitz": [4]}, r"no field 'rram.adc_bitz'.*adc_bits"),
        ({"rram.adc_bits": [4, 999]}, "adc_bits.*999"),
        ({"rram.adc_bits": []}, "rram.adc_bits: an axis has no values"),
        ({"rram.write": [None], "rram.write.pulse_ns": [1.0]}, "part of the other"),
        ({"pipeline": ["tokens"]}, "unknown pipeline.*token"),
        ({"architecture": ["puma"]}, "given and varied"),
        ({"rank": [4]}, "adapter"),
        ({"rram.bogus": [None]}, "no field 'rram.bogus'"),
        ({"noise": ["pcm"]}, "accuracy alone"),
    ],
)
def test_bad_axes_are_refused_before_anything_runs(
    vary: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(CimsimError, match=told):
        swept(vary, store=tmp_path / "s.sqlite")
    assert not (tmp_path / "s.sqlite").exists()


def test_a_number_that_a_model_gives_is_varied_through_its_model() -> None:
    workload = cimsim.workload("minilm_sentiment_r8_s32")
    with pytest.raises(SpecError, match=r"set rram.models.adc.anchor.adc_energy_pJ"):
        cimsim.sweep(workload, "halora_rram_sram", {"rram.adc_energy_pJ": [1.0]})
    whole = cimsim.machine("halora_rram_sram")
    found = resolve(Base(workload, whole), {"rram.models.adc.anchor.adc_energy_pJ": 1.0})
    assert found.architecture.rram is not None
    assert whole.rram is not None
    assert found.architecture.rram.adc_energy_pJ != whole.rram.adc_energy_pJ


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("latency", "a report has latency_s"),
        ("phases.prefill.energy", "energy_J"),
        ("phases", "no single value"),
        ("latency_s.of", "without parts"),
        ("baselines.GPU 4.5.latencies", "latency_ratio|latency_s"),
    ],
)
def test_unknown_outputs_name_those_near(key: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        check_outputs([key])


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("phases.decode.latency_s", "it has prefill"),
        ("baselines.GPU.latency_ratio", "--baseline"),
        ("energy_by_unit_J.ram", "it has rram, sram, pmca"),
    ],
)
def test_names_that_no_design_has_are_refused(key: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        swept({"rram.rows": [64]}, outputs=[key])


def test_an_adaptation_that_the_machine_has_no_unit_for_is_refused() -> None:
    where = "minilm_sentiment_r8_s32", "ahwa_pcm_pmca"
    with pytest.raises(MappingError, match=r"`sram`|'sram'"):
        cimsim.sweep(*where, {"adaptation": ["lora-pmca", "lora-sram"]}, pipeline="token")


def test_known_outputs_may_have_dots_in_names() -> None:
    check_outputs(["baselines.GPU 4.5, LoRA merged.latency_ratio", "bound", "energy_by_unit_J.x"])


class _Counted:
    """Evaluates as the evaluator does, and counts."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, evaluate: Evaluator) -> Executor:
        def counted(point: Point) -> Row:
            self.seen.append(point.digest)
            return evaluate(point)

        return OneProcess(counted)


def test_what_is_stored_is_not_evaluated_again(tmp_path: Path) -> None:
    store, counted = tmp_path / "s.sqlite", _Counted()
    first = swept({"rram.adc_bits": [6, 7]}, store=store, executor=counted)
    first.store.close()
    vary = {"rram.adc_bits": [7, 6, 5], "rram.integration_ns": [100.0, 50.0]}
    again = swept(vary, store=store, executor=counted)
    assert len(counted.seen) == len(set(counted.seen)) == 6
    assert (again.reached.found, again.reached.done) == (2, 4)
    grid = list(itertools.product([7, 6, 5], [100.0, 50.0]))
    assert [tuple(row.settings.values()) for row in again.rows] == grid
    assert len(again.store) == 6


def test_one_design_is_evaluated_once() -> None:
    counted = _Counted()
    points = [{"rram.adc_bits": 8}, {}, {"pipeline": "token"}, {"rram.adc_bits": 7}]
    done = swept(None, points=points, executor=counted)
    assert len(counted.seen) == 2
    assert (done.reached.done, done.reached.same) == (2, 2)


def test_a_store_of_something_else_is_refused_and_stays(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    swept({"rram.adc_bits": [6]}, store=store).store.close()
    kept = store.read_bytes()
    for other in ({"outputs": ["area_mm2"]}, {"pipeline": "sequential"}, {"mapper": "dense"}):
        with pytest.raises(SpecError, match=f"another study, its {next(iter(other))}"):
            swept({"rram.adc_bits": [6]}, store=store, **other)
    with pytest.raises(SpecError, match="another study, its workload"):
        cimsim.sweep(small.one_layer(32), MACHINE, {"rram.adc_bits": [6]}, store=store,
                     pipeline="token")  # fmt: skip
    assert store.read_bytes() == kept
    text = tmp_path / "notes.txt"
    text.write_text("no store at all, but longer than a header\n" * 9)
    with pytest.raises(SpecError, match="no store of cimsim"):
        swept({"rram.adc_bits": [6]}, store=text)
    assert text.read_text().startswith("no store at all")


def test_a_store_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s.sqlite"
    swept({"rram.adc_bits": [6]}, store=store).store.close()
    monkeypatch.setattr("cimsim.exploration.store.VERSION", "99.0")
    with pytest.raises(SpecError, match="another version"):
        swept({"rram.adc_bits": [6]}, store=store)


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(SpecError, match="no store of cimsim"):
        open_store(path, {})


def test_a_store_has_a_place_before_the_first_point(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is a directory"):
        open_store(tmp_path, {})
    open_store(tmp_path / "a" / "b" / "s.sqlite", {}).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        open_store(tmp_path / "file" / "s.sqlite", {})


@settings(max_examples=20)
@given(st.dictionaries(st.text(), st.none() | st.floats(-1e300, 1e300) | st.text()))
def test_rows_come_back_as_they_went(values: dict[str, float | str | None]) -> None:
    row = Row("d", {"a": 1, "b": None, "c": "x"}, "done", values, "", 0.5)
    with open_store(None, {}) as store:
        assert store.add(row)
        assert not store.add(Row("d", {}, "infeasible", {}, "no", 0.0))
        assert list(store.rows()) == [row]


def test_processes_and_resumes_share_what_was_measured(tmp_path: Path) -> None:
    import toy_task

    from cimsim.accuracy import Subject, trace_task_model

    base_model, machine = toy_task.model(), toy_task.machine()
    task = toy_task.task(base_model.module)
    workload = trace_task_model(base_model, tokens=6)
    asked = Scoring(task="toy", noise="gaussian:0.05", seeds=2, limit=4, converters=False)
    base = Base(workload, machine, adaptation="none", pipeline="token", scoring=asked)
    path = tmp_path / "rows.sqlite"
    open_store(path, {}).close()
    counts, rows = [], []
    for store in (path, path, None, tmp_path / "none.sqlite"):
        first = Evaluator(base, ("accuracy", "accuracy.noisy_std"), store)
        evaluate_point = pickle.loads(pickle.dumps(first))
        scores = evaluate_point.scores
        scores._subjects["toy", "toy", None] = Subject.of(base_model, None), task
        rows.append(evaluate_point(resolve(base, {"pmca.clock_MHz": 321.0})))
        counts.append(scores.measured)
    assert counts == [1, 0, 1, 1]
    assert not (tmp_path / "none.sqlite").exists()
    assert len({json.dumps(dict(row.values)) for row in rows}) == 1


def test_a_key_of_a_measurement_changes_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    before = content_of(str(tmp_path))
    assert before == content_of(str(tmp_path))
    (tmp_path / "a").write_text("two")
    assert content_of(str(tmp_path)) != before
    assert content_of(str(tmp_path / "missing")) == ""
    assert key_of("x", 1.0, None) != key_of("x", 1.0, "None")


def test_an_accuracy_of_another_model_is_refused_before_the_first_point(tmp_path: Path) -> None:
    import analog
    import toy_task

    from cimsim.accuracy import Subject, trace_task_model

    model = toy_task.model()
    task, machine = toy_task.task(model.module), toy_task.machine()
    own = trace_task_model(model, tokens=6)
    asked = Scoring(task="toy", noise="gaussian:0.05", seeds=2, limit=4)
    other = dataclasses.replace(model, module=analog.network(8, 8))
    space = Space({"pmca.clock_MHz": Choice((300.0, 400.0)), "rram.tile_count": Choice((1, 500))})

    def checked(given: object, noise: str | None = "gaussian:0.05") -> None:
        scoring = asked.model_copy(update={"noise": noise})
        base = Base(own, machine, adaptation="none", pipeline="token", scoring=scoring)
        scores = Evaluator(base, ("accuracy",)).scores
        scores._subjects["toy", "toy", None] = Subject.of(given, None), task  # type: ignore[arg-type]
        check_space(base, space, scores)

    checked(model)
    with pytest.raises(MappingError, match=r"no linear layer for.*leave out `model` or name"):
        checked(other)
    with pytest.raises(SpecError, match="device"):
        checked(model, noise=None)


def test_points_that_score_alike_share_a_measurement() -> None:
    import toy_task

    from cimsim.accuracy import Subject, Trials, evaluate, trace_task_model

    base_model, machine = toy_task.model(), toy_task.machine()
    task = toy_task.task(base_model.module)
    workload = trace_task_model(base_model, tokens=6)
    asked = Scoring(task="toy", noise="gaussian:0.05", seeds=2, limit=10, converters=False)
    base = Base(workload, machine, adaptation="none", pipeline="token", scoring=asked)
    evaluate_point = Evaluator(base, ("latency_s", "accuracy", "accuracy.noisy_std"))
    scores = evaluate_point.scores
    scores._subjects["toy", "toy", None] = Subject.of(base_model, None), task
    points = [
        {}, {"pmca.clock_MHz": 321.0}, {"pipeline": "sequential"}, {"noise": "gaussian:0.5"},
        {"seed": 7}, {"rram.columns": 32},
    ]  # fmt: skip
    rows, counts = [], []
    for point in points:
        rows.append(evaluate_point(resolve(base, point)))
        counts.append(scores.measured)
    assert counts == [1, 1, 1, 2, 3, 4]
    assert len({row.digest for row in rows}) == len(points)
    assert rows[0].values["latency_s"] != rows[1].values["latency_s"]
    assert rows[0].values["accuracy"] == rows[1].values["accuracy"] == rows[2].values["accuracy"]
    done = cimsim.simulate(workload, machine, pipeline="token", adaptation="none")
    for row, noise, first in ((rows[3], 0.5, 0), (rows[4], 0.05, 7)):
        trials = Trials(
            (f"gaussian:{noise}",), seeds=(first, first + 1), limit=10, converters=False
        )
        found = evaluate(task, base_model.module, done.mapping, machine, trials)
        assert row.values["accuracy"] == pytest.approx(sum(found.points[0].values) / 2)
