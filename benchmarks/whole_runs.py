"""Where the time of a whole run goes: the demo, or an experiment, by part.

    python benchmarks/whole_runs.py --json benchmarks/whole_runs.json
    python benchmarks/whole_runs.py --experiment first-three/cross-model-cinc2019 --data training_setB --seeds 1

All runs are carried out in this process, one after the other. A part's seconds are its own: what stands within it
under another name is taken off. Processor time of all threads; beside it the wall's.
"""

import argparse
import contextlib
import functools
import importlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PARTS = {
    "read, split and cut": ["study.study:_windows"],
    "check the arms": ["study.study:_check_arms"],
    "load and copy the base": ["study.run:Shared.copy"],
    "attach the method": ["study.run:attach"],
    "training steps": ["training.trainer:MicroTrainer.training_step"],
    "optimizer, data, checkpoints": ["study.run:fit"],
    "validation": ["training.trainer:MicroTrainer.evaluation_loop"],
    "save adapters": ["study.run:save_adapter"],
    "forecasts": ["models.forecast:predict"],
    "scores of windows": ["models.forecast:score_cells"],
    "summary and intervals": ["study.study:_summary"],
    "report": ["report:write_report"],
}
"""The functions that are each part, as `module:name`; the innermost of those that are at work is charged."""


class Ledger:
    """Charges time to the innermost part that is at work."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._open = ["the rest"]
        self._since = time.perf_counter(), time.process_time()

    def _charge(self) -> None:
        now = time.perf_counter(), time.process_time()
        self.wall[self._open[-1]] += now[0] - self._since[0]
        self.processor[self._open[-1]] += now[1] - self._since[1]
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charge what happens within to this part."""
        self._charge()
        self._open.append(name)
        self.calls[name] += 1
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def watch(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, charged to a part."""

        @functools.wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return watched

    def rows(self) -> list[dict[str, Any]]:
        """The parts, dearest first."""
        self._charge()
        whole = sum(self.processor.values())
        return [
            {
                "part": name,
                "processor_seconds": round(seconds, 2),
                "wall_seconds": round(self.wall[name], 2),
                "share": round(seconds / whole, 4),
                "calls": self.calls[name] or None,
            }
            for name, seconds in sorted(self.processor.items(), key=lambda item: -item[1])
        ]


def put_on(ledger: Ledger) -> None:
    """Watch the functions of every part, wherever their callers look them up."""
    for part, places in PARTS.items():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = importlib.import_module(f"loracast.{module}")
            *classes, name = path.split(".")
            for one in classes:
                owner = getattr(owner, one)
            setattr(owner, name, ledger.watch(getattr(owner, name), part))


def carried_out(arguments: argparse.Namespace, ledger: Ledger) -> dict[str, Any]:
    """Run it once; the parts of it."""
    with ledger.part("import"):
        from loracast.report import write_report as _  # noqa: F401
        from loracast.study.demo import DEMO
        from loracast.study.experiment import read_experiment
        from loracast.study.study import run_experiment

        put_on(ledger)
    import loracast.report

    spec = DEMO if arguments.experiment is None else read_experiment(arguments.experiment, data=arguments.data)
    if arguments.seeds:
        spec = spec.model_copy(update={"seeds": spec.seeds[: arguments.seeds]})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        run_experiment(spec, out, progress=False, say=lambda text: print(text, file=sys.stderr))
        loracast.report.write_report(out)
        runs = sum(1 for _ in out.glob("runs/*/result.json"))
    rows = ledger.rows()
    return {
        "run": arguments.experiment or "demo",
        "seeds": len(spec.seeds),
        "runs": runs,
        "worker_starts": worker_starts(),
        "processor_seconds": round(sum(row["processor_seconds"] for row in rows), 1),
        "wall_seconds": round(sum(row["wall_seconds"] for row in rows), 1),
        "parts": rows,
    }


def worker_starts() -> list[float]:
    """Seconds until a worker has answered that its budget is spent: the first, which imports for all, and two more."""
    from loracast.study.engine import Task
    from loracast.study.engine.local import carry_out_in_processes

    late = Task(spec="", out=Path(), number=0, resume=False, deadline=0.0, track=())
    found = []
    for _ in range(3):
        start = time.perf_counter()
        (outcome,) = carry_out_in_processes(1, [late], begin=lambda task: None)
        assert outcome.state == "stopped"
        found.append(round(time.perf_counter() - start, 2))
    return found


def main() -> None:
    """Measure what is asked for, and put it beside what the file tells of other runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", help="a TOML, or the name of one that comes with loracast; else the demo")
    parser.add_argument("--data", type=Path, help="where its data lie")
    parser.add_argument("--seeds", type=int, help="so many of its seeds")
    parser.add_argument("--json", type=Path, help="file that takes the result, beside those of other runs")
    arguments = parser.parse_args()
    ledger = Ledger()
    found = carried_out(arguments, ledger)
    from loracast.training.cost import hardware

    found |= {"hardware": hardware(), "command": "python benchmarks/whole_runs.py " + " ".join(sys.argv[1:])}
    print(json.dumps(found, indent=2))
    if arguments.json:
        known = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.is_file() else []
        rows = [one for one in known if one["run"] != found["run"]] + [found]
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
