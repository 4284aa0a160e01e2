"""The report page, the arms' pages and the files beside them, from a small results folder."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from loracast.errors import ConfigError
from loracast.report import arm_page, figures, read_summary, write_report
from loracast.report import page as page_module
from loracast.report.answers import heavy_windows
from loracast.report.doubts import told_of
from loracast.report.figures import curves, fans, flow
from loracast.report.readable import number
from loracast.report.results import slugs_of
from loracast.report.words import choices_told
from loracast.study.runs import read_claim
from loracast.study.summary import RunResult, SignalFacts, Summary, read_facts, write_facts
from tests.conftest import vectors_alone
from tests.report.conftest import ARMS, LORA, PATIENT, SIGNALS, changed, difference, results_folder, summary_of

FIGURES = ("fans", "forest", "paired", "horizon", "pareto", "costs", "learning", "flow")


class Page(HTMLParser):
    """What a browser would load, and what a reader would read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, for tests of what the pages say."""
    monkeypatch.setattr(figures, "FIGURES", ())
    monkeypatch.setattr(arm_page, "draw_arm_figures", lambda results, arm: [])


@pytest.fixture
def only_svg(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Save the vector of each figure alone, and no page of an arm, for tests of what the page says: much faster."""
    monkeypatch.setattr(page_module, "write_arm_pages", lambda results, folder: None)
    with vectors_alone():
        yield


def reported(folder: Path, summary: Summary) -> Page:
    return Page(write_report(results_folder(folder, summary)))


@pytest.fixture(scope="module")
def page(whole_folder: Path) -> Page:
    return Page(whole_folder / "report.html")


def test_the_page_shows_every_arm_and_signal_and_names_simulated_data(page: Page) -> None:
    labels = [signal.label for signal in summary_of().data.signals.values()]
    heads = ("Was it worth it?", "Data and windows", "Results", "Figures", "Reasons not to believe", "How to reproduce")
    for told in (*ARMS, *labels, *heads, "SIMULATED DATA"):
        assert told in page.text
    assert any(attributes.get("class") == "banner" for _, attributes in page.tags)


def test_every_page_is_whole_html_and_loads_nothing(whole_folder: Path) -> None:
    arms = sorted((whole_folder / "arms").iterdir())
    assert {path.stem for path in arms} == set(slugs_of(read_summary(whole_folder)).values())
    for path in (whole_folder / "report.html", *arms):
        tags = Page(path).tags
        assert [attributes for tag, attributes in tags if tag == "script"] == [{}]
        for tag, attributes in tags:
            assert tag not in ("link", "iframe", "object", "embed", "img")
            assert not {"src", "srcset", "action", "poster"} & set(attributes)
            # A link is followed by a reader, not by the page: to files beside it, and nowhere else.
            if "href" in attributes:
                beside = r"arms/[\w.-]+\.html|\.\./report\.html|(figures|tables)/\w+\.(svg|pdf|png|csv|tex)"
                assert re.fullmatch(rf"#[\w-]+|{beside}" if tag == "a" else r"#[\w-]+", str(attributes["href"]))
        style = path.read_text(encoding="utf-8").split("</style>")[0]
        assert "url(" not in style
        assert "@import" not in style


def test_every_table_and_figure_says_what_it_shows_to_those_who_cannot_see_it(page: Page) -> None:
    images = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(images) == 2 * len(FIGURES)  # for a wide screen and for a narrow one
    named = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for image in images:
        assert image["role"] == "img"
        assert set((image["aria-labelledby"] or "").split()) <= named
    assert {"lora r=2", "heart rate", "MAE − MAE of zero-shot"} <= {
        part for part in ("lora r=2", "heart rate", "MAE − MAE of zero-shot") if part in page.text
    }
    regions = [attributes for _, attributes in page.tags if attributes.get("role") == "region"]
    assert len(regions) == sum(tag in ("table", "pre") for tag, _ in page.tags)
    assert all(region["aria-label"] and region["tabindex"] == "0" for region in regions)


def test_a_figure_leads_to_its_files_and_no_two_parts_of_a_page_share_a_name(whole_folder: Path, page: Page) -> None:
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    links = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    for name in FIGURES:
        assert f"figures/{name}.svg" in links
    for link in links:
        assert link[1:] in names if link.startswith("#") else (whole_folder / link).is_file()


