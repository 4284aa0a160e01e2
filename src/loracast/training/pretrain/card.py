"""The model card of a nano backbone: recipe, corpus, loss and measured zero-shot scores, as Markdown."""

import math
from pathlib import Path
from typing import Any

from loracast.files import read_json, write_json, written
from loracast.training.pretrain.recipe import Chronos2Shape, ChronosT5Shape, MoiraiShape, Recipe, Stage

MEASURED = "measured.json"
FLOOR = ("last-value", "seasonal-naive")
FAMILY = {"chronos-t5": "Chronos-T5", "chronos2": "Chronos-2", "moirai": "MOIRAI", "lag-llama": "Lag-Llama"}
KERNELS = (
    "synthetic series only (`loracast.training.pretrain.corpora`): Gaussian-process kernel compositions, mixtures, "
    "seasons, trends, autoregressions, steps, spikes, counts, noise; with gaps and rounding."
)
SPECTRA = (
    "synthetic series only (`loracast.training.pretrain.spectra`): levels that drift or return, one or two seasons and "
    "weekends, trends with breaks, shifts, responses, noise by its spectrum, counts, parts that multiply; with single "
    "outliers, gaps, rounding, bounds and any unit."
)


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
    plan, loss, chronos = recipe.training, measured["training"], recipe.model.family in ("chronos-t5", "chronos2")
    corpus = SPECTRA if isinstance(recipe.model, Chronos2Shape) else KERNELS
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
        f"- **Corpus**: {corpus} No measured series, no patient, nothing of loracast's ICU simulator.",
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
        *_many_sets(measured.get("sets", {})),
        *_floor(measured),
        "",
        *_limits(recipe),
        "",
    ]
    return "\n".join(lines)


def _loss(recipe: Recipe) -> str:
    if recipe.model.family == "chronos-t5":
        return f"token cross-entropy (labels spread by {recipe.training.label_width:g} bins)"
    if recipe.model.family == "chronos2":
        return "twice the pinball loss of standardised, arcsinh-transformed targets, summed over the quantiles"
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
    if isinstance(model, Chronos2Shape):
        return (
            f"patches of {model.patch_size} steps, {model.num_layers} layers of {model.d_model}, "
            f"{len(model.quantiles)} quantiles from {model.quantiles[0]:g} to {model.quantiles[-1]:g}; it takes "
            f"contexts up to {model.context_length} and forecasts {model.patch_size * model.max_output_patches} steps "
            "in one pass. A window with a season is given its own past, one period late, as a covariate with a known "
            "future (`seasonal_row` in config.json)."
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
    if stage.alone:
        parts.append(f"{stage.alone:.0%} of the windows without their seasonal row")
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


def _many_sets(sets: dict[str, Any]) -> list[str]:
    """One score over many sets: which were looked at, what each gave, and the geometric means of the groups."""
    if not sets:
        return []
    arms = [name for name in next(iter(sets.values()))["models"] if name != "seasonal-naive"]
    lines = [
        "Many sets: the MASE as a share of the seasonal naive's, and in brackets the coverage of the 80 % interval. "
        "Groups are geometric means over their sets. Sets that were not looked at were held back from every choice.",
        "",
        f"| set | looked at | steps | windows | {' | '.join(arms)} |",
        "|---|---|--:|--:|" + "--:|" * len(arms),
    ]
    for name, one in sets.items():
        told = [_scored([one], arm) for arm in arms]
        seen, steps = "yes" if one["looked_at"] else "no", f"{one['context']} → {one['horizon']}"
        lines.append(f"| {name} | {seen} | {steps} | {one['windows']} | {' | '.join(told)} |")
    for group in [*dict.fromkeys(one["group"] for one in sets.values()), "all"]:
        for what, only in (("", False), (", held back", True)):
            of_group = [one for one in sets.values() if group in (one["group"], "all")]
            some = [one for one in of_group if not (only and one["looked_at"])]
            if some:
                told = [_scored(some, arm) for arm in arms]
                lines.append(f"| **{group}{what}** ({len(some)}) | | | | {' | '.join(told)} |")
    return [*lines, ""]


def _scored(sets: list[dict[str, Any]], arm: str) -> str:
    found = [one["models"][arm] for one in sets]
    score = math.exp(sum(math.log(one["of_seasonal_naive"]) for one in found) / len(found))
    return f"{score:.3f} ({sum(one['coverage_80'] for one in found) / len(found):.0%})"
