"""How figures look: one colour an arm over all of them, journal widths, fonts that travel with the file."""

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from loracast.report.readable import plural
from loracast.report.results import MANY, Results, backbone_of, family_of, is_baseline, label_of, unit_of
from loracast.study.summary import ArmSummary, Summary


@dataclass(frozen=True)
class Sheet:
    """What a figure is drawn on: its width in inches, and at most how many panels stand side by side."""

    width: float
    most: int


PAPER = Sheet(7.0, 3)
"""A double journal column (178 mm): the files, and a page on a wide screen."""
PHONE = Sheet(3.75, 1)
"""A narrow screen: one panel a row, letters as large as on paper."""

RC: Any = {
    "font.family": "DejaVu Sans",
    "figure.dpi": 300,
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # no search for a place above ticks that are never there
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "svg.fonttype": "none",  # real text: it can be searched, copied and read aloud
    "svg.hashsalt": "loracast",
    # A name with two dollar signs is a name and no formula.
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "savefig.facecolor": "white",
    "figure.facecolor": "white",
}

# Okabe & Ito, "Color Universal Design" (2008); black is kept for zero-shot, yellow left out (too light on white).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
BASELINES = (
    ("#8c8c8c", "-"), ("#666666", (0, (4, 1.5))), ("#9a9a9a", (0, (1.2, 1.2))), ("#555555", (0, (4, 1, 1, 1))),
    ("#a8a8a8", (0, (6, 2))), ("#777777", (0, (2, 1))),
)  # fmt: skip
# P. Tol, "Colour Schemes" (technical note, 2021), muted: for methods beyond the first six.
MORE = ("#882255", "#332288", "#999933", "#44AA99", "#AA4499", "#661100", "#5D6D7E", "#7CAE00")


@dataclass(frozen=True)
class ArmStyle:
    """The look of one arm in every figure."""

    colour: str
    marker: str
    dash: Any


def arm_styles(summary: Summary) -> dict[str, ArmStyle]:
    """Greys for the baselines, black for the first zero-shot, the colour-blind-safe palette for the others.

    Where arms are many, those of a method share a colour and those of a backbone a marker (`in_families`).
    """
    floor = [arm.arm for arm in summary.arms if is_baseline(arm)]
    styles: dict[str, ArmStyle] = {}
    for place, name in enumerate(floor):
        colour, dash = BASELINES[place % len(BASELINES)]
        styles[name] = ArmStyle(colour, "x+1|2_"[place % 6], dash)
    looks = _family_styles(summary) if in_families(summary) else _single_styles(summary)
    return {arm.arm: styles[arm.arm] if arm.arm in styles else looks[arm.arm] for arm in summary.arms}


def _single_styles(summary: Summary) -> dict[str, ArmStyle]:
    """A look of its own for each model's arm."""
    looks: dict[str, ArmStyle] = {}
    models = [arm for arm in summary.arms if not is_baseline(arm)]
    first = next((arm.arm for arm in models if arm.method == "zero-shot"), None)
    for place, arm in enumerate(arm for arm in models if arm.arm != first):
        dash = DASHES[place // len(PALETTE) % len(DASHES)]
        looks[arm.arm] = ArmStyle(PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)], dash)
    return looks if first is None else {first: ArmStyle("#000000", "D", "-")} | looks


def in_families(summary: Summary) -> bool:
    """Whether arms are so many, and of so many kinds, that colours stand for methods and markers for backbones."""
    models = [arm for arm in summary.arms if not is_baseline(arm)]
    return len(models) > MANY and len({family_of(arm) for arm in models}) > 3


def _family_styles(summary: Summary) -> dict[str, ArmStyle]:
    """A look for every model's arm: within a family, the further down the list, the paler and the more broken."""
    models = [arm for arm in summary.arms if not is_baseline(arm)]
    colours, markers = method_colours(summary), backbone_markers(summary)
    sizes = Counter(family_of(arm) for arm in models)
    seen: Counter[tuple[str, str | None]] = Counter()
    looks = {}
    for arm in models:
        method, backbone = family = family_of(arm)
        turn = seen[family]
        seen[family] += 1
        pale = paler(colours[method], 0.6 * turn / sizes[family])
        marker = "p" if backbone is None else markers[backbone]
        looks[arm.arm] = ArmStyle(pale, marker, DASHES[turn % len(DASHES)])
    return looks


def method_colours(summary: Summary) -> dict[str, str]:
    """A colour a method, black for zero-shot; baselines have their greys."""
    methods = dict.fromkeys(arm.method for arm in summary.arms if not is_baseline(arm))
    methods.pop("zero-shot", None)
    colours = (*PALETTE, *MORE)
    return {"zero-shot": "#000000"} | {name: colours[place % len(colours)] for place, name in enumerate(methods)}


def backbone_markers(summary: Summary) -> dict[str, str]:
    """A marker a backbone."""
    names = dict.fromkeys(backbone for arm in summary.arms if (backbone := backbone_of(arm)))
    return {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(names)}


def paler(colour: str, share: float) -> str:
    """A colour `#rrggbb` mixed with a share of white."""
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


@dataclass(frozen=True)
class Drawing:
    """A finished figure with what is said about it: `alt` for those who cannot see it, `caption` for all."""

    name: str
    title: str
    figure: Figure
    alt: str
    caption: str


