"""Nano backbones, pretrained from nothing on synthetic series."""

from pathlib import Path

from loracast.types import Say


def pretrain_backbone(recipe: str, out: Path, *, resume: bool = False, say: Say = print) -> Path:
    """Train by a recipe, score the result on held-out synthetic series, and write weights and model card to `out`.

    Raises ConfigError for an unknown recipe, and where `out` holds checkpoints and `resume` is not asked for.
    """
    from loracast.errors import ConfigError
    from loracast.files import read_json
    from loracast.models.registry import load_backbone
    from loracast.training import cost as costs
    from loracast.training.pretrain import chronos_t5, own_loss
    from loracast.training.pretrain.card import write_card
    from loracast.training.pretrain.measure import synthetic_scores
    from loracast.training.pretrain.recipe import load_recipe

    plan = load_recipe(recipe)
    pretrain = chronos_t5.pretrain if plan.model.family == "chronos-t5" else own_loss.pretrain
    if not resume and (out / "checkpoints").exists():
        raise ConfigError(f"{out} holds a run already. Continue it with --resume, or give another --out.")
    say(f"Pretraining {plan.name}: {plan.training.steps:,} steps of {plan.training.batch_size} series")
    pretrain(plan, out, resume=resume)
    backbone = load_backbone(str(out))
    say("Scoring on held-out synthetic series")
    curve = read_json(out / "loss.json")
    hardware = costs.hardware()
    measured = {
        "parameters": backbone.card.parameters,
        "hardware": hardware["gpu"] or f"{hardware['cores']} CPU cores",
        "training": {
            "first": curve["train"][0]["loss"],
            "last": sum(e["loss"] for e in curve["train"][-10:]) / len(curve["train"][-10:]),
            "last_over": curve["train"][-1]["step"] - curve["train"][-10:][0]["step"],
            "hours": curve["seconds"] / 3600,
        },
        "synthetic": synthetic_scores(backbone, plan.held_out_seed),
        "versions": costs.versions(),
    }
    return write_card(out, plan, measured)
