"""The command line: parse, call one function, print. Heavy modules are imported inside the commands."""

import errno
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from loracast.errors import LoracastError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Adapt pretrained time-series foundation models, and say honestly whether it was worth it.",
)
data_app = typer.Typer(no_args_is_help=True, help="Read clinical databases into one long table of regular series.")
app.add_typer(data_app, name="data")
out_console = Console(highlight=False)
notes = Console(stderr=True, highlight=False)

Signals = Annotated[str, typer.Option(help="Comma-separated signals.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Out = Annotated[Path, typer.Option("--out", help="Where the result goes.")]
BackboneName = Annotated[str, typer.Option("--backbone", help="Known name, name on the Hub, or folder.")]
MethodName = Annotated[str, typer.Option("--method", help="zero-shot, full or lora.")]
Rank = Annotated[int, typer.Option(help="Rank of LoRA.")]
Alpha = Annotated[float, typer.Option(help="Alpha of LoRA.")]
Seed = Annotated[int, typer.Option(help="Seed.")]


def _say(line: str) -> None:
    notes.print(line, markup=False)


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
    source: Annotated[Path, typer.Argument(help="Folder of the original tables (.csv, .csv.gz or .parquet).")],
    out: Out,
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
        show=_say,
    )
    _print_attrition(attrition, out, as_json)


@data_app.command("cinc2019")
def data_cinc2019(
    source: Annotated[Path, typer.Argument(help="Folder or archive of the .psv files.")],
    out: Out,
    signals: Signals = "heart_rate,map,resp_rate",
    septic_only: Annotated[bool, typer.Option(help="Only patients with a SepsisLabel.")] = False,
    min_hours: Annotated[float, typer.Option(help="Least number of hourly rows.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Read the PhysioNet/CinC Challenge 2019 (hourly vital signs).

    Example: loracast data cinc2019 training_setB.tar.xz --septic-only --out septic.parquet
    """
    from loracast.data.cinc2019 import read_cinc2019

    attrition = read_cinc2019(
        source, out, signals=_split(signals), septic_only=septic_only, min_hours=min_hours, show=_say
    )
    _print_attrition(attrition, out, as_json)


@data_app.command("table")
def data_table(
    source: Annotated[Path, typer.Argument(help="Your own long table: .csv, .csv.gz or .parquet.")],
    out: Out,
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
    """Put your own long table on a regular grid, in loracast's schema.

    Example: loracast data table cgm.csv.gz --grid 15min --value cgm_mgdl --signal glucose --out cgm.parquet
    """
    from loracast.data.frame import write_table

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
    out: Out,
    patients: Annotated[int, typer.Option(min=10, help="How many patients.")] = 120,
    seed: Seed = 0,
) -> None:
    """Write a seeded ICU cohort as MIMIC-III tables. No patient is real.

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
    """Count what a method trains, offline, from built-in architecture sizes.

    Example: loracast params --backbone chronos-t5-base --method lora --rank 2
    """
    from loracast.backbones import skeleton
    from loracast.config import ArmSpec, parse
    from loracast.methods import attach

    spec = parse(ArmSpec, {"backbone": backbone, "method": method, "rank": rank, "alpha": alpha}, "The command")
    net = skeleton(backbone)
    attached = attach(net, spec)
    row = {
        "backbone": net.card.name,
        "method": method,
        "rank": rank if method == "lora" else None,
        "trainable_parameters": attached.trainable_parameters,
        "total_parameters": net.card.parameters,
    }
    if as_json:
        print(json.dumps(row))
        return
    share = attached.trainable_parameters / net.card.parameters
    grid = Grid("backbone", "method", "rank", "trained numbers", "numbers in the backbone", "share")
    rank_text = "" if row["rank"] is None else str(rank)
    grid.add_row(
        net.card.name,
        method,
        rank_text,
        f"{attached.trainable_parameters:,}",
        f"{net.card.parameters:,}",
        f"{share:.3%}",
    )
    out_console.print(grid)


@app.command()
def run(
    experiment: Annotated[Path, typer.Argument(help="An experiment's TOML, e.g. experiments/mimic3-demo.toml.")],
    out: Annotated[Path | None, typer.Option(help="Results folder; runs/NAME if not given.")] = None,
    data: Annotated[Path | None, typer.Option(help="Where the data lie, instead of the TOML's path.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue half-trained runs from their checkpoints.")
    ] = False,
) -> None:
    """Run an experiment: data × arms × seeds on the same windows. Finished runs are skipped.

    Example: loracast run experiments/mimic3-demo.toml --out results/mimic3-demo
    """
    from loracast.config import read_experiment
    from loracast.grid import run_experiment

    spec = read_experiment(experiment, data=data)
    folder = out or Path("runs") / spec.name
    summary = run_experiment(spec, folder, resume=resume, say=_say, command=f"loracast run {experiment.name}")
    _print_summary(folder, summary)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Results folder of `loracast run`.")]) -> None:
    """Print the table of an experiment and write its report.html and figures.

    Example: loracast report results/mimic3-demo
    """
    from loracast.report import read_summary

    _print_summary(folder, read_summary(folder))


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Results folder.")] = Path("demo")) -> None:
    """Show the whole path in three minutes: simulate, read, split, adapt, compare, report.

    Example: loracast demo --out demo
    """
    from loracast.demo import DEMO
    from loracast.grid import run_experiment

    _print_summary(out, run_experiment(DEMO, out, resume=True, say=_say, command="loracast demo"))


def _print_summary(folder: Path, summary: dict[str, Any]) -> None:
    from loracast.report import write_report
    from loracast.report.tables import result_table

    _say("Writing the report")
    page = write_report(folder)
    out_console.print(result_table(summary))
    for arm in summary["arms"]:
        for verdict in (arm["vs_zero_shot"] or {}).values():
            if not arm["arm"].endswith("zero-shot"):
                print(f"{arm['arm']}: {verdict['sentence']}")
    print(f"\nReport: {page}")


@app.command()
def adapt(
    table: Annotated[Path, typer.Argument(help="A long table that `loracast data …` wrote.")],
    out: Out,
    backbone: BackboneName = "chronos-t5-nano",
    method: MethodName = "lora",
    rank: Rank = 2,
    alpha: Alpha = 16,
    context: Annotated[int | None, typer.Option(help="Steps seen; by the grid if not given.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; by the grid if not given.")] = None,
    steps: Annotated[int, typer.Option(help="Most optimizer steps.")] = 500,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
) -> None:
    """Adapt a backbone to your own series and save the adapter.

    Example: loracast adapt vitals.parquet --method lora --rank 2 --out adapter
    """
    from loracast.steps import adapt_table

    card = adapt_table(
        table,
        out,
        arm={"backbone": backbone, "method": method, "rank": rank, "alpha": alpha},
        window={"context": context, "horizon": horizon},
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
    table: Annotated[Path, typer.Argument(help="A long table that `loracast data …` wrote.")],
    out: Out,
    adapter: Annotated[Path | None, typer.Option(help="Adapter folder; the bare backbone if not given.")] = None,
    backbone: BackboneName = "chronos-t5-nano",
    context: Annotated[int | None, typer.Option(help="Steps seen; the adapter's or by the grid.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; the adapter's or by the grid.")] = None,
    samples: Annotated[int, typer.Option(help="Sample paths a series.")] = 20,
    seed: Seed = 0,
) -> None:
    """Forecast the steps after the end of every series: quantiles, as a Parquet table.

    Example: loracast forecast vitals.parquet --adapter adapter --out forecast.parquet
    """
    from loracast.steps import forecast_table

    count = forecast_table(
        table,
        out,
        adapter=adapter,
        backbone=backbone,
        window={"context": context, "horizon": horizon},
        forecasting={"samples": samples, "seed": seed},
    )
    print(f"Forecast {count} series. Quantiles: {out}")


@app.command()
def evaluate(
    table: Annotated[Path, typer.Argument(help="A long table that `loracast data …` wrote.")],
    adapter: Annotated[list[Path] | None, typer.Option(help="Adapter folders to score (repeat the option).")] = None,
    backbone: BackboneName = "chronos-t5-nano",
    context: Annotated[int | None, typer.Option(help="Steps seen; the adapter's or by the grid.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; the adapter's or by the grid.")] = None,
    samples: Annotated[int, typer.Option(help="Sample paths a window.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the patient split; adapters bring their own.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Score adapters, zero-shot and the naive floor on the test patients of a table.

    Example: loracast evaluate vitals.parquet --adapter adapter
    """
    from loracast.report.tables import result_table
    from loracast.steps import evaluate_table

    summary = evaluate_table(
        table,
        adapters=adapter or [],
        backbone=backbone,
        window={"context": context, "horizon": horizon},
        forecasting={"samples": samples},
        split_seed=seed,
    )
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        out_console.print(result_table(summary))


@app.command()
def pretrain(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe (chronos-t5-nano) or a .toml file.")],
    out: Out,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
) -> None:
    """Train a nano backbone from nothing on synthetic series, score it, and write its model card.

    Example: loracast pretrain chronos-t5-nano --out nano --resume
    """
    from loracast.pretrain import pretrain_backbone

    print(f"Weights and model card: {pretrain_backbone(recipe, out, resume=resume, say=_say)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a caller's mistake prints its message and exits with 2."""
    _quiet_libraries()
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        command(args=list(arguments) if arguments is not None else None, prog_name="loracast", standalone_mode=True)
    except LoracastError as error:
        _fail(str(error), 2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
            raise
        _fail(f"{error.strerror}: {error.filename or 'while writing'}. Nothing half-written is left behind.", 2)


def _fail(message: str, code: int) -> None:
    notes.print(f"Error: {message}", style="red", markup=False)
    sys.exit(code)


def _quiet_libraries() -> None:
    """Keep the libraries' own progress bars and start-up notes out of ours."""
    import os

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
