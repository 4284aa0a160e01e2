"""The command line: parse, call one function, print. Heavy modules are imported inside the commands."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import loracast
from loracast.terminal import folder_out, not_itself, run_command, say, show, table_out

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Adapt pretrained time-series foundation models, and say honestly whether it was worth it.",
)
data_app = typer.Typer(no_args_is_help=True, help="Read clinical data into one long table.")
app.add_typer(data_app, name="data")

Signals = Annotated[
    str,
    typer.Option(help="Comma-separated: heart_rate, map, sbp, dbp, resp_rate, spo2, temperature, glucose."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
TableOut = Annotated[Path, typer.Option("--out", help="The .parquet file to write.", callback=table_out)]
FolderOut = Annotated[Path, typer.Option("--out", help="The folder to write.", callback=folder_out)]
ResultsOut = Annotated[
    Path | None, typer.Option("--out", help="Results folder; runs/NAME if not given.", callback=folder_out)
]
LongTable = Annotated[Path, typer.Argument(metavar="TABLE", help="A long table that `loracast data …` wrote.")]
BackboneName = Annotated[str, typer.Option("--backbone", help="Known name, name on the Hub, or folder.")]
MethodName = Annotated[str, typer.Option("--method", help="zero-shot, full or lora.")]
Rank = Annotated[int, typer.Option(help="Rank of LoRA.")]
Alpha = Annotated[float, typer.Option(help="Alpha of LoRA.")]
Seed = Annotated[int, typer.Option(help="Seed.")]
Joint = Annotated[bool, typer.Option("--joint", help="Windows of a stay's signals together (MOIRAI, Chronos-2).")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"loracast {loracast.__version__}")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _print_attrition(attrition: Any, out: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"out": str(out), **attrition.as_json()}, indent=2))
    else:
        print(attrition.as_text())
        print(f"\nWrote {out}")


@data_app.command("mimic3")
def data_mimic3(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of the tables (.csv, .csv.gz, .parquet).")],
    out: TableOut,
    signals: Signals = "heart_rate,map,resp_rate",
    cohort: Annotated[str, typer.Option(help="explicit (sepsis by ICD-9 code) or all.")] = "explicit",
    grid: Annotated[str, typer.Option(help="Step of the regular grid.")] = "60min",
    min_age: Annotated[float, typer.Option(help="Least age at ICU admission, years.")] = 18,
    min_hours: Annotated[float, typer.Option(help="Least length of stay, hours.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Read vital signs from MIMIC-III.

    Example: loracast data mimic3 mimic-iii-demo --cohort all --out vitals.parquet
    """
    from loracast.data.mimic3 import read_mimic3

    attrition = read_mimic3(
        source,
        out,
        signals=_split(signals),
        cohort=cohort,
        grid=grid,
        min_age=min_age,
        min_hours=min_hours,
        show=say,
    )
    _print_attrition(attrition, out, as_json)


