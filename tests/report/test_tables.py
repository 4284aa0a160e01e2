"""Tables: the frame behind them, and what each form makes of it."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from loracast.errors import ConfigError
from loracast.files import write_json
from loracast.files.texts import latex_text
from loracast.report import frames
from loracast.report.doubts import note_of
from loracast.report.lists import catalogue_table, methods_table, params_table, status_table
from loracast.report.readable import duration
from loracast.report.render import Cell, Column, Table, csv, html, latex, markdown, table_of
from loracast.report.score_tables import step_tables
from loracast.report.screen import result_table, screen_tables
from loracast.report.sweeps import ranks_table, relation_table, thresholds_table
from loracast.report.tables import compact_table, plain_table
from loracast.report.terminal import (
    bench_table,
    side_by_side,
    threshold_table,
)
from loracast.study.bench.settings import read_benches
from loracast.study.ranks.result import Correlation, Measured, Relation, RelationRow
from tests.report.conftest import ARMS, LORA, SIGNALS, changed, summary_of
from tests.report.study import RANKS, study_summary, sweep_of

NASTY = "<b>[red]a|b & 50 % of {x_1} \\ #$~^</nothing>"


def printed(table: Table, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def lines_of(table: Table) -> list[str]:
    return [line for line in markdown(table).splitlines() if line.startswith("|")]


def test_no_form_takes_a_name_for_its_own_signs():
    frame = pd.DataFrame({"name": [NASTY], "value": [1.5]})
    columns = (Column(NASTY, lambda row: row["name"], words=True), Column("n", lambda row: Cell(str(row["value"]))))
    table = table_of(frame, columns, title=NASTY, notes=[NASTY], group=lambda row: NASTY)
    assert NASTY in printed(table)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines_of(table)} == {3}
    assert "<b>" not in html(table)
    assert html(table).count("&lt;b&gt;[red]a|b &amp; 50 %") == 6
    assert not re.search(r"(?<!\\)[#_]", latex(table).split("\n", 2)[2])


def test_a_name_that_a_spreadsheet_would_carry_out_begins_with_an_apostrophe_and_numbers_stay_numbers():
    frame = pd.DataFrame({"arm": ["=HYPERLINK(1)", "plain"], "value": [-0.5, 1.0]})
    assert csv(frame) == "arm,value\n'=HYPERLINK(1),-0.5\nplain,1.0\n"


def test_a_name_cannot_steer_the_terminal():
    column = Column("arm", lambda row: row["arm"], words=True)
    assert "\x1b" not in printed(table_of(pd.DataFrame({"arm": ["\x1b[2Jgone"]}), [column]))


def test_every_sign_that_latex_minds_is_escaped():
    assert latex_text("a_b & 50 % of {x} ~ ^ \\ # $ <y>") == (
        r"a\_b \& 50 \% of \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \# \$ \textless{}y\textgreater{}"
    )
    assert latex_text("−0.3 ± 2 °C – 血") == r"$-$0.3 $\pm$ 2 $^\circ$C -- \texttt{U+8840}"


def test_what_is_missing_is_nothing_in_a_csv_and_a_dash_for_people():
    frame = pd.DataFrame({"a": ["x", None], "n": pd.array([1, None], dtype="Int64"), "v": [0.1, None]})
    assert csv(frame) == "a,n,v\nx,1,0.1\n,,\n"
    written = table_of(frame, [Column("n", lambda row: "–" if row["n"] is None else str(row["n"]))])
    assert [row[0].text for group in written.groups for row in group.rows] == ["1", "–"]


def test_the_frame_of_results_has_every_number_and_whole_counts():
    summary = study_summary()
    frame = frames.results(summary)
    assert len(frame) == len(summary.arms) * 2
    for _, row in frame.iterrows():
        scores = summary.arm(row["arm"]).scores[row["signal"]]
        assert [row[name] for name in frames.SCORES] == [getattr(scores, name) for name in frames.SCORES]
        assert (row["mae_low"], row["mae_high"]) == scores.ci95["mae"]
        best = summary.arm(row["arm"]).vs_best.get(row["signal"])
        assert pd.isna(row["vs_best_difference"]) if best is None else row["vs_best_reference"] == best.reference
    assert str(frame["trainable_parameters"].dtype) == str(frame["peak_gpu_memory_bytes"].dtype) == "Int64"


def test_the_terminal_fits_eighty_columns_without_cutting_a_number():
    summary = summary_of()
    text = printed(result_table(summary), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for arm in summary.arms:
        for signal in SIGNALS:
            low, high = arm.scores[signal].ci95["mae"]
            line = rf"{arm.scores[signal].mae:.2f} +{low:.2f} +{high:.2f} "
            assert re.search(line, text)


def test_a_column_of_the_terminal_holds_one_quantity():
    tables = [*screen_tables(summary_of()), threshold_table(sweep_of())]
    for table in tables:
        for place, column in enumerate(table.columns):
            texts = [row[place].text for group in table.groups for row in group.rows]
            assert not any("\n" in text or "[" in text for text in texts), column.head
            if not column.words:
                assert not any(", " in text for text in texts), column.head


def test_the_terminal_names_simulated_data_every_arm_and_signal():
    text = "".join(printed(table) for table in screen_tables(summary_of()))
    labels = [signal.label for signal in summary_of().data.signals.values()]
    for told in (
        "SIMULATED DATA",
        "12,288",
        duration(summary_of().arm(LORA).costs.train_seconds),
        "1.2 GB",
        *ARMS,
        *labels,
    ):
        assert told in text


def test_the_markdown_has_one_line_for_each_arm_and_signal():
    summary = summary_of()
    lines = lines_of(plain_table(summary))
    assert len(lines) == 2 + len(ARMS) * len(SIGNALS)
    assert len({line.count("|") for line in lines}) == 1
    lora = next(line for line in lines if "lora r=2" in line)
    scores = summary.arm(LORA).scores["heart_rate"]
    low, high = scores.ci95["mae"]
    assert f"| {scores.mae:.2f} [{low:.2f}, {high:.2f}] |" in lora
    assert lora.endswith("| better |")
    assert "SIMULATED DATA" in markdown(plain_table(summary))
    assert "SIMULATED" not in markdown(plain_table(summary_of(simulated=False)))


def test_an_arm_without_scores_has_dashes():
    summary = changed(summary_of(), "last-value", scores={})
    line = next(line for line in lines_of(plain_table(summary)) if "| last-value |" in line)
    assert line.split("| last-value |")[1] == " 0 | – | – | – | – | – | – | – | – | – | – |"


def test_the_tables_of_steps_have_each_score_of_each_arm_at_each_step():
    summary = summary_of()
    told = step_tables(summary, summary.arms)
    for (heading, made), signal in zip(told, SIGNALS, strict=True):
        assert heading.startswith(summary.data.signals[signal].label)
        rows = [[cell.text for cell in row] for group in made[0].groups for row in group.rows]
        assert [row[0] for row in rows[:2]] == ["5 min", "10 min"]
        errors = [arm.scores[signal].by_step["mae"] for arm in summary.arms]
        assert [row[1:] for row in rows] == [[f"{value:.2f}" for value in step] for step in zip(*errors, strict=True)]


def test_the_compact_table_has_a_line_an_arm_and_marks_what_is_shown():
    summary = study_summary()
    head, _, *lines = lines_of(compact_table(summary))
    assert len(lines) == len(summary.arms)
    assert len({line.count("|") for line in (head, *lines)}) == 1
    for arm, line in zip(summary.arms, lines, strict=True):
        for cell, difference in zip(line.split(" | ")[4::2], arm.vs_zero_shot.values(), strict=False):
            mark = {"better": "▼", "worse": "▲"}.get(difference.verdict, "")
            assert cell.endswith(mark) if mark else not set("▼▲") & set(cell)


def test_a_compact_table_chooses_by_name_method_and_kind():
    _, _, *lines = lines_of(compact_table(study_summary(), ["lora", "last-value", "statistical"]))
    assert all(re.match(r"\| (.* lora r=\d|last-value|ets|theta) \|", line) for line in lines)
    assert len(lines) == 3 * 3 + 3


def test_the_ranks_have_thresholds_and_a_row_for_each_rank_and_level():
    sweep = sweep_of()
    thresholds, errors = lines_of(thresholds_table(sweep)), lines_of(ranks_table(sweep))
    one = sweep.thresholds["heart_rate"]
    by_seed = ", ".join(map(str, one.by_seed))
    assert thresholds[3].startswith(f"| heart rate | MAE | {one.best_rank} | {one.rank} | {by_seed} |")
    assert "Rule: The threshold is the smallest rank" in markdown(thresholds_table(sweep))
    assert len(errors) == 2 + 3 * (len(RANKS) + 2)
    row = sweep.rows[0]

    def told(measured: Measured, places: int, sign: str = "") -> str:
        low, high = measured.ci95
        return f"{measured.value:{sign}.{places}f} [{low:.{places}f}, {high:.{places}f}]"

    assert errors[3] == (
        f"| all signals (MASE) | 1 | {row.trainable_parameters:,} | {told(row.validation, 3)} | {told(row.test, 3)} "
        f"| {told(row.difference, 4, '+')} worse | no | {duration(row.train_seconds)} |"
    )
    assert f"flagged (gap +{sweep.rows[len(RANKS) - 1].overfit.gap:.3f})" in errors[2 + len(RANKS)]


def test_a_sweep_without_levels_or_thresholds_is_still_written():
    sweep = sweep_of().model_copy(update={"zero_shot": {}, "full": {}, "thresholds": {}, "series": {}})
    assert len(lines_of(ranks_table(sweep))) == 2 + 3 * len(RANKS)
    assert len(lines_of(thresholds_table(sweep))) == 2


def test_the_terminal_marks_the_threshold_and_tells_the_notes():
    text = printed(threshold_table(sweep_of()), 80)
    marked = re.findall(r"→ (\d+) ", text)
    assert marked == [str(one.rank) for one in sweep_of().thresholds.values()]
    assert "…" not in text
    words = " ".join(text.split())
    assert f"heart_rate {', '.join(map(str, sweep_of().thresholds['heart_rate'].by_seed))}" in words
    for note in sweep_of().notes:
        assert note_of(note, str) in words


def test_a_relation_tells_what_may_not_be_concluded():
    rows = [("one", "heart_rate", 2, True, 48.0, None), ("two", "glucose", 8, False, 960.0, 0.012)]
    relation = Relation(
        rows=[
            RelationRow(
                data=data, signal=signal, model="nano", method="lora", rank=rank, trainable_parameters=9,
                beats_zero_shot=beats, properties={"length": length, "noise": noise},
            )
            for data, signal, rank, beats, length, noise in rows
        ],
        correlations={
            "length": Correlation(spearman=1.0, rows=2), "noise": Correlation(spearman=None, rows=1)
        },
        flat=1,
    )  # fmt: skip
    lines = lines_of(relation_table(relation))
    assert lines[2:] == [
        "| one | heart rate | 2 | shown | 48.0 | – |",
        "| two | glucose | 8 | not shown | 960 | 0.0120 |",
        "| Spearman | – | – | – | +1.00 | – |",
        "| rows | – | – | – | 2 | 1 |",
    ]
    told = markdown(relation_table(relation))
    assert "2 rows (a signal of a data set each) describe these data and do not prove" in told
    assert "In 1 of them the threshold is not shown better than zero-shot" in told
    assert "noise: half the mean squared" in told


def test_runs_models_and_methods_are_listed_as_other_rooms_give_them():
    states = [("a lora r=2", "done", None), ("b", "failed", "[red]because")]
    runs = [{"arm": arm, "seed": 0, "state": state, "folder": "x", "reason": why} for arm, state, why in states]
    assert "1 done, 1 failed" in printed(status_table(runs))
    assert "[red]because" in printed(status_table(runs))
    model = {"family": "f", "name": "m", "licence": "MIT", "weights": "packaged", "hub": None}
    assert lines_of(catalogue_table([{**model, "parameters": 1200, "context": 72, "horizon": None}]))[2] == (
        "| f | m | MIT | packaged | 1,200 | 72 | – |"
    )
    known = {"method": "lora", "summary": "low rank", "size": "rank 2", "learning_rate": 1e-3}
    rows = [
        {**known, "backbone": "m", "trainable_parameters": 12, "refused": None},
        {**known, "backbone": "n", "trainable_parameters": None, "refused": "it fits nowhere"},
    ]
    assert lines_of(methods_table(rows))[2] == "| lora | low rank | rank 2 | 0.001 | 12 | – |"
    assert "lora: it fits nowhere" in markdown(methods_table(rows))
    row = {"backbone": "m", "method": "lora", "trainable_parameters": 12, "total_parameters": 2400}
    assert lines_of(params_table(row))[2] == "| m | lora | – | – | 12 | 2,400 | 0.500% |"


def bench_of(*, step: float = 0.1, processor: str = "Fast CPU", steps: int = 10) -> dict:
    done = {
        "status": "done", "trainable_parameters": 12288, "forecast_milliseconds_per_window": 3.0,
        "step_seconds": {"median": step, "low": 0.9 * step, "high": 1.1 * step}, "peak_memory_bytes": 640_000_000,
        "peak_gpu_memory_bytes": None, "adapter_bytes": 24_300, "energy_joules_per_step": None,
    }  # fmt: skip
    hardware = {"processor": processor, "torch_threads": 2, "logical_cores": 4, "gpu": None, "dtype": "float32"}
    return {
        "format": 1, "settings": {"steps": steps}, "versions": {"torch": "2.13.0"}, "hardware": hardware,
        "rows": [
            {"backbone": "nano", "method": "lora", **done},
            {"backbone": "nano", "method": "zero-shot", **done, "step_seconds": None},
            {"backbone": "nano", "method": "oft", "status": "refused", "reason": "<it> fits nowhere"},
        ],
    }  # fmt: skip


def test_a_bench_has_a_line_an_arm_and_says_why_one_is_empty():
    lines = lines_of(bench_table(bench_of()))
    assert lines[2] == "| nano | lora | 12,288 | 100 ms | 90 ms | 110 ms | 3.0 ms | 640 MB | 24 kB |"
    assert lines[3].startswith("| nano | zero-shot | 12,288 | – | – | – | 3.0 ms |")
    assert lines[4].startswith("| nano | oft | refused | – |")
    assert "nano oft refused: <it> fits nowhere" in printed(bench_table(bench_of()))


def test_benches_of_two_machines_lie_side_by_side_if_they_measured_alike(tmp_path: Path):
    for name, content in {
        "a": bench_of(),
        "b": bench_of(step=0.2, processor="Slow CPU"),
        "c": bench_of(steps=9),
    }.items():
        write_json(tmp_path / name, content)
    table = side_by_side(read_benches([tmp_path / "a", tmp_path / "b"]))
    assert lines_of(table)[2] == "| nano | lora | 100 ms | 200 ms | 2.00 | 3.0 ms | 3.0 ms | 1.00 | 640 MB | 640 MB |"
    assert lines_of(table)[4].startswith("| nano | oft | refused | refused | – |")
    assert "B: Slow CPU" in markdown(table)
    with pytest.raises(ConfigError, match="other settings"):
        side_by_side(read_benches([tmp_path / "a", tmp_path / "c"]))
    with pytest.raises(ConfigError, match="1 file given"):
        side_by_side(read_benches([tmp_path / "a"]))


def test_the_tables_need_neither_torch_nor_matplotlib():
    code = "import sys, loracast.report.terminal; sys.exit(bool({'torch', 'matplotlib'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
