"""The curves of `benchmarks/growth.py`: how they are fitted, that each can be run, and what the committed ones say."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "growth.py"


@pytest.fixture(scope="module")
def growth():
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_the_exponent_is_the_slope_of_the_logarithms(growth, exponent):
    points = [{"size": size, "seconds": 3 * size**exponent} for size in (10, 50, 1000)]
    assert growth.slope(points, "seconds") == pytest.approx(exponent)


@pytest.mark.parametrize(("exponent", "faster"), [(1.1, False), (1.2, True)])
def test_a_curve_is_faster_than_its_work_above_what_is_allowed(growth, monkeypatch, exponent, faster):
    asked = []

    def measured(name, size):
        asked.append(size)
        return {"size": size, "seconds": size**exponent, "bytes": 5e6}

    monkeypatch.setitem(growth.curve_of.__globals__, "measured", measured)
    found = growth.curve_of("series", most=10**6)
    assert asked == [*growth.CURVES["series"].sizes, 10**6]
    assert (found["exponent"], found["faster"]) == (exponent, faster)
    assert ("FASTER" in growth.told(found)) is faster


@pytest.mark.parametrize("name", ["windows", "patients", "series", "horizon", "bootstrap", "influence"])
def test_a_curve_without_a_network_can_be_made_ready_and_run(growth, tmp_path, name):
    assert growth.CURVES[name].ready(64, tmp_path)() is not None


def test_a_curve_that_is_measured_again_takes_its_own_place_and_no_others(growth, monkeypatch, tmp_path):
    file = tmp_path / "growth.json"
    file.write_text(json.dumps({"curves": [{"name": "windows", "faster": False}, {"name": "batch", "faster": True}]}))
    measured = {"name": "batch", "faster": False}
    state = growth.main.__globals__
    monkeypatch.setitem(state, "curve_of", lambda name, most: measured)
    monkeypatch.setitem(state, "told", lambda curve: curve["name"])
    monkeypatch.setattr("sys.argv", ["growth.py", "--only", "batch", "--json", str(file)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit) as left:
        growth.main()
    assert left.value.code == 0
    assert json.loads(file.read_text())["curves"] == [{"name": "windows", "faster": False}, measured]


def test_the_committed_curves_are_those_of_the_script_and_none_is_faster_than_its_work(growth):
    found = json.loads(SCRIPT.with_suffix(".json").read_text(encoding="utf-8"))
    names = [curve["name"] for curve in found["curves"]]
    assert names == [name for name in growth.CURVES if name in names]
    assert {"windows", "patients", "series", "horizon", "paths", "context", "batch", "bootstrap", "influence"} <= set(
        names
    )
    assert not [curve["name"] for curve in found["curves"] if curve["faster"]]
    assert {"hardware", "versions", "command"} <= set(found)
