"""The result table: one set of cells, written for the terminal, for Markdown and for the page."""

from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from loracast.report.readable import ABSENT, count, decimals_for, duration, interval, memory, number, percent
from loracast.report.results import (
    Arm,
    Summary,
    difference_of,
    interval_of,
    is_simulated,
    label_of,
    score,
    signals_of,
    source_of,
    unit_of,
)

MARKDOWN_HEADS = (
    "signal", "arm", "trained numbers", "train time", "MAE [95 %]", "RMSE", "bias", "MASE", "CRPS",
    "80 % coverage", "MAE − zero-shot [95 %]", "verdict",
)  # fmt: skip
VERDICT_STYLES = {"better": "green", "worse": "red"}


@dataclass(frozen=True)
class Cells:
    """What one arm achieved on one signal, as text."""

    arm: str
    trained: str
    train_time: str
    peak_memory: str
    mae: str
    mae_interval: str
    rmse: str
    bias: str
    mase: str
    crps: str
    coverage: str
    mse_scaled: str
    mape: str
    dtw_scaled: str
    difference: str
    difference_interval: str
    verdict: str


def cells(summary: Summary, arm: Arm, signal: str) -> Cells:
    """Format the scores of `arm` on `signal`; what does not exist becomes a dash, or nothing for an interval.

    Physical measures carry as many decimals as the lowest MAE of the signal needs, the difference one more.
    """
    decimals = decimals_for(score(other, signal, "mae") for other in summary["arms"])
    difference = difference_of(arm, signal)
    mse, dtw = score(arm, signal, "mse_scaled"), score(arm, signal, "dtw_scaled")
    return Cells(
        arm=str(arm["arm"]),
        trained=count(arm.get("trainable_parameters")),
        train_time=duration(arm.get("train_seconds")) if arm.get("trainable_parameters") else ABSENT,
        peak_memory=memory(arm.get("peak_memory_bytes")),
        mae=number(score(arm, signal, "mae"), decimals),
        mae_interval=interval(interval_of(arm, signal, "mae"), decimals),
        rmse=number(score(arm, signal, "rmse"), decimals),
        bias=number(score(arm, signal, "bias"), decimals, sign=True),
        mase=number(score(arm, signal, "mase"), 3),
        crps=number(score(arm, signal, "crps"), decimals),
        coverage=percent(score(arm, signal, "coverage_80")),
        mse_scaled=number(None if mse is None else 1e4 * mse, 2),
        mape=number(score(arm, signal, "mape"), 2),
        dtw_scaled=number(None if dtw is None else 1e3 * dtw, 2),
        difference=number(difference.value, decimals + 1, sign=True) if difference else ABSENT,
        difference_interval=interval(difference.bounds, decimals + 1) if difference else "",
        verdict=difference.verdict if difference else "",
    )


def heading(summary: Summary, signal: str) -> str:
    """A signal with its unit: `heart rate, /min`."""
    unit = unit_of(summary, signal)
    return f"{label_of(summary, signal)}, {unit}" if unit else label_of(summary, signal)


def result_table(summary: Summary) -> Table:
    """The result table for the terminal: two lines an arm, so that it fits 80 columns."""
    table = Table(
        title=Text(f"{summary.get('name', 'results')}: {source_of(summary)}"),
        title_justify="left",
        title_style="bold yellow" if is_simulated(summary) else "bold",
        caption=Text(
            "MAE, RMSE, bias and CRPS in the unit of the signal; [ ] is a 95 % interval, bootstrapped over patients"
        ),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("arm", overflow="fold", min_width=15)
    for head in ("trained\ntime", "MAE\n[95 %]", "RMSE\nbias", "MASE\nCRPS", "in 80 %\nmemory"):
        table.add_column(head, justify="right")
    table.add_column("MAE − zero-shot\n[95 %]", justify="right")
    for signal in signals_of(summary):
        table.add_row(Text(heading(summary, signal), style="bold cyan"))
        for arm in summary["arms"]:
            table.add_row(*_terminal_row(cells(summary, arm, signal)))
        table.add_section()
    return table


def _terminal_row(row: Cells) -> tuple[Text, ...]:
    verdict = {"no difference shown": "unclear"}.get(row.verdict, row.verdict)
    difference = Text(f"{verdict} {row.difference}".strip(), style=VERDICT_STYLES.get(row.verdict, ""))
    if row.difference_interval:
        difference.append(f"\n{row.difference_interval}")
    return (
        Text(row.arm),
        Text(f"{row.trained}\n{row.train_time}"),
        Text(f"{row.mae}\n{row.mae_interval}", style="bold"),
        Text(f"{row.rmse}\n{row.bias}"),
        Text(f"{row.mase}\n{row.crps}"),
        Text(f"{row.coverage}\n{row.peak_memory}"),
        difference,
    )


def result_markdown(summary: Summary) -> str:
    """The result table as Markdown, for a README or a documentation page; simulated data are named as such."""
    lines = [f"Data: {_markdown(source_of(summary))}.", "", _markdown_line(MARKDOWN_HEADS)]
    lines.append("|---|---|" + "--:|" * 9 + "---|")
    for signal in signals_of(summary):
        lines += map(_markdown_line, markdown_rows(summary, signal))
    return "\n".join(lines) + "\n"


def markdown_rows(summary: Summary, signal: str) -> list[tuple[str, ...]]:
    """The cells of one signal under `MARKDOWN_HEADS`, an arm a row."""
    rows: list[tuple[str, ...]] = []
    for arm in summary["arms"]:
        row = cells(summary, arm, signal)
        rows.append((
            heading(summary, signal), row.arm, row.trained, row.train_time, f"{row.mae} {row.mae_interval}",
            row.rmse, row.bias, row.mase, row.crps, row.coverage,
            f"{row.difference} {row.difference_interval}", row.verdict or ABSENT,
        ))  # fmt: skip
    return rows


def _markdown_line(texts: tuple[str, ...]) -> str:
    return "| " + " | ".join(_markdown(text.strip()) for text in texts) + " |"


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
