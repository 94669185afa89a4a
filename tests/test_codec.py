"""Frozen values as text: what is written is read back, for every member of every axis."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.adaptation import adaptation_codec, adaptation_named, known_adaptations
from cimsim.cli.axes import AXES, OPTIONS, SUMMARIES
from cimsim.errors import CimsimError, MappingError, SpecError, TaskError
from cimsim.mappers import MAPPER_CODEC, MAPPERS, mapper_named
from cimsim.noise import (
    DEVICE_CODEC,
    PCM,
    CmoHfox,
    Gaussian,
    Ideal,
    NeuRRAM,
    ReadNoise,
    Retention,
    StuckAt,
    Table,
    WriteVerify,
    device_of,
    format_device,
    parse_device,
)
from cimsim.schedule.pipelines import (
    PIPELINE_CODEC,
    PIPELINES,
    AsIs,
    EngineOnly,
    GivenBlock,
    Replicated,
    SearchedBlock,
    SplitBlock,
    Strategy,
    WholeStep,
    WithoutEngine,
    format_pipeline,
    parse_pipeline,
)
from cimsim.simulation import simulate
from cimsim.studies.pipelines import Study
from cimsim.training import METHODS, format_method, option_names, parse_method, with_options
from cimsim.values.arguments import AtLeast
from cimsim.values.codec import MAIN, Called, Codec, member

# A made-up axis, with every kind of field


@dataclass(frozen=True)
class Wheel:
    """A wheel."""

    radius_mm: Annotated[float, MAIN] = 300.0
    spokes: Annotated[int, AtLeast(3)] | None = None
    tyre: Literal["slick", "wet"] = "slick"
    marks: tuple[str, ...] = ()
    title: Annotated[str | None, Called("label")] = None
    profile: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Sledge:
    """A sledge, which needs a length."""

    length_mm: float
    spare: bool = False
    hub: Wheel = field(default_factory=Wheel)


CODEC: Codec[Any] = Codec(
    "vehicle",
    SpecError,
    {"wheel": member(Wheel), "sledge": member(Sledge)},
    itself=Wheel,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
wheels = st.builds(
    Wheel,
    finite,
    st.none() | st.integers(3, 2**40),
    st.sampled_from(["slick", "wet"]),
    st.lists(st.text(max_size=4), max_size=3).map(tuple),
    st.none() | st.text(max_size=6),
    st.lists(st.tuples(finite, finite), max_size=3).map(tuple),
)
vehicles = wheels | st.builds(Sledge, finite, st.booleans(), wheels)


@settings(max_examples=150, deadline=None)
@given(vehicles)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert CODEC.parse(CODEC.format(value)) == value


@settings(max_examples=60, deadline=None)
@given(st.lists(vehicles, min_size=1, max_size=4))
def test_lists_are_cut_where_a_name_stands(values: list[Any]) -> None:
    texts = [CODEC.format(value) for value in values]
    found = CODEC.parse_all(",".join(texts))
    assert found == list(zip(texts, values, strict=True))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12) | st.text('whel:radius_m=,()+"0139', max_size=24).map("wheel:".__add__))
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    try:
        value = CODEC.parse(text)
    except SpecError:
        return
    assert CODEC.parse(CODEC.format(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("wheel", Wheel()),
        ("wheel:2", Wheel(2.0)),
        ("wheel: 2 , spokes = 5", Wheel(2.0, 5)),
        ("wheel:radius_mm=2", Wheel(2.0)),
        ("wheel:spokes=none,marks=a+b,label=x", Wheel(marks=("a", "b"), title="x")),
        ('wheel:marks=(),label="none"', Wheel(title="none")),
        ("wheel:profile=(1+2)+(3+1e3)", Wheel(profile=((1.0, 2.0), (3.0, 1000.0)))),
        ("sledge:length_mm=2,hub=wheel:3,spare=true", Sledge(2.0, True, Wheel(3.0))),
        ("sledge:length_mm=2,hub=(wheel:3,spokes=4)", Sledge(2.0, False, Wheel(3.0, 4))),
    ],
)
def test_texts_and_their_values(text: str, value: Any) -> None:
    assert CODEC.parse(text) == value
    assert CODEC.parse(CODEC.format(value)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weel", "unknown vehicle 'weel', nearest: wheel; known: wheel, sledge"),
        ("", "unknown vehicle ''; known: wheel, sledge"),
        ("wheel:", "vehicle 'wheel:': an option is empty"),
        ("wheel:spokes=4,", "vehicle 'wheel:spokes=4,': an option is empty"),
        ("wheel:spoke=4", "vehicle 'wheel' has no option 'spoke', nearest: spokes; options: rad"),
        ("wheel:spokes=4,3", "vehicle 'wheel': '3' has no option before it, as in option=value; "),
        ("wheel:3,radius_mm=3", "vehicle 'wheel': radius_mm is given twice"),
        ("wheel:spokes=2", "vehicle 'wheel': spokes takes a whole number of at least 3 or none: 2"),
        (
            "wheel:spokes=4.5",
            "vehicle 'wheel': spokes takes a whole number of at least 3 or none: ",
        ),
        (
            "wheel:tyre=wat",
            "vehicle 'wheel': tyre takes one of slick, wet: 'wat' is none of them,",
        ),
        ("wheel:marks=(a", "vehicle 'wheel:marks=(a': '(a' has a parenthesis without its other"),
        ("wheel:profile=1+2", "vehicle 'wheel': profile takes values with + between them: a tuple"),
        ("wheel:profile=(1+2+3)", "vehicle 'wheel': profile takes values with + between them: 2 v"),
        ("sledge", "vehicle 'sledge' needs length_mm"),
        ("sledge:2", "vehicle 'sledge': '2' has no option before it, as in option=value; options"),
        ("sledge:length_mm=1,spare=yes", "vehicle 'sledge': spare takes true or false: 'yes' is"),
        ("sledge:length_mm=1,hub=weel", "vehicle 'sledge': hub: unknown vehicle 'weel', nearest"),
    ],
)
def test_wrong_texts_name_what_is_known(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        CODEC.parse(text)
    message = str(caught.value)
    if text.startswith("wheel:marks"):
        assert "has a parenthesis without its other end" in message
    else:
        assert message.startswith(said)


def test_completion_goes_one_step_further_and_ends_in_what_is_read() -> None:
    assert CODEC.complete("") == ["wheel", "sledge"]
    assert CODEC.complete("sl") == ["sledge"]
    assert CODEC.complete("wheel:r") == ["wheel:radius_mm="]
    assert "wheel:spokes=3,tyre=" in CODEC.complete("wheel:spokes=3,")
    assert "wheel:spokes=3,spokes=" not in CODEC.complete("wheel:spokes=3,")
    assert CODEC.complete("wheel:tyre=") == ["wheel:tyre=slick", "wheel:tyre=wet"]
    assert CODEC.complete("wheel:spokes=") == ["wheel:spokes=none"]
    assert CODEC.complete("cart:") == CODEC.complete("wheel:colour=") == []


def test_lists_tell_options_and_defaults() -> None:
    lines = CODEC.listed()
    assert lines["wheel"].startswith("A wheel. [radius_mm=300.0, spokes=none, tyre=slick|wet, mark")
    assert "length_mm=a number" in lines["sledge"]
    assert CODEC.summary() == "wheel[:radius_mm], sledge"


# Pipelines

tokens = st.none() | st.integers(1, 2**31)
strategies_ = st.builds(
    Strategy,
    st.sampled_from([WholeStep(), SearchedBlock()])
    | st.builds(GivenBlock, tokens)
    | st.builds(SplitBlock, tokens),
    st.sampled_from(["always", "layers", "never"]),
    st.sampled_from([AsIs(), WithoutEngine(), EngineOnly()])
    | st.builds(Replicated, st.integers(0, 2**31), st.integers(1, 2**31)),
)


@settings(max_examples=100, deadline=None)
@given(strategies_)
def test_any_three_choices_have_a_text(strategy: Strategy) -> None:
    assert parse_pipeline(format_pipeline(strategy)) == strategy


def test_names_of_strategies_are_those_of_their_choices() -> None:
    assert all(preset.name == name for name, preset in PIPELINES.items())
    known = {**PIPELINE_CODEC.members, **PIPELINE_CODEC.unlisted}
    assert list(PIPELINE_CODEC.members) == ["auto", *PIPELINES]
    strategies = [known[name].build({}) for name in known if name != "auto"]
    assert len(strategies) == 5 * 3 * 4
    choices = [strategy.choices for strategy in strategies if isinstance(strategy, Strategy)]
    assert all(a != b for a, b in itertools.pairwise(sorted(choices)))


# Devices, methods, mappers, adaptations

ratios = st.floats(0.0, 1.0)
gaussians = st.builds(Gaussian, ratios, st.sampled_from(["tile", "channel", "cell"])) | st.builds(
    lambda sigma: Gaussian(0.0, "absolute", sigma), st.floats(0.0, 50.0)
)
plain_devices = (
    gaussians
    | st.builds(Ideal)
    | st.builds(PCM, st.floats(0.0, 10.0), st.floats(0.0, 10.0))
    | st.builds(NeuRRAM, st.floats(0.0, 10.0))
    | st.builds(CmoHfox, st.sampled_from([2.0, 0.2]))
    | st.builds(
        lambda sigma, title: Table((0.0, 1.0), (1.0, 60.0), ((0.0, sigma), (sigma, 1.0)), title),
        ratios,
        st.text(min_size=1).filter(str.strip),
    )
)
devices = st.recursive(
    plain_devices,
    lambda inner: (
        st.builds(ReadNoise, ratios, inner=inner)
        | st.builds(StuckAt, ratios, inner=inner)
        | st.builds(Retention, ratios, inner=inner)
        | st.builds(WriteVerify, max_pulses=st.integers(1, 1000), inner=inner)
    ),
    max_leaves=3,
)


@settings(max_examples=150, deadline=None)
@given(devices)
def test_every_device_has_a_text(device: Any) -> None:
    text = format_device(device)
    assert parse_device(text) == device_of(text) == device
    assert DEVICE_CODEC.parse_all(f"{text},pcm") == [(text, device), ("pcm", PCM())]


methods = st.sampled_from(list(METHODS)).flatmap(
    lambda name: st.fixed_dictionaries(
        {"epochs": st.floats(0.5, 99.0)},
        optional={
            "clip_norm": st.none() | st.floats(0.1, 9.0),
            "decay": st.sampled_from(["linear", "constant"]),
            "targets": st.lists(st.text(min_size=1, max_size=5), min_size=1).map(tuple),
            "saved": st.none() | st.lists(st.text(max_size=5), max_size=2).map(tuple),
            "device": devices,
            "converters": st.booleans(),
            "clean_share": ratios,
            "mu": st.floats(0.0, 9.0),
            "reduction": st.sampled_from(["sum", "mean"]),
            "distillation": ratios,
        },
    ).map(
        lambda given: with_options(
            METHODS[name](),
            {key: v for key, v in given.items() if key in option_names(METHODS[name]())},
        )
    )
)


@settings(max_examples=150, deadline=None)
@given(methods)
def test_every_method_has_a_text(method: Any) -> None:
    assert parse_method(format_method(method)) == method


def test_gaussian_noise_of_a_method_is_told_by_its_sigma() -> None:
    text = "halora:epochs=1.0,sigma=0.1,relative_to=channel"
    assert format_method(parse_method(text)) == text
    assert format_method(parse_method("plain:mu=0.1")) == "plain:mu=0.1"
    with pytest.raises(TaskError, match=r"has no text: it is none of plain, noise-aware, "):
        format_method(replace(parse_method("halora"), penalty=None))


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(list(MAPPERS.values())),
    st.lists(st.tuples(st.text(max_size=6), st.integers(1, 9)), max_size=3).map(tuple),
)
def test_every_mapper_has_a_text(kind: Any, replicate: Any) -> None:
    mapper = kind(replicate=replicate)
    assert mapper_named(MAPPER_CODEC.format(mapper)) == mapper


@pytest.mark.parametrize("name", known_adaptations())
def test_every_adaptation_has_a_text(name: str) -> None:
    assert adaptation_codec().format(adaptation_named(name)) == name
    with pytest.raises(MappingError, match=f"^adaptation '{name}' has no option 'x'; options: "):
        adaptation_codec().parse(f"{name}:x=1")


@pytest.mark.parametrize("axis", AXES)
def test_every_axis_is_listed_completed_and_read(axis: str, cimsim: Any) -> None:
    codec = AXES[axis]()
    status, out, _ = cimsim("list", axis, "--json")
    assert status == 0
    assert json.loads(out) == {axis: codec.listed()}
    for name, line in codec.listed().items():
        assert line.strip()
        assert name in codec.complete(name)
        for option in codec.members[name].options:
            assert f"{name}:{option}=" in codec.complete(f"{name}:")
            assert f"{option}=" in line


def test_help_has_the_summary_of_every_axis_and_loads_none() -> None:
    assert {axis: codec().summary() for axis, codec in AXES.items()} == SUMMARIES
    code = (
        "import sys; sys.argv = ['cimsim', 'run', '--help']\n"
        "from cimsim import cli\n"
        "try: cli.main()\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "cimsim.cli.axes" in loaded
    assert not loaded & {"numpy", "cimsim.schedule", "cimsim.noise", "cimsim.training"}


@pytest.mark.parametrize("option", OPTIONS)
def test_help_names_the_members(option: str, cimsim: Any) -> None:
    verb = {"strategy": "pipelines", "method": "train"}.get(option, "run")
    status, out, _ = cimsim(verb, "--help")
    said = "".join(out.split())
    assert status == 0
    assert all(name in said for name in AXES[OPTIONS[option]]().members)


class Plain:
    """Nothing but the members of the protocol, and no field of a dataclass."""

    __hash__ = None  # type: ignore[assignment]
    name, split, share_clusters = "plain one", False, None

    def block(self, stage: Any, tokens: int, pair: Any) -> int:
        return min(2, tokens)

    def is_barrier(self, producer: Any, consumer: Any) -> bool:
        return False

    def prepare(self, workload: Any, architecture: Any, mapper: Any) -> Any:
        return architecture, mapper


def test_a_plain_object_runs_to_the_end_as_the_strategy_it_is_like() -> None:
    machine, workload = small.machine(), small.decoder()
    like = simulate(workload, machine, pipeline="layer:2").report
    found = simulate(workload, machine, pipeline=Plain()).report
    assert found.pipeline == found.inputs["pipeline"] == "plain one"
    assert found.latency_s == like.latency_s
    row = Study(machine).model(workload, Plain())
    assert row.strategy == "plain one"


def test_a_dataclass_of_the_users_own_shows_its_options() -> None:
    @dataclass
    class Own(Plain):
        width: int = 1
        name: str = "own"
        others: list[int] = field(default_factory=list)

    assert format_pipeline(Own()) == "own"
    assert format_pipeline(Own(width=3)) == "own:width=3"


@pytest.mark.parametrize("name", [None, 3, "", " ", "two\nlines"])
def test_a_strategy_without_a_name_is_refused_before_anything_runs(name: Any) -> None:
    own = Plain()
    own.name = name
    with pytest.raises(MappingError, match=r"^the name of a pipeline is printable text, Plain has"):
        simulate(small.decoder(), small.machine(), pipeline=own)


@pytest.mark.parametrize("block", [0, -1, 1.5, 10**6, None])
def test_a_block_that_is_none_is_refused(block: Any) -> None:
    own = Plain()
    own.block = lambda stage, tokens, pair: block  # type: ignore[method-assign]
    with pytest.raises(CimsimError, match=r"^pipeline 'plain one' asks for blocks of .* 1 to the"):
        simulate(small.decoder(), small.machine(), pipeline=own)
