"""The report of a large study: many arms stay readable, each has a page, the tables are files, ranks have a section."""

import csv
import re
import tomllib
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from loracast.report import figures, write_report
from loracast.report.arm_page import snippet
from loracast.report.doubts import note_of
from loracast.report.figures import costs, curves, differences, fans, heatmap, pareto, ranks
from loracast.report.figures.style import RC, arm_styles
from loracast.report.headline import lines_of
from loracast.report.readable import size
from loracast.report.results import MANY, Results, chosen, label_of, read_results, slugs_of
from loracast.study.summary import Costs, Summary
from tests.conftest import vectors_alone
from tests.report.conftest import changed, summary_of
from tests.report.study import (
    BACKBONES,
    FAILED,
    METHODS,
    RANKS,
    REASON,
    TWO,
    WAITING,
    bare,
    made_study,
    study_summary,
    sweep,
    sweep_of,
)
from tests.report.test_page import Page


@pytest.fixture(scope="module")
def study() -> Results:
    return Results(study_summary(), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study reported without its runs, vectors only; for reading."""
    folder = bare(made_study(), tmp_path_factory.mktemp("study"))
    with vectors_alone():
        write_report(folder)
    return folder


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rank sweep reported without its runs, with the figure of ranks alone; for reading."""
    folder = bare(sweep()[0], tmp_path_factory.mktemp("ranks"))
    with pytest.MonkeyPatch.context() as patch, vectors_alone():
        patch.setattr(figures, "FIGURES", (ranks.draw,))
        write_report(folder)
    return folder


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return Page(folder / "report.html").text


def labels_of(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def of(summary: Summary) -> Results:
    return Results(summary, None)


def test_a_study_brings_its_figures_and_a_small_experiment_is_spared_them(folder: Path) -> None:
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "forest", "heatmap", "paired", "horizon", "pareto", "costs", "flow",
    }  # fmt: skip
    small = of(summary_of())
    assert [draw(small) for draw in (heatmap.draw, ranks.draw)] == [None, None]


def test_the_heat_map_has_a_cell_for_each_method_and_backbone_and_says_why_one_is_grey(study: Results) -> None:
    drawing = heatmap.draw(study)
    assert drawing is not None
    panel = drawing.figure.axes[0]
    texts = [text.get_text() for text in panel.texts]
    assert len(texts) == len(METHODS) * len(BACKBONES)
    assert labels_of(panel) == list(METHODS)
    arm = study.summary.arm("chronos-t5-nano lora r=1")
    parts = []
    for signal in TWO:
        value = arm.vs_zero_shot[signal].mae_difference
        parts.append(100 * value / (arm.scores[signal].mae - value))
    assert texts[0].startswith(f"−{abs(sum(parts) / 2):.1f}")
    assert texts.count("a") == 1
    assert any(f"a: {REASON}" in text.get_text().replace("\n", " ") for text in drawing.figure.texts)
    fewer = [arm for arm in study.summary.arms if arm.arm != "lag-llama-nano bitfit"]
    drawing = heatmap.draw(of(study.summary.model_copy(update={"arms": fewer})))
    assert [text.get_text() for text in drawing.figure.axes[0].texts].count("not run") == 1


def test_the_best_arm_leads_its_panel_and_followers_come_by_their_difference(study: Results) -> None:
    drawing = differences.draw_to_best(study)
    assert drawing is not None
    for axes, signal in zip(drawing.figure.axes, TWO, strict=True):
        errors = {arm.arm: arm.scores[signal].mae for arm in study.summary.arms}
        assert labels_of(axes) == sorted(errors, key=errors.__getitem__)[: differences.MOST_A_PANEL + 1]
    found = [arm.vs_best["heart_rate"] for arm in study.summary.arms if "heart_rate" in arm.vs_best]
    even = sum(difference.verdict != "worse" for difference in found)
    assert f"Heart rate: {even} arms beside the best not shown worse" in drawing.caption


def test_the_front_keeps_the_lowest_error_for_as_many_numbers_or_fewer() -> None:
    points = {"a": (0, 5.0), "b": (10, 4.0), "c": (10, 3.5), "d": (20, 3.6), "e": (90, 3.0), "f": (95, 3.0)}
    arm = summary_of().arms[0]
    arms = [
        arm.model_copy(
            update={
                "arm": n,
                "trainable_parameters": size,
                "scores": {"map": arm.scores["map"].model_copy(update={"mae": error})},
            }
        )
        for n, (size, error) in points.items()
    ]  # fmt: skip
    assert pareto.front(arms, "map") == ["a", "c", "e"]


def test_the_rank_figure_marks_each_threshold_on_an_axis_of_doublings() -> None:
    made, found = sweep()
    drawing = ranks.draw(Results(made.summary, None, (), found))
    assert drawing is not None
    assert len(drawing.figure.axes) == 3
    for axes, threshold in zip(drawing.figure.axes, found.thresholds.values(), strict=True):
        assert [text.get_text() for text in axes.get_xticklabels()] == [str(rank) for rank in RANKS]
        assert list(axes.get_xticks()) == [0, 1, 2, 3, 4]
        assert [text.get_text() for text in axes.texts] == [f"r = {threshold.rank}"]
    patients, windows = found.patients["validation"], found.windows["validation"]
    for told in (f"Validation: {patients} patients, {windows} windows", "2 seeds a rank", "flagged for overfitting"):
        assert told in drawing.caption
    rows = [row for row in found.rows if row.rank in (1, 4, 16)]
    empty = {"ranks": [1, 4, 16], "rows": rows, "zero_shot": {}, "full": {}, "thresholds": {}}
    assert ranks.draw(Results(made.summary, None, (), found.model_copy(update=empty))) is not None


def test_of_many_arms_the_answer_counts_and_picks_none() -> None:
    summary = study_summary()
    lines = lines_of(summary)
    assert [line.signal for line in lines] == ["Heart rate", "Mean arterial pressure"]
    adapted = [arm for arm in summary.arms if arm.kind == "pretrained" and arm.trains and arm.method != "full"]
    verdicts = [arm.vs_zero_shot["map"].verdict for arm in adapted]
    [part] = [part for part in lines[1].parts if part.against == "zero-shot"]
    assert part.told[0].text == f"{verdicts.count('better')} better"
    assert sum(cell.text.endswith("worse") for cell in part.told) == ("worse" in verdicts)
    fewer = changed(summary, adapted[0].arm, vs_zero_shot={})
    [part] = [part for part in lines_of(fewer)[1].parts if part.against == "zero-shot"]
    assert f" of {len(adapted) - 1}" in part.told[0].text


def test_costs_are_drawn_where_they_are_known_and_only_there(study: Results) -> None:
    def titles(results: Results) -> list[str]:
        drawing = costs.draw(results)
        return [] if drawing is None else [axes.get_title(loc="left") for axes in drawing.figure.axes]

    with matplotlib.rc_context(RC):
        known = titles(study)
        older = summary_of()  # as in results of 0.1, which measured less
        for arm in older.arms:
            kept = {
                name: getattr(arm.costs, name) for name in ("train_seconds", "forecast_seconds", "peak_memory_bytes")
            }
            older = changed(older, arm.arm, costs=Costs(**kept))
        assert titles(of(older)) == ["training", "peak memory, process", "all test forecasts (log)"]
        bare = summary_of()
        for arm in bare.arms:
            bare = changed(bare, arm.arm, costs=Costs())
        assert titles(of(bare)) == []
    assert {"energy of training", "what is saved (log)"} <= set(known)
    assert "all test forecasts" not in " ".join(known)


DRAWN = [
    differences.draw_to_zero_shot, differences.draw_to_best, heatmap.draw, curves.draw_horizon, costs.draw,
    pareto.draw_front,
]  # fmt: skip


@pytest.mark.parametrize("draw", DRAWN)
def test_a_hundred_arms_fit_a_page_and_their_caption_says_how_many_stand_behind(draw: Any) -> None:
    summary = study_summary()
    extra = [
        arm.model_copy(update={"arm": f"{arm.arm} patients={share}"})
        for share in (0.1, 0.3, 0.5)
        for arm in summary.arms
        if arm.model == "chronos-t5-nano" or arm.method == "lora"
    ]
    summary = summary.model_copy(update={"arms": [*summary.arms, *extra]})
    assert len(summary.arms) > 90
    with matplotlib.rc_context(RC):
        drawing = draw(of(summary))
    width, height = drawing.figure.get_size_inches()
    assert width == 7.0
    assert height <= 9.6
    notes = " ".join(text.get_text() for text in drawing.figure.texts).replace("\n", " ")
    assert f"24 test patients, {summary.windows.counts['test']} windows; 2 seeds a trained arm" in notes


def test_a_few_of_many_arms_stand_for_all_kinds() -> None:
    summary = study_summary()
    arms, told = chosen(summary)
    assert len(arms) == MANY
    assert {"naive", "network", "pretrained"} <= {arm.kind for arm in arms}
    assert {arm.model for arm in arms if arm.method == "zero-shot"} == set(BACKBONES)
    assert f"Of {len(summary.arms)} arms 12 are drawn" in told
    assert chosen(summary_of()) == (summary_of().arms, "")


def test_many_arms_share_colours_by_method_and_markers_by_backbone_and_few_keep_a_look_each() -> None:
    styles = arm_styles(study_summary())
    assert len({styles[f"{model} lora r=1"].colour for model in BACKBONES}) == 1
    assert len({styles[f"{model} lora r=1"].marker for model in BACKBONES}) == len(BACKBONES)
    few = arm_styles(summary_of())
    assert len({(style.colour, style.marker, str(style.dash)) for style in few.values()}) == len(few)


@pytest.mark.parametrize("draw", [curves.draw_learning, fans.draw])
def test_curves_and_fans_of_many_arms_are_a_choice(draw: Any) -> None:
    drawing = draw(read_results(made_study().folder))
    assert len(drawing.figure.axes) <= MANY
    assert "page" in drawing.caption


def test_the_page_of_many_arms_tells_them_together_and_links_to_each(folder: Path, text: str, study: Results) -> None:
    hrefs = [attributes["href"] for tag, attributes in Page(folder / "report.html").tags if tag == "a"]
    links = {href for href in hrefs if href.startswith("arms/")}
    assert links == {f"arms/{slug}.html" for slug in slugs_of(study.summary).values()}
    trained = [arm for arm in study.summary.arms if arm.trains]
    adapted = [arm for arm in trained if arm.kind == "pretrained"]
    for told in (
        f"{len(adapted)} adapted arms compared with zero-shot of their backbone",
        f"Each of {len(trained)} trained arms in a sentence", "Adapters against full fine-tuning",
        "What is missing", f"{FAILED} (seed 0)", f"{WAITING} (seed 1): waiting", "a step", "a window", "on the GPU",
        "saved", "energy", "all, from scratch",
    ):  # fmt: skip
        assert told in text
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;attention&gt;" in source
    assert "<attention>" not in source


def test_a_long_reason_is_folded(folder: Path) -> None:
    source = (folder / "report.html").read_text(encoding="utf-8")
    reason = source.split("Not shown better in MAE than the best naive")[1].split("</li>")[0]
    open_, fold = reason.split("<details>")
    [check] = [check for check in study_summary().checks if check.code == "C03"]
    shown, folded = (part.count("last-value)") for part in (open_, fold))
    assert shown + folded == len(check.findings) > shown > 0
    assert f"and {folded} more" in fold
    assert len(open_) < 500


def test_the_page_of_an_arm_says_what_was_set_what_it_cost_and_how_it_compares(folder: Path) -> None:
    summary = study_summary()
    [check] = [check for check in summary.checks if check.code == "C03"]
    found = next(one for one in check.findings if summary.arm(one.arm).trains)
    arm = summary.arm(found.arm)
    text = Page(folder / "arms" / f"{slugs_of(summary)[arm.arm]}.html").text
    for part in (
        f"{arm.trainable_parameters:,}", size(arm.costs.adapter_bytes), "ms", "zero-shot", "full fine-tuning",
        "SIMULATED DATA", "2 seeds",
    ):  # fmt: skip
        assert part in text
    assert "Not shown better in MAE" not in text
    told = f"on {summary.data.signals[found.signal].label} ({found.verdict}, {found.reference})"
    assert f"{arm.arm} {told}" in text
    assert f"{check.findings[-1].arm} {told}" not in text


def test_the_sweep_has_a_section_with_thresholds_rule_notes_and_properties(ranked: Path) -> None:
    page, found = Page(ranked / "report.html"), sweep_of()
    [flagged] = {row.overfit.gap for row in found.rows if row.overfit.flagged}
    for told in (
        "How few numbers are enough", "shown to be less than 1 % worse in",
        "What the series are like", f"not in this: {BACKBONES[0]} full (seed 1).",
        f"{100 * found.series['map']['missing']:.1f} %", f"flagged (gap +{flagged:.3f})",
        *(note_of(note, lambda signal: label_of(sweep()[0].summary, signal)) for note in found.notes),
    ):  # fmt: skip
        assert told in page.text
    assert [attributes.get("id") for tag, attributes in page.tags if tag == "figure"] == ["ranks"]


def test_slugs_are_safe_and_no_two_alike_even_where_case_does_not_count() -> None:
    names = ["../../etc", "a b", "A-B", "a/b", "…", "<x>", "x" * 300]
    arm = summary_of().arms[0]
    arms = [arm.model_copy(update={"arm": name}) for name in names]
    slugs = list(slugs_of(summary_of().model_copy(update={"arms": arms})).values())
    assert len({slug.lower() for slug in slugs}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,110}", slug) for slug in slugs)


def test_the_lines_that_make_an_arm_are_toml_whatever_it_is_called() -> None:
    for arm in study_summary().arms:
        found = tomllib.loads(snippet(arm))
        settings = {key: value for key, value in arm.settings.items() if value is not None and value != {}}
        assert found == ({} if arm.kind == "naive" else {"arms": [settings]})
    trained = arm.model_copy(update={"settings": arm.settings | {"training": {"steps": 600, "decay": "halving"}}})
    assert tomllib.loads(snippet(trained))["arms"][0]["training"] == {"steps": 600, "decay": "halving"}
    nasty = 'a "quoted" \\ name\n[data]\x7f'
    arm = arm.model_copy(update={"arm": nasty, "model": nasty, "settings": {"model": nasty, "sites": ".*\\.q$"}})
    assert tomllib.loads(snippet(arm))["arms"] == [{"model": nasty, "method": arm.method, "sites": ".*\\.q$"}]


def test_the_csv_files_have_the_numbers_to_the_last_digit(folder: Path, study: Results) -> None:
    with (folder / "tables" / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = {(row["arm"], row["signal"]): row for row in csv.DictReader(stream)}
    assert len(rows) == len(study.summary.arms) * len(TWO)
    for arm in study.summary.arms:
        row, own = rows[arm.arm, "map"], arm.scores["map"]
        assert [float(row[name]) for name in ("mae", "mae_low", "crps")] == [own.mae, own.ci95["mae"][0], own.crps]
        assert row["energy_joules"] == ("1800.0" if arm.trains else "")
        assert row["trainable_parameters"] == str(arm.trainable_parameters)


def test_the_csv_file_of_ranks_has_each_rank_and_level_with_its_threshold(ranked: Path) -> None:
    with (ranked / "tables" / "ranks.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * (len(RANKS) + 2)
    assert float(rows[1]["validation"]) == sweep_of().rows[0].validation.value
    told = {row["signal"]: row["threshold"] for row in rows}
    assert told == {signal: str(one.rank) for signal, one in sweep_of().thresholds.items()}


def test_the_latex_has_even_rows_and_nothing_that_latex_would_take_for_a_command(folder: Path, ranked: Path) -> None:
    for place, name, widths in ((folder, "results", {13}), (ranked, "ranks", {7, 8})):
        text = (place / "tables" / f"{name}.tex").read_text(encoding="utf-8")
        text.encode("ascii")
        plain = re.sub(r"\\[\\{}&%$#_]", "", text)
        assert plain.count("{") == plain.count("}")
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == widths
        assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\end{tabular}") == 2
        assert not any(re.search(r"(?<!\\)[%#_]", row) for row in rows)
