"""Commands that read clinical data into one long table."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from loracast.cli.app import AsJson, FolderOut, Seed, TableOut, app, names_in
from loracast.cli.terminal import not_itself, say

data_app = typer.Typer(no_args_is_help=True, help="Read clinical data into one long table.")
app.add_typer(data_app, name="data")

Signals = Annotated[
    str,
    typer.Option(help="Comma-separated: heart_rate, map, sbp, dbp, resp_rate, spo2, temperature, glucose."),
]


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
    from loracast.data.readers.mimic3 import read_mimic3

    attrition = read_mimic3(
        source,
        out,
        signals=names_in(signals),
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
    from loracast.data.readers.cinc2019 import read_cinc2019

    attrition = read_cinc2019(
        source, out, signals=names_in(signals), septic_only=septic_only, min_hours=min_hours, show=say
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
    from loracast.data.table import write_table

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
    from loracast.data.simulator.cohort import simulate

    print(f"Wrote simulated MIMIC-III tables to {simulate(out, patients=patients, seed=seed)}")
