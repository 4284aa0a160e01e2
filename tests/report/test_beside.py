"""Studies and machines beside each other: what may be compared, what differs, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from loracast.errors import ConfigError
from loracast.report import write_comparison
from loracast.report.beside import studies_of
from loracast.report.beside_tables import arms_table, costs_table, facts_tables, same_windows
from loracast.report.readable import number
from loracast.report.render import Table
from loracast.study.summary import ArmSummary, Costs, Summary, write_facts
from tests.report.conftest import ARMS, LORA, SIGNALS, changed, summary_of
from tests.report.test_page import Page


def folder_of(folder: Path, summary: Summary) -> Path:
    folder.mkdir()
    write_facts(summary, folder / "summary.json")
    return folder


def slower(summary: Summary) -> Summary:
    """The same study on another machine, with more seeds and another learning rate of LoRA."""
    machine = {"system": "Linux", "machine": "aarch64", "cores": 4, "gpu": None}
    for arm in summary.arms:
        costs = Costs(**{name: value and 3 * value for name, value in dict(arm.costs).items()})
        summary = changed(summary, arm.arm, hardware=[machine], costs=costs)
    summary = changed(summary, LORA, settings=summary.arm(LORA).settings | {"learning_rate": 0.01})
    return summary.model_copy(update={"name": "elsewhere", "seeds": [0, 1, 2]})


def other_windows(summary: Summary) -> Summary:
    windows = summary.windows.model_copy(update={"context": 36, "split_fingerprint": "0f" * 32})
    return summary.model_copy(update={"name": "shorter", "windows": windows})


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for group in table.groups for row in group.rows]


@pytest.fixture
def beside(tmp_path: Path) -> Any:
    """A function that puts a study beside another one made of it."""

    def put(make: Any) -> list[Path]:
        summary = summary_of()
        return [folder_of(tmp_path / "here", summary), folder_of(tmp_path / "there", make(summary))]

    return put


def test_of_the_same_windows_errors_stand_side_by_side_and_what_differs_is_named(beside: Any, tmp_path: Path) -> None:
    folders = beside(slower)
    studies = studies_of(folders)
    assert all(same_windows(studies, signal) for signal in SIGNALS)
    rows = texts(arms_table(studies, SIGNALS, SIGNALS))
    assert [row[0] for row in rows] == list(ARMS) * len(SIGNALS)
    own = studies[0].summary.arm(LORA)
    error = own.scores["heart_rate"].mae
    row = rows[ARMS.index(LORA)]
    assert [text.split(" ")[0] for text in (row[3], row[6])] == [number(error, 2)] * 2
    difference = own.vs_zero_shot["heart_rate"].mae_difference
    assert row[1] == own.vs_zero_shot["heart_rate"].verdict
    assert row[2].startswith(f"{number(100 * difference / (error - difference), 1, sign=True)} % [")
    differ, alike = ({name: values for name, *values in texts(table)} for table in facts_tables(studies))
    assert set(differ) == {"seeds", "machine", f"settings of {LORA}"}
    assert differ["seeds"] == ["0, 1", "0, 1, 2"]
    assert "learning_rate 0.01" in differ[f"settings of {LORA}"][1]
    assert alike["context"] == ["72"]
    page = Page(write_comparison(folders, tmp_path / "compare.html"))
    for told in (
        "A: sepsis-demo",
        "B: elsewhere",
        "the errors stand side by side",
        "B: Linux aarch64, 4 cores, no GPU",
    ):
        assert told in page.text
    assert "cannot be compared" not in page.text


def test_of_other_windows_no_error_is_shown_and_the_page_says_why(beside: Any, tmp_path: Path) -> None:
    folders = beside(other_windows)
    studies = studies_of(folders)
    assert not any(same_windows(studies, signal) for signal in SIGNALS)
    table = arms_table(studies, SIGNALS, [])
    assert [column.head for column in table.columns] == [
        "arm", "A: verdict", "A: MAE − zero-shot", "B: verdict", "B: MAE − zero-shot",
    ]  # fmt: skip
    page = Page(write_comparison(folders, tmp_path / "compare.html"))
    assert "cannot be compared: the studies did not score the same windows (other context and fingerprint of the" in (
        page.text
    )
    assert page.text.count("other windows: errors cannot be compared") == len(SIGNALS)
    assert [attributes.get("id") for tag, attributes in page.tags if tag == "figure"] == ["beside"]


@pytest.mark.parametrize("field", ["fingerprint", "unit", "patients"])
def test_other_data_another_unit_or_other_patients_are_other_windows(beside: Any, field: str) -> None:
    def make(summary: Summary) -> Summary:
        if field == "fingerprint":
            return summary.model_copy(update={"data": summary.data.model_copy(update={"fingerprint": "ee" * 32})})
        if field == "unit":
            signals = summary.data.signals | {"map": summary.data.signals["map"].model_copy(update={"unit": "kPa"})}
            return summary.model_copy(update={"data": summary.data.model_copy(update={"signals": signals})})

        def fewer(arm: ArmSummary) -> ArmSummary:
            scores = arm.scores | {"map": arm.scores["map"].model_copy(update={"n_patients": 3})}
            return arm.model_copy(update={"scores": scores})

        return summary.model_copy(update={"arms": [fewer(arm) for arm in summary.arms]})

    studies = studies_of(beside(make))
    assert not same_windows(studies, "map")
    assert same_windows(studies, "heart_rate") == (field != "fingerprint")


def test_costs_stand_by_study_and_only_where_they_were_measured(beside: Any) -> None:
    def unmeasured(summary: Summary) -> Summary:
        for arm in (summary := slower(summary)).arms:
            costs = arm.costs.model_copy(update={"energy_joules": None, "peak_gpu_memory_bytes": None})
            summary = changed(summary, arm.arm, costs=costs)
        return summary

    table = costs_table(studies_of(beside(unmeasured)))
    heads = [column.head for column in table.columns]
    assert {"training A", "training B", "energy A", "on the GPU A"} <= set(heads)
    assert not {"energy B", "on the GPU B"} & set(heads)
    step = next(row for row in table.groups[0].rows if row[0].text == LORA)
    assert step[heads.index("a step B")].value == pytest.approx(3 * step[heads.index("a step A")].value)


def test_studies_that_share_no_arm_or_are_too_few_are_refused(tmp_path: Path) -> None:
    summary = summary_of()
    first = folder_of(tmp_path / "here", summary)
    renamed = [arm.model_copy(update={"arm": f"other {arm.arm}"}) for arm in summary.arms]
    other = folder_of(tmp_path / "there", summary.model_copy(update={"arms": renamed}))
    out = tmp_path / "compare.html"
    with pytest.raises(ConfigError, match=r"no arm is in two of these studies.*A has last-value.*and 2 more"):
        write_comparison([first, other], out)
    with pytest.raises(ConfigError, match=r"1 source given\. Give two"):
        write_comparison([first], out)
    with pytest.raises(ConfigError, match=r"no folder .*nowhere"):
        write_comparison([first, tmp_path / "nowhere"], out)
    assert not out.exists()


def bench(folder: Path, name: str, processor: str) -> Path:
    """A file as `loracast bench` writes it, of one model and method."""
    row = {
        "backbone": "chronos-t5-nano", "method": "lora", "status": "done", "trainable_parameters": 12288,
        "step_seconds": {"median": 0.1, "low": 0.09, "high": 0.12}, "forecast_milliseconds_per_window": 20.0,
        "peak_memory_bytes": 10**9, "peak_gpu_memory_bytes": None, "adapter_bytes": 59000,
        "energy_joules_per_step": None,
    }  # fmt: skip
    hardware = {"processor": processor, "torch_threads": 2, "logical_cores": 4, "gpu": None, "dtype": "float32"}
    content = {
        "format": 1, "hardware": hardware, "versions": {"torch": "2.13.0"}, "settings": {"steps": 10}, "rows": [row],
    }  # fmt: skip
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / name


def test_benches_of_machines_stand_side_by_side_and_are_not_mixed_with_studies(tmp_path: Path) -> None:
    files = [bench(tmp_path, f"{name}.json", name) for name in ("Ryzen", "Xeon")]
    page = Page(write_comparison(files, tmp_path / "compare.html"))
    for told in ("Machines side by side", "A: Ryzen, 2 threads", "B: Xeon", "step\nB/A", "1.00"):
        assert told in page.text
    study = folder_of(tmp_path / "study", summary_of())
    with pytest.raises(ConfigError, match="is a file, and others are folders"):
        write_comparison([study, files[0]], tmp_path / "mixed.html")


def test_a_page_that_stands_there_is_kept_unless_said_otherwise(beside: Any, tmp_path: Path) -> None:
    folders, out = beside(other_windows), tmp_path / "compare.html"
    out.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="overwrite"):
        write_comparison(folders, out)
    assert out.read_text(encoding="utf-8") == "mine"
    write_comparison(folders, out, overwrite=True)
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
