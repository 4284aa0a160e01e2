"""The model card of a nano backbone: recipe, corpus, loss and measured zero-shot scores, as Markdown."""

from pathlib import Path
from typing import Any

from loracast.files import read_json, write_json, written
from loracast.training.pretrain.recipe import ChronosT5Shape, MoiraiShape, Recipe, Stage

MEASURED = "measured.json"
FLOOR = ("last-value", "seasonal-naive")
FAMILY = {"chronos-t5": "Chronos-T5", "moirai": "MOIRAI", "lag-llama": "Lag-Llama"}


def write_card(folder: Path, recipe: Recipe, measured: dict[str, Any]) -> Path:
    """Write `measured.json` and `README.md` beside the weights; returns the card's path."""
    write_json(folder / MEASURED, measured, overwrite=True)
    card = folder / "README.md"
    with written(card, overwrite=True) as temporary:
        temporary.write_text(_text(recipe, measured), encoding="utf-8")
    return card


def read_measured(folder: Path) -> dict[str, Any]:
    """What `write_card` knew."""
    found: dict[str, Any] = read_json(folder / MEASURED)
    return found


def _text(recipe: Recipe, measured: dict[str, Any]) -> str:
    plan, loss, chronos = recipe.training, measured["training"], recipe.model.family == "chronos-t5"
    stages = "; ".join(_stage(stage) for stage in plan.stages)
    lines = [
        "---",
        "license: apache-2.0",
        f"library_name: {'chronos-forecasting' if chronos else 'loracast'}",
        "tags: [time-series-forecasting, synthetic-data, loracast]",
        "---",
        "",
        f"# {recipe.name}",
        "",
        f"A small {FAMILY[recipe.model.family]} ({measured['parameters']:,} parameters) that ships with loracast, so "
        "that everything can be tried without a download. It is no substitute for the released models of its family.",
        "",
        "## How it was made",
        "",
        "- **Corpus**: synthetic series only (`loracast.training.pretrain.corpora`): Gaussian-process kernel "
        "compositions, "
        "mixtures, seasons, trends, autoregressions, steps, spikes, counts, noise; with gaps and rounding. No measured "
        "series, no patient, nothing of loracast's ICU simulator.",
        f"- **Recipe**: `{recipe.name}.toml`, seed {recipe.seed}: {plan.steps:,} steps of {plan.batch_size} series "
        f"({plan.steps * plan.batch_size:,} in all), AdamW at {plan.learning_rate:g}; {stages}.",
        f"- **Loss**: {_loss(recipe)} from {loss['first']:.2f} to {loss['last']:.2f} (mean of the last "
        f"{loss['last_over']:,} steps) in {loss['hours']:.1f} h on {measured['hardware']}. The curve is `loss.json`.",
        f"- **Shape**: {_shape(recipe)}",
        "- **Licence**: Apache-2.0.",
        "",
        "## What it is worth zero-shot",
        "",
        "MASE has the one-step naive error of the context as its scale. Measured on synthetic series by `loracast "
        "pretrain` (medians, of 20 draws where it draws), on real ones by `python benchmarks/zero_shot.py`.",
        "",
        *_synthetic(measured["synthetic"]),
        *[line for name, table in measured.get("tables", {}).items() for line in _table(name, table)],
        "",
        "The real series were not trained on, but some of them were looked at while the recipe was chosen.",
        "",
        *_floor(measured),
        "",
        *_limits(recipe),
        "",
    ]
    return "\n".join(lines)


def _loss(recipe: Recipe) -> str:
    if recipe.model.family == "chronos-t5":
        return f"token cross-entropy (labels spread by {recipe.training.label_width:g} bins)"
    return "negative log-density of the series in its own units"


