"""cimsim mvm: one crossbar from the command line, and the fields of a file that it reads."""

from __future__ import annotations

import json
import sys

import pytest
import small
from typer.testing import CliRunner

from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.hardware import hardware_of
from cimsim.analog.wires import Wires
from cimsim.cli import app
from cimsim.errors import MappingError
from cimsim.noise import PCM, Gaussian, Ideal
from cimsim.spec import Architecture, load_architecture

HALORA = small.ROOT / "arch_configs" / "halora_rram_sram.json"
ISAAC = HALORA.with_name("isaac_rram.json")


def invoke(*args):
    return CliRunner().invoke(app, ["mvm", str(HALORA), "--draws", "1", *map(str, args)])


def test_the_effects_are_printed():
    result = invoke("--noise", "gaussian:0.01,ideal", "--columns", 16)
    assert result.exit_code == 0, result.output
    assert "halora_rram_sram: 64x16 crossbar, device gaussian" in result.output
    for word in ("coding of weights", "device", "DAC", "ADC", "all", "ideal"):
        assert word in result.output


def test_json_and_picture(tmp_path):
    path = tmp_path / "sweep.png"
    result = invoke("--json", "-o", path, "--bits", "4,8", "--rows", "16,32", "--columns", 8)
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    assert data["device"] == "gaussian"
    values = {}
    for point in data["points"]:
        values.setdefault(point["axis"], []).append(point["value"])
    assert values["bits"] == ["4", "8"]
    assert values["rows"] == ["16", "32"]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert invoke("--json", "--columns", 8).output == invoke("--json", "--columns", 8).output


def test_wires_need_physical_cells():
    args = ["mvm", str(ISAAC), "--draws", "1", "--columns", "2", "--ir-drop", "0,5", "--json"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    ratios = [p["snr_dB"] for p in json.loads(result.output)["points"] if p["axis"][:2] == "ir"]
    assert ratios[0] > ratios[1]
    assert "use differential or offset coding" in str(invoke("--ir-drop", "1").exception)


def test_saturation_is_warned_about(tmp_path):
    data = json.loads(HALORA.read_text())
    data["rram"]["accuracy"] |= {
        "adc_range": "fixed", "adc_full_scale_ratio": 0.5,
        "sources": {"adc_full_scale_ratio": "assumed: far too small"},
    }  # fmt: skip
    path = tmp_path / "narrow.json"
    path.write_text(json.dumps(data))
    output = CliRunner().invoke(app, ["mvm", str(path), "--draws", "1"]).output
    assert "of the conversions saturate at" in output


@pytest.mark.parametrize(("args", "message"), [
    (("--bits", "4,x"), "--bits takes numbers with commas between them: 'x' is no whole number."),
    (("--bits", "1"), "DAC: bits must lie in 2 .. 22"),
    (("--noise", "fog"), "unknown noise 'fog'"),
    (("--columns", "65536", "--rows", "65536"), "a sweep 67108864 at most: lower rows, columns"),
    (("--draws", "1000", "--columns", "65536"), "programmed 1000 times, has"),
    (("--rows", "0"), "--rows takes numbers from 1 to 65536, got '0'."),
])  # fmt: skip
def test_wrong_values(args, message):
    result = invoke(*args)
    assert result.exit_code != 0
    assert message in str(result.exception)


def test_the_command_needs_no_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "cimsim.functional", raising=False)
    assert invoke("--columns", 4).exit_code == 0


def test_files_describe_the_tiles():
    ahwa = load_architecture(small.ROOT / "arch_configs" / "ahwa_pcm_pmca.json")
    found = hardware_of(ahwa)
    assert found.device == PCM()
    assert found.adc == Adc(8, "fixed", 12.0, noise_ratio=0.04)
    assert found.dac == Dac(8, "tile")
    assert found.coding == Coding("differential", 0.0, 25.0, 1, 8, "column", 3.0)
    halora = hardware_of(load_architecture(HALORA))
    assert halora.device == Gaussian(0.01, "tile")
    assert (halora.coding.scheme, halora.coding.scaling) == ("signed", "tile")
    isaac = hardware_of(load_architecture(ISAAC))
    assert isaac.device == Ideal()
    assert (isaac.dac.pulses, isaac.coding.cells_per_weight) == (16, 8)
    assert isaac.adc.codes == "unipolar"


def with_accuracy(**fields):
    data = small.machine().model_dump(mode="json", exclude_none=True)
    data["rram"]["accuracy"] = {"sources": {}} | fields
    return Architecture.model_validate(data)


def test_what_a_file_may_say():
    ohms = {"word_ohm": 1.0, "bit_ohm": 2.0}
    wired = with_accuracy(**ohms, sources=dict.fromkeys(ohms, "assumed: for tests"))
    assert hardware_of(wired, Ideal()).wires == Wires(1.0, 2.0)
    for fields, message in (
        ({"word_ohm": 1.0, "sources": {"word_ohm": "assumed: x"}}, "give word_ohm and bit_ohm tog"),
        ({"device": {"kind": "pcm"}}, "a device model needs a device_source"),
        (ohms, "no source for word_ohm, bit_ohm|no source for bit_ohm, word_ohm"),
    ):
        with pytest.raises(ValueError, match=message):
            with_accuracy(**fields)
    with pytest.raises(ValueError, match="device: unknown kind 'fog'"):
        with_accuracy(device={"kind": "fog"}, device_source="assumed: for tests")
    for write in ({"window_uS": 1.0}, {"pulses_per_cell": None}):
        with pytest.raises(ValueError, match="give either pulses_per_cell or window_uS"):
            small.machine(rram={"write": write})
    digital = small.machine(rram=None, weights_on="sram")
    with pytest.raises(MappingError, match=r"^architecture 'tiny' has no `rram` block"):
        hardware_of(digital)
