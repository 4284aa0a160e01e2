"""What an evaluation or a study found, as an object: leaderboard, comparisons, figures, checks, the report."""

import io
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.doorway.quiet import shown
from loracast.errors import ConfigError
from loracast.files import claimed, written
from loracast.files.private import PrivateFolder
from loracast.study.summary import (
    CELLS,
    EXAMPLES,
    EXPERIMENT,
    LEARNING,
    RESULT,
    SUMMARY,
    RunResult,
    Summary,
    read_facts,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from loracast.doorway.forecaster import Forecaster
    from loracast.scoring.sums import Sums

KEPT = (SUMMARY, EXPERIMENT, "sweep.json")
KEPT_OF_RUNS = (RESULT, CELLS, EXAMPLES, LEARNING)
"""What a copy of a results folder holds: no rows of the table, no checkpoints, no weights."""


class Result:
    """What was found on the test patients. `lc.evaluate` and `Study.run` make one, `Result.read` reads a folder's.

    `summary` is everything as typed facts, `folder` where it lies: a private temporary one, which goes away with the
    object, unless the caller gave another.

    >>> result
    Result(5 arms, 2 signals, 3 test patients, 72 windows)
    """

    def __init__(self, folder: Path | PrivateFolder, given: "Sequence[tuple[Any, str]]" = ()) -> None:
        from loracast.report.results import summary_in

        self._private = folder if isinstance(folder, PrivateFolder) else None
        self.folder = folder.path / "results" if isinstance(folder, PrivateFolder) else folder
        self._given = list(given)
        self.summary: Summary = summary_in(self.folder)

    @classmethod
    def read(cls, folder: Path | str) -> "Result":
        """The result in a folder that `loracast run`, `Study.run` or `save` wrote.

        Raises ConfigError where there is none, or one that cannot be read.

        >>> lc.Result.read(result.save(folder / "found")).summary == result.summary
        True
        """
        return cls(Path(folder))

    @property
    def arms(self) -> list[str]:
        """The names of all arms, the naive floor first.

        >>> result.arms[0]
        'last-value'
        """
        return [arm.arm for arm in self.summary.arms]

    def leaderboard(self, signal: str | None = None, metric: str = "mae") -> "pd.DataFrame":
        """A row a signal and arm, the best first within each signal: errors of different units have no mean.

        `metric` in the unit of the signal (mae, rmse, crps; the others have none) with its 95 % interval over patients
        (`_low`, `_high`); the difference in MAE to zero-shot and to the best naive forecast with intervals and
        verdicts; trained numbers, patients, windows. Raises ConfigError for a signal or a metric that is none.

        >>> result.leaderboard("map")["arm"].tolist()[0] in result.arms
        True
        """
        from loracast.report.frames import leaderboard

        return leaderboard(self.summary, signal, metric)

    def compare(self, a: "str | Forecaster", b: "str | Forecaster", metric: str = "mae") -> "pd.DataFrame":
        """How `a` differs from `b` on the same windows: a row a signal, a's error less b's; below 0, a is better.

        `difference` with its 95 % interval over patients (`low`, `high`), `verdict`; `flips`, how many patients there
        are without whom, each alone, the verdict would be another, and the range of the difference without any one of
        them (`left_out_low`, `left_out_high`); patients and windows. An arm is named, or the object that was evaluated;
        a model's name stands for it as it came. `metric` is mae, crps or mase. Raises ConfigError for an arm or a
        metric that is none.

        >>> result.compare(tuned, "chronos-t5-nano")["verdict"].tolist()
        ['no difference shown', 'no difference shown']
        """
        from loracast.report.frames import pairs
        from loracast.scoring.compare import paired

        first, second = self._arm(a), self._arm(b)
        found = paired(self._sums(first), self._sums(second), metric)
        return pairs(self.summary, found, arm=first, reference=second, metric=metric)

    def _arm(self, one: "str | Forecaster") -> str:
        """The name of an arm: that itself, the object that was scored, or a model that came as it is."""
        text = isinstance(one, str)
        names = [name for known, name in self._given if known is one or (text and known == one)]
        names += [arm for arm in self.arms if arm == (one if text else getattr(one, "name", None))]
        as_it_came = [arm for arm in self.summary.arms if arm.method in ("zero-shot", "as-is")]
        names += [arm.arm for arm in as_it_came if arm.model == one]
        if not names:
            told = repr(one) if text else getattr(one, "name", type(one).__name__)
            raise ConfigError(f"No arm {told} in this result. Arms: {', '.join(self.arms)}.")
        return names[0]

    @cached_property
    def _folders(self) -> dict[str, list[Path]]:
        """The folders of each arm's runs."""
        found: dict[str, list[tuple[int, Path]]] = {}
        for file in sorted(self.folder.glob(f"runs/*/{RESULT}")):
            run = read_facts(RunResult, file)
            found.setdefault(run.arm, []).append((run.seed, file.parent))
        return {arm: [folder for _, folder in sorted(runs)] for arm, runs in found.items()}

    def _sums(self, arm: str) -> "list[Sums]":
        from loracast.scoring.sums import Sums

        runs = [folder for folder in self._folders.get(arm, []) if (folder / CELLS).is_file()]
        if not runs:
            raise ConfigError(
                f"{self.folder.name} holds no sums of {arm} (runs/*/{CELLS}), only a summary, whose comparisons are in "
                "leaderboard(). Read the whole folder of the study."
            )
        return [Sums.from_parquet(folder / CELLS) for folder in runs]

    def plot(self, arm: "str | Forecaster | None" = None) -> "Figure":
        """Draw forecasts of single test windows, a low, the middle and the highest error of each signal.

        What was observed before and after, the median, and its band; zero-shot dashed on the same windows. `arm` is
        named as in `compare`; if not given, the first that was adapted. Raises ConfigError where none was kept, or
        where they come from fewer than 100 sample paths: the edges of a band would be chance.

        >>> result.plot("last-value") is not None
        True
        """
        import matplotlib

        from loracast.doorway.plots import SCREEN
        from loracast.report.figures import fans
        from loracast.report.figures.style import RC
        from loracast.report.results import read_results

        results = read_results(self.folder)
        with matplotlib.rc_context({**RC, "figure.dpi": SCREEN}):
            drawing = fans.draw(results) if arm is None else fans.draw_of(results, self.summary.arm(self._arm(arm)))
        if drawing is None:
            raise ConfigError(
                f"No example forecasts of 100 paths or more are kept in {self.folder.name}. Evaluate, or run, again."
            )
        return shown(drawing.figure)

    @property
    def checks(self) -> "pd.DataFrame":
        """A row a finding of a check (docs: scores and checks); one that found nothing has a row of its own.

        >>> set(result.checks["outcome"]) <= {"passed", "warning", "not applicable"}
        True
        """
        from loracast.report.frames import checks

        return checks(self.summary)

    @property
    def answer(self) -> str:
        """Whether adapting was worth it, in lines for reading: a comparison a line, with interval and patients.

        >>> print(result.answer.splitlines()[0])
        The answer: is chronos-t5-nano lora r=2 better? Data: test
        """
        from rich.console import Console

        from loracast.report.answers import answer_table
        from loracast.report.render import terminal

        text = io.StringIO()
        Console(file=text, width=110, color_system=None).print(terminal(answer_table(self.summary)))
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def save(self, folder: Path | str, *, overwrite: bool = False) -> Path:
        """Copy the result to `folder`, whole or not at all, and return it: `Result.read` and `loracast report` read it.

        No row of the table goes with it but the example windows, which bear no name. Raises ConfigError where something
        stands there and `overwrite` is not given.

        >>> sorted(path.name for path in result.save(folder / "kept").iterdir())
        ['runs', 'summary.json']
        """
        folder = Path(folder)
        with claimed(folder, self.folder, overwrite=overwrite), written(folder, overwrite=overwrite) as temporary:
            temporary.mkdir(parents=True)
            for name in KEPT:
                if (self.folder / name).is_file():
                    shutil.copyfile(self.folder / name, temporary / name)
            for file in sorted(self.folder.glob("runs/*/*")):
                if file.name in KEPT_OF_RUNS:
                    (temporary / "runs" / file.parent.name).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, temporary / "runs" / file.parent.name / file.name)
        return folder

    def report(self, out: Path | str | None = None, *, overwrite: bool = False) -> Path:
        """Write the page with its tables and figures, and return its path.

        To the new folder `out`, with a copy of the result; without `out` into the result's own folder, which must be
        one of the caller's. Raises ConfigError where something stands at `out` and `overwrite` is not given.

        >>> result.report(folder / "page").name
        'report.html'
        """
        from loracast.report import write_report

        if out is not None:
            return write_report(self.save(out, overwrite=overwrite))
        if self._private is not None:
            raise ConfigError("This result lies in no folder of yours. Say where the page should be: report(out).")
        return write_report(self.folder)

    def __repr__(self) -> str:
        summary = self.summary
        parts = [
            f"{len(summary.arms)} arms",
            f"{len(summary.data.signals)} signals",
            f"{summary.data.patients['test']:,} test patients",
            f"{summary.windows.counts['test']:,} windows",
        ]
        if summary.data.simulated:
            parts.append("SIMULATED DATA")
        if summary.missing:
            parts.append(f"{len(summary.missing)} runs not done")
        return f"Result({', '.join(parts)})"

    def _repr_html_(self) -> str:
        from loracast.report.answers import answer_table
        from loracast.report.render import html
        from loracast.report.tables import compact_table

        warned = [check.code for check in self.summary.checks if check.outcome == "warning"]
        told = f"<p>Checks that warn: {', '.join(warned)} (checks, report).</p>" if warned else ""
        missing = f"<p>{len(self.summary.missing)} runs are not done.</p>" if self.summary.missing else ""
        return html(answer_table(self.summary)) + html(compact_table(self.summary)) + told + missing
