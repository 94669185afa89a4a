"""Accuracy of tasks on chips: laws of the evaluation, its statistics, its section of a report."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
import toy_task
from analog import programmed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plot import check
from toy_task import evaluated

from cimsim.accuracy import (
    Named,
    compare,
    paired,
    place,
    section,
    spread,
    student_t,
    wilson,
    with_sigmas,
)
from cimsim.accuracy.batches import evenly, in_batches, pass_over
from cimsim.accuracy.placing import as_mapped, check_adapter, mapping_of
from cimsim.accuracy.processes import spread_over
from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.hardware import hardware_of, without_errors
from cimsim.errors import MappingError, SpecError, TaskError
from cimsim.functional import Chip, in_evaluation
from cimsim.noise import (
    PCM,
    Gaussian,
    Ideal,
    NeuRRAM,
    ReadNoise,
    Table,
    format_device,
    parse_device,
)
from cimsim.report import Accuracy, AccuracyReport, Reprogramming, load_accuracy
from cimsim.spec import Architecture
from cimsim.tasks.task import Example
from cimsim.training import inputs_of, load_trained
from cimsim.training.record import digest_of_weights

NOISE = Gaussian(0.1, "channel")


@pytest.fixture(scope="module")
def base():
    return toy_task.model()


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory):
    return toy_task.adapter(base, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def adapted(base, folder):
    return load_trained(base, folder)


@pytest.fixture(scope="module")
def task(adapted):
    return toy_task.task(adapted)


@pytest.fixture(scope="module")
def machine():
    return toy_task.machine()


@pytest.fixture(scope="module")
def mapping(base, adapted, machine):
    return place(base, machine, tokens=6, adapted=adapted)[1]


@pytest.fixture
def run(task, adapted, mapping, machine):
    def call(**options):
        given = {"noises": (NOISE,), "seeds": 2, "converters": False, "limit": 30}
        return evaluated(task, adapted, mapping, machine, **given | options)

    return call


def exact(machine):
    """Ideal cells and converters."""
    ideal = without_errors(hardware_of(machine, Ideal()))
    return {"coding": ideal.coding, "dac": ideal.dac, "adc": ideal.adc, "noises": (Ideal(),)}


# --- laws of the evaluation -------------------------------------------------------------------


def test_without_errors_the_digital_metric_stands(run, machine):
    found = run(**exact(machine), converters=True, limit=None, seeds=1)
    assert found.digital == 100.0
    assert found.points[0].values == (100.0,)
    weights = run(noises=(Ideal(),), limit=None, seeds=1)
    assert weights.points[0].values == (100.0,)


def test_the_digital_metric_is_that_of_the_labels(task, adapted, mapping, machine):
    wrong = [
        Example(e.sequences, 1 - e.label) if k % 4 == 0 else e for k, e in enumerate(task.test)
    ]
    flipped = replace(task, test=tuple(wrong))
    found = evaluated(flipped, adapted, mapping, machine, noises=(Ideal(),), seeds=1,
                     converters=False)  # fmt: skip
    assert found.digital == 75.0
    assert found.points[0].values == (75.0,)


def test_noise_costs_more_the_stronger_it_is(run):
    noises = with_sigmas(Gaussian(relative_to="channel"), (0.0, 0.03, 0.1, 0.3, 1.0))
    found = run(noises=noises, seeds=6, limit=None)
    means = [point.spread.mean for point in found.points]
    assert means == sorted(means, reverse=True)
    assert means[0] == 100.0
    assert means[-1] < 80.0


def test_seeds_are_chips(run):
    three = run(seeds=3)
    assert three.seeds == (0, 1, 2)
    assert run(seeds=3) == three
    assert run(seeds=(2, 0)).points[0].values == tuple(three.points[0].values[k] for k in (2, 0))
    assert len(set(run(seeds=6, limit=None).points[0].values)) > 1


def test_batches_change_nothing(run, machine):
    """With noise in every conversion, which is numbered by the vectors of a layer."""
    noisy = {"converters": True, "adc": Adc(8, "fixed", 4.0, noise_ratio=0.05), "dac": Dac(8)}
    with torch.random.fork_rng():
        assert run(**noisy, batch=8) == run(**noisy, batch=1)


def test_processes_change_nothing(run):
    options = {"converters": True, "times_s": (0.0, 1e6), "noises": (NOISE, PCM()),
               "adc": Adc(8, "fixed", 4.0, noise_ratio=0.05), "adc_bits": (8, 4)}  # fmt: skip
    seen = []
    two = run(**options, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 17) for n in range(18)]
    assert run(**options, workers=1) == two


@pytest.mark.parametrize(
    ("adc", "more"),
    [
        (Adc(8, "fixed", 4.0, noise_ratio=0.05), {"compensate": "both"}),
        (Adc(8, "calibrated"), {}),
        (Adc(8, "calibrated"), {"recalibrate": True}),
        (Adc(None, "worst_case"), {}),
    ],
)
def test_several_bits_in_one_pass_are_as_many_passes(run, adc, more):
    """And so are several noises and times: bit for bit, with noise in every conversion."""
    options = {"converters": True, "adc": adc, "dac": Dac(8)} | more
    noises, times = (NOISE, PCM(drift_scale=3.0)), (0.0, 1e6)
    whole = run(**options, noises=noises, times_s=times, adc_bits=(3, 5))
    parts = [
        run(**options, noises=(noise,), times_s=times, adc_bits=bits)
        for noise in noises
        for bits in (3, 5)
    ]
    assert whole.points == tuple(point for part in parts for point in part.points)
    late = run(**options, noises=noises[1:], times_s=times[1:], adc_bits=5)
    assert whole.points[-len(late.points) :] == late.points
    assert {part.digital for part in (*parts, late)} == {whole.digital}
    assert {point.adc_bits for point in whole.points} == {3, 5}
    assert whole.points[0].values != whole.points[len(whole.points) // 4].values


def test_cells_are_read_once_for_all_bits(run, monkeypatch):
    reads = []
    read = Chip.at
    monkeypatch.setattr(Chip, "at", lambda self, *a, **g: reads.append(1) or read(self, *a, **g))
    run(converters=True, adc=Adc(8, "fixed", 4.0), times_s=(0.0, 60.0), adc_bits=(4, 5, 6, 7))
    assert len(reads) == 2 * 2  # counted: chips and times
    with pytest.raises(TaskError, match="ADCs of 4 bits are named twice"):
        run(converters=True, adc_bits=(4, 5, 4))
    with pytest.raises(TaskError, match="the list of ADC bits is empty"):
        run(converters=True, adc_bits=())
    with pytest.raises(TaskError, match="bits of converters were given for noise on weights only"):
        run(adc_bits=(4, 5))


def test_processes_start_only_for_much_work(run, monkeypatch):
    def stopped(work, setting, pieces, workers, progress=None):
        raise InterruptedError(f"{len(pieces)} passes by {workers}")

    # The package shows a function of the same name.
    place_of = sys.modules["cimsim.accuracy.evaluate"]
    monkeypatch.setattr(place_of, "spread_over", stopped)
    monkeypatch.setattr(place_of, "cores", lambda: 7)
    with pytest.raises(InterruptedError, match=r"^3 passes by 1$"):
        run(workers=None, seeds=2)
    with pytest.raises(InterruptedError, match=r"^10001 passes by 7$"):
        run(workers=None, seeds=10_000, limit=None)
    with pytest.raises(InterruptedError, match=r"^3 passes by 2$"):
        run(workers=2, seeds=2)


def test_points_go_by_noise_then_bits_then_time_then_compensation(run):
    found = run(noises=(NOISE, PCM()), times_s=(0.0, 60.0), compensate="both", seeds=1, limit=2)
    assert [(p.noise, p.t_s, p.compensated) for p in found.points] == [
        (noise, t, c) for noise in (NOISE, PCM()) for t in (0.0, 60.0) for c in (False, True)
    ]
    found = run(noises=(NOISE, PCM()), adc_bits=(6, 4), converters=True, seeds=1, limit=2,
                times_s=(0.0, 60.0), adc=Adc(8, "fixed", 4.0))  # fmt: skip
    assert [(p.noise, p.adc_bits, p.t_s) for p in found.points] == [
        (noise, bits, t) for noise in (NOISE, PCM()) for bits in (6, 4) for t in (0.0, 60.0)
    ]
    made = section(found, named(), RELOAD)
    assert [(n.noise, n.adc_bits) for n in made.by_noise] == [
        (format_device(noise), bits) for noise in (NOISE, PCM()) for bits in (6, 4)
    ]
    assert made.adc_bits == 6
    assert [(line.adc_bits, line.difference) for line in paired(made, made)[::2]] == [
        (6, 0.0), (4, 0.0), (6, 0.0), (4, 0.0)
    ]  # fmt: skip
    assert [p.compensated for p in run(compensate=True, limit=2).points] == [True]


def test_drift_costs_and_compensation_wins_some_back(run):
    found = run(noises=(PCM(),), times_s=(0.0, 3e9), compensate="both", seeds=4, limit=None)
    start, _, late, compensated = (point.spread.mean for point in found.points)
    assert late < start
    assert compensated > late


def test_the_model_is_left_as_it_is(run, adapted, base):
    before = digest_of_weights(adapted)
    modes = [module.training for module in adapted.modules()]
    run()
    assert digest_of_weights(adapted) == before
    assert [module.training for module in adapted.modules()] == modes
    assert not any("lora" in name for name, _ in base.module.named_parameters())


def test_the_machines_own_device_is_the_default(task, adapted, mapping, machine):
    with pytest.raises(SpecError, match="names no device model"):
        evaluated(task, adapted, mapping, machine)
    data = machine.model_dump(mode="json", exclude_none=True)
    device = {"device": {"kind": "pcm"}, "device_source": "assumed: for tests"}
    data["rram"]["accuracy"] = {"sources": {}, **device}
    own = Architecture.model_validate(data)
    found = evaluated(task, adapted, mapping, own, seeds=1, limit=2)
    assert found.points[0].noise == PCM()


def test_saturation_is_reported_and_not_warned_about(run):
    narrow = run(converters=True, adc=Adc(8, "fixed", 0.05))
    assert narrow.points[0].saturated_ratio > 0.1
    assert run(converters=True, adc=Adc(8, "fixed", 16.0)).points[0].saturated_ratio == 0.0


# --- calibration ------------------------------------------------------------------------------


def test_a_chip_is_calibrated_once_for_all_times(run, monkeypatch):
    options = {"converters": True, "noises": (NOISE, PCM()), "compensate": "both", "seeds": 2,
               "adc": Adc(5, "calibrated", noise_ratio=0.02), "limit": 40}  # fmt: skip
    times_s = (60.0, 0.0, 3e9)
    alone = [run(**options, times_s=(t_s,)).points for t_s in times_s]
    calibrated, at = [], Chip.at
    monkeypatch.setattr(Chip, "at", lambda chip, *args, samples=None, **kwargs: (
        calibrated.append(samples is not None), at(chip, *args, samples=samples, **kwargs))[1]
    )  # fmt: skip
    together = run(**options, times_s=times_s, workers=1).points
    assert calibrated.count(True) == 4  # two noises, two seeds
    assert together == tuple(p for k in (0, 2) for points in alone for p in points[k : k + 2])


def test_ranges_are_calibrated_on_training_examples(run, task, adapted, mapping, machine):
    calibrated = {"converters": True, "adc": Adc(8, "calibrated"), "noises": (Ideal(),)}
    found = run(**calibrated, limit=None, seeds=1)
    assert found.points[0].values[0] > 85.0
    few = evaluated(task, adapted, mapping, machine, calibration=task.train[:1], seeds=1,
                   noises=(Ideal(),), adc=Adc(4, "calibrated"))  # fmt: skip
    many = evaluated(task, adapted, mapping, machine, seeds=1,
                    noises=(Ideal(),), adc=Adc(4, "calibrated"))  # fmt: skip
    assert few.points != many.points
    other = replace(task, test=task.test[::-1])
    assert evaluated(other, adapted, mapping, machine, seeds=1, noises=(Ideal(),),
                    adc=Adc(4, "calibrated")).points == many.points  # fmt: skip
    with pytest.raises(TaskError, match="has no training examples to calibrate them on"):
        evaluated(replace(task, train=()), adapted, mapping, machine, **calibrated)


def test_ranges_stay_as_they_were_set_after_programming(run, task, adapted, mapping, machine):
    """Uncompensated drift shrinks the sums; ranges that followed it would hide that."""
    adc = Adc(3, "calibrated")
    found = run(converters=True, noises=(PCM(),), times_s=(3e9,), adc=adc, limit=None, seeds=1)
    chip = programmed(adapted, mapping, machine, PCM(), 0, adc=adc)
    with in_evaluation(adapted):
        samples = inputs_of(task, adapted, evenly(task.train))
    batches = in_batches(task.test, 64)
    kept = chip.at(3e9, ranges_of=chip.at(0.0, samples=samples))
    assert found.points[0].values == (pass_over(task, kept, task.test, batches).metric,)
    again = chip.at(3e9, samples=samples)
    assert found.points[0].values != (pass_over(task, again, task.test, batches).metric,)


def test_calibration_examples_are_spread_over_all():
    examples = [Example(((1,) * 10,), k) for k in range(100)]
    chosen = evenly(examples, tokens=50)
    assert [e.label for e in chosen] == [0, 20, 40, 60, 80]
    assert len(evenly(examples, tokens=1)) == 1
    assert evenly([]) == []


@given(lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=40), size=st.integers(1, 70))
def test_batches_hold_every_example_once_and_need_no_padding(lengths, size):
    examples = [Example(((0,) * n,), 0) for n in lengths]
    batches = in_batches(examples, size)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len({lengths[index] for index in batch}) == 1
        assert len(batch) <= size
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= 2048
    flat = [index for batch in batches for index in batch]
    assert flat == [index for batch in in_batches(examples, 1) for index in batch]


# --- statistics -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227)],
)
def test_known_quantiles(freedom, t):
    assert student_t(0.95, freedom) == pytest.approx(t, rel=1e-5)


@settings(max_examples=50)
@given(freedom=st.integers(1, 400), confidence=st.floats(0.01, 0.999))
def test_quantiles_are_students(freedom, confidence):
    wanted = scipy.stats.t.ppf(0.5 + confidence / 2.0, freedom)
    # scipy 1.12 is off by 2e-9
    assert student_t(confidence, freedom) == pytest.approx(wanted, rel=1e-8)


def test_a_known_interval():
    found = spread([80.0, 82.0, 84.0, 86.0, 88.0])
    assert (found.mean, found.draws) == (84.0, 5)
    assert found.std == pytest.approx(math.sqrt(10.0))
    assert found.confidence_95 == pytest.approx((80.07351, 87.92649), abs=1e-5)
    alone = spread([80.0])
    assert (alone.mean, alone.std, alone.confidence_95) == (80.0, None, None)


def test_intervals_hold_what_they_promise():
    source = torch.Generator().manual_seed(1)
    draws = torch.randn((2000, 4), generator=source, dtype=torch.float64)
    hits = 0
    for row in draws.tolist():
        low, high = spread(row).confidence_95
        hits += low <= 0.0 <= high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_pairing_removes_what_two_methods_share():
    shared = [70.0, 74.0, 78.0, 82.0, 86.0]
    other = [71.1, 74.9, 79.0, 83.2, 86.8]
    difference = compare(shared, other)
    assert difference.mean == pytest.approx(1.0)
    apart = math.hypot(spread(shared).std, spread(other).std)
    assert difference.std < apart / 20
    with pytest.raises(SpecError, match="needs the same draws of both methods, got 5 and 4"):
        compare(shared, other[:4])


@pytest.mark.parametrize(
    ("accuracy", "examples", "wanted"),
    [
        # Closed form at the ends: z^2 / (n + z^2), with z = 1.959964.
        (100.0, 100, (100.0 / (1.0 + 3.841459 / 100.0), 100.0)),
        (0.0, 100, (0.0, 100.0 * 3.841459 / 103.841459)),
        (0.0, 1, (0.0, 100.0 * 3.841459 / 4.841459)),
        # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 and 15 of 148.
        (100.0 * 81 / 263, 263, (25.53, 36.62)),
        (100.0 * 15 / 148, 148, (6.24, 16.05)),
    ],
)
def test_wilson_intervals_that_are_known(accuracy, examples, wanted):
    assert wilson(accuracy, examples) == pytest.approx(wanted, abs=5e-3)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.86, 0.98])
@pytest.mark.parametrize("examples", [30, 200])
def test_wilson_intervals_hold_what_they_promise(share, examples):
    """Coverage over all outcomes, exact: about 95 %; the standard error has 45 % at 2 % of 30."""
    pmf = scipy.stats.binom.pmf(np.arange(examples + 1), examples, share)
    inside = [
        low <= 100.0 * share <= high
        for low, high in (wilson(100.0 * k / examples, examples) for k in range(examples + 1))
    ]
    assert 0.92 < float(pmf[inside].sum()) < 0.985


def test_intervals_of_what_is_no_share_are_refused():
    for accuracy, examples in ((50.0, 0), (101.0, 5), (-1.0, 5), (math.nan, 5)):
        with pytest.raises(SpecError, match="needs 1 example or more and 0 to 100 %"):
            wilson(accuracy, examples)


def test_two_draws_have_a_spread_and_no_interval():
    two, three = spread([80.0, 90.0]), spread([80.0, 85.0, 90.0])
    assert (two.mean, two.confidence_95, two.half_95) == (85.0, None, None)
    assert two.std == pytest.approx(math.sqrt(50.0))
    low, high = three.confidence_95
    assert three.half_95 == pytest.approx(0.5 * (high - low))
    assert three.half_95 == pytest.approx(5.0 * 4.302653 / math.sqrt(3.0))
    assert compare([1.0, 2.0], [2.0, 2.5]).confidence_95 is None


def test_statistics_need_values():
    with pytest.raises(SpecError, match="at least one draw, got none"):
        spread([])
    for confidence, freedom in ((0.0, 1), (1.0, 1), (0.9, 0)):
        with pytest.raises(SpecError, match="Student's t needs a confidence between 0 and 1"):
            student_t(confidence, freedom)


# --- names of noises --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("gaussian:sigma_ratio=0.1,relative_to=channel", Gaussian(0.1, "channel")),
        ("gaussian:relative_to=absolute,sigma_uS=1.5", Gaussian(0.0, "absolute", 1.5)),
        ("gaussian:0.02", Gaussian(0.02)),
        ("gaussian:sigma_ratio=0.02", Gaussian(0.02)),
        ("gaussian:0.1,relative_to=channel", Gaussian(0.1, "channel")),
        ("neurram:2", NeuRRAM(2.0)),
        ("read_noise:0.02,inner=pcm", ReadNoise(0.02, inner=PCM())),
        (
            "read_noise:0.02,inner=(gaussian:0.01,relative_to=cell)",
            ReadNoise(0.02, inner=Gaussian(0.01, "cell")),
        ),
        (
            'table:g_ratio=0+1,times_s=1,sigma_ratio=(0+0.1),title="my, own"',
            Table((0.0, 1.0), (1.0,), ((0.0, 0.1),), "my, own"),
        ),
        ("pcm", PCM()),
        ("ideal", Ideal()),
    ],
)
def test_names_and_devices(text, device):
    assert parse_device(text) == device
    assert parse_device(format_device(device)) == device


def test_noises_from_files_and_of_the_users_own(tmp_path):
    path = tmp_path / "noise.json"
    path.write_text('{"kind": "read_noise", "sigma_ratio": 0.02, "inner": {"kind": "pcm"}}')
    found = parse_device(str(path))
    assert found == ReadNoise(0.02, inner=PCM())
    assert format_device(found) == "read_noise:sigma_ratio=0.02,inner=pcm"

    assert format_device(Gaussian(0.0, "channel")) == "gaussian:sigma_ratio=0.0,relative_to=channel"

    class Own:
        name = "own"

    assert format_device(Own()) == "own"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fog", "^unknown noise 'fog'; known: ideal, .*, or the path of a JSON file$"),
        ("gausian:0.1", "^unknown noise 'gausian', nearest: gaussian; known: "),
        ("gaussian:", "an option is empty"),
        (
            "gaussian:colour=red",
            "^noise 'gaussian' has no option 'colour'.*; options: sigma",
        ),
        ("gaussian:sigma_ratio=big", "sigma_ratio takes a number: 'big' is no number$"),
        ("gaussian:5", "^noise 'gaussian:5': gaussian: sigma_ratio must lie in 0 .. 1, got 5"),
        ("pcm:0.5", "^noise 'pcm': '0.5' has no option before it, .*; options: programming_scale"),
        ("gaussian:relative_to=row", "relative_to takes one of tile, .*: 'row' is none of them"),
        ("read_noise:inner=fog", "^noise 'read_noise': inner: unknown noise 'fog'; known: "),
        ("table", "^noise 'table' needs g_ratio, times_s, sigma_ratio$"),
        ("none.json", "^none.json: cannot read the device file"),
    ],
)
def test_noises_that_do_not_exist(text, message):
    with pytest.raises(SpecError, match=message):
        parse_device(text)


def test_sigmas_vary_a_gaussian():
    assert with_sigmas(Gaussian(0.5, "channel"), (0.0, 0.1)) == [
        Gaussian(0.0, "channel"), Gaussian(0.1, "channel"),
    ]  # fmt: skip
    for other in (PCM(), Gaussian(0.0, "absolute", 1.0)):
        with pytest.raises(SpecError, match="sigmas vary the sigma_ratio of Gaussian noise"):
            with_sigmas(other, (0.1,))


# --- placing and adapters ---------------------------------------------------------------------


def test_the_head_that_an_adapter_brings_is_used(base, folder, adapted, mapping):
    assert mapping.placements["head.weight"].unit == "sram"
    assert {p.unit for n, p in mapping.placements.items() if ".lora_" in n} == {"sram"}
    plain = mapping_of(place(base, toy_task.machine(), tokens=6)[0], toy_task.machine())
    assert plain.adaptation.name == "none"
    assert plain.placements["head.weight"].unit == "rram"


def test_the_workload_names_its_model(base, adapted, machine):
    workload, _ = place(base, machine, tokens=6, adapted=adapted)
    assert (workload.origin["model"], workload.origin["prefill"]) == ("toy", 6)
    assert (workload.name, workload.adapter.rank) == ("toy_s6", 2)
    assert workload.phases[0].tokens == 6


def test_merged_adapters_run_in_the_base_cells(task, base, adapted, machine):
    workload, mapping = place(base, machine, tokens=6, adapted=adapted, adaptation="merged")
    plain = as_mapped(adapted, mapping)
    assert not any("lora" in name for name, _ in plain.named_parameters())
    found = evaluated(task, plain, mapping, machine, seeds=1, limit=40, converters=False,
                     noises=(Ideal(),))  # fmt: skip
    assert found.digital == 100.0
    assert as_mapped(base.module, mapping) is base.module
    assert any("lora" in name for name, _ in adapted.named_parameters())
    assert workload.adapter is not None


@pytest.mark.parametrize(
    ("adaptation", "given", "traced", "message"),
    [
        ("none", True, True, "adaptation 'none' runs the base model alone"),
        ("lora-sram", False, True, "has a rank-2 adapter, the model that is to run it has none"),
        ("lora-sram", True, False, "was traced without one"),
    ],
)
def test_adapter_and_workload_agree(base, adapted, machine, adaptation, given, traced, message):
    found = adapted if traced else None
    workload, mapping = place(base, machine, tokens=6, adapted=found, adaptation=adaptation)
    module = adapted if given else base.module
    with pytest.raises(MappingError, match=message):
        check_adapter(workload, mapping, as_mapped(module, mapping))
    check_adapter(workload, mapping_of(workload, machine, "none"), base.module)


# --- wrong settings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "^0 noise draws were asked for; at least 1 is needed.$"),
        ({"seeds": ()}, "^0 noise draws were asked for; at least 1 is needed.$"),
        ({"noises": ()}, "^the list of noise models is empty"),
        ({"noises": (NOISE, NOISE)}, "^noise gaussian:.* is named twice"),
        ({"times_s": ()}, "^the list of times is empty"),
        ({"times_s": (1.0, 1.0)}, "^the time 1 s is named twice"),
        ({"times_s": (-1.0,)}, r"^a time of -1 s after programming was asked for"),
        ({"times_s": (1e300,)}, r"^a time of 1e\+300 s after .*; times are 0 to 1e\+10 s\.$"),
        ({"seeds": 10**9}, "^1000000000 noise draws were asked for; at most 10000 are measured"),
        ({"times_s": (math.nan,)}, "^a time of nan s after programming"),
        ({"times_s": (math.inf,)}, "^a time of inf s after programming"),
        ({"limit": 0}, "^0 test examples were asked for; at least 1 is needed.$"),
        ({"batch": 0}, "^a batch holds at least 1 example, 0 were asked for.$"),
        ({"workers": 0}, "^0 processes were asked for; at least 1 is needed.$"),
    ],
)
def test_settings_that_make_no_sense(run, options, message):
    with pytest.raises(TaskError, match=message):
        run(**options)


def test_a_task_without_test_examples(task, adapted, mapping, machine):
    with pytest.raises(TaskError, match=r"^task 'toy' has no test examples"):
        evaluated(replace(task, test=()), adapted, mapping, machine, noises=(NOISE,))


def test_a_mapping_of_another_model(task, base, mapping, machine):
    with pytest.raises(MappingError, match="which the model has no linear layer for"):
        evaluated(task, base.module, mapping, machine, noises=(NOISE,))


def test_a_metric_that_is_no_number(task, adapted, mapping, machine):
    class Broken(toy_task.ToyTask):
        def summary(self, values, examples):
            return [math.nan]

    with pytest.raises(TaskError, match="the accuracy of the digital model is nan"):
        evaluated(Broken(task.train, task.test), adapted, mapping, machine, noises=(NOISE,),
                 limit=2)  # fmt: skip


def test_what_cannot_be_sent_to_a_process():
    with pytest.raises(TaskError, match="cannot be sent to another process"):
        spread_over(lambda setting, piece: piece, None, [1, 2], 2)


# --- the section of a report ------------------------------------------------------------------


RELOAD = Reprogramming(
    cells_written=0, energy_J=1e-6, time_s=1e-5, sram_bits_written=8, tcdm_bytes_written=0, wear=0.0
)


def named(adapter="a"):
    return Named("toy", "a toy", adapter, {"adapter_sha256": "0"})


def test_the_section_says_what_was_measured(run, tmp_path):
    found = run(noises=(NOISE, PCM()), times_s=(0.0, 60.0), seeds=3)
    made = section(found, named(), RELOAD)
    first = found.points[0].spread
    assert (made.noisy_mean, made.noisy_std) == (first.mean, first.std)
    assert made.noise == "gaussian:sigma_ratio=0.1,relative_to=channel"
    assert [n.noise for n in made.by_noise] == [made.noise, "pcm"]
    assert [p.t_s for p in made.by_time] == [0.0, 60.0]
    assert (made.examples, made.examples_available) == (30, 120)
    assert made.test_set_95 == wilson(found.digital, 30)
    assert made.lora_reload == RELOAD
    assert made.by_noise[1].by_time[1].values == found.points[3].values
    report = AccuracyReport(architecture="tiny", workload="toy_s6", results=(made,))
    report.save(tmp_path / "accuracy.json")
    assert load_accuracy(tmp_path / "accuracy.json") == report
    assert (tmp_path / "accuracy.json").read_text() == report.to_json()


def test_a_note_says_what_clipping_takes(run):
    tight = {"noises": (Ideal(),), "seeds": 1, "limit": 4, "adc": Adc(8, "worst_case")}
    found = run(**tight, converters=True, coding=Coding(clip_sigma=0.5))
    worst = max(found.clipping.values())
    assert 0.1 < worst <= 1.0
    note = section(found, named(), RELOAD).note
    many = sum(share > 0.1 for share in found.clipping.values())
    assert f"10% of the output norm of {many} of {len(found.clipping)} layers" in note
    assert note.endswith(f": {worst:.0%}")
    for options in ({"converters": False, "coding": Coding(clip_sigma=0.5)}, {"converters": True}):
        found = run(**tight | options)
        assert found.clipping == {}
        assert section(found, named(), RELOAD).note == "a toy"


def test_a_section_that_contradicts_itself_is_refused(run):
    data = section(run(limit=4), named(), RELOAD).model_dump()
    for wrong, message in (
        ({"noisy_mean": 1.0}, "must be those of by_noise"),
        ({"seeds": (0,)}, "values for 2 draws"),
        ({"digital": math.nan}, "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            Accuracy.model_validate({**data, **wrong})


def test_two_adapters_are_compared_draw_by_draw(run, task, base, mapping, machine, tmp_path):
    mine = section(run(seeds=4), named("a"), RELOAD)
    other = load_trained(base, toy_task.adapter(base, tmp_path / "b", seed=2))
    found = evaluated(task, other, mapping, machine, noises=(NOISE,), seeds=4, converters=False,
                     limit=30)  # fmt: skip
    theirs = section(found, named("b"), RELOAD)
    (line,) = paired(mine, theirs)
    assert (line.base, line.other, line.noise) == ("a", "b", mine.noise)
    assert line.difference == pytest.approx(theirs.noisy_mean - mine.noisy_mean)
    (same,) = paired(mine, mine)
    assert (same.difference, same.std, same.confidence_95) == (0.0, 0.0, (0.0, 0.0))


def test_the_picture_is_drawn(run, tmp_path: Path):
    from cimsim.views.accuracy import save_accuracy

    noises = with_sigmas(Gaussian(relative_to="channel"), (0.0, 0.1))
    for name, options in (
        ("one", {}),
        ("sigmas", {"noises": noises}),
        ("kinds", {"noises": (NOISE, PCM()), "times_s": (0.0, 60.0), "compensate": "both"}),
        (
            "bits",
            {
                "noises": (NOISE, PCM()),
                "times_s": (0.0, 60.0),
                "adc_bits": (4, 6),
                "converters": True,
                "adc": Adc(8, "fixed", 4.0),
            },
        ),
    ):
        made = section(run(**options, limit=4), named(), RELOAD)
        report = AccuracyReport(architecture="tiny", workload="toy", results=(made, made))
        for width in ("page", "column"):
            save_accuracy(report, tmp_path / f"{name}.pdf", width)
            check(tmp_path / f"{name}.pdf", width)


def test_a_panel_says_at_which_bits_and_time_it_is(run):
    from cimsim.views.accuracy import against, held

    one = section(run(limit=4), named(), RELOAD)
    assert [held(one, kind) for kind in against(one)] == [""]
    several = section(
        run(noises=(NOISE, PCM()), times_s=(0.0, 60.0), adc_bits=(4, 6), converters=True,
            adc=Adc(8, "fixed", 4.0), limit=4), named(), RELOAD,
    )  # fmt: skip
    said = {kind: held(several, kind) for kind in against(several)}
    assert said == {
        "noise": "ADCs of 4 bits, at 0 s",
        "bits": "at 0 s",
        "time": "ADCs of 4 bits",
    }
