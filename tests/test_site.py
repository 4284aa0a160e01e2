"""The documentation as a site: built strictly, whole, and asking the network for nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import loracast

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; a link that leads nowhere, or a page in no menu, ends that."""
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--config-file",
        ROOT / "mkdocs.yml",
        "--site-dir",
        out,
    ]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "true"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return out


def test_the_site_is_built_strictly():
    assert "\nstrict: true\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_page_of_the_documentation_is_a_page_of_the_site(site):
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT / "docs").with_suffix("")
        assert (site / ("index.html" if place.name == "index" else f"{place}/index.html")).is_file()


def test_nothing_is_loaded_from_elsewhere(site):
    """Links may lead away; scripts, styles, fonts and pictures may not be fetched from there."""
    loads = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"' >]+)""")
    found = {address for page in site.rglob("*.html") for address in loads.findall(page.read_text(encoding="utf-8"))}
    assert found == set()
    styles = "".join(sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?(?:https?:)?//", styles) == []


def test_every_public_name_is_on_the_page_of_the_names_with_its_signature(site):
    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'<h3 id="loracast\.[\w.]*?(\w+)"', text))
    assert shown == set(loracast.__all__)


def test_an_example_of_a_docstring_is_code_and_no_quotation(site):
    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert "&gt;&gt;&gt; " in text
    assert "<blockquote>" not in text