def _shape(recipe: Recipe) -> str:
    """What the network takes and gives, in the family's own words."""
    model = recipe.model
    if isinstance(model, ChronosT5Shape):
        return (
            f"{model.n_tokens} bins over ±{model.high_limit:g} mean magnitudes of the context; it takes contexts up to "
            f"{model.context_length} and forecasts {model.prediction_length} steps in one pass (see the recipe for the "
            "lengths it was trained on)."
        )
    if isinstance(model, MoiraiShape):
        sizes = ", ".join(map(str, model.patch_sizes))
        return f"patches of {sizes} steps, the size chosen by row; {model.num_layers} layers of {model.d_model}."
    return (
        f"{len(model.lags_seq)} lags up to {max(model.lags_seq) + 1} steps back, {model.context_length} tokens, "
        f"{model.n_layer} layers of {model.n_head * model.n_embd_per_head}."
    )


def _limits(recipe: Recipe) -> list[str]:
    model = recipe.model
    if not isinstance(model, ChronosT5Shape):
        return []
    return [
        f"Values beyond the bins (more than {model.high_limit:g} times the context's mean magnitude) are clipped, and "
        f"a series whose level is large against its changes is seen in steps of "
        f"{2 * model.high_limit / model.n_tokens:.2%} of that level."
    ]


def _stage(stage: Stage) -> str:
    """A stage in words: how long, on what."""
    parts = [
        f"{stage.steps:,} steps on contexts of {min(stage.contexts)}–{max(stage.contexts)} and horizons of "
        f"{min(stage.horizons)}–{max(stage.horizons)}"
    ]
    if stage.grains != (1.0,):
        parts.append(f"{', '.join(f'{grain:g}' for grain in sorted(set(stage.grains)))} of the corpus's noise")
    if stage.drift:
        parts.append(f"{stage.drift:.0%} drifting series")
    if stage.units:
        parts.append(f"in units from 1e-{stage.units:g} to 1e{stage.units:g}")
    if stage.joint:
        parts.append(f"{stage.joint:.0%} of the batches with several variates")
    if stage.decay:
        parts.append(f"falling from {stage.rate:g} of the rate over the last {stage.decay:,} steps")
    return ", ".join(parts)


def _floor(measured: dict[str, Any]) -> list[str]:
    """Every comparison with the last value and the seasonal naive, won or lost, in words."""
    errors = {"held-out synthetic series, mean MASE": measured["synthetic"]["mean_mase"]}
    for name, table in measured.get("tables", {}).items():
        for signal, arms in table["signals"].items():
            errors[f"{name} {signal}, MAE"] = {arm: scores["mae"] for arm, scores in arms.items()}
    lines = ["Against the naive floor:", ""]
    for what, found in errors.items():
        for naive in (name for name in FLOOR if name in found):
            ratio = found["zero-shot"] / found[naive] - 1
            lines.append(f"- {what}: {abs(ratio):.1%} {'worse' if ratio > 0 else 'better'} than {naive}")
    return lines


def _synthetic(scores: dict[str, Any]) -> list[str]:
    lines = [
        f"Held-out synthetic series ({scores['series']:,}; {scores['context']} → {scores['horizon']} steps):",
        "",
        "| | mean MASE | median MASE |",
        "|---|--:|--:|",
    ]
    for name, mean in scores["mean_mase"].items():
        lines.append(f"| {name} | {mean:.3f} | {scores['median_mase'][name]:.3f} |")
    return lines


def _table(name: str, scores: dict[str, Any]) -> list[str]:
    lines = [
        "",
        f"{name} ({scores['context']} → {scores['horizon']} steps of {scores['step_seconds'] // 60} min; medians, of "
        f"{scores['samples']} draws where it draws):",
        "",
    ]
    lines += [
        "| signal | forecast | MAE | MASE | CRPS | 80 % coverage | windows | patients |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for signal, arms in scores["signals"].items():
        for arm, s in arms.items():
            lines.append(
                f"| {signal} | {arm} | {s['mae']:.3f} | {s['mase']:.3f} | {s['crps']:.3f} | {s['coverage_80']:.1%} | "
                f"{s['n_windows']:,} | {s['n_patients']:,} |"
            )
    return lines
