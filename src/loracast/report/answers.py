"""The answer, before anything else: against whom an adapted arm is shown better or worse, or not shown to differ.

A line a signal and comparison, each with its interval, its patients and what one patient could change. Of many arms it
is told how many are shown better and worse: to pick one of them for its error would be a choice on the test patients.
"""

from collections.abc import Sequence

import pandas as pd

from loracast.report import frames
from loracast.report.readable import count, decimals_for, number, percent, plural
from loracast.report.render import Cell, Column, Row, Table, table_of, verdict_cell
from loracast.report.results import (
    heading_of,
    is_adapted,
    label_of,
    mae_of,
    only,
    scored_signals,
    short_name,
    source_of,
    unit_of,
)
from loracast.report.tables import AGAINST, precision, spread, turns, within
from loracast.report.words import capital, listed
from loracast.scoring.checks import MOST_OF_ONE_WINDOW
from loracast.scoring.compare import FEWEST_PATIENTS
from loracast.scoring.facts import WorstWindow
from loracast.study.summary import ArmSummary, Summary

ASKED = ("vs_naive", "vs_zero_shot", "vs_full")
"""The comparisons that answer whether adapting was worth it."""
FEW = 4
"""Arms that are answered one by one; of more it is counted how many."""


def subjects_of(summary: Summary) -> list[ArmSummary]:
    """Whose worth is asked: adapted arms but full fine-tuning; else all that is trained; else what is pretrained."""
    trained = [arm for arm in summary.arms if arm.trains]
    adapted = [arm for arm in trained if is_adapted(arm) and arm.method != "full"]
    return adapted or trained or [arm for arm in summary.arms if arm.kind == "pretrained"]


def answers(summary: Summary) -> pd.DataFrame:
    """The comparisons of `subjects_of` that answer, a row each, signal by signal."""
    frame = frames.comparisons(only(summary, subjects_of(summary)))
    # In the order in which they are asked, within each signal.
    parts = [
        frame[(frame["signal"] == signal) & (frame["against"] == against)]
        for signal in scored_signals(summary)
        for against in ASKED
    ]
    return pd.concat([frame[:0], *parts])


def answer_table(summary: Summary) -> Table:
    """The answer as a table: a line a comparison, or a line for all arms where they are many."""
    arms, notes = subjects_of(summary), [*explained(summary), *heavy_windows(summary)]
    if len(arms) > FEW:
        return counted(summary, arms, notes)
    decimals = precision(summary)
    several = len(arms) > 1
    names = {arm.arm: short_name(arm) for arm in arms}

    def compared(row: Row) -> str:
        reference = f"best naive: {row['reference']}" if row["against"] == "vs_naive" else AGAINST[row["against"]]
        return f"{names[row['arm']]} against {reference}" if several else reference

    def places(row: Row) -> int:
        return decimals[row["signal"]] + 1

    def difference(row: Row) -> str:
        value = number(row["difference"], places(row), sign=True)
        return f"{value} {within(row, 'low', 'high', places(row))}".strip()

    def influence(row: Row) -> str:
        return f"{spread(row, places(row))}\n{turns(row['flips'], row['patients'])}".strip()

    columns = (
        Column("against", compared, words=True, least=22),
        Column("answer", answer_cell, words=True, least=9),
        Column("MAE − its MAE [95 %]", difference),
        Column("patients,\nwindows", lambda row: f"{count(row['patients'])}, {count(row['windows'])}"),
        Column("without any\none patient", influence, optional=True),
    )
    return table_of(
        answers(summary), columns, title=title_of(summary, arms), notes=notes, kind="answer",
        group=lambda row: heading_of(summary, row["signal"]),
    )  # fmt: skip


def answer_cell(row: Row) -> Cell:
    """A verdict in a word or two."""
    if row["patients"] is not None and row["patients"] < 2:
        return Cell("not compared", "open")
    told = verdict_cell(row["verdict"])
    return Cell("not shown" if row["verdict"] == "no difference shown" else told.text, told.look)


def title_of(summary: Summary, arms: Sequence[ArmSummary]) -> str:
    if not arms:
        return "The answer: nothing was adapted, nothing was asked"
    models = list(dict.fromkeys(arm.model for arm in arms))
    named = f"{plural(len(arms), 'arm')} of {listed(models) if len(models) < FEW else plural(len(models), 'model')}"
    return f"The answer: is {arms[0].arm if len(arms) == 1 else f'any of {named}'} better? Data: {source_of(summary)}"