@data_app.command("cinc2019")
def data_cinc2019(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder or archive of the .psv files.")],
    out: TableOut,
    signals: Signals = "heart_rate,map,resp_rate",
    septic_only: Annotated[bool, typer.Option(help="Only patients with a SepsisLabel.")] = False,
    min_hours: Annotated[float, typer.Option(help="Least number of hourly rows.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Read the PhysioNet/CinC Challenge 2019.

    Example: loracast data cinc2019 training_setB.tar.xz --septic-only --out septic.parquet
    """
    from loracast.data.cinc2019 import read_cinc2019

    attrition = read_cinc2019(
        source, out, signals=_split(signals), septic_only=septic_only, min_hours=min_hours, show=say
    )
    _print_attrition(attrition, out, as_json)


@data_app.command("table")
def data_table(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Your own long table: .csv, .csv.gz or .parquet.")],
    out: TableOut,
    grid: Annotated[str, typer.Option(help="Step of the regular grid, e.g. 15min.")],
    patient: Annotated[str, typer.Option(help="Column of the patient.")] = "patient",
    time: Annotated[str, typer.Option(help="Column of the time.")] = "time",
    value: Annotated[str, typer.Option(help="Column of the value.")] = "value",
    stay: Annotated[str | None, typer.Option(help="Column of the stay or recording, if any.")] = None,
    signal: Annotated[str, typer.Option(help="Column of the signal, or the name of the one signal.")] = "signal",
    unit: Annotated[str | None, typer.Option(help="Unit of the values, where the signal is not a known one.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the data; adapters carry it.")] = "not stated",
    as_json: AsJson = False,
) -> None:
    """Put your own long table on a regular grid.

    Example: loracast data table cgm.csv.gz --grid 15min --value cgm_mgdl --signal glucose --out cgm.parquet
    """
    from loracast.data.frame import write_table

    not_itself(source, out)
    attrition = write_table(
        source,
        out,
        grid=grid,
        patient=patient,
        time=time,
        value=value,
        signal=signal,
        stay=stay,
        unit=unit,
        licence=licence,
    )
    _print_attrition(attrition, out, as_json)


@data_app.command("simulate")
def data_simulate(
    out: FolderOut,
    patients: Annotated[int, typer.Option(min=10, help="How many patients.")] = 120,
    seed: Seed = 0,
) -> None:
    """Simulate an ICU cohort as MIMIC-III tables. Seeded; no patient is real.

    Example: loracast data simulate --out simulated && loracast data mimic3 simulated --grid 5min --out v.parquet
    """
    from loracast.data.simulate import simulate

    print(f"Wrote simulated MIMIC-III tables to {simulate(out, patients=patients, seed=seed)}")


@app.command()
def params(
    backbone: BackboneName,
    method: MethodName = "lora",
    rank: Rank = 2,
    alpha: Alpha = 16,
    as_json: AsJson = False,
) -> None:
    """Count what a method trains. Offline, from built-in architecture sizes.

    Example: loracast params --backbone chronos-t5-base --method lora --rank 2
    """
    from loracast.backbones.catalogue import trained_numbers, trained_table
    from loracast.config import ArmSpec, parse

    asked = {"backbone": backbone, "method": method, "rank": rank, "alpha": alpha}
    row = trained_numbers(parse(ArmSpec, asked, "The command"))
    if as_json:
        print(json.dumps(row))
    else:
        show(trained_table(row))


@app.command()
def backbones(as_json: AsJson = False) -> None:
    """List what can be adapted. Sizes, licences, and whether the weights are here; offline.

    Example: loracast backbones
    """
    from loracast.backbones.catalogue import catalogue, catalogue_table

    rows = catalogue()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        show(catalogue_table(rows))


@app.command()
def run(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="A .toml, e.g. experiments/mimic3-demo.toml.")
    ],
    out: ResultsOut = None,
    data: Annotated[Path | None, typer.Option(help="Where the data lie, instead of the TOML's path.")] = None,
    backbones: Annotated[
        str | None, typer.Option(help="Which set of backbones of the TOML, e.g. released; the first by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue half-trained runs from their checkpoints.")
    ] = False,
) -> None:
    """Run an experiment: data × arms × seeds. All on the same windows; finished runs are skipped.

    Example: loracast run experiments/mimic3-demo.toml --out results/mimic3-demo
    Example: loracast run experiments/cross-model.toml --backbones released
    """
    from loracast.config import read_experiment

    # Before torch is loaded: a misspelt key is told at once.
    spec = read_experiment(experiment, data=data, backbones=backbones)
    from loracast.grid import run_experiment

    folder = out or Path("runs") / spec.name
    summary = run_experiment(
        spec,
        folder,
        resume=resume,
        say=say,
        command=f"loracast run {experiment.name}" + (f" --backbones {backbones}" if backbones else ""),
    )
    _print_summary(folder, summary)


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Results folder of `loracast run`.")]) -> None:
    """Print an experiment's table and draw its report. Writes report.html and figures.

    Example: loracast report results/mimic3-demo
    """
    from loracast.report import read_summary

    _print_summary(folder, read_summary(folder))


@app.command()
def demo(out: FolderOut = Path("demo")) -> None:
    """Show the whole path in three minutes. Simulate, read, split, adapt, compare, report.

    Example: loracast demo --out demo
    """
    from loracast.demo import DEMO
    from loracast.grid import run_experiment

    _print_summary(out, run_experiment(DEMO, out, resume=True, say=say, command="loracast demo"))


def _print_summary(folder: Path, summary: dict[str, Any]) -> None:
    from loracast.report import write_report
    from loracast.report.tables import result_table

    say("Writing the report")
    page = write_report(folder)
    show(result_table(summary))
    for arm in summary["arms"]:
        for verdict in (arm["vs_zero_shot"] or {}).values():
            if not arm["arm"].endswith("zero-shot"):
                print(f"{arm['arm']}: {verdict['sentence']}")
    print(f"\nReport: {page}")


@app.command()
def adapt(
    table: LongTable,
    out: FolderOut,
    backbone: BackboneName = "chronos-t5-nano",
    method: MethodName = "lora",
    rank: Rank = 2,
    alpha: Alpha = 16,
    context: Annotated[int | None, typer.Option(help="Steps seen; by the grid if not given.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; by the grid if not given.")] = None,
    joint: Joint = False,
    steps: Annotated[int, typer.Option(help="Most optimizer steps.")] = 500,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
) -> None:
    """Adapt a backbone to your own series. The adapter is a folder that PEFT loads too.

    Example: loracast adapt vitals.parquet --method lora --rank 2 --out adapter
    """
    from loracast.steps import adapt_table

    card = adapt_table(
        table,
        out,
        arm={"backbone": backbone, "method": method, "rank": rank, "alpha": alpha},
        window={"context": context, "horizon": horizon, "joint": joint or None},
        training={"steps": steps},
        seed=seed,
        resume=resume,
    )
    print(
        f"Trained {card['trainable_parameters']:,} numbers; validation loss {card['validation_loss_at_start']:.4f} → "
        f"{card['validation_loss']:.4f} (kept step {card['best_step']}). Adapter: {out}"
    )


@app.command()
def forecast(
    table: LongTable,
    out: TableOut,
    adapter: Annotated[Path | None, typer.Option(help="Adapter folder; the bare backbone if not given.")] = None,
    backbone: BackboneName = "chronos-t5-nano",
    context: Annotated[int | None, typer.Option(help="Steps seen; the adapter's or by the grid.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; the adapter's or by the grid.")] = None,
    joint: Joint = False,
    samples: Annotated[int, typer.Option(help="Sample paths a series.")] = 20,
    seed: Seed = 0,
) -> None:
    """Forecast what follows every series. Quantiles, as a Parquet table.

    Example: loracast forecast vitals.parquet --adapter adapter --out forecast.parquet
    """
    from loracast.steps import forecast_table

    not_itself(table, out)
    count = forecast_table(
        table,
        out,
        adapter=adapter,
        backbone=backbone,
        window={"context": context, "horizon": horizon, "joint": joint or None},
        forecasting={"samples": samples, "seed": seed},
    )
    print(f"Forecast {count} series. Quantiles: {out}")


@app.command()
def evaluate(
    table: LongTable,
    adapter: Annotated[list[Path] | None, typer.Option(help="Adapter folders to score (repeat the option).")] = None,
    backbone: BackboneName = "chronos-t5-nano",
    context: Annotated[int | None, typer.Option(help="Steps seen; the adapter's or by the grid.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; the adapter's or by the grid.")] = None,
    joint: Joint = False,
    samples: Annotated[int, typer.Option(help="Sample paths a window.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the patient split; adapters bring their own.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Score adapters on the test patients. Beside zero-shot and the naive floor.

    Example: loracast evaluate vitals.parquet --adapter adapter
    """
    from loracast.report.tables import result_table
    from loracast.steps import evaluate_table

    summary = evaluate_table(
        table,
        adapters=adapter or [],
        backbone=backbone,
        window={"context": context, "horizon": horizon, "joint": joint or None},
        forecasting={"samples": samples},
        split_seed=seed,
    )
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        show(result_table(summary))


@app.command()
def pretrain(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A packaged recipe (chronos-t5-nano) or a .toml.")],
    out: FolderOut,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
) -> None:
    """Train a nano backbone from nothing. On synthetic series; scores it and writes its model card.

    Example: loracast pretrain chronos-t5-nano --out nano --resume
    """
    from loracast.pretrain import pretrain_backbone

    print(f"Weights and model card: {pretrain_backbone(recipe, out, resume=resume, say=say)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a caller's mistake prints its message and exits with 2."""
    run_command(typer.main.get_command(app), arguments)
