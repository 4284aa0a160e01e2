"""The single steps: what there is, what it trains, adapt, forecast, evaluate, merge, pretrain."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from loracast.cli.app import (
    BackboneName,
    Fold,
    FolderOut,
    Folds,
    Joint,
    LearningRate,
    LongTable,
    MethodName,
    MinContext,
    MinTarget,
    Overwrite,
    PrecisionName,
    RowsAsJson,
    Seed,
    Shares,
    Stride,
    TableOut,
    Track,
    app,
    numbers_in,
    split_of,
    with_settings,
)
from loracast.cli.completion import BACKBONES, RECIPES
from loracast.cli.tables import TABLE, Form, put, put_result
from loracast.cli.terminal import say, show
from loracast.types import LEVELS

ResumeOne = Annotated[
    bool, typer.Option("--resume", is_eager=True, help="Continue from the last checkpoint under OUT.work.")
]


def window_of(
    context: int | None,
    horizon: int | None,
    joint: bool,
    *,
    stride: int | None,
    min_context: float | None,
    min_target: float | None,
) -> dict[str, Any]:
    """What a caller says of the windows; None stands for what is left out."""
    lengths = {"context": context, "horizon": horizon, "joint": joint or None, "stride": stride}
    return {**lengths, "min_context_observed": min_context, "min_target_observed": min_target}


@app.command()
def backbones(form: Form = TABLE, as_json: RowsAsJson = False) -> None:
    """List what can be adapted. Sizes, licences, and whether the weights are here; offline.

    Example: loracast backbones
    """
    from loracast.report.lists import catalogue_table
    from loracast.tuning.catalogue import catalogue

    rows = catalogue()
    put("json" if as_json else form, lambda: catalogue_table(rows), lambda: rows)


@app.command()
def methods(
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Known name, name on the Hub, or folder; one of each family if not given.", autocompletion=BACKBONES
        ),
    ] = None,
    form: Form = TABLE,
    as_json: RowsAsJson = False,
) -> None:
    """List how a backbone can be tuned. What works where, with trained numbers; offline.

    Example: loracast methods --backbone chronos-t5-tiny
    """
    from loracast.report.lists import methods_table
    from loracast.tuning.catalogue import methods_of

    rows = methods_of(backbone)
    put("json" if as_json else form, lambda: methods_table(rows), lambda: rows)


@app.command()
@with_settings
def params(
    backbone: BackboneName,
    method: MethodName = "lora",
    settings: Any = None,
    form: Form = TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The row as one JSON object, not in a list.")] = False,
) -> None:
    """Count what a method trains. Offline, from built-in architecture sizes.

    Example: loracast params --backbone chronos-t5-base --method lora --rank 2

    Example: loracast params --backbone chronos-t5-tiny --method fourierft --sites qv --frequencies 100

    Example: loracast params --backbone chronos-t5-tiny --method peft:hra --set r=4
    """
    from loracast.spec import parse
    from loracast.tuning.arm import ArmSpec
    from loracast.tuning.catalogue import trained_numbers

    asked = {"model": backbone, "method": method, **settings}
    row = trained_numbers(parse(ArmSpec, asked, "The command"))
    if as_json:
        print(json.dumps(row))
    else:
        from loracast.report.lists import params_table

        put(form, lambda: params_table(row), lambda: [row])


@app.command()
@with_settings
def adapt(
    table: LongTable,
    out: FolderOut,
    backbone: BackboneName = "chronos-t5-nano",
    method: MethodName = "lora",
    settings: Any = None,
    learning_rate: LearningRate = None,
    context: Annotated[int | None, typer.Option(help="Steps seen; by the grid if not given.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; by the grid if not given.")] = None,
    joint: Joint = False,
    stride: Stride = None,
    min_context: MinContext = None,
    min_target: MinTarget = None,
    shares: Shares = None,
    folds: Folds = None,
    fold: Fold = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the patient split; --seed if not given.")] = None,
    steps: Annotated[int, typer.Option(help="Most optimizer steps.")] = 500,
    batch_size: Annotated[int, typer.Option(help="Windows a step; under torchrun of all processes together.")] = 32,
    seed: Seed = 0,
    resume: ResumeOne = False,
    overwrite: Overwrite = False,
    track: Track = None,
) -> None:
    """Adapt a backbone to your own series. The adapter is a folder that PEFT loads too.

    Example: loracast adapt vitals.parquet --method lora --rank 2 --out adapter

    Example: loracast adapt vitals.parquet --out adapter --overwrite

    Example: torchrun --nproc-per-node 2 -m loracast adapt vitals.parquet --out adapter
    """
    from loracast.study.steps.adapting import adapt_table

    card = adapt_table(
        table,
        out,
        arm={"model": backbone, "method": method, "learning_rate": learning_rate, **settings},
        window=window_of(context, horizon, joint, stride=stride, min_context=min_context, min_target=min_target),
        split=split_of(seed if split_seed is None else split_seed, shares, folds, fold),
        training={"steps": steps, "batch_size": batch_size},
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        track=track or (),
        say=say,
    )
    from loracast.report.words import adapted_told

    for line in adapted_told(card):
        show(line)
    show(f"Adapter: {out}")


@app.command()
def forecast(
    table: LongTable,
    out: TableOut,
    adapter: Annotated[Path | None, typer.Option(help="Adapter folder; the bare backbone if not given.")] = None,
    backbone: BackboneName = "chronos-t5-nano",
    context: Annotated[int | None, typer.Option(help="Steps seen; the adapter's or by the grid.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; the adapter's or by the grid.")] = None,
    joint: Joint = False,
    min_observed: Annotated[
        float | None, typer.Option(help="Least share of a context that is measured; with less, no numbers. 0.5.")
    ] = None,
    quantiles: Annotated[
        str | None, typer.Option(help="Comma-separated levels above 0 and below 1; 0.1 to 0.9 in nine.")
    ] = None,
    clip: Annotated[
        bool, typer.Option("--clip", help="Set what a signal cannot be to the bounds of its range.")
    ] = False,
    keyed: Annotated[
        Path | None,
        typer.Option(help="File with a secret key: pseudonyms for patients and stays, which else stand by name."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Sample paths a series.")] = 100,
    seed: Seed = 0,
    precision: PrecisionName = "float32",
    overwrite: Overwrite = False,
) -> None:
    """Forecast what follows every series. Quantiles, as a Parquet table that names patients and stays.

    Example: loracast forecast vitals.parquet --adapter adapter --out forecast.parquet

    Example: loracast forecast vitals.parquet --quantiles 0.05,0.5,0.95 --keyed secret.key --out forecast.parquet
    """
    from loracast.study.steps.forecasting import forecast_table

    told = forecast_table(
        table,
        out,
        adapter=adapter,
        backbone=backbone,
        window={"context": context, "horizon": horizon, "joint": joint or None, "min_context_observed": min_observed},
        forecasting={"samples": samples, "seed": seed, "precision": precision},
        clip=clip,
        keyed=keyed,
        overwrite=overwrite,
        quantiles=LEVELS if quantiles is None else numbers_in(quantiles),
    )
    from loracast.report.told import forecast_told

    first, *notes = forecast_told(told)
    print(f"{first} Quantiles: {out}")
    for note in notes:
        say(note)


@app.command()
def evaluate(
    table: LongTable,
    adapter: Annotated[list[Path] | None, typer.Option(help="Adapter folders to score (repeat the option).")] = None,
    backbone: BackboneName = "chronos-t5-nano",
    context: Annotated[int | None, typer.Option(help="Steps seen; the adapter's or by the grid.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps forecast; the adapter's or by the grid.")] = None,
    joint: Joint = False,
    stride: Stride = None,
    min_context: MinContext = None,
    min_target: MinTarget = None,
    shares: Shares = None,
    folds: Folds = None,
    fold: Fold = None,
    split_seed: Annotated[
        int | None,
        typer.Option("--split-seed", "--seed", help="Seed of the patient split; 0. Adapters bring their own split."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Sample paths a window.")] = 100,
    precision: PrecisionName = "float32",
    form: Form = TABLE,
    as_json: Annotated[
        bool, typer.Option("--json", help="The whole summary: also checks, choices and what was read, as JSON.")
    ] = False,
) -> None:
    """Score adapters on the test patients. Beside zero-shot and the naive floor.

    Example: loracast evaluate vitals.parquet --adapter adapter

    Example: loracast evaluate vitals.parquet --backbone chronos-t5-nano --folds 5 --fold 0
    """
    from loracast.study.steps.evaluating import evaluate_table

    summary = evaluate_table(
        table,
        adapters=adapter or [],
        backbone=backbone,
        window=window_of(context, horizon, joint, stride=stride, min_context=min_context, min_target=min_target),
        forecasting={"samples": samples, "precision": precision},
        split=split_of(split_seed, shares, folds, fold),
    )
    if as_json:
        print(json.dumps(summary.model_dump(mode="json"), indent=2))
    else:
        put_result(summary, form)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Adapter folder that `adapt` or `run` wrote.")],
    out: FolderOut,
    backbone: Annotated[str | None, typer.Option(help="Folder of the base, where the adapter cannot find it.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Fold an adapter into its backbone. A folder that needs no PEFT and forecasts the same.

    Example: loracast merge adapter --out merged && loracast forecast vitals.parquet --backbone merged --out f.parquet
    """
    from loracast.tuning.card import Card, read_card

    read_card(adapter, Card)  # before torch is loaded: a folder that is no adapter is told at once
    from loracast.tuning.adapter import merge_adapter

    print(f"Wrote {merge_adapter(adapter, out, backbone=backbone, overwrite=overwrite)}")


@app.command()
def pretrain(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A packaged recipe (chronos-t5-nano) or a .toml.", autocompletion=RECIPES
        ),
    ],
    out: FolderOut,
    resume: ResumeOne = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a nano backbone from nothing. On synthetic series; scores it and writes its model card.

    Example: loracast pretrain chronos-t5-nano --out nano --resume
    """
    from loracast.training.pretrain import pretrain_backbone

    print(f"Weights and model card: {pretrain_backbone(recipe, out, resume=resume, overwrite=overwrite, say=say)}")
