"""Commands of sweeps: over the ranks of a method, and of several such what they have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    Resume,
    SitesName,
    Track,
    app,
    asked,
    names_in,
    whole_numbers,
)  # fmt: skip
from loracast.cli.studies import draw, plan_of
from loracast.cli.tables import TABLE, Form, put, put_sweep, told
from loracast.cli.terminal import say

if TYPE_CHECKING:
    from loracast.study.ranks.result import RankSweep, Relation

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
        "plan": plan_of(jobs, engine, address, cpus=cpus, gpus=gpus, max_hours=max_hours, track=track),
        "resume": resume,
        "say": say,
        "command": asked(call),
    }
    relation = None
    if len(data) == 1:
        sweeps = {out: sweep_table(data[0], out, **settings)}
    else:
        found, relation = sweep_tables(data, out, **settings)
        sweeps = dict(zip((out / table.stem for table in data), found, strict=True))
    _told_of(sweeps, relation, form, track or ())


def _told_of(sweeps: "dict[Path, RankSweep]", relation: "Relation | None", form: str, track: Sequence[str]) -> None:
    """Draw and print what came of sweeps; as rows for a script, of several what they have in common."""
    from loracast.study.tracked import track_report

    for folder, sweep in sweeps.items():
        draw(folder)
        track_report(track, folder, say=say)
        if relation is None or form == TABLE:
            put_sweep(sweep, form)
        told(form, f"Report: {folder / 'report.html'}\n")
    if relation is not None:
        _print_relation(relation, form)


def _print_relation(relation: "Relation", form: str) -> None:
    from loracast.report import frames
    from loracast.report.terminal import relation_table

    put(form, lambda: relation_table(relation), lambda: frames.relation(relation))


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
    from loracast.study.ranks.result import read_sweep

    sweeps = [read_sweep(folder) for folder in folders]
    from loracast.study.ranks.properties import relate  # scores: what is no sweep has been refused
    from loracast.study.summary import write_facts

    relation = relate(sweeps)
    write_facts(relation, out, overwrite=overwrite)
    _print_relation(relation, form)
    told(form, f"Wrote {out}")
