"""A study in one table, for a README."""

import copy

from loracast.report.compact import compact_markdown
from tests.report.study import study_summary as study


def test_there_is_a_line_an_arm_and_a_pair_of_columns_a_signal():
    summary = study()
    lines = compact_markdown(summary).splitlines()
    assert len(lines) == 4 + len(summary["arms"])
    assert len({line.count("|") for line in lines[2:]}) == 1
    for name, signal in summary["data"]["signals"].items():
        assert f"{signal['label']}, " in lines[2], name
    assert "test patients" in lines[0]


def test_methods_may_be_chosen_and_baselines_by_their_name():
    text = compact_markdown(study(), ["lora", "last-value"])
    rows = text.splitlines()[4:]
    assert rows
    assert all(" lora" in row or row.startswith("| last-value") for row in rows)


def test_a_mark_stands_only_where_a_difference_is_shown():
    summary = copy.deepcopy(study())
    arm = next(arm for arm in summary["arms"] if arm["method"] == "lora")
    signal = next(iter(arm["scores"]))
    for verdict, mark in (("better", "▼"), ("worse", "▲"), ("no difference shown", "")):
        for name in arm["vs_zero_shot"]:
            arm["vs_zero_shot"][name]["verdict"] = verdict
        row = next(line for line in compact_markdown(summary).splitlines() if line.startswith(f"| {arm['arm']} |"))
        cells = row.split(" | ")[4::2][: len(arm["scores"])]
        assert all(cell.endswith(mark) if mark else not set("▼▲") & set(cell) for cell in cells), (verdict, signal)