def counted(summary: Summary, arms: Sequence[ArmSummary], notes: Sequence[str]) -> Table:
    """How many of many arms are shown better and worse, on how many patients."""
    frame = answers(summary)
    rows = []
    for signal in scored_signals(summary):
        for against in ASKED:
            own = frame[(frame["signal"] == signal) & (frame["against"] == against)]
            if not len(own):
                continue
            verdicts = own["verdict"].tolist()
            rows.append({
                "signal": signal, "against": against, "better": verdicts.count("better"),
                "worse": verdicts.count("worse"), "not shown": verdicts.count("no difference shown"),
                "patients": int(own["patients"].iloc[0]), "windows": int(own["windows"].iloc[0]),
                "turned": int((own["flips"] > 0).sum()) if own["flips"].notna().any() else None,
            })  # fmt: skip
    columns = (
        Column("against", lambda row: AGAINST[row["against"]], words=True, least=22),
        Column("shown better", lambda row: count(row["better"])),
        Column("shown worse", lambda row: count(row["worse"])),
        Column("not shown", lambda row: count(row["not shown"])),
        Column("patients", lambda row: count(row["patients"])),
        Column("windows", lambda row: count(row["windows"])),
        Column("turn without\none patient", lambda row: count(row["turned"]), optional=True),
    )
    return table_of(
        pd.DataFrame(rows), columns, title=title_of(summary, arms), notes=notes, kind="answer",
        group=lambda row: heading_of(summary, row["signal"]),
    )  # fmt: skip


def explained(summary: Summary, *, interval: str = "In brackets") -> list[str]:
    """What stands in the table, in words; `interval` says where the interval does."""
    tested = max((arm.scores[s].n_patients for arm in summary.arms for s in arm.scores), default=0)
    if tested == 1:
        return ["There is one test patient: nothing can be said of others, so nothing is compared."]
    seeds = " and training seeds" if any(len(arm.seeds) > 1 for arm in summary.arms) else ""
    told = [
        f"MAE is the mean absolute error in the unit of the signal; below 0 the arm errs less. {interval} the 95 % "
        f"interval over patients{seeds}. “Not shown” is not “equal”: the interval says how large a difference may be."
    ]
    if tested < FEWEST_PATIENTS:
        told.append(
            f"{plural(tested, 'patient')} are too few: nothing is called better or worse below {FEWEST_PATIENTS}."
        )
    return told + drawing_told(summary)


def heavy_windows(summary: Summary) -> list[str]:
    """The arms and signals whose error one window decides, a sentence a signal; of many arms the heaviest is named."""
    told, several = [], len({arm.model for arm in summary.arms if arm.kind == "pretrained"}) > 1
    for signal in scored_signals(summary):
        found = [
            (worst, arm)
            for arm in summary.arms
            if signal in arm.scores and (worst := arm.scores[signal].worst_window) and worst.share > MOST_OF_ONE_WINDOW
        ]
        if not found:
            continue
        decimals, unit = decimals_for(mae_of(arm, signal) for arm in summary.arms), unit_of(summary, signal)
        found.sort(key=lambda pair: -pair[0].share)

        def part(arm: ArmSummary, worst: WorstWindow, decimals: int = decimals, signal: str = signal) -> str:
            error, without = number(mae_of(arm, signal), decimals), number(worst.mae_without, decimals)
            name = arm.arm if several else short_name(arm)
            return f"{percent(worst.share, 0)} of the error of {name} (MAE {error}, without it {without})"

        parts = [part(arm, worst) for worst, arm in (found if len(found) <= FEW else found[:1])]
        if others := len(found) - len(parts):
            parts.append(f"and more than {percent(MOST_OF_ONE_WINDOW, 0)} of the error of {others} other arms")
        windows = plural(found[0][1].scores[signal].n_windows, "window")
        where = f"{capital(label_of(summary, signal))}{f' in {unit}' if unit else ''}: one of {windows}"
        told.append(f"{where} carries {'; '.join(parts)}. Look at it before you believe the numbers.")
    return told


def drawing_told(summary: Summary) -> list[str]:
    """What drawing sample paths adds to the error of an arm that draws, the most of any on each signal; or nothing."""
    most: dict[str, float] = {}
    for arm in summary.arms:
        for signal, told in arm.forecasts.items():
            error = mae_of(arm, signal)
            if told.drawing_mae is not None and error:
                most[signal] = max(most.get(signal, 0.0), told.drawing_mae / error)
    if not most:
        return []
    paths = sorted({arm.samples for arm in summary.arms if arm.samples is not None})
    parts = [f"{percent(share)} on {label_of(summary, signal)}" for signal, share in most.items()]
    return [
        f"Drawing {' or '.join(map(str, paths))} sample paths, and not ever more, adds at most about "
        f"{', '.join(parts)} to the MAE of an arm that draws; the others have no such part."
    ]
