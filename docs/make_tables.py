"""Write the tables and answers of README.md and of the pages of docs/ from the committed result files.

python docs/make_tables.py
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from loracast.files import read_json
from loracast.files.texts import markdown_text
from loracast.report.answers import answer_table
from loracast.report.readable import ABSENT
from loracast.report.render import markdown
from loracast.report.results import summary_in
from loracast.report.sweeps import ranks_table, relation_table, thresholds_table
from loracast.report.tables import compact_table, plain_table
from loracast.report.terminal import bench_table
from loracast.report.words import sentences_of, verdict_of_arm
from loracast.study.bench.settings import read_bench
from loracast.study.ranks.result import RELATION, SWEEP, RankSweep, Relation
from loracast.study.summary import read_facts

ROOT = Path(__file__).parents[1]
PAGES = tuple(
    ROOT / page
    for page in ("README.md", "docs/index.md", "docs/results.md", "docs/study.md", "docs/growth.md", "docs/models.md")
)
BLOCK = re.compile(r"<!-- (\w+): (\S+)((?: \S+)*) -->\n.*?<!-- end -->", re.DOTALL)


def sweep_in(folder: Path) -> RankSweep:
    """The rank sweep of a results folder."""
    return read_facts(RankSweep, folder / SWEEP)


def ranks_markdown(folder: Path) -> str:
    """The thresholds, the rule that gives them, and the error by rank."""
    sweep = sweep_in(folder)
    return f"{markdown(thresholds_table(sweep))}\n{markdown(ranks_table(sweep, title=''))}"


def relation_markdown(folder: Path) -> str:
    """Thresholds beside what the series are like; what each property is stands in a list below."""
    table = relation_table(read_facts(Relation, folder / RELATION), correlations=False)
    warning, *properties = table.notes
    listed = "\n".join(f"- {markdown_text(told)}" for told in properties)
    return f"{markdown(replace(table, notes=(warning,)))}\n{listed}"


def verdict_markdown(folder: Path, method: str) -> str:
    """What one method was shown to be worth: against zero-shot in a sentence, against the best naive forecast in a list."""
    summary = summary_in(folder)
    (arm,) = (one for one in summary.arms if one.method == method)
    lines = "\n".join(f"- {markdown_text(told)}" for told in sentences_of(summary, arm, "vs_naive"))
    return f"{markdown_text(verdict_of_arm(summary, arm))}\n\n{lines}"


def sharing_markdown(folder: Path) -> str:
    """What `benchmarks/sharing.py` measured, as a sentence."""
    found = read_json(folder / "sharing.json")
    asked, together, apart = found["settings"], found["together"]["seconds"], found["apart"]["seconds"]
    return (
        f"Zero-shot and ranks {asked['ranks']} of {asked['backbone']}, {asked['steps']} steps each: {together:.0f} s "
        f"in one experiment, {apart:.0f} s in {len(asked['ranks'].split(','))} (`python benchmarks/sharing.py`; "
        f"{found['hardware']['processor']}). Together is {found['ratio']:.2f} times as fast by wall time, "
        f"{found['processor_ratio']:.2f} times by processor time."
    )


def growth_markdown(folder: Path) -> str:
    """What `benchmarks/growth.py` measured: a row a curve, from the smallest size to the largest."""
    found = read_json(folder / "growth.json")
    head = "| what | against | sizes | processor time, s | exponent | of the work | memory, MB | kept of each |"
    rows = [head, "|---|---|---|---|--:|--:|---|---|"]
    for curve in found["curves"]:
        sizes, seconds, bytes_ = ([point[key] for point in curve["points"]] for key in ("size", "seconds", "bytes"))
        cells = (
            curve["what"],
            curve["against"],
            " · ".join(f"{size:,}" for size in sizes),
            " · ".join(f"{one:.2f}" if one < 10 else f"{one:.0f}" for one in seconds),
            f"{curve['exponent']:.2f}",
            f"{curve['work']:g}",
            " · ".join(f"{one / 1e6:.0f}" for one in bytes_),
            curve["kept"],
        )
        rows.append(f"| {' | '.join(cells)} |")
    machine = f"{found['hardware']['processor']}, {found['hardware']['system']}, one thread"
    return "\n".join(rows) + f"\n\n`{found['command']}`; {machine}."


def peers_markdown(folder: Path) -> str:
    """What `benchmarks/peers/run.py` measured: a row a case, ours beside theirs."""
    found = read_json(folder / "peers.json")
    head = "| work | against | ours, s | theirs, s | ratio | of processor time | ours over the floor | memory, MB |"
    rows = [head, "|---|---|--:|--:|--:|--:|--:|--:|"]
    for row in found["rows"]:
        own, other = row["ours"], row["theirs"]
        cells = (
            row["case"],
            row["peer"].replace("_", "-"),
            *(f"{one['wall']:.2f} [{one['wall_range'][0]:.2f}, {one['wall_range'][1]:.2f}]" for one in (own, other)),
            f"{row['ratio']:.2f}",
            f"{row['ratio_cpu']:.2f}",
            f"{row['ours_over_floor']:.1f}",
            " · ".join(f"{one['peak_above_start_bytes'] / 1e6:.0f}" for one in (own, other)),
        )
        rows.append(f"| {' | '.join(cells)} |")
    machine = f"{found['hardware']['processor']}, threads: {found['threads']}"
    rate = f"{found['operations_per_second'] / 1e9:.0f} GFLOP/s in a plain product of float32 matrices"
    return "\n".join(rows) + f"\n\n{machine}; {rate}; medians of {found['repeats']} in turns, with their range."


def runs_markdown(folder: Path) -> str:
    """What `benchmarks/whole_runs.py` measured: a row a part, a column a run."""
    found = read_json(folder / "whole_runs.json")
    shares = [{part["part"]: part for part in run["parts"]} for run in found]
    names = dict.fromkeys(name for parts in shares for name in parts)
    rows = [f"| part | {' | '.join(run['run'] for run in found)} |", "|---|" + "--:|" * len(found)]
    for name in sorted(names, key=lambda name: -max(parts[name]["share"] for parts in shares if name in parts)):
        cells = [
            f"{parts[name]['processor_seconds']:.1f} s, {parts[name]['share']:.1%}" if name in parts else ABSENT
            for parts in shares
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    told = [
        f"`{run['command']}`: {run['runs']} runs, {run['processor_seconds']:.0f} s of processor time, "
        f"{run['wall_seconds']:.0f} s; a worker answers after {run['worker_starts'][0]:.1f} s, the next after "
        f"{run['worker_starts'][-1]:.1f} s; {run['hardware']['processor']}, {run['hardware']['torch_threads']} threads."
        for run in found
    ]
    return "\n".join(rows) + "\n\n" + "\n\n".join(told)


def precision_markdown(folder: Path) -> str:
    """What `benchmarks/precision.py` measured: a row a table, backbone, signal and score."""
    found = read_json(folder / "precision.json")
    head = "| table | signal | backbone | score | float32 | bfloat16 less float32 | medians apart | patients, windows |"
    rows = [head, "|---|---|---|---|--:|--:|--:|--:|"]
    for row in found["rows"]:
        low, high = row["interval"]
        cells = (
            row["table"],
            row["signal"].replace("_", " "),
            row["backbone"],
            SCORES[row["score"]],
            f"{row['float32']:.3f}",
            f"{row['difference']:+.4f} [{low:+.4f}, {high:+.4f}]",
            f"{row['medians_apart']:.1%}",
            f"{row['patients']:,}, {row['windows']:,}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    how = "in hardware" if found["in_hardware"] else "emulated: no time is told"
    end = f"`{found['command']}`; {found['samples']} paths; bfloat16 {how}; {found['hardware']['processor']}."
    return "\n".join(rows) + f"\n\n{end}"


SCORES = {"mae": "MAE", "crps": "CRPS", "coverage_80": "coverage of 80 %"}


TABLES: dict[str, Callable[..., str]] = {
    "table": lambda folder: markdown(plain_table(summary_in(folder))),
    "compact": lambda folder, *arms: markdown(compact_table(summary_in(folder), arms or None)),
    "answer": lambda folder: markdown(answer_table(summary_in(folder))),
    "verdict": verdict_markdown,
    "ranks": ranks_markdown,
    "thresholds": lambda folder: markdown(thresholds_table(sweep_in(folder))),
    "relation": relation_markdown,
    "bench": lambda folder: markdown(bench_table(read_bench(folder / "bench.json"))),
    "sharing": sharing_markdown,
    "growth": growth_markdown,
    "peers": peers_markdown,
    "runs": runs_markdown,
    "precision": precision_markdown,
}
"""Each kind of block with what makes it of a folder; words behind the folder choose arms by name, method or kind."""


def filled(text: str) -> str:
    """The text with every table block made anew from the folder that it names."""

    def block(match: re.Match[str]) -> str:
        kind, folder, words = match[1], match[2], match[3].split()
        made = TABLES[kind](ROOT / folder, *words).strip()
        return f"<!-- {kind}: {' '.join([folder, *words])} -->\n{made}\n<!-- end -->"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
