"""Commands of many runs: an experiment, a demo, a bench; where they stand, their report, several side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loracast.cli.app import (
    Address,
    Cpus,
    EngineName,
    FolderOut,
    Gpus,
    Jobs,
    JsonOut,
    MaxHours,
    Overwrite,
    ResultsOut,
    Resume,
    RowsAsJson,
    Track,
    app,
    asked,
    names_in,
)
from loracast.cli.completion import BACKBONES, METHODS
from loracast.cli.experiments import ExperimentName
from loracast.cli.tables import TABLE, Form, put, put_result, put_sweep, told
from loracast.cli.terminal import page_out, say
from loracast.errors import LoracastError

if TYPE_CHECKING:
    from loracast.study.summary import Summary


@app.command()
def run(
    context: typer.Context,
    experiment: ExperimentName,
    out: ResultsOut = None,
    data: Annotated[Path | None, typer.Option(help="Where the data lie, instead of the TOML's path.")] = None,
    backbones: Annotated[
        str | None, typer.Option(help="Which set of backbones of the TOML, e.g. released; the first by default.")
    ] = None,
    resume: Resume = False,
    jobs: Jobs = 1,
    engine: EngineName = "processes",
    address: Address = None,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    max_hours: MaxHours = None,
    track: Track = None,
    form: Form = TABLE,
) -> None:
    """Run an experiment: data × arms × seeds. All on the same windows; finished runs are skipped.

    Example: loracast run mimic3-demo --data mimic-iii-clinical-database-demo-1.4

    Example: loracast run first-three/cross-model-cinc2019 --data training_setB --jobs 2 --max-hours 8 --resume

    Example: loracast run mine.toml --data mimic-iii-1.4 --engine ray --address auto --gpus 1
    """
    from loracast.study.experiment import read_experiment, refuse_absent

    # Before torch is loaded: a misspelt key, or data that are not there, are told at once.
    plan = plan_of(jobs, engine, address, cpus=cpus, gpus=gpus, max_hours=max_hours, track=track)
    spec = read_experiment(experiment, data=data, backbones=backbones)
    folder = out or Path("runs") / spec.name
    refuse_absent(spec, folder)
    from loracast.study.study import run_experiment
    from loracast.study.tracked import track_report

    summary = run_experiment(
        spec,
        folder,
        resume=resume,
        say=say,
        command=asked(context),
        plan=plan,
    )
    from loracast.study.ranks.analyse import write_sweep
    from loracast.study.ranks.sweep import is_rank_sweep

    sweep, undecided = None, ""
    if is_rank_sweep(spec) and not summary.missing:
        try:
            sweep = write_sweep(folder)
        except LoracastError as error:  # too few patients, say: what has run is worth its report all the same
            undecided = f"No threshold: {error}"
    _print_summary(folder, summary, form)
    track_report(plan.track, folder, say=say)
    if form != TABLE:
        return
    if sweep is not None:
        put_sweep(sweep)
    elif undecided:
        print(undecided)


def plan_of(
    jobs: int,
    engine: str,
    address: str | None,
    *,
    cpus: float,
    gpus: float,
    max_hours: float | None,
    track: list[str] | None,
) -> Any:
    """How a grid is carried out, as the options say."""
    from loracast.study.engine import Plan

    return Plan(jobs, engine, address, cpus, gpus, max_hours, tuple(track or ()))  # type: ignore[arg-type]  # checked


@app.command()
def bench(
    out: JsonOut = Path("bench.json"),
    backbones: Annotated[
        str | None, typer.Option(help="Comma-separated; all whose weights are here.", autocompletion=BACKBONES)
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Comma-separated; all.", autocompletion=METHODS)] = None,
    steps: Annotated[int, typer.Option(help="Training steps that are timed.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Windows a step.")] = 32,
    context: Annotated[int, typer.Option(help="Steps seen.")] = 72,
    horizon: Annotated[int, typer.Option(help="Steps forecast.")] = 36,
    windows: Annotated[int, typer.Option(help="Windows that are forecast.")] = 64,
    samples: Annotated[int, typer.Option(help="Sample paths a window.")] = 100,
    resume: Resume = False,
    compare: Annotated[
        list[Path] | None, typer.Option(help="Measure nothing; lay this file beside others (repeat the option).")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The same as --format markdown.")] = False,
    form: Form = TABLE,
) -> None:
    """Measure what each method costs on this machine. Time, memory, bytes, energy; synthetic windows, one file.

    Example: loracast bench --backbones chronos-t5-nano --methods full,lora --out bench.json

    Example: loracast bench --compare here.json --compare there.json --markdown
    """
    form = "markdown" if markdown else form
    if compare:
        from loracast.study.bench.settings import read_benches

        results = read_benches(compare)
        from loracast.report import frames  # pandas: what cannot be compared has been refused
        from loracast.report.terminal import side_by_side

        put(form, lambda: side_by_side(results), lambda: frames.benches(results))
    else:
        from loracast.study.bench import bench as measure

        result = measure(
            names_in(backbones) if backbones else None,
            names_in(methods) if methods else None,
            steps=steps,
            batch_size=batch_size,
            context=context,
            horizon=horizon,
            windows=windows,
            samples=samples,
            out=out,
            resume=resume,
            say=say,
        )
        from loracast.report import frames
        from loracast.report.terminal import bench_table

        put(form, lambda: bench_table(result), lambda: frames.bench(result))


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Results folder of `loracast run` or `sweep`.")],
    form: Form = TABLE,
    as_json: RowsAsJson = False,
) -> None:
    """Say how far an experiment is. Each run in order: done, failed and why, half-trained, waiting.

    Example: loracast status results/mimic3-demo
    """
    from loracast.report.lists import status_table
    from loracast.study.runs import status_of

    rows = status_of(folder)
    put("json" if as_json else form, lambda: status_table(rows), lambda: rows)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Results folder of `loracast run`.")],
    form: Form = TABLE,
) -> None:
    """Print an experiment's table and draw its report. Writes report.html and figures.

    Example: loracast report results/mimic3-demo
    """
    from loracast.report import read_summary

    _print_summary(folder, read_summary(folder), form)


@app.command()
def compare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Results folders, or files of `loracast bench`.")
    ],
    out: Annotated[Path, typer.Option(help="The .html file to write.", callback=page_out)] = Path("compare.html"),
    overwrite: Overwrite = False,
) -> None:
    """Lay studies or machines side by side. What differs, the same arms, costs by machine; one page.

    Example: loracast compare results/here results/there --out compare.html

    Example: loracast compare here.json there.json
    """
    from loracast.report import write_comparison

    print(f"Wrote {write_comparison(sources, out, overwrite=overwrite)}")


@app.command()
def demo(out: FolderOut = Path("demo")) -> None:
    """Show the whole path in four minutes. Simulate, read, split, adapt, compare, report.

    Example: loracast demo --out demo
    """
    from loracast.study.demo import DEMO
    from loracast.study.study import run_experiment

    _print_summary(out, run_experiment(DEMO, out, resume=True, say=say, command="loracast demo"))


def draw(folder: Path) -> Path:
    """Write the report of a results folder; its page."""
    from loracast.report import write_report

    say("Writing the report")
    return write_report(folder)


def _print_summary(folder: Path, summary: "Summary", form: str = TABLE) -> None:
    page = draw(folder)
    put_result(summary, form)
    told(form, f"Report: {page}")
