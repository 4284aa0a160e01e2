"""Nano backbones, pretrained from nothing on synthetic series."""

from pathlib import Path

from loracast.types import Say


def pretrain_backbone(
    recipe: str, out: Path, *, resume: bool = False, overwrite: bool = False, say: Say = print
) -> Path:
    """Train by a recipe, score the result on held-out synthetic series, and write weights and model card to `out`.

    All of it lies under `OUT.work`, with the checkpoints from which `resume` goes on, until it is whole. Raises
    ConfigError for an unknown recipe, where another process is at `out`, and where something stands there, or
    checkpoints are neither resumed, unless `overwrite` is given.
    """
    import shutil

    from loracast.files import claimed, read_json, refuse_taken, written
    from loracast.training.pretrain.recipe import load_recipe

    plan = load_recipe(recipe)
    refuse_taken(out, overwrite=overwrite)  # torch from here on
    from loracast.models.registry import load_backbone
    from loracast.training import cost as costs
    from loracast.training.pretrain import chronos2, chronos_t5, own_loss
    from loracast.training.pretrain.card import write_card
    from loracast.training.pretrain.measure import synthetic_scores
    from loracast.training.work import ASKED, CHECKPOINTS, begin_work

    by_family = {"chronos-t5": chronos_t5.pretrain, "chronos2": chronos2.pretrain}
    pretrain = by_family.get(plan.model.family, own_loss.pretrain)
    with claimed(out, recipe, overwrite=overwrite):
        work = begin_work(out, plan.model_dump(mode="json"), resume=resume, overwrite=overwrite)
        say(f"Pretraining {plan.name}: {plan.training.steps:,} steps of {plan.training.batch_size} series")
        pretrain(plan, work, resume=resume)
        backbone = load_backbone(str(work))
        say("Scoring on held-out synthetic series")
        curve = read_json(work / "loss.json")
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
            "synthetic": synthetic_scores(backbone, plan.held_out_seed, spectral=plan.model.family == "chronos2"),
            "versions": costs.versions(),
        }
        card = write_card(work, plan, measured)
        with written(out, overwrite=overwrite) as temporary:
            shutil.copytree(work, temporary, ignore=shutil.ignore_patterns(CHECKPOINTS, ASKED))
        shutil.rmtree(work)
    return out / card.name
