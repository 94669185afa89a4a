"""Machine files that extend another, short forms of components, and `cimsim new`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cimsim import machine
from cimsim.errors import SpecError
from cimsim.machine_files import file_schema
from cimsim.machine_files.reference import undescribed, unit_of
from cimsim.report.origins import differences_of, origins_of
from cimsim.shelves import MACHINES, WORKLOADS
from cimsim.spec import Architecture, load_architecture, machine_type
from cimsim.values.history import value_at

Cli = Callable[..., tuple[int, str, str]]
BASE = "halora_rram_sram"
OWN = {"extends": BASE, "name": "own"}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Any], Architecture]:
    """The machine that a file with the given content holds."""

    def made(content: Any) -> Architecture:
        (tmp_path / "own.json").write_text(json.dumps(content))
        return load_architecture(tmp_path / "own.json")

    return made


Read = Callable[[Any], Architecture]


def nested(path: str, value: Any) -> dict[str, Any]:
    """A file's content with `value` at `path`."""
    *blocks, field = path.split(".")
    made: dict[str, Any] = {field: value}
    for block in reversed(blocks):
        made = {block: made}
    return made


def plainly(found: Architecture) -> dict[str, Any]:
    """A machine's content without its names and the words of its sources."""

    def kept(data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: {k: text.startswith("assumed:") for k, text in value.items()}
            if key.endswith("sources")
            else value.startswith("assumed:")
            if key.endswith("_source")
            else kept(value)
            if isinstance(value, dict) and key != "ranges"
            else value
            for key, value in data.items()
        }

    return kept({k: v for k, v in found.content.items() if k not in ("name", "description")})


@pytest.mark.parametrize("name", MACHINES.names())
def test_what_says_nothing_else_is_the_same_machine(name: str, read: Read) -> None:
    found, base = read({"extends": name, "name": "own"}), machine(name)
    same = {"name": "own", "description": f"as {name}"}
    assert found.content == {**base.content, **same}
    assert found.changes == ()


def numbers(found: Architecture) -> Iterator[tuple[str, float]]:
    """Path and value of the numbers of a machine that no model gives."""
    pending: list[tuple[str, Any]] = [("", found.content)]
    modelled = {f"{m.block}.{name}" for m in found.modelled() for name in m.outputs}
    while pending:
        path, block = pending.pop(0)
        for key, value in block.items():
            inner = f"{path}{key}"
            if isinstance(value, dict) and key not in ("sources", "models", "ranges", "device"):
                pending.append((f"{inner}.", value))
            elif type(value) in (int, float) and key != "format" and inner not in modelled:
                yield inner, value


@pytest.mark.parametrize("name", ["halora_rram_sram", "hermes_pcm"])
def test_a_number_that_differs_loses_its_source_and_its_range(name: str, read: Read) -> None:
    """As `with_values` does, for every third number of a machine."""
    base, tried = machine(name), 0
    for path, value in [pair for pair in numbers(base) if pair[1] != 0][::3]:
        other = 2 * value if isinstance(value, int) else 1.25 * value
        try:
            set_by_hand = base.with_values({path: other})
        except SpecError:
            continue
        found = read({"extends": name, "name": "own", **nested(path, other)})
        assert value_at(found.content, path) == other
        assert plainly(found) == plainly(set_by_hand), path
        assert path in found.assumed()
        assert [c.field for c in found.changes] == [path]
        tried += 1
    assert tried > 20


def test_a_number_with_a_source_or_the_same_value_keeps_it(read: Read) -> None:
    own = read({**OWN, "rram": {"rows": 128, "adc_bits": 8, "sources": {"rows": "Own et al."}}})
    assert own.rram is not None
    assert own.rram.sources["rows"] == "Own et al."
    assert own.rram.sources["adc_bits"] == machine(BASE).rram.sources["adc_bits"]  # type: ignore[union-attr]
    assert [(d.field, d.old, d.new, d.source) for d in differences_of(own)] == [
        ("rram.rows", 64, 128, "Own et al.")
    ]
    assert own.description == f"{BASE} with other rram.rows, rram.adc_bits"


def test_null_takes_out_and_a_block_may_be_new(read: Read) -> None:
    without = read({**OWN, "paper_accounting": None, "rram": {"power_states": None}})
    assert without.paper_accounting is None
    assert without.rram is not None
    assert without.rram.power_states is None
    package = {"dies": 4, "port_area_mm2": 1.0}
    with pytest.raises(SpecError, match=r"package\."):
        read({**OWN, "package": package})
    sram = machine("halora_sram_only").content["sram"]
    bare = {k: v for k, v in sram.items() if k != "sources"}
    bare = {k: v for k, v in bare.items() if not isinstance(v, dict)}
    made = read({"extends": "ahwa_pcm_pmca", "name": "own", "sram": bare})
    assert made.sram is not None
    assert all(f"sram.{k}" in made.assumed() for k, v in bare.items() if type(v) in (int, float))