def test_the_contents_name_every_part_of_the_page_and_lead_to_it(whole_folder: Path, page: Page) -> None:
    text = (whole_folder / "report.html").read_text(encoding="utf-8")
    nav = text.split('<nav class="contents"')[1].split("</nav>")[0]
    listed = re.findall(r'<a href="#([\w-]+)">([^<]+)</a>', nav)
    parts = re.findall(r'<section id="([\w-]+)"[^>]*>\s*<h2>([^<]+)</h2>', text)
    assert listed == parts
    assert len(parts) == sum(tag == "section" for tag, _ in page.tags)


def test_the_answer_stands_first_with_a_line_a_signal_and_the_warnings_right_under_it(page: Page) -> None:
    summary = summary_of()
    box = page.text.split("Was it worth it?", 1)[1].split("The numbers behind it")[0]
    lines, warnings = box.split(" warn (", 1)
    for signal, label in ((name, summary.data.signals[name].label) for name in SIGNALS):
        verdict = summary.arm(LORA).vs_zero_shot[signal].verdict
        told = "not shown" if verdict == "no difference shown" else verdict
        line = lines.split(label.capitalize())[1].split(" patients")[0]
        assert f"zero-shot: {told}" in line
    warned = [one for one in told_of(summary) if one.outcome == "warning"]
    assert [warnings.index(one.title) for one in warned] == sorted(warnings.index(one.title) for one in warned)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_also_a_file_as_wide_as_a_double_column(whole_folder: Path, name: str) -> None:
    vector = (whole_folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    assert vector.rstrip().endswith("</svg>")
    assert 'viewBox="0 0 504 ' in vector  # 7 in
    assert "dc:date" not in vector


def test_no_patient_is_named_and_nothing_half_written_is_left(whole_folder: Path) -> None:
    made = [path for name in ("figures", "tables", "arms") for path in (whole_folder / name).iterdir()]
    assert len(made) == len(FIGURES) + 3 + len(ARMS)
    for path in [whole_folder / "report.html", *made]:
        assert PATIENT.encode() not in path.read_bytes()
    assert not [path.name for path in whole_folder.rglob("*") if path.name.endswith(".partial")]


def test_a_report_written_again_is_the_same_to_the_byte(
    whole_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = arm_page.draw_arm_figures
    # Of the arms, the figures of one: those of each are drawn alike.
    monkeypatch.setattr(arm_page, "draw_arm_figures", lambda results, arm: whole(results, arm) * (arm.arm == LORA))
    with vectors_alone():
        write_report(results_folder(tmp_path))
    made = [path for path in tmp_path.rglob("*") if path.suffix in (".html", ".svg", ".csv", ".tex")]
    assert len(made) == 1 + len(ARMS) + len(FIGURES) + 3
    drawn = slugs_of(summary_of())[LORA]
    for path in (path for path in made if path.parent.name != "arms" or path.stem == drawn):
        assert (whole_folder / path.relative_to(tmp_path)).read_bytes() == path.read_bytes(), path.name


def test_the_numbers_of_the_page_are_those_of_the_summary(whole_folder: Path) -> None:
    text = (whole_folder / "report.html").read_text(encoding="utf-8")
    body = re.search(r'<table class="main sortable">(.*?)</table>', text, re.DOTALL)
    assert body is not None
    rows = [
        [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL)
    ]
    shown = [row for row in rows if len(row) == 12 and row[0] != "arm"]
    summary = read_summary(whole_folder)
    best_first = {signal: sorted(summary.arms, key=lambda arm: arm.scores[signal].mae) for signal in SIGNALS}
    expected = [(arm, signal) for signal in SIGNALS for arm in best_first[signal]]
    for row, (arm, signal) in zip(shown, expected, strict=True):
        scores, compared = arm.scores[signal], arm.vs_zero_shot.get(signal)
        low, high = scores.ci95["mae"]
        assert row[0] == arm.arm
        assert row[1].split(", turns")[0] == (compared.verdict if compared else "")
        assert row[2:4] == [f"{scores.mae:.2f}", f"[{low:.2f}, {high:.2f}]"]
        assert row[6] == f"{scores.rmse:.2f}"
        assert row[8] == f"{scores.mase:.3f}"
        assert row[10:] == [f"{100 * scores.coverage_80:.1f} %", f"{arm.trainable_parameters:,}"]


def test_the_page_tells_verdict_attrition_checks_and_how_to_run_it_again(whole_folder: Path, page: Page) -> None:
    summary, spec = read_summary(whole_folder), read_claim(whole_folder)
    outcomes = Counter(check.outcome for check in summary.checks)
    cut = summary.windows.attrition
    for told in (
        "chronos-t5-nano lora r=2 trains 12,288 numbers (0.36 % of the 3,452,160 of full fine-tuning)",
        "better than zero-shot on heart rate and mean arterial pressure",
        "on respiratory rate no difference is shown",
        "a look that dropped nothing", "1 step that dropped nothing: see the table",
        f"{cut['series_too_short']} series", f"{cut['target_too_sparse']} windows",
        ", ".join(f"{outcomes[one]} {one}" for one in ("passed", "warning", "not applicable")),
        "Every arm was trained on this table.",
        spec.digest, "2.13.0", "Linux x86_64, 16 cores, 8 threads, Example GPU", '"learning_rate": 0.001',
    ):  # fmt: skip
        assert told in page.text


def test_what_one_patient_or_window_decides_and_what_was_searched_stand_on_the_page(
    whole_folder: Path, page: Page
) -> None:
    summary = read_summary(whole_folder)
    assert {check.code for check in summary.checks if check.outcome == "warning"} >= {
        "C05", "C07", "C10", "C11", "C12", "C15",
    }  # fmt: skip
    [heavy] = heavy_windows(summary)
    searched = choices_told(summary)
    assert len(searched) == 3  # the steps of two arms that trained as long, the naive forecast, and what was not
    words = [part for told in told_of(summary) for part in (told.title, told.reason.head, *told.reason.parts)]
    for told in (heavy, *searched, *words):
        assert told in page.text
    difference = summary.arm(LORA).vs_full["resp_rate"]
    low, high = difference.left_out
    spread = " to ".join(number(value, 3, sign=True) for value in (low, high))
    assert spread in page.text


def test_the_page_of_an_arm_shows_its_curves_and_forecasts_and_its_own_checks(whole_folder: Path) -> None:
    summary = read_summary(whole_folder)
    slugs, shown = slugs_of(summary), {}
    for name in ARMS:
        text = (whole_folder / "arms" / f"{slugs[name]}.html").read_text(encoding="utf-8")
        shown[summary.arm(name).method] = text.count("<figure ")
    assert shown == {"as-is": 1, "zero-shot": 1, "lora": 2, "full": 2}
    lora = Page(whole_folder / "arms" / f"{slugs[LORA]}.html").text
    warned = {check.code: check.findings for check in summary.checks if check.outcome == "warning"}
    [lost] = [found for found in warned["C03"] if found.arm == LORA]
    assert f"{LORA} on respiratory rate ({lost.verdict}, {lost.reference})" in lora
    narrow = [f"{100 * found.value:.1f}%" for found in warned["C05"]]
    assert narrow
    assert not any(share in lora for share in narrow)
    others = sum(LORA not in {found.arm for found in findings} for findings in warned.values())
    assert f"speak of all arms or of others: {others}, on the main page" in lora


@pytest.mark.usefixtures("no_figures")
def test_real_data_carry_no_simulated_banner_and_their_licence(tmp_path: Path) -> None:
    page = reported(tmp_path, summary_of(simulated=False))
    assert "SIMULATED" not in page.text
    assert page.text.lower().count("simulated") == 1  # the name of check C07, which passes
    assert not any(attributes.get("class") == "banner" for _, attributes in page.tags)
    assert "PhysioNet Credentialed Health Data License 1.5.0" in page.text


@pytest.mark.parametrize(("missing", "gone"), [("learning.json", "learning"), ("examples.json", "fans")])
@pytest.mark.usefixtures("only_svg")
def test_runs_without_a_recorded_piece_leave_out_its_figure_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, gone: str
) -> None:
    monkeypatch.setattr(figures, "FIGURES", (fans.draw, curves.draw_learning, flow.draw))
    results_folder(tmp_path)
    for path in tmp_path.glob(f"runs/*/{missing}"):
        path.unlink()
    write_report(tmp_path)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"fans", "learning", "flow"} - {gone}


