"""The pages in a real browser: they ask for nothing, fit a phone, can be read by all, light and dark, and sorted."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loracast.report import write_comparison
from loracast.report.page import SECTIONS
from loracast.report.results import slugs_of, summary_in
from tests.report.conftest import LORA

playwright = pytest.importorskip("playwright.sync_api", reason="the python package playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian's package: chromium)")

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PHONE, DESK = 390, 1400
PAGES = ("report", "arm", "compare")
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(whole_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report, the page of an arm, and a study beside itself."""
    slug = slugs_of(summary_in(whole_folder))[LORA]
    out = tmp_path_factory.mktemp("compared") / "compare.html"
    return {
        "report": whole_folder / "report.html",
        "arm": whole_folder / "arms" / f"{slug}.html",
        "compare": write_comparison([whole_folder, whole_folder], out),
    }


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """A function that opens a page; what it asked for and complained of is in `asked` and `said`."""
    contexts = []

    def open_page(name: str, width: int = DESK, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(pages[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_page_asks_for_nothing_complains_of_nothing_and_is_no_wider_than_its_window(
    opened: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    page = opened(name, width)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.asked == [pages[name].as_uri()]
    assert page.said == []


def _grave(page: Any, *rules: str) -> list[tuple[str, str]]:
    """What axe finds serious on the page with all of it open, by all rules or by these."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    asked: dict[str, Any] = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = axe.Axe().run(page, options=asked).response["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize(("name", "scheme"), [("report", "light"), ("arm", "dark"), ("compare", "light")])
def test_axe_finds_nothing_serious(opened: Any, name: str, scheme: str) -> None:
    assert _grave(opened(name, scheme=scheme)) == []


def test_axe_finds_nothing_too_faint_on_a_dark_report(opened: Any) -> None:
    """By the one rule that the scheme matters to; of the letters in figures the test of the scheme asks, below."""
    page = opened("report", scheme="dark")
    page.evaluate("document.querySelectorAll('figure').forEach((one) => one.remove())")
    assert _grave(page, "color-contrast") == []


def _column(page: Any, place: int) -> list[list[str]]:
    """The values of a column of the results, a list a signal; "" where there is none."""
    return page.evaluate(
        """(place) => [...document.querySelector("table.main").tBodies].map((body) =>
             [...body.rows].filter((row) => !row.classList.contains("group"))
                           .map((row) => row.cells[place].dataset.value ?? ""))""",
        place,
    )


def test_the_results_are_sorted_by_a_click_or_a_key_within_each_signal(opened: Any) -> None:
    page = opened("report")
    heads = page.locator("table.main thead th")
    assert heads.nth(2).get_attribute("aria-sort") == "ascending"
    before = _column(page, 2)
    for errors in before:
        assert [float(error) for error in errors] == sorted(float(error) for error in errors)
    heads.nth(2).get_by_role("button").click()
    assert heads.nth(2).get_attribute("aria-sort") == "descending"
    assert _column(page, 2) == [list(reversed(errors)) for errors in before]
    assert page.locator("table.main tr.group").count() == len(before)
    difference = heads.nth(4)
    difference.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert difference.get_attribute("aria-sort") == "ascending"
    assert heads.nth(2).get_attribute("aria-sort") is None
    for differences in _column(page, 4):
        known = [float(one) for one in differences if one]
        assert known == sorted(known)
        assert differences[len(known) :] == [""] * (len(differences) - len(known))  # what has none stands last
        assert 0 < len(known) < len(differences)


def test_every_line_of_the_contents_leads_to_its_part(opened: Any) -> None:
    page = opened("report")
    links = page.locator("nav.contents a")
    assert links.count() >= len(SECTIONS) - 3  # those of a few need something to show
    for place in range(links.count()):
        link = links.nth(place)
        target = str(link.get_attribute("href")).removeprefix("#")
        page.evaluate("scrollTo(0, 0)")
        link.click()
        heading = page.locator(f"section#{target} > h2")
        assert heading.inner_text() == link.inner_text()
        top = heading.bounding_box()["y"]
        assert 0 <= top < 900


def test_on_a_phone_the_verdict_is_seen_at_once_and_the_arm_stays_while_the_rest_scrolls(opened: Any) -> None:
    page = opened("report", PHONE)
    table = page.locator("table.main")
    row = table.locator("tbody tr:not(.group)").first
    arm, verdict = row.locator("th"), row.locator("td").first
    assert "verdict" in table.locator("thead th").nth(1).inner_text()
    box = verdict.bounding_box()
    assert box["x"] + box["width"] <= PHONE
    place = arm.bounding_box()["x"]
    table.evaluate("(table) => { table.parentElement.scrollLeft = 200; }")
    assert verdict.bounding_box()["x"] < box["x"] - 100
    assert arm.bounding_box()["x"] == pytest.approx(place, abs=2)


def test_a_phone_shows_one_panel_a_row_and_a_desk_several(opened: Any) -> None:
    for width, seen, hidden in ((PHONE, "narrow", "wide"), (DESK, "wide", "narrow")):
        page = opened("report", width)
        figures = page.locator("figure")
        assert figures.count() > 6
        for place in range(figures.count()):
            box = figures.nth(place).locator(f".on-{seen} svg").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert not figures.nth(place).locator(f".on-{hidden}").is_visible()
        across = page.evaluate(
            f"""[...document.querySelectorAll("#forest .on-{seen} svg g[id*='axes_']")]
                  .map((panel) => Math.round(panel.getBoundingClientRect().top / 40))"""
        )
        assert len(across) == 3
        assert len(set(across)) == (3 if seen == "narrow" else 1)


def _light(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (0.3 * red + 0.59 * green + 0.11 * blue) / 255


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_page_and_its_figures_follow_the_scheme_of_the_reader(opened: Any, scheme: str) -> None:
    page = opened("report", scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    letters = page.evaluate("[...document.querySelectorAll('.on-wide text')].map((one) => getComputedStyle(one).fill)")
    assert len(letters) > 50
    ground = page.evaluate("getComputedStyle(document.querySelector('#forest .on-wide path')).fill")
    assert (_light(paper) < 0.2) == (_light(ground) < 0.2) == (scheme == "dark")
    for colour in set(letters):
        assert abs(_light(colour) - _light(ground)) > 0.4, colour


def test_without_a_script_the_table_is_a_plain_one(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["report"].as_uri())
    assert page.locator("table.main thead button").count() == 0
    assert page.locator("table.main thead th").first.inner_text() == "arm"
    context.close()
