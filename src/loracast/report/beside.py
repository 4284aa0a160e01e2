"""Two studies or more beside each other, on one page: what differs, the same arms, what they cost on which machine.

Errors stand side by side where the studies scored the same windows of the same patients, and nowhere else. Where they
did not, the page says what differs, and lays beside each other what each study can say on its own windows: the paired
difference of an arm to zero-shot, in percent of what zero-shot errs. Nothing is tested between studies.
"""

import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from loracast.errors import ConfigError
from loracast.files import written
from loracast.report.beside_tables import (
    WINDOW,
    Study,
    arms_table,
    costs_table,
    facts_of,
    facts_tables,
    same_windows,
    shared_arms,
    window_name,
)
from loracast.report.figures import Shown, dark_colours, shown, vector
from loracast.report.figures.beside import draw
from loracast.report.figures.style import PAPER, PHONE, RC
from loracast.report.readable import plural
from loracast.report.render import templates
from loracast.report.results import label_of, read_results
from loracast.report.terminal import side_by_side
from loracast.report.words import listed, machines_of
from loracast.study.bench.settings import read_benches


def write_comparison(sources: Sequence[Path], out: Path, *, overwrite: bool = False) -> Path:
    """Write one page that compares results folders, or files of `loracast bench` of several machines; its path.

    Raises ConfigError for fewer than two sources, for folders mixed with files, for one that cannot be read, for
    studies without an arm in common, for benches with other settings, and where `out` exists and `overwrite` is not
    given.
    """
    sources = [Path(source) for source in sources]
    if not 2 <= len(sources) <= len(string.ascii_uppercase):
        raise ConfigError(
            f"{plural(len(sources), 'source')} given. Give two to {len(string.ascii_uppercase)} results folders of "
            "`loracast run`, or files of `loracast bench`; the first is the one to compare with."
        )
    files = [source for source in sources if source.is_file()]
    if files and len(files) < len(sources):
        raise ConfigError(
            f"{str(files[0])!r} is a file, and others are folders. Give results folders alone, or files of `loracast "
            "bench` alone: a study and a bench measure other things."
        )
    facts = _of_benches(sources) if files else _of_studies(studies_of(sources))
    with written(out, overwrite=overwrite) as temporary:
        temporary.write_text(templates().get_template("compare.html").render(facts), encoding="utf-8")
    return out


def studies_of(folders: Sequence[Path]) -> list[Study]:
    """The studies by letter; ConfigError for one that is none, and where no arm is in two of them."""
    found = [
        Study(letter, folder, read_results(folder))
        for letter, folder in zip(string.ascii_uppercase, folders, strict=False)
    ]
    if not shared_arms(found):
        told = "; ".join(f"{one.letter} has {_some([arm.arm for arm in one.summary.arms])}" for one in found)
        raise ConfigError(
            f"no arm is in two of these studies, so nothing can stand side by side: {told}. Give studies that share "
            "an arm, or look at each with `loracast report FOLDER`."
        )
    return found


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _of_benches(files: Sequence[Path]) -> dict[str, Any]:
    table = side_by_side(read_benches(files))
    times = replace(table, title="Time and memory of every model and method", notes=())
    return {
        "name": "Machines side by side",
        "lead": "What `loracast bench` measured on each. A ratio above 1 is slower than the first.",
        "simulated": False,
        "dark": {},
        "told": table.notes,
        "barred": "",
        "allowed": "All were measured with the same settings, on the same synthetic windows.",
        "sections": [("costs", "Costs by machine", times, [])],
        "figure": None,
    }


def _of_studies(studies: Sequence[Study]) -> dict[str, Any]:
    differ, alike = facts_tables(studies)
    names = [name for one in studies for name in one.summary.data.signals]
    signals = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    same = [signal for signal in signals if same_windows(studies, signal)]
    figure = _figure(studies, signals)
    machines = [f"{one.letter}: {machines_of(one.results) or 'not recorded'}." for one in studies]
    unlike = [] if differ else ["Nothing that was recorded differs."]
    return {
        "name": " and ".join(dict.fromkeys(one.summary.name for one in studies)),
        "lead": f"{plural(len(shared_arms(studies)), 'arm')} that two or more of {len(studies)} studies share, side by "
        "side.",
        "simulated": any(one.summary.data.simulated for one in studies),
        "dark": {} if figure is None else dark_colours([figure]),
        "told": [f"{one.letter}: {one.summary.name}, from the folder {one.folder.absolute().name}" for one in studies],
        "barred": _barred(studies, signals, same),
        "allowed": _allowed(studies, signals, same),
        "sections": [
            ("differs", "What differs", differ, unlike),
            *([("arms", "The same arms side by side", arms_table(studies, signals, same), [NOTE])] if signals else []),
            ("costs", "Costs by machine", costs_table(studies), machines),
            ("alike", "What is the same", alike, []),
        ],
        "figure": figure,
    }


def _figure(studies: Sequence[Study], signals: Sequence[str]) -> Shown | None:
    names = shared_arms(studies)
    with rc_context(RC):
        wide, narrow = (draw(studies, names, signals, sheet) for sheet in (PAPER, PHONE))
        return None if wide is None or narrow is None else shown(wide, vector(wide), vector(narrow))


NOTE = (
    "Brackets are 95 % intervals within each study; verdict and difference are against zero-shot of the same study, "
    "paired on its own windows. No study was tested against another: two intervals that overlap, or do not, are no "
    "test. To test arms against each other, run them in one experiment."
)


def _barred(studies: Sequence[Study], signals: Sequence[str], same: Sequence[str]) -> str:
    """What cannot be compared, and why; empty where all can."""
    first = studies[0].summary
    other = [label_of(first, signal) for signal in signals if signal not in same]
    if not signals:
        return "The studies have no signal in common: no error can be compared."
    if not other:
        return ""
    facts = [facts_of(one) for one in studies]
    names = ("fingerprint of the data", "windows", *map(window_name, WINDOW))
    differs = [name for name in names if len({fact[name] for fact in facts}) > 1]
    why = f" (other {listed(differs)})" if differs else ""
    return (
        f"The errors on {listed(other)} cannot be compared: the studies did not score the same windows{why}. Each "
        "study's difference to its own zero-shot stands in their place."
    )


def _allowed(studies: Sequence[Study], signals: Sequence[str], same: Sequence[str]) -> str:
    """What can be compared; empty where nothing can."""
    if not same:
        return ""
    named = listed([label_of(studies[0].summary, signal) for signal in same])
    return f"On {named} the studies scored the same windows of the same patients: the errors stand side by side."