@pytest.mark.usefixtures("only_svg")
def test_no_fan_is_drawn_of_few_paths_and_the_page_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", (fans.draw, flow.draw))
    results_folder(tmp_path)
    for file in tmp_path.glob("runs/*/result.json"):
        result = read_facts(RunResult, file)
        if result.samples is not None:
            write_facts(result.model_copy(update={"samples": 99}), file, overwrite=True)
    page = Page(write_report(tmp_path))
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"flow"}
    assert "99 sample paths a window, and the edges of a fan of fewer than 100 are chance" in page.text


@pytest.mark.usefixtures("only_svg")
def test_undefined_scores_one_seed_and_one_signal_do_not_stop_the_report(tmp_path: Path) -> None:
    summary = summary_of(seeds=(3,))
    for arm in summary.arms:
        none = dict.fromkeys(("mse_scaled", "dtw_scaled", "mape", "crps"))
        by_step = {**arm.scores["map"].by_step, "mae": [None, *arm.scores["map"].by_step["mae"][1:]]}
        scores = arm.scores["map"].model_copy(update={**none, "ci95": {}, "by_step": by_step})
        summary = changed(
            summary, arm.arm, scores={"map": scores}, vs_zero_shot={}, vs_full={}, vs_naive={}, vs_best={}, hardware=[]
        )
    summary = changed(summary, "seasonal-naive", scores={})
    one = summary.data.model_copy(update={"signals": {"map": summary.data.signals["map"]}, "attrition": []})
    windows = summary.windows.model_copy(update={"attrition": {}})
    page = reported(tmp_path, summary.model_copy(update={"data": one, "windows": windows, "checks": []}))
    for told in (
        "There is one seed only", "No signal of this experiment has the fixed range", "No checks were recorded",
        "No attrition was recorded",
    ):  # fmt: skip
        assert told in page.text
    assert not {"None", "nan", "NA"} & set(re.findall(r"\w+", page.text))
    assert not (tmp_path / "figures" / "flow.svg").exists()


