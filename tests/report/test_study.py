"""The report of a large study: many arms stay readable, each has a page, the tables are files, ranks have a section."""

import csv
import io
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from loracast.report import figures, write_report
from loracast.report.arms import MANY, chosen, missing_of, slugs_of
from loracast.report.compared import missing_section
from loracast.report.exports import SCORES, latex_text, write_tables
from loracast.report.figures import costs, fans, forest, heatmap, horizon, learning, paired, pareto, ranks
from loracast.report.figures.style import RC, arm_styles
from loracast.report.reproduce import snippet
from loracast.report.results import Results, read_results
from loracast.report.tables import MARKDOWN_HEADS
from loracast.report.words import lowest_of_signal, verdict_of_arm
from tests.report.conftest import ARMS, PATIENT, results_folder, summary_of, write
from tests.report.study import (
    BACKBONES,
    FLOOR,
    METHODS,
    RANKS,
    REASON,
    SCRATCH,
    TWO,
    study_folder,
    study_summary,
    sweep_of,
)
from tests.report.test_page import Page, page_of, summary_changed


def results_of(summary: dict[str, Any], sweep: dict[str, Any] | None = None) -> Results:
    return Results(summary, {}, (), (), sweep or {})


@pytest.fixture(scope="module")
def study() -> Results:
    return results_of(study_summary(), sweep_of())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study reported from its summary and sweep alone, vectors only; for reading."""
    folder = study_folder(tmp_path_factory.mktemp("study"), runs=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "METADATA", {"svg": figures.METADATA["svg"]})
        write_report(folder)
    return folder


def labels_of(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_a_study_brings_its_figures_and_a_small_experiment_is_spared_them(folder: Path, tmp_path: Path) -> None:
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "forest", "heatmap", "paired", "horizon", "pareto", "ranks", "costs", "flow",
    }  # fmt: skip
    small = results_of(summary_of(simulated=True, seeds=[0]))
    assert [draw(small) for draw in (heatmap.draw, paired.draw, ranks.draw)] == [None, None, None]


def test_the_heat_map_has_a_cell_for_each_method_and_backbone_and_says_why_one_is_grey(study: Results) -> None:
    drawing = heatmap.draw(study)
    assert drawing is not None
    panel = drawing.figure.axes[0]
    texts = [text.get_text() for text in panel.texts]
    assert len(texts) == len(METHODS) * len(BACKBONES)
    assert labels_of(panel) == list(METHODS)
    arm = next(arm for arm in study.summary["arms"] if arm["arm"] == "chronos-t5-nano lora r=1")
    parts = []
    for signal in TWO:
        mae, difference = arm["scores"][signal]["mae"], arm["vs_zero_shot"][signal]["mae_difference"]
        parts.append(100 * difference / (mae - difference))
    assert texts[0].startswith(f"−{abs(sum(parts) / 2):.1f}")
    assert texts.count("a") == 1
    assert any(f"a: {REASON}" in text.get_text().replace("\n", " ") for text in drawing.figure.texts)


def test_a_method_nobody_ran_is_grey_without_a_made_up_reason(study: Results) -> None:
    summary = study_summary()
    summary["arms"] = [arm for arm in summary["arms"] if arm["arm"] != "lag-llama-nano bitfit"]
    drawing = heatmap.draw(results_of(summary))
    assert drawing is not None
    assert [text.get_text() for text in drawing.figure.axes[0].texts].count("not run") == 1


def test_the_best_arm_leads_its_panel_and_followers_come_by_their_difference(study: Results) -> None:
    drawing = paired.draw(study)
    assert drawing is not None
    for axes, signal in zip(drawing.figure.axes, TWO, strict=True):
        errors = {arm["arm"]: arm["scores"][signal]["mae"] for arm in study.summary["arms"]}
        assert labels_of(axes) == sorted(errors, key=lambda name: errors[name])[: paired.MOST + 1]
    even = sum(arm["vs_best"]["heart_rate"]["verdict"] != "worse" for arm in study.summary["arms"]) - 1
    assert f"Heart rate: {even} arms beside the best not shown worse" in drawing.caption


def test_the_front_keeps_the_lowest_error_for_as_many_numbers_or_fewer() -> None:
    points = {"a": (0, 5.0), "b": (10, 4.0), "c": (10, 3.5), "d": (20, 3.6), "e": (90, 3.0), "f": (95, 3.0)}
    arms = [
        {"arm": name, "trainable_parameters": trained, "scores": {"map": {"mae": error}}}
        for name, (trained, error) in points.items()
    ]
    assert pareto.front(arms, "map") == ["a", "c", "e"]


def test_the_rank_figure_marks_each_threshold_on_an_axis_of_doublings(study: Results) -> None:
    drawing = ranks.draw(study)
    assert drawing is not None
    assert len(drawing.figure.axes) == 3
    for axes in drawing.figure.axes:
        assert [text.get_text() for text in axes.get_xticklabels()] == [str(rank) for rank in RANKS]
        assert list(axes.get_xticks()) == [0, 1, 2, 3, 4, 5, 6]
        assert [text.get_text() for text in axes.texts] == ["r = 4"]
    assert "validation: 75 patients, 1,021 windows" in drawing.caption.lower()
    assert "3 seeds a rank" in drawing.caption
    assert "flagged for overfitting" in drawing.caption


@pytest.mark.parametrize("left_out", ["full", "zero_shot", "thresholds", "series", "rule", "windows", "notes"])
def test_a_sweep_without_a_piece_is_still_drawn_and_written(tmp_path: Path, left_out: str) -> None:
    sweep = sweep_of((1, 4, 16))
    sweep[left_out] = None
    results = results_of(study_summary(), sweep)
    assert ranks.draw(results) is not None
    write_tables(results, tmp_path)
    assert (tmp_path / "ranks.tex").is_file()


def test_costs_are_drawn_where_they_are_known_and_only_there(study: Results) -> None:
    def titles(results: Results) -> list[str]:
        drawing = costs.draw(results)
        assert drawing is not None
        return [axes.get_title(loc="left") for axes in drawing.figure.axes]

    with matplotlib.rc_context(RC):
        assert "energy of training" in titles(study)
        assert "what is saved (log)" in titles(study)
        assert "all test forecasts" not in " ".join(titles(study))
        old = titles(results_of(summary_of(simulated=True, seeds=[0])))
    assert old == ["training", "peak memory, process", "all test forecasts (log)"]


@pytest.mark.parametrize("draw", [forest.draw, heatmap.draw, paired.draw, horizon.draw, pareto.draw, costs.draw])
def test_a_hundred_arms_fit_a_page_and_their_caption_says_how_many_stand_behind(draw: Any) -> None:
    summary = study_summary()
    extra = [
        {**arm, "arm": f"{arm['arm']} patients={share}", "trainable_parameters": arm["trainable_parameters"]}
        for share in (0.1, 0.3)
        for arm in summary["arms"]
        if arm["backbone"] == "chronos-t5-nano" or arm["method"] == "lora"
    ]
    summary["arms"] += extra
    assert len(summary["arms"]) > 90
    with matplotlib.rc_context(RC):
        drawing = draw(results_of(summary))
    width, height = drawing.figure.get_size_inches()
    assert width == 7.0
    assert height <= 9.6
    notes = " ".join(text.get_text() for text in drawing.figure.texts).replace("\n", " ")
    assert "24 test patients, 1,236 windows; 3 seeds a trained arm" in notes


def test_many_arms_share_a_colour_by_method_and_a_marker_by_backbone_and_no_look_twice(study: Results) -> None:
    styles = arm_styles(study.summary)
    assert len({(style.colour, style.marker, str(style.dash)) for style in styles.values()}) == len(styles)
    assert styles["chronos-t5-nano bitfit"].colour == styles["moirai-nano bitfit"].colour
    assert styles["chronos-t5-nano bitfit"].marker == styles["chronos-t5-nano full"].marker
    plain = {arm["method"]: styles[arm["arm"]].colour for arm in reversed(study.summary["arms"]) if arm["backbone"]}
    assert len(set(plain.values())) == len(plain)


def test_the_few_that_stand_for_many_hold_every_kind(study: Results) -> None:
    arms, told = chosen(study.summary)
    names = [arm["arm"] for arm in arms]
    assert len(names) == MANY
    assert {f"{backbone} {method}" for backbone in BACKBONES for method in ("zero-shot", "full")} < set(names)
    assert len([name for name in names if name in SCRATCH]) == 1
    assert f"Of {len(study.summary['arms'])} arms {MANY} are drawn" in told
    assert chosen(summary_of(simulated=True, seeds=[0]))[1] == ""


def test_the_verdict_of_many_counts_them_and_folds_the_single_sentences_away(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    box = text.split('<h2 id="verdict">')[1].split("</section>")[0]
    assert "41 adapted arms compared with zero-shot" in box
    assert "3 scratch networks compared with the best naive forecast" in box
    open_, fold = box.split("<details>")
    assert "trains 6,904 numbers" not in open_
    assert "chronos-t5-nano lora r=1 trains 6,904 numbers" in fold
    assert len(re.sub("<.*?>", "", open_)) < 2000


def test_a_network_from_scratch_is_no_part_of_a_model(study: Results, folder: Path) -> None:
    arm = next(arm for arm in study.summary["arms"] if arm["arm"] == "nhits")
    said = verdict_of_arm(study.summary, arm)
    assert said.startswith("nhits is a network from scratch: all its 1,900,000 numbers are trained here.")
    assert "of the model" not in said
    assert "zero-shot" not in said
    page = Page((folder / "arms" / "nhits.html").read_text(encoding="utf-8"))
    assert "all, from scratch" in page.text
    assert "%" not in page.text.split("of the model")[1].split("training")[0]


def test_a_statistical_model_that_wins_is_not_called_naive() -> None:
    summary = study_summary()
    theta = next(arm for arm in summary["arms"] if arm["arm"] == "theta")
    theta["scores"]["map"]["mae"] = 1.0
    told, floor_won = lowest_of_signal(summary, "map")
    assert floor_won
    assert "No network errs less than this statistical model" in told
    assert "last-value" in told or "context-mean" in told


def test_every_arm_has_a_page_that_the_table_links_to(folder: Path, study: Results) -> None:
    links = {attributes["href"] for tag, attributes in page_of(folder).tags if tag == "a"}
    assert links == {f"arms/{slug}.html" for slug in slugs_of(study.summary).values()}
    for link in links:
        page = Page((folder / str(link)).read_text(encoding="utf-8"))
        assert page.open == []
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe"})
        assert "../report.html" in [attributes.get("href") for _, attributes in page.tags]


def test_the_page_of_an_arm_says_what_was_set_what_it_cost_and_how_it_compares(folder: Path) -> None:
    text = Page((folder / "arms" / "moirai-nano-lora-r-8.html").read_text(encoding="utf-8")).text
    for part in ("18,063", "rank", "73 kB", "9.1 ms", "zero-shot", "full fine-tuning", "SIMULATED DATA", "3 seeds"):
        assert part in text
    assert "Not shown better in MAE" not in text
    assert "moirai-nano lora r=8 on heart_rate (no difference shown, theta)" in text
    assert "moirai-nano lora r=2 on heart_rate" not in text


def test_the_page_of_an_arm_shows_its_curves_and_forecasts_and_no_patient(tmp_path: Path) -> None:
    results_folder(tmp_path)
    results = read_results(tmp_path)
    from loracast.report.arm_page import write_arm_pages

    write_arm_pages(results, tmp_path / "arms")
    counts = {}
    for name, method, *_ in ARMS:
        text = (tmp_path / "arms" / f"{slugs_of(results.summary)[name]}.html").read_text(encoding="utf-8")
        assert PATIENT not in text
        counts[method] = text.count("data:image/svg+xml;base64,")
    assert counts == {"baseline": 0, "zero-shot": 1, "lora": 2, "full": 2}


def test_slugs_are_safe_and_no_two_alike_even_where_case_does_not_count() -> None:
    names = ["../../etc", "a b", "A-B", "a/b", "…", "<x>", "x" * 300]
    slugs = list(slugs_of({"arms": [{"arm": name} for name in names]}).values())
    assert len({slug.lower() for slug in slugs}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,110}", slug) for slug in slugs)


def test_the_lines_that_make_an_arm_are_toml(study: Results) -> None:
    for arm in study.summary["arms"]:
        text = snippet(study, arm)
        found = tomllib.loads(text)
        if arm["backbone"]:
            assert found["arms"] == [{key: value for key, value in arm["settings"].items() if value is not None}]
        elif arm["arm"] in ("ets", "theta", *SCRATCH):
            assert found == {"baselines": [arm["arm"]]}
        else:
            assert found == {}


def test_what_a_name_holds_does_not_break_its_toml(study: Results) -> None:
    nasty = 'a "quoted" \\ name\n[data]\x7f'
    arm = {"arm": nasty, "backbone": nasty, "method": "lora", "settings": {"backbone": nasty, "sites": ".*\\.q$"}}
    assert tomllib.loads(snippet(study, arm))["arms"] == [{"backbone": nasty, "sites": ".*\\.q$"}]
    assert tomllib.loads(snippet(study, {**arm, "settings": None}))["arms"][0]["backbone"] == nasty


def test_the_numbers_of_the_csv_are_those_of_the_summary_to_the_last_digit(folder: Path, study: Results) -> None:
    with (folder / "tables" / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = {(row["arm"], row["signal"]): row for row in csv.DictReader(stream)}
    assert len(rows) == len(study.summary["arms"]) * len(TWO)
    for arm in study.summary["arms"]:
        for signal in TWO:
            row, scores = rows[arm["arm"], signal], arm["scores"][signal]
            assert [float(row[name]) for name in SCORES] == [scores[name] for name in SCORES]
            assert [float(row["mae_low"]), float(row["mae_high"])] == scores["ci95"]["mae"]
            assert row["energy_joules"] == ("1800.0" if arm["trainable_parameters"] else "")
            best = arm["vs_best"][signal]
            itself = best["reference"] == arm["arm"]
            assert row["vs_best_difference"] == ("" if itself else repr(best["mae_difference"]))


def test_the_rank_csv_has_a_row_for_each_rank_and_level(folder: Path) -> None:
    with (folder / "tables" / "ranks.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * (len(RANKS) + 2)
    first = sweep_of()["rows"][0]
    assert float(rows[0]["validation"]) == first["validation"]["value"]
    assert {row["threshold"] for row in rows} == {"4"}


def test_the_latex_has_the_columns_of_the_markdown_and_nothing_that_latex_would_take_for_a_command(
    folder: Path,
) -> None:
    for name, widths in (("results", {len(MARKDOWN_HEADS)}), ("ranks", {7, 8})):
        text = (folder / "tables" / f"{name}.tex").read_text(encoding="utf-8")
        text.encode("ascii")
        plain = re.sub(r"\\[\\{}&%$#_]", "", text)
        assert plain.count("{") == plain.count("}")
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == widths
        assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\end{tabular}") == 2
        for row in rows:
            assert not re.search(r"(?<!\\)[%#_]", row)


def test_every_sign_that_latex_minds_is_escaped() -> None:
    assert latex_text("a_b & 50 % of {x} ~ ^ \\ # $ <y>") == (
        r"a\_b \& 50 \% of \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \# \$ \textless{}y\textgreater{}"
    )
    assert latex_text("−0.3 ± 2 °C – 血") == r"$-$0.3 $\pm$ 2 $^\circ$C -- \texttt{U+8840}"


def test_the_sweep_has_a_section_with_thresholds_rule_and_properties(folder: Path) -> None:
    text = page_of(folder).text
    assert "How few numbers are enough" in text
    assert "not shown worse than that of the best rank" in text
    assert "What the series are like" in text
    assert "Heart rate: a note on <ranks>." in text
    assert "13.4 %" in text
    assert "flagged (gap +0.640)" in text
    ids = [attributes.get("id") for tag, attributes in page_of(folder).tags if tag == "figure"]
    assert ids[0] == "ranks"


def test_what_is_missing_is_named_with_its_reason_and_escaped(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    section = text.split('<section id="missing">')[1].split("</section>")[0]
    assert "moirai-nano oft b=16" in section
    assert "&lt;attention&gt;" in section
    assert "<attention>" not in text


def test_the_seeds_of_a_missing_arm_are_told_together() -> None:
    failed = [{"arm": "y", "seed": seed, "state": "failed", "reason": "e"} for seed in (0, 2)]
    waiting = {"arm": "y", "seed": 3, "state": "waiting", "reason": None}
    assert missing_of({"missing": ["x", *failed, waiting], "arms": []}) == [
        ("x", "no reason was recorded"), ("y (seeds 0, 2)", "e"), ("y (seed 3)", "waiting"),
    ]  # fmt: skip
    told = missing_section({"missing": failed, "arms": []})
    assert "1 arm of the experiment is not" in told


def test_costs_full_and_hardware_have_their_tables(folder: Path) -> None:
    text = page_of(folder).text
    assert "Adapters against full fine-tuning" in text
    assert "Linux x86_64, 16 cores, 8 threads, Example GPU" in text
    for head in ("a step", "a window", "on the GPU", "saved", "energy"):
        assert head in text


def test_a_long_reason_is_folded(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    reason = text.split("Not shown better in MAE than the best naive")[1].split("</li>")[0]
    open_, fold = reason.split("<details>")
    named = sum(arm["backbone"] is not None for arm in study_summary()["arms"])
    assert open_.count("theta") + fold.count("theta") == named
    assert f"and {fold.count('theta')} more" in fold
    assert len(open_) < 500


def test_the_page_of_many_arms_loads_nothing(folder: Path) -> None:
    for tag, attributes in page_of(folder).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        assert (attributes.get("src") or "data:").startswith("data:")


@pytest.mark.parametrize("draw", [learning.draw, fans.draw])
def test_curves_and_fans_of_many_arms_are_a_choice(tmp_path: Path, draw: Any) -> None:
    study_folder(tmp_path)
    drawing = draw(read_results(tmp_path))
    assert len(drawing.figure.axes) <= MANY
    assert "page" in drawing.caption


def test_a_nasty_name_stays_text_on_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", ())
    study_folder(tmp_path, runs=False)
    nasty = "<script>alert('a')</script> & \"b\" $style ${name}"

    def spoil(summary: dict[str, Any]) -> None:
        summary["arms"][9]["arm"] = summary["arms"][9]["settings"]["backbone"] = summary["name"] = nasty
        summary["arms"][9]["vs_full"]["map"].update(sentence=nasty, verdict=nasty, reference=nasty)
        summary["missing"].append({"arm": nasty, "reason": nasty})
        summary["arms"][9]["hardware"] = {"system": nasty, nasty: nasty}

    summary_changed(tmp_path, spoil)
    sweep = sweep_of((1, 2, 4))
    sweep["backbone"] = sweep["rule"] = sweep["data"] = nasty
    sweep["series"][nasty] = {nasty: nasty}
    write(tmp_path / "sweep.json", sweep)
    write_report(tmp_path)
    for path in [tmp_path / "report.html", *(tmp_path / "arms").iterdir()]:
        page = Page(path.read_text(encoding="utf-8"))
        assert page.open == []
        assert "script" not in [tag for tag, _ in page.tags]


def test_the_study_is_what_its_writers_say_it_is() -> None:
    summary = study_summary()
    assert len(summary["arms"]) == len(FLOOR) + len(SCRATCH) + len(BACKBONES) * (len(METHODS) + 1) - 1
    stream = io.StringIO(json.dumps(sweep_of()))
    assert json.load(stream)["ranks"] == list(RANKS)
