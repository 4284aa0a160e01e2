from pathlib import Path

import pytest

from loracast.errors import ConfigError
from loracast.models.registry import backbones
from loracast.training.pretrain.recipe import RECIPES, Stage, load_recipe

PACKAGED = (RECIPES / "chronos-t5-nano.toml").read_text(encoding="utf-8")


def test_the_packaged_recipe_makes_the_network_that_is_registered() -> None:
    shape, sizes = load_recipe("chronos-t5-nano").model, backbones()["chronos-t5-nano"][1].sizes
    assert sizes == {
        "d_model": shape.d_model,
        "d_kv": shape.d_kv,
        "d_ff": shape.d_ff,
        "num_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "vocab_size": shape.n_tokens,
        "relative_attention_num_buckets": shape.distances,
    }


@pytest.mark.parametrize("name", ["moirai-nano", "lag-llama-nano"])
def test_the_other_nanos_are_registered_as_their_recipes_say(name: str) -> None:
    assert backbones()[name][1].sizes == load_recipe(name).model.model_dump(exclude={"family"})
    assert backbones()[name][0].name == load_recipe(name).model.family


def test_the_chronos_2_nano_is_registered_as_its_recipe_says() -> None:
    """In sizes and in what its config says: what is counted without the weights is what the recipe builds."""
    from loracast.models.registry import skeleton
    from loracast.training.pretrain.chronos2 import build

    shape = load_recipe("chronos-2-nano").model
    assert shape.family == "chronos2"
    registered, built = skeleton("chronos-2-nano"), build(shape)
    assert registered.net.config.to_dict()["chronos_config"] == built.config.to_dict()["chronos_config"]  # type: ignore[operator,union-attr]
    shapes = [{name: p.shape for name, p in net.named_parameters()} for net in (registered.net, built)]
    assert shapes[0] == shapes[1]
    assert backbones()["chronos-2-nano"][1].sizes["seasonal_row"] is shape.seasonal_row


def test_no_window_of_the_packaged_recipe_is_longer_than_its_network_takes() -> None:
    recipe = load_recipe("chronos-t5-nano")
    for stage in recipe.training.stages:
        assert max(stage.contexts) <= recipe.model.context_length
        assert max(stage.horizons) <= recipe.model.prediction_length


def test_each_step_belongs_to_one_stage() -> None:
    plan = load_recipe("chronos-t5-nano").training
    assert plan.stage_of(0) is plan.stages[0]
    assert plan.stage_of(plan.stages[0].steps - 1) is plan.stages[0]
    assert plan.stage_of(plan.steps - 1) is plan.stages[-1]
    with pytest.raises(IndexError):
        plan.stage_of(plan.steps)


def test_the_learning_rate_warms_up_holds_falls_and_starts_again_with_its_stage() -> None:
    stages = (
        Stage(steps=10, contexts=(8,), horizons=(2,)),
        Stage(steps=10, contexts=(8,), horizons=(2,), decay=4),
        Stage(steps=4, contexts=(8,), horizons=(2,), rate=0.5, decay=4),
    )
    plan = load_recipe("chronos-t5-nano").training.model_copy(update={"warmup_steps": 4, "stages": stages})
    rates = [plan.rate_at(step) for step in range(24)]
    assert rates[:5] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert rates[4:17] == [1.0] * 13
    assert rates[16:20] == pytest.approx([1.0, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5])
    assert rates[20:22] == pytest.approx([0.5, 0.25])
    assert plan.rate_at(24) == rates[23], "asked for once more at the end"


def test_held_out_series_have_another_seed() -> None:
    recipe = load_recipe("chronos-t5-nano")
    assert recipe.held_out_seed != recipe.seed


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'nanno'.*chronos-t5-nano"):
        load_recipe("nanno")


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("batch_size = 64", "", "batch_size"),
        ("batch_size = 64", "bach_size = 64", "bach_size"),
        ("batch_size = 64", 'batch_size = "many"', "batch_size"),
        ("batch_size = 64", "batch_size =", "mine.toml"),
    ],
)
def test_a_recipe_with_a_wrong_key_is_refused_by_its_name(tmp_path: Path, before: str, after: str, named: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PACKAGED.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigError, match=named):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("name", "line", "named"),
    [
        ("chronos-2-nano", "drift = 0.3", "chronos2 cannot be given drift"),
        ("chronos-2-nano", "grains = [0.1, 1.0]", "chronos2 cannot be given grains"),
        ("chronos-t5-nano", "alone = 0.2", "chronos-t5 cannot be given alone"),
    ],
)
def test_what_the_corpus_of_a_family_does_not_know_is_refused(tmp_path: Path, name: str, line: str, named: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((RECIPES / f"{name}.toml").read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=named):
        load_recipe(str(path))