@pytest.mark.usefixtures("no_figures")
def test_runs_that_the_summary_does_not_know_are_named(tmp_path: Path) -> None:
    results_folder(tmp_path)
    summary = summary_of()
    file = tmp_path / "summary.json"
    file.write_text(summary.model_copy(update={"arms": summary.arms[:-1]}).model_dump_json(), encoding="utf-8")
    told = Page(write_report(tmp_path)).text
    assert "not shown: chronos-t5-nano full (seed 0), chronos-t5-nano full (seed 1)" in told


@pytest.mark.usefixtures("no_figures")
def test_what_a_reader_had_noticed_stands_beside_what_was_dropped(tmp_path: Path) -> None:
    summary = summary_of()
    [note] = summary.data.notes
    assert note["text"] in reported(tmp_path / "new", summary).text
    data = summary.data.model_copy(update={"notes": None})  # as in results of earlier versions
    assert note["text"] not in reported(tmp_path / "old", summary.model_copy(update={"data": data})).text


@pytest.mark.usefixtures("no_figures")
def test_an_arm_is_not_compared_with_itself(tmp_path: Path) -> None:
    name = "chronos-t5-nano zero-shot"
    page = reported(tmp_path, changed(summary_of(), name, vs_zero_shot={"map": difference(0.0, 0.0, name)}))
    assert "The mean absolute error is the same" not in page.text


@pytest.mark.usefixtures("no_figures")
def test_names_stay_text_on_every_page(tmp_path: Path) -> None:
    nasty = "<script>alert('a')</script> & \"b\" {{ style }} {% x %}"
    summary = summary_of()
    data = summary.data.model_copy(
        update={
            "source": nasty,
            "licence": nasty,
            "signals": summary.data.signals | {"map": SignalFacts(label=nasty, unit=nasty)},
            "attrition": [{**summary.data.attrition[0], "step": nasty}],
        }
    )
    summary = changed(summary, LORA, settings={"model": nasty, nasty: nasty}, hardware=[{nasty: nasty}], licence=nasty)
    summary = changed(summary, LORA, vs_full={"map": difference(1.0, 0.1, nasty)}, arm=nasty)
    summary = summary.model_copy(update={"name": nasty, "data": data, "command": nasty})
    write_report(results_folder(tmp_path, summary))
    pages = [tmp_path / "report.html", *(tmp_path / "arms").iterdir()]
    assert len(pages) == 1 + len(ARMS)
    for path in pages:
        page = Page(path)
        assert [tag for tag, _ in page.tags].count("script") == 1  # our own
        assert nasty in page.text


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*nowhere.*loracast run"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match=r"no summary\.json.*it holds: runs.*--resume"):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: '{"name": "cut of', "is not JSON"),
        (lambda content: "[1, 2]", "no Summary"),
        (lambda content: json.dumps({**content, "arms": []}), "lists no arms"),
        (lambda content: json.dumps({**content, "format": 2}), "another version of loracast"),
    ],
)
def test_a_broken_summary_is_refused(tmp_path: Path, spoil: Callable[[dict[str, Any]], str], said: str) -> None:
    content = json.loads(summary_of().model_dump_json())
    (tmp_path / "summary.json").write_text(spoil(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        write_report(tmp_path)


def test_broken_examples_are_refused(tmp_path: Path) -> None:
    results_folder(tmp_path)
    next(tmp_path.glob("runs/*/examples.json")).write_text('[{"kind": "best"}]', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"examples\.json.*holds no example forecasts"):
        write_report(tmp_path)
