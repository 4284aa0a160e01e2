"""Commands of many runs: an experiment, a sweep, a demo, a bench; where they stand, and their report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loracast.cli.app import (
    Address,
    BackboneName,
    Cpus,
    EngineName,
    FolderOut,
    Gpus,
    Jobs,
    Joint,
    JsonOut,
    MaxHours,
    MethodName,
    Overwrite,
    ResultsOut,
    Resume,
    RowsAsJson,
    SitesName,
    Track,
    app,
    asked,
    names_in,
    whole_numbers,
)
from loracast.cli.completion import BACKBONES, METHODS
from loracast.cli.experiments import ExperimentName
from loracast.cli.tables import TABLE, Form, put, put_result
from loracast.cli.terminal import page_out, say
from loracast.errors import LoracastError

if TYPE_CHECKING:
    from loracast.study.ranks.result import RankSweep, Relation
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
    spec = read_experiment(experiment, data=data, backbones=backbones)
    folder = out or Path("runs") / spec.name
    refuse_absent(spec, folder)
    plan = _plan(jobs, engine, address, cpus=cpus, gpus=gpus, max_hours=max_hours, track=track)
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
        _print_sweep(sweep)
    elif undecided:
        print(undecided)


def _print_sweep(sweep: "RankSweep", form: str = TABLE) -> None:
    from loracast.report import frames
    from loracast.report.doubts import note_of
    from loracast.report.terminal import threshold_table

    put(form, lambda: threshold_table(sweep), lambda: frames.ranks(sweep))
    for note in sweep.notes if form == TABLE else ():
        print(note_of(note))


def _plan(
    jobs: int,
    engine: str,
    address: str | None,
    *,
    cpus: float,
    gpus: float,
    max_hours: float | None,
    track: list[str] | None,
) -> Any:
    from loracast.study.engine import Plan

    return Plan(jobs, engine, address, cpus, gpus, max_hours, tuple(track or ()))  # type: ignore[arg-type]  # checked


sweep_app = typer.Typer(no_args_is_help=True, help="Find where more of something stops paying.")
app.add_typer(sweep_app, name="sweep")


@sweep_app.command("ranks")
def sweep_ranks(
    call: typer.Context,
    backbone: BackboneName,
    data: Annotated[list[Path], typer.Option(help="A long table that `loracast data …` wrote (repeat the option).")],
    out: FolderOut = Path("runs/ranks"),
    method: MethodName = "lora",
    ranks: Annotated[
        str | None, typer.Option(help="Comma-separated; 1,2,4,…,64 as far as the backbone allows.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many training seeds.")] = 5,
    sites: SitesName = None,
    alpha: Annotated[float | None, typer.Option(help="Alpha of LoRA and its relatives, at every rank; 16.")] = None,
    alpha_per_rank: Annotated[
        float | None, typer.Option(help="Alpha = this times the rank, instead of --alpha.")
    ] = None,
    full: Annotated[bool, typer.Option(help="Full fine-tuning beside the ranks.")] = True,
    margin: Annotated[
        float, typer.Option(help="A rank suffices if shown less than this share of the lowest error worse.")
    ] = 0.01,
    context: Annotated[int | None, typer.Option(help="Steps seen; by the grid if not given.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; by the grid if not given.")] = None,
    stride: Annotated[int | None, typer.Option(help="Steps between two windows; the horizon if not given.")] = None,
    joint: Joint = False,
    steps: Annotated[int, typer.Option(help="Most optimizer steps.")] = 500,
    samples: Annotated[int, typer.Option(help="Sample paths a window.")] = 100,
    split_seed: Annotated[int, typer.Option(help="Seed of the patient split.")] = 0,
    shares: Annotated[str, typer.Option(help="Shares of training, validation and test patients.")] = "0.6,0.2,0.2",
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
    """Find the smallest rank that suffices. Decided on validation patients, reported on test patients.

    Example: loracast sweep ranks --backbone chronos-t5-nano --data vitals.parquet --ranks 1,2,4,8 --out ranks

    Example: loracast sweep ranks --backbone moirai-nano --data icu.parquet --data cgm.parquet --jobs 2 --out ranks
    """
    from loracast.study.ranks.sweep import sweep_ranks as sweep_table
    from loracast.study.ranks.sweep import sweep_tables
    from loracast.study.tracked import track_report

    window = {"context": context, "horizon": horizon, "stride": stride, "joint": joint or None}
    settings = {
        "model": backbone,
        "method": method,
        "ranks": whole_numbers(ranks) if ranks else None,
        "seeds": seeds,
        "sites": sites,
        "alpha": alpha,
        "alpha_per_rank": alpha_per_rank,
        "full": full,
        "margin": margin,
        "window": {key: value for key, value in window.items() if value is not None},
        "training": {"steps": steps},
        "forecasting": {"samples": samples},
        "split": {"seed": split_seed, "shares": names_in(shares)},
        "plan": _plan(jobs, engine, address, cpus=cpus, gpus=gpus, max_hours=max_hours, track=track),
        "resume": resume,
        "say": say,
        "command": asked(call),
    }
    if len(data) == 1:
        sweeps, relation = {out: sweep_table(data[0], out, **settings)}, None
    else:
        found = sweep_tables(data, out, **settings)
        sweeps = dict(zip((out / table.stem for table in data), found[0], strict=True))
        relation = found[1]
    for folder, sweep in sweeps.items():
        _draw(folder)
        track_report(track or (), folder, say=say)
        if relation is None or form == TABLE:
            _print_sweep(sweep, form)
        _told(form, f"Report: {folder / 'report.html'}\n")
    if relation is not None:
        _print_relation(relation, form)


def _print_relation(relation: "Relation", form: str) -> None:
    from loracast.report import frames
    from loracast.report.terminal import relation_table

    put(form, lambda: relation_table(relation), lambda: frames.relation(relation))


def _told(form: str, line: str) -> None:
    """Say where something lies: beside a table for people, and out of the way of one for a script."""
    (print if form == TABLE else say)(line)


@sweep_app.command("relate")
def sweep_relate(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Results folders of rank sweeps.")],
    out: JsonOut = Path("thresholds.json"),
    overwrite: Overwrite = False,
    form: Form = TABLE,
) -> None:
    """Lay thresholds beside what the series are like. Over the finished sweeps of several data sets.

    Example: loracast sweep relate results/sweep-cinc2019 results/sweep-shanghai-cgm --out thresholds.json
    """
    from loracast.study.ranks.analyse import read_sweep
    from loracast.study.ranks.properties import relate
    from loracast.study.summary import write_facts

    relation = relate([read_sweep(folder) for folder in folders])
    write_facts(relation, out, overwrite=overwrite)
    _print_relation(relation, form)
    _told(form, f"Wrote {out}")


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
        from loracast.report.terminal import measured_side_by_side, side_by_side

        put(form, lambda: side_by_side(compare), lambda: measured_side_by_side(compare))
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


def _draw(folder: Path) -> Path:
    from loracast.report import write_report

    say("Writing the report")
    return write_report(folder)


def _print_summary(folder: Path, summary: "Summary", form: str = TABLE) -> None:
    page = _draw(folder)
    put_result(summary, form)
    _told(form, f"Report: {page}")