def test_another_kind_of_model_starts_anew(read: Read) -> None:
    own = read({**OWN, "rram": {"models": {"adc": {"kind": "flash", "clock_GHz": 1.0}}}})
    values = {"rram.models.adc.kind": "flash", "rram.models.adc.clock_GHz": 1.0}
    assert plainly(own) == plainly(machine(BASE).with_values(values))
    device = {"kind": "pcm"}
    own = read({**OWN, "rram": {"accuracy": {"device": device, "scheme": None}}})
    assert own.rram is not None
    assert own.rram.accuracy is not None
    assert own.rram.accuracy.device == device
    assert (own.rram.accuracy.device_source or "").startswith("assumed: own gives no source")


def test_another_point_of_an_anchor_loses_its_sources(read: Read) -> None:
    path = "rram.models.adc.anchor"
    both = {"adc_energy_pJ", "adc_area_um2"}
    for field, lost in (("adc_energy_pJ", {"adc_energy_pJ"}), ("adc_bits", both)):
        own = read({**OWN, **nested(f"{path}.{field}", 7)})
        told = value_at(own.content, "rram.models.adc.anchor_sources")
        assert isinstance(told, dict)
        assert {k for k, text in told.items() if text.startswith("assumed: own")} == lost
    sourced = nested(f"{path}.adc_energy_pJ", 7)
    sourced["rram"]["models"]["adc"]["anchor_sources"] = {"adc_energy_pJ": "Own et al."}
    told = value_at(read({**OWN, **sourced}).content, "rram.models.adc.anchor_sources")
    assert isinstance(told, dict)
    assert told["adc_energy_pJ"] == "Own et al."


def test_the_short_form_of_a_component_is_the_long_one(read: Read) -> None:
    short = {
        "adc": {
            "model": "flash",
            "bits": 6,
            "columns_per_adc": 8,
            "clock_GHz": 0.8,
            "sources": {"bits": "Own et al.", "clock_GHz": "Own et al."},
        }
    }
    long = {
        "adc_bits": 6,
        "columns_per_adc": 8,
        "models": {
            "adc": {"kind": "flash", "clock_GHz": 0.8, "sources": {"clock_GHz": "Own et al."}}
        },
        "sources": {"adc_bits": "Own et al."},
    }
    assert read({**OWN, "rram": short}) == read({**OWN, "rram": long})


@pytest.mark.parametrize(
    ("rram", "told"),
    [
        ({"adc": {"bitz": 6}}, r"rram\.adc\.bitz: no such number, it has model, bits, time_ns"),
        ({"adc": {"bits": 6}, "adc_bits": 7}, r"rram\.adc\.bits and rram\.adc_bits are one number"),
        ({"adc": {"sources": {"bits": "Own"}}}, r"rram\.adc\.sources names 'bits'"),
        ({"adc": {"model": "cordic"}}, r"rram\.models\.adc\.kind is 'cordic', not 'sar'"),
        ({"adc": {"model": None}}, r"rram\.adc_energy_pJ"),
        ({"rows": None}, r"rram\.rows: Field required"),
        ({"rowz": 3}, r"rram\.rowz: Extra inputs"),
        ({"rows": 64, "sources": {"rowz": "Own"}}, r"sources names rowz"),
        ({"adc_energy_pJ": 3.0}, r"rram\.adc_energy_pJ is given, and so is rram\.models\.adc"),
    ],
)
def test_wrong_parts(rram: dict[str, Any], told: str, read: Read) -> None:
    with pytest.raises(SpecError, match=told):
        read({**OWN, "rram": rram})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"extends": "halora_rram", "name": "own"}, "did you mean halora_rram_sram"),
        ({"extends": 3, "name": "own"}, "extends: name a machine or its file, got 3"),
        ({"extends": ""}, "extends: name a machine or its file, got ''"),
        ({"extends": BASE}, "name: a machine that extends another has a name of its own"),
        ({"extends": "own.json", "name": "own"}, "without end: own.json -> own.json"),
        ([], "own.json"),
    ],
)
def test_wrong_bases(content: Any, told: str, read: Read) -> None:
    with pytest.raises(SpecError, match=told):
        read(content)


def test_a_base_that_is_wrong_is_named(read: Read, tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps({**OWN, "rram": {"rows": 0}}))
    with pytest.raises(SpecError, match=r"base\.json: rram\.rows"):
        read({"extends": "base.json", "name": "own"})


def test_bases_are_found_from_the_file_and_one_another(read: Read, tmp_path: Path) -> None:
    (tmp_path / "first.json").write_text(json.dumps({**OWN, "name": "first", "rram": {"rows": 32}}))
    own = read({"extends": "first.json", "name": "own", "rram": {"columns": 128}})
    assert [(c.field, c.old, c.new) for c in own.changes] == [
        ("rram.rows", 64, 32),
        ("rram.columns", 64, 128),
    ]


