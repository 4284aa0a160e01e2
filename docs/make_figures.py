"""Draw the figures of docs/study.md from the committed result files.

python docs/make_figures.py
"""

import tempfile
from pathlib import Path

from loracast.report.figures import draw_figures, save_figure
from loracast.report.results import read_results

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"
SHOWN = {
    "rank-sweep": ("ranks",),
    "full-against-lora": ("forest",),
    "cross-model": ("heatmap", "pareto", "paired"),
}
"""The figures of each experiment that the page shows."""


def main() -> None:
    """Draw them for every data set whose results are committed."""
    FIGURES.mkdir(exist_ok=True)
    for experiment, names in SHOWN.items():
        for folder in sorted((ROOT / "results").glob(f"{experiment}-*")):
            for drawing in draw_figures(read_results(folder)):
                if drawing.name in names:
                    with tempfile.TemporaryDirectory() as work:
                        vector = save_figure(drawing, Path(work))
                    (FIGURES / f"{folder.name}-{drawing.name}.svg").write_text(vector, encoding="utf-8")


if __name__ == "__main__":
    main()
