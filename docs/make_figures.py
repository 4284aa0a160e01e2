"""Draw the figures of the documentation from the committed result files, and write docs/gallery.md.

python docs/make_figures.py
"""

import tempfile
from pathlib import Path

from loracast.report.figures import draw_figures, save_figure
from loracast.report.figures.style import Drawing
from loracast.report.results import read_results

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
GALLERY = ROOT / "docs" / "gallery.md"
STUDY = {
    "rank-sweep": ("ranks",),
    "full-against-lora": ("forest",),
    "cross-model": ("heatmap", "pareto", "paired"),
}
"""The figures of each experiment that the page of the study shows, for every data set."""
SHOWN = {
    "mimic3-demo": ("forest", "paired", "horizon", "pareto", "costs", "flow"),
    "cross-model-cinc2019": ("heatmap",),
    "rank-sweep-cinc2019": ("ranks",),
}
"""The figures of each results folder that the gallery shows."""
HEAD = """# Gallery

What `loracast report` draws, here from results that are committed under `results/`.
Made by `python docs/make_figures.py`. A report also
shows learning curves and forecasts of test windows, from files that stay in the results folder.
"""


def drawings(folder: str) -> dict[str, Drawing]:
    """All figures of a folder of results, by name."""
    return {drawing.name: drawing for drawing in draw_figures(read_results(ROOT / "results" / folder))}


def wanted() -> dict[str, set[str]]:
    """The names of the figures that some page shows, by results folder."""
    found = {folder: set(names) for folder, names in SHOWN.items()}
    for experiment, names in STUDY.items():
        for folder in sorted((ROOT / "results").glob(f"{experiment}-*")):
            found.setdefault(folder.name, set()).update(names)
    return found


def gallery() -> str:
    """The page: each figure with its title, what it shows, and the command that drew its data."""
    parts = [HEAD]
    for folder, names in SHOWN.items():
        drawn = drawings(folder)
        for name in names:
            one = drawn[name]
            parts.append(f"## {one.title}\n\n![{one.alt}](figures/{folder}-{name}.svg)\n\n{one.caption} (`results/{folder}`)\n")
    return "\n".join(parts)


def main() -> None:
    """Draw what is shown, and nothing besides."""
    FIGURES.mkdir(exist_ok=True)
    for folder, names in wanted().items():
        for name, drawing in drawings(folder).items():
            if name in names:
                with tempfile.TemporaryDirectory() as work:
                    vector = save_figure(drawing, Path(work))
                (FIGURES / f"{folder}-{name}.svg").write_text(vector, encoding="utf-8")
    GALLERY.write_text(gallery(), encoding="utf-8")


if __name__ == "__main__":
    main()