def test_ranges_go_with_their_numbers(read: Read) -> None:
    base = machine(BASE)
    path = next(path for path in base.ranges if path.count(".") == 1)
    value = value_at(base.content, path)
    assert isinstance(value, int | float)
    low, high, _ = base.ranges[path]
    other = (low + high) / 2
    assert path not in read({**OWN, **nested(path, other)}).ranges
    given = {"ranges": {path: [low, high, "assumed: own"]}}
    assert read({**OWN, **nested(path, other), **given}).ranges[path] == (low, high, "assumed: own")


def test_every_number_has_one_origin() -> None:
    for name in MACHINES.names():
        found = machine(name)
        counted = origins_of(found)
        own = [path for path, _ in numbers(found)]
        free = ("rram.accuracy.device.",)
        assert sum(part.published + part.assumed for part in counted.values()) == len(
            [path for path in own if not path.startswith(free)]
        )
        assert sum(part.modelled for part in counted.values()) == sum(
            len(model.outputs) for model in found.modelled()
        )


def test_a_schema_may_be_named(tmp_path: Path) -> None:
    for shelf, name in ((MACHINES, BASE), (WORKLOADS, "minilm_sentiment_r8_s32")):
        from cimsim import workload

        data = json.loads(shelf.find(name).read_text())
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"$schema": "./any.json", **data}))
        again = (machine if shelf is MACHINES else workload)(path)
        assert again == (machine if shelf is MACHINES else workload)(name)


def test_the_schema_asks_for_what_the_reader_asks_for() -> None:
    schema = file_schema(machine_type())
    tiles, part = schema["$defs"]["CrossbarTiles"], schema["$defs"]["ExtendingCrossbarTiles"]
    assert "rows" in tiles["required"]
    assert not {"adc_energy_pJ", "cell_area_um2"} & set(tiles["required"])  # a model may give them
    assert "required" not in part
    assert {"type": "null"} in part["properties"]["rows"]["anyOf"]
    assert set(tiles["properties"]["adc"]["properties"]) >= {"model", "bits", "time_ns", "sources"}
    assert schema["$defs"]["Part"]["required"] == ["extends", "name"]


def test_new_begins_a_machine(cimsim: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    code, out, err = cimsim("new", path, "--from", BASE)
    assert (code, err) == (0, "")
    assert "mine.json" in out
    assert json.loads(path.read_text())["extends"] == BASE
    assert json.loads((tmp_path / "cimsim-machine.schema.json").read_text())["title"]
    found = load_architecture(path)
    assert (found.name, found.changes) == ("mine", ())
    assert cimsim("new", path, "--from", BASE)[0] == 1
    assert cimsim("new", path, "--from", "puma", "--force", "--name", "ours")[0] == 0
    assert load_architecture(path).name == "ours"
    nested_path = tmp_path / "deeper" / "other.json"
    assert cimsim("new", nested_path, "--from", path)[0] == 0
    assert json.loads(nested_path.read_text())["extends"] == "../mine.json"
    assert cimsim("new", tmp_path / "whole.json", "--from", "puma", "--whole")[0] == 0
    assert load_architecture(tmp_path / "whole.json").content == {
        **machine("puma").content, "name": "whole",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("x.json", "--from", "halora"), 2, "no machine of that name"),
        (("x.json",), 2, "--from"),
        (("no/\0.json", "--from", BASE), 2, "null byte"),
    ],
)
def test_new_refuses(
    arguments: tuple[str, ...], code: int, told: str, cimsim: Cli, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found, _, err = cimsim("new", *arguments)
    assert found == code
    assert told in err


def test_check_tells_what_differs_and_whence(cimsim: Cli, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({**OWN, "rram": {"rows": 128, "affine_ns": 2}}))
    code, out, _ = cimsim("check", path)
    assert code == 0
    for words in ("2 values differ", "own gives no source", "by models", "rram.affine_ns was"):
        assert words in out
    told = json.loads(cimsim("check", path, "--json")[1])
    assert [found["field"] for found in told["differences"]] == ["rram.rows", "rram.affine_ns"]
    assert told["origins"]["rram"]["assumed"] > told["origins"]["rram"]["ranged"] > 0


def test_every_field_says_what_it_is() -> None:
    assert undescribed(machine_type()) == []


def test_the_page_of_fields_is_that_of_the_reader(cimsim: Cli) -> None:
    page = (Path(__file__).parent.parent / "docs" / "fields.md").read_text(encoding="utf-8")
    assert cimsim("schema", "fields") == (0, page, "")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 200
    assert "| `rows` |  | whole, 1 to 65536 | required |" in page
    assert "| `adc_energy_pJ` | pJ | 0 to 1e+12 | by `models.adc`, or required |" in page


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("adc_time_ns", "ns"),
        ("energy_pJ_per_bit", "pJ/bit"),
        ("write_energy_fJ_per_bit", "fJ/bit"),
        ("clock_MHz", "MHz"),
        ("exp_cycles", "cycles"),
        ("unit_area_um2", "um2"),
        ("rows", ""),
    ],
)
def test_units_end_names(name: str, unit: str) -> None:
    assert unit_of(name) == unit