def panels(count: int, sheet: Sheet, *, columns: int, height: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels and no empty one, `height` inches a row; `finish` adds what stands below."""
    columns = min(columns, count, sheet.most)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(sheet.width, rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def columns_for(count: int, sheet: Sheet) -> int:
    """How many panels stand side by side: two for two or four, else three, as far as the sheet holds them."""
    return min(sheet.most, 2 if count in (2, 4) else min(3, count))


def panel_title(axes: Axes, text: str, count: int, sheet: Sheet) -> None:
    """Head one of `count` panels, over two lines where the name is longer than the panel is wide."""
    axes.set_title(textwrap.fill(text, int(11.4 * sheet.width / columns_for(count, sheet))))


def finish(
    figure: Figure, results: Results, note: str, *, label: str = "", handles: Sequence[Artist] = (), columns: int = 4
) -> None:
    """Put below the panels, from the bottom: what the figure was drawn from, the legend, a label for all x axes.

    The note says it in the file alone as well, simulated data in colour. The figure grows by what is added.
    """
    wide, _ = figure.get_size_inches()
    lines, labels = textwrap.wrap(note, int(17.8 * wide)), textwrap.wrap(label, int(14 * wide))
    columns = min(columns, legend_columns(handles, wide))
    edges = [0.05 + 0.12 * len(lines)]
    edges.append(edges[-1] + 0.165 * math.ceil(len(handles) / columns) + (0.04 if handles else 0))
    room = edges[-1] + 0.02 * bool(labels) + 0.14 * len(labels)
    width, height = figure.get_size_inches()
    total = height + room
    figure.set_size_inches(width, total)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0.005, room / total, 0.99, height / total))  # type: ignore[call-arg]
    colour = "#9a4a00" if results.summary.data.simulated else "#555555"
    figure.text(0.01, 0.03 / total, "\n".join(lines), fontsize=6.5, color=colour, va="bottom", linespacing=1.25)
    if handles:
        place = (0.5, (edges[0] + 0.01) / total)
        figure.legend(
            handles=list(handles), loc="lower center", bbox_to_anchor=place, ncols=columns,
            handlelength=2.4, columnspacing=1.6, borderpad=0.1, borderaxespad=0,
        )  # fmt: skip
    if label:
        figure.text(0.5, (edges[-1] + 0.03) / total, "\n".join(labels), ha="center", va="bottom", linespacing=1.1)


def provenance(results: Results, *, runs: str = "") -> str:
    """On what data, how many patients and windows, how many seeds."""
    summary = results.summary
    parts = [("SIMULATED DATA: " if summary.data.simulated else "Data: ") + summary.data.source]
    patients, windows = summary.data.patients["test"], summary.windows.counts["test"]
    parts.append(f"{plural(patients, 'test patient')}, {plural(windows, 'window')}")
    parts.append(runs or seeds_text(summary.arms))
    return "; ".join(parts) + "."


def seeds_text(arms: Sequence[ArmSummary]) -> str:
    """How many seeds the trained arms, or else all arms, were run with."""
    numbers = {len(arm.seeds) for arm in arms if arm.trains} or {len(arm.seeds) for arm in arms}
    if len(numbers) == 1:
        return f"{plural(numbers.pop(), 'seed')} a trained arm"
    return f"{min(numbers)} to {max(numbers)} seeds a trained arm"


def axis_label(summary: Summary, signal: str, score_name: str) -> str:
    """A score with the unit of the signal: `MAE (mmHg)`."""
    unit = unit_of(summary, signal)
    return f"{score_name} ({unit})" if unit else score_name


def sample_sizes(summary: Summary, signals: Sequence[str]) -> str:
    """How many test patients and windows stand behind each signal, as a sentence."""
    parts = []
    for signal in signals:
        scores = next(arm.scores[signal] for arm in summary.arms if signal in arm.scores)
        sizes = f"{plural(scores.n_patients, 'patient')} and {plural(scores.n_windows, 'window')}"
        parts.append((label_of(summary, signal), sizes))
    if len(parts) > 1 and len({size for _, size in parts}) == 1:
        return f" Each signal: {parts[0][1]}."
    return f" Scored: {'; '.join(f'{name}, {size}' for name, size in parts)}." if parts else ""


def arm_handles(styles: dict[str, ArmStyle], arms: Sequence[str], *, lines: bool = True) -> tuple[list[Line2D], int]:
    """The legend of some arms, and in how many columns it fits the width."""
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, ls=look.dash if lines else "", label=arm)
        for arm, look in ((arm, styles[arm]) for arm in arms)
    ]
    return handles, legend_columns(handles)


def family_handles(summary: Summary, arms: Sequence[ArmSummary]) -> list[Line2D]:
    """The legend of many arms: colours for the methods and markers for the backbones that occur among `arms`."""
    colours, markers = method_colours(summary), backbone_markers(summary)
    methods = dict.fromkeys(arm.method for arm in arms if not is_baseline(arm))
    backbones = dict.fromkeys(backbone for arm in arms if (backbone := backbone_of(arm)))
    handles = [Line2D([], [], color=colours[name], ls="", marker="s", label=name) for name in methods]
    handles += [
        Line2D([], [], color="#777777", ls="", marker=markers[name], mfc="white", label=name) for name in backbones
    ]
    floor, _ = arm_handles(arm_styles(summary), [arm.arm for arm in arms if is_baseline(arm)], lines=False)
    return handles + floor


def legend_columns(handles: Sequence[Artist], wide: float = PAPER.width) -> int:
    """In how many columns a legend fits a width in inches."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    return max(1, min(len(handles), int(16.9 * wide / (longest + 7))))
