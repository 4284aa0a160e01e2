"""The report page and its figures, from a small results folder in the documented formats."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from loracast.errors import ConfigError
from loracast.report import figures, read_summary, write_report
from loracast.report import page as page_module
from loracast.report.results import read_results
from tests.report.conftest import ARMS, PATIENT, SIGNALS, results_folder, write

FIGURES = ("fans", "forest", "horizon", "pareto", "costs", "learning", "flow")


class Page(HTMLParser):
    """What a browser would load, and what a reader would read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture
def only_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the vector of each figure alone, and no page of an arm, for tests of what the page says: much faster."""
    monkeypatch.setattr(figures, "METADATA", {"svg": figures.METADATA["svg"]})
    monkeypatch.setattr(page_module, "write_arm_pages", lambda results, folder: None)


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def summary_changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    change(summary)
    write(path, summary)


def test_the_page_shows_every_arm_and_every_signal(whole_folder: Path) -> None:
    text = page_of(whole_folder).text
    for arm, *_ in ARMS:
        assert arm in text
    for label, *_ in SIGNALS.values():
        assert label in text
    for heading in ("Verdict", "Data and windows", "Results", "Figures", "Reasons not to believe", "How to reproduce"):
        assert heading in text


def test_the_page_is_whole_html_and_loads_nothing(whole_folder: Path) -> None:
    page = page_of(whole_folder)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        for name in ("src", "srcset", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
        # A link is followed by a reader, not by the page: to the arms' pages beside it, and nowhere else.
        assert "href" not in attributes or (tag == "a" and str(attributes["href"]).startswith("arms/"))
    style = (whole_folder / "report.html").read_text(encoding="utf-8").split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_every_figure_of_the_page_says_what_it_shows_to_those_who_cannot_see_it(whole_folder: Path) -> None:
    images = [attributes for tag, attributes in page_of(whole_folder).tags if tag == "img"]
    assert len(images) == len(FIGURES)
    for image in images:
        assert len(image["alt"] or "") > 60
        vector = base64.b64decode((image["src"] or "").removeprefix("data:image/svg+xml;base64,")).decode()
        assert vector.rstrip().endswith("</svg>")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_also_three_files_fit_for_a_paper(whole_folder: Path, name: str) -> None:
    saved = whole_folder / "figures"
    assert (saved / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (saved / f"{name}.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    portable = (saved / f"{name}.pdf").read_bytes()
    assert portable.startswith(b"%PDF")
    assert b"/Type3" not in portable
    width = int.from_bytes((saved / f"{name}.png").read_bytes()[16:20], "big")
    assert width == 2100  # 7 in, a double column, at 300 dpi


def test_nothing_half_written_is_left_behind(whole_folder: Path) -> None:
    assert not [path.name for path in whole_folder.rglob("*") if path.name.endswith(".partial")]
    assert len(list((whole_folder / "figures").iterdir())) == 3 * len(FIGURES)


def test_no_patient_is_named(whole_folder: Path) -> None:
    made = [path for name in ("figures", "tables", "arms") for path in (whole_folder / name).iterdir()]
    for path in [whole_folder / "report.html", *made]:
        assert PATIENT.encode() not in path.read_bytes()


def test_a_report_written_again_says_the_same_and_bears_no_date(tmp_path: Path, whole_folder: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(whole_folder, again)
    write_report(again)
    assert page_of(again).text == page_of(whole_folder).text
    for name in FIGURES:
        assert "dc:date" not in (again / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert b"CreationDate" not in (again / "figures" / f"{name}.pdf").read_bytes()


@pytest.mark.usefixtures("only_svg")
def test_steps_that_drop_nothing_are_left_to_the_attrition_table(tmp_path: Path) -> None:
    results_folder(tmp_path)
    idle = {"step": "a look that dropped nothing", "patients": 240, "stays": 262, "rows": 1_204_311, "dropped_rows": 0}
    summary_changed(tmp_path, lambda summary: summary["data"]["attrition"]["steps"].insert(1, idle))
    write_report(tmp_path)
    text = page_of(tmp_path).text
    assert "a look that dropped nothing" in text
    assert "2 steps that dropped nothing: see the table" in text


def test_simulated_data_are_named_on_the_page_and_in_the_figures(whole_folder: Path) -> None:
    assert any(attributes.get("class") == "banner" for _, attributes in page_of(whole_folder).tags)
    assert "SIMULATED DATA" in page_of(whole_folder).text


@pytest.mark.usefixtures("only_svg")
def test_real_data_carry_no_simulated_banner_and_their_licence(tmp_path: Path) -> None:
    write_report(results_folder(tmp_path, simulated=False))
    page = page_of(tmp_path)
    assert "simulated" not in page.text.lower()
    assert not any(attributes.get("class") == "banner" for _, attributes in page.tags)
    assert "PhysioNet Credentialed Health Data License 1.5.0" in page.text


def test_the_numbers_of_the_page_are_those_of_the_summary(whole_folder: Path) -> None:
    text = (whole_folder / "report.html").read_text(encoding="utf-8")
    body = re.search(r'<table class="main">(.*?)</table>', text, re.DOTALL)
    assert body is not None
    rows = [
        [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", body[1])
    ]
    shown = [row for row in rows if len(row) == 12 and row[0] != "arm"]
    summary = json.loads((whole_folder / "summary.json").read_text(encoding="utf-8"))
    expected = [(arm, signal) for signal in SIGNALS for arm in summary["arms"]]
    assert len(shown) == len(expected)
    for row, (arm, signal) in zip(shown, expected, strict=True):
        scores, difference = arm["scores"][signal], arm["vs_zero_shot"].get(signal)
        low, high = scores["ci95"]["mae"]
        assert row[:4] == [
            arm["arm"], f"{arm['trainable_parameters']:,}", f"{scores['mae']:.2f}", f"[{low:.2f}, {high:.2f}]",
        ]  # fmt: skip
        assert row[4] == f"{scores['rmse']:.2f}"
        assert row[6] == f"{scores['mase']:.3f}"
        assert row[8] == f"{100 * scores['coverage_80']:.1f} %"
        assert row[11] == (difference["verdict"] if difference else "")


def test_the_verdict_says_what_lora_trained_and_where_it_is_shown_better(whole_folder: Path) -> None:
    text = page_of(whole_folder).text
    assert "chronos-t5-nano lora r=2 trains 12,288 numbers (0.36 % of the 3,452,160 of full fine-tuning)" in text
    assert "better than zero-shot on heart rate and mean arterial pressure" in text
    assert "on respiratory rate no difference is shown" in text


@pytest.mark.usefixtures("only_svg")
def test_names_are_escaped(tmp_path: Path) -> None:
    results_folder(tmp_path)
    nasty = "<script>alert('a')</script> & \"b\" $style {x}"

    def spoil(summary: dict[str, Any]) -> None:
        summary["name"] = summary["arms"][4]["arm"] = summary["data"]["source"] = nasty
        summary["data"]["licence"] = summary["checks"][0]["title"] = summary["checks"][2]["reason"] = nasty
        summary["data"]["signals"]["map"] = {"label": nasty, "unit": nasty}
        summary["arms"][4]["vs_zero_shot"]["map"].update(sentence=nasty, verdict=nasty)
        summary["data"]["attrition"]["steps"][1]["step"] = nasty

    summary_changed(tmp_path, spoil)
    write_report(tmp_path)
    page = page_of(tmp_path)
    assert "script" not in [tag for tag, _ in page.tags]
    assert nasty in page.text


@pytest.mark.parametrize("missing", ["learning.json", "examples.json"])
@pytest.mark.usefixtures("only_svg")
def test_runs_without_a_recorded_piece_leave_out_its_figure_only(tmp_path: Path, missing: str) -> None:
    results_folder(tmp_path)
    for path in tmp_path.glob(f"runs/*/{missing}"):
        path.unlink()
    write_report(tmp_path)
    gone = "learning" if missing == "learning.json" else "fans"
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == set(FIGURES) - {gone}


@pytest.mark.usefixtures("only_svg")
def test_a_bare_summary_is_enough(tmp_path: Path) -> None:
    scores = {"glucose_poc": {"mae": 1.5}, "lactate": {"mae": None}}
    write(tmp_path / "summary.json", {"name": "bare", "arms": [{"arm": "last-value", "scores": scores}]})
    write_report(tmp_path)
    text = page_of(tmp_path).text
    assert "glucose poc" in text
    assert "lactate" in text
    assert "No checks were recorded" in text
    assert not (tmp_path / "figures" / "flow.svg").exists()


@pytest.mark.usefixtures("only_svg")
def test_null_numbers_one_seed_and_one_signal_do_not_stop_the_report(tmp_path: Path) -> None:
    results_folder(tmp_path, seeds=(3,))

    def thin(summary: dict[str, Any]) -> None:
        for arm in summary["arms"]:
            arm["scores"] = {"map": arm["scores"]["map"]}
            arm["scores"]["map"].update(mse_scaled=None, dtw_scaled=None, mape=None, crps=None, ci95=None)
            arm["scores"]["map"]["by_step"]["mae"][5] = None
            arm["vs_zero_shot"] = {"map": {"mae_difference": 0.2, "ci95": None, "verdict": "no difference shown"}}
            arm.update(train_seconds=None, best_step=None)
        summary["data"]["signals"] = {"map": {"unit": "mmHg", "label": None}}
        summary["arms"][0]["scores"]["map"]["by_step"] = None
        summary["arms"][1]["scores"] = {}
        summary["arms"][2]["vs_zero_shot"] = None

    summary_changed(tmp_path, thin)
    write_report(tmp_path)
    text = page_of(tmp_path).text
    assert "There is one seed only" in text
    assert "No signal of this experiment has the fixed range" in text
    assert "None" not in text
    assert "nan" not in re.findall(r"\w+", text)


@pytest.mark.usefixtures("only_svg")
def test_runs_that_the_summary_does_not_know_are_named(tmp_path: Path) -> None:
    results_folder(tmp_path)
    summary_changed(tmp_path, lambda summary: summary["arms"].pop())
    write_report(tmp_path)
    assert "not shown: chronos-t5-nano full (seed 0), chronos-t5-nano full (seed 1)" in page_of(tmp_path).text


@pytest.mark.usefixtures("only_svg")
def test_the_cutting_of_windows_joins_the_flow(tmp_path: Path) -> None:
    results_folder(tmp_path)
    counts = {"series": 40, "series_too_short": 7, "windows": 900, "context_too_sparse": 200, "target_too_sparse": 60}
    summary_changed(tmp_path, lambda summary: summary["windows"].update(attrition=counts))
    steps = read_results(tmp_path).attrition[-3:]
    assert [step.get("windows") for step in steps] == [None, 700, 640]
    assert steps[0]["series"] == 33
    write_report(tmp_path)
    text = page_of(tmp_path).text
    assert "7 series" in text
    assert "60 windows" in text


@pytest.mark.usefixtures("only_svg")
def test_zero_shot_is_not_compared_with_itself(tmp_path: Path) -> None:
    results_folder(tmp_path)
    alone = {"mae_difference": 0.0, "ci95": [0.0, 0.0], "verdict": "no difference shown", "sentence": "Same as itself."}
    summary_changed(tmp_path, lambda summary: summary["arms"][3].update(vs_zero_shot={"map": alone}))
    write_report(tmp_path)
    assert "Same as itself" not in page_of(tmp_path).text


def test_many_arms_and_signals_keep_one_look_each(tmp_path: Path) -> None:
    from loracast.report.figures.style import arm_styles

    arms = [{"arm": f"lora r={rank}", "method": "lora", "trainable_parameters": rank} for rank in range(1, 13)]
    styles = arm_styles({"arms": arms})
    assert len({(style.colour, style.marker, str(style.dash)) for style in styles.values()}) == 12


def test_the_summary_is_read_for_the_terminal(whole_folder: Path) -> None:
    assert [arm["arm"] for arm in read_summary(whole_folder)["arms"]] == [arm for arm, *_ in ARMS]


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*nowhere.*loracast run"):
        write_report(tmp_path / "nowhere")


def test_a_folder_without_summary_says_what_is_there_and_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match=r"no summary\.json.*it holds: runs.*--resume"):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("content", ['{"name": "cut of', "[1, 2]", '{"arms": []}'])
def test_a_broken_summary_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "summary.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"summary\.json"):
        write_report(tmp_path)
