"""Pages and schemas that are made from the code are those that the code makes."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_schemas_of_a_results_folder_are_fresh():
    made = runpy.run_path(str(DOCS / "make_schemas.py"))
    for name, text in made["schemas"]().items():
        assert (made["FOLDER"] / name).read_text(encoding="utf-8") == text, "run python docs/make_schemas.py"


def test_every_page_that_a_page_of_the_documentation_links_to_exists():
    import re

    for page in DOCS.glob("*.md"):
        for path in set(re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))):
            assert (DOCS / path).exists(), f"{page.name} links to {path}"
