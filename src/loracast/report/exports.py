"""The tables as files: CSV with raw numbers for a script, LaTeX (booktabs) for a paper."""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from loracast.files import written
from loracast.report.ranks import RANK_HEADS, THRESHOLD_HEADS, rank_rows, threshold_rows
from loracast.report.results import (
    Arm,
    Results,
    Summary,
    difference_of,
    interval_of,
    label_of,
    score,
    signals_of,
    unit_of,
)
from loracast.report.tables import MARKDOWN_HEADS, markdown_rows

SCORES = ("mae", "rmse", "bias", "mase", "crps", "coverage_80", "mse_scaled", "mape", "dtw_scaled")
COUNTS = ("n_windows", "n_cells", "n_patients")
COSTS = (
    "trainable_parameters", "total_parameters", "train_seconds", "train_steps", "seconds_per_step", "forecast_seconds",
    "forecast_milliseconds_per_window", "peak_memory_bytes", "peak_gpu_memory_bytes", "adapter_bytes", "energy_joules",
)  # fmt: skip
COMPARISONS = ("vs_zero_shot", "vs_naive", "vs_full", "vs_best")

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "−": "$-$", "–": "--", "—": "---", "×": r"$\times$", "±": r"$\pm$",
    "°": r"$^\circ$", "µ": r"$\mu$", "μ": r"$\mu$", "≤": r"$\le$", "≥": r"$\ge$", "²": "$^2$", "³": "$^3$",
    "·": r"$\cdot$", "…": r"\dots{}", "√": r"$\surd$", "₂": "$_2$", "‰": r"$^0\!/\!_{00}$", "“": "``", "”": "''",
    "’": "'", "\n": " ", "\r": " ", "\t": " ", "\u00a0": "~", "\u202f": r"\,",
}  # fmt: skip


def write_tables(results: Results, folder: Path) -> None:
    """Write `folder/results.csv` and `.tex`, and `ranks.csv` and `.tex` where there is a sweep, each whole or not."""
    summary, sweep = results.summary, results.sweep
    _write_csv(folder / "results.csv", result_records(summary))
    groups = [(label_of(summary, signal), markdown_rows(summary, signal)) for signal in signals_of(summary)]
    _write_text(folder / "results.tex", latex(MARKDOWN_HEADS, groups, texts=(0, 1, 11)))
    if not sweep.get("rows"):
        return
    labels = {name: label_of(summary, name) for name in signals_of(summary)}
    _write_csv(folder / "ranks.csv", rank_records(sweep))
    text = latex(THRESHOLD_HEADS, [("thresholds", threshold_rows(sweep, labels))], texts=(0, 1))
    text += "\n" + latex(RANK_HEADS, [("error by rank", rank_rows(sweep, labels))], texts=(0,))
    _write_text(folder / "ranks.tex", text)


def result_records(summary: Summary) -> list[dict[str, Any]]:
    """One record an arm and signal: who, every score with its bounds, every comparison, every cost; None if unknown."""
    return [_record(summary, arm, signal) for signal in signals_of(summary) for arm in summary["arms"]]


def _record(summary: Summary, arm: Arm, signal: str) -> dict[str, Any]:
    settings = arm.get("settings")
    record: dict[str, Any] = {
        "signal": signal, "unit": unit_of(summary, signal), "arm": arm["arm"], "backbone": arm.get("backbone"),
        "method": arm.get("method"), "settings": json.dumps(settings, sort_keys=True) if settings else None,
        "seeds": " ".join(map(str, arm.get("seeds") or ())),
    }  # fmt: skip
    for name in SCORES:
        low, high = interval_of(arm, signal, name) or (None, None)
        record |= {name: score(arm, signal, name), f"{name}_low": low, f"{name}_high": high}
    for name in COUNTS:
        value = score(arm, signal, name)
        record[name] = None if value is None else int(value)
    for key in COMPARISONS:
        found = difference_of(arm, signal, key)
        low, high = (found.bounds if found else None) or (None, None)
        record |= {
            f"{key}_reference": found.reference if found else None, f"{key}_difference": found.value if found else None,
            f"{key}_low": low, f"{key}_high": high, f"{key}_verdict": found.verdict if found else None,
        }  # fmt: skip
    steps = arm.get("best_step")
    record["best_step"] = " ".join(map(str, steps if isinstance(steps, list) else [steps])) if steps is not None else ""
    return record | {key: arm.get(key) for key in COSTS}


def rank_records(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """One record a signal and rank, with zero-shot and full fine-tuning as rows without a rank."""
    records = []
    levels = [
        {"signal": signal, "method": name, **entry}
        for key, name in (("zero_shot", "zero-shot"), ("full", "full"))
        for signal, entry in (sweep.get(key) or {}).items()
        if entry
    ]
    rows = [{"method": sweep.get("method"), **row} for row in sweep["rows"]]
    for row in [*rows, *levels]:
        signal = row["signal"]
        metric = row.get("metric") or next((r.get("metric") for r in sweep["rows"] if r["signal"] == signal), None)
        record = {"backbone": sweep.get("backbone"), "method": row["method"], "signal": signal, "metric": metric,
                  "rank": row.get("rank"), "trainable_parameters": row.get("trainable_parameters")}  # fmt: skip
        for side in ("validation", "test", "difference"):
            entry = row.get(side) or {}
            low, high = entry.get("ci95") or (None, None)
            record |= {side: entry.get("value"), f"{side}_low": low, f"{side}_high": high}
        overfit, threshold = row.get("overfit") or {}, (sweep.get("thresholds") or {}).get(signal) or {}
        record |= {
            "worse_than_best_rank": (row.get("difference") or {}).get("worse"), "overfit": overfit.get("flagged"),
            "overfit_gap": overfit.get("gap"), "train_seconds": row.get("train_seconds"),
            "threshold": threshold.get("rank"), "best_rank": threshold.get("best_rank"),
        }  # fmt: skip
        records.append(record)
    return records


def latex(
    heads: Sequence[str], groups: Iterable[tuple[str, Sequence[Sequence[str]]]], *, texts: tuple[int, ...]
) -> str:
    r"""A booktabs tabular a group, so that each fits a page; the columns `texts` are words, others numbers.

    Every text is escaped, and what pdfLaTeX in a plain article has no sign for is named by its code point.
    """
    sides = "".join("l" if place in texts else "r" for place in range(len(heads)))
    parts = [r"% needs \usepackage{booktabs}"]
    for title, rows in groups:
        lines = [f"% {re.sub(r'[^ -~]', '?', title)}", r"{\tiny\setlength{\tabcolsep}{2pt}%"]
        lines += [rf"\begin{{tabular}}{{@{{}}{sides}@{{}}}}", r"\toprule", _latex_row(heads), r"\midrule"]
        lines += [*map(_latex_row, rows), r"\bottomrule", r"\end{tabular}}", ""]
        parts += lines
    return "\n".join(parts) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    # A cell that begins with a bracket would be taken for the optional argument of the row's end before it.
    return " & ".join(f"{{{latex_text(cell)}}}" for cell in cells) + r" \\"


def latex_text(text: str) -> str:
    """A text as LaTeX that compiles without a package."""
    return "".join(_LATEX.get(sign) or _sign(sign) for sign in text.strip())


def _sign(sign: str) -> str:
    if " " <= sign <= "~" or "À" <= sign <= "ÿ":
        return sign
    return rf"\texttt{{U+{ord(sign):04X}}}"


def _write_csv(path: Path, records: Sequence[dict[str, Any]]) -> None:
    with written(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(records[0]) if records else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def _write_text(path: Path, text: str) -> None:
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
