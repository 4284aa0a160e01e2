"""Every model by name and by folder: what each must do whoever adds it, what is listed, and what is refused and why."""

import importlib.metadata
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from loracast.errors import BackboneError, ConfigError
from loracast.models import registry
from loracast.models.base import Model, ModelCard, check_window
from loracast.models.registry import (
    Family,
    Release,
    Wanted,
    backbones,
    backbones_here,
    families,
    is_here,
    is_listed,
    kind_of,
    load_backbone,
    load_model,
    models,
    skeleton,
)
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.types import LEVELS, Kind, Rows
from tests.conftest import bring
from tests.models.conftest import CONTEXT, DRAWS, HORIZON, OWN, SAVED, weights_of

NAN = float("nan")

SIZES = {
    "chronos-t5-tiny": (49_152, 8_394_496),
    "chronos-t5-mini": (86_016, 20_456_192),
    "chronos-t5-small": (147_456, 46_154_240),
    "chronos-t5-base": (442_368, 201_374_976),
    "chronos-t5-large": (1_179_648, 708_963_328),
    # Published as 9, 21, 48, 205 and 120 million.
    "chronos-bolt-tiny": (49_152, 8_652_672),
    "chronos-bolt-mini": (86_016, 21_236_096),
    "chronos-bolt-small": (147_456, 47_718_016),
    "chronos-bolt-base": (442_368, 205_292_928),
    "chronos-2": (294_912, 119_477_664),
}


def series(rows: int = 4) -> torch.Tensor:
    """Random walks around 80."""
    return 80 + torch.randn(rows, CONTEXT, generator=torch.Generator().manual_seed(0)).cumsum(dim=1)


def forecast(model: Model, context: torch.Tensor, *, seed: int = 0, levels: tuple[float, ...] = LEVELS) -> torch.Tensor:
    rows = Rows(torch.full((len(context),), 1_700_000_000), 3600, season=6)
    return model.forecast(context, HORIZON, levels=levels, samples=16, seed=seed, rows=rows)


def test_the_suite_has_a_model_of_every_family_and_every_kind():
    assert set(SAVED) == {family.name for family in families().values() if family.kind == "pretrained"}
    assert {family.kind for family in families().values()} == set(get_args(Kind))


@pytest.mark.parametrize("levels", [LEVELS, (0.75, 0.5, 0.15)])
def test_a_forecast_is_finite_float32_on_the_cpu_of_the_shape_asked_for(model, levels):
    found = forecast(model, series(), levels=levels)
    assert found.shape == (4, HORIZON, len(levels))
    assert (found.dtype, found.device.type, found.requires_grad) == (torch.float32, "cpu", False)
    assert found.isfinite().all()


def test_gaps_do_not_reach_a_forecast(model):
    context = series()
    context[0, :7] = context[1, 5:20] = context[2, -3:] = context[3, 1::2] = NAN
    assert forecast(model, context).isfinite().all()


def test_the_seed_decides_the_forecast_and_nothing_else_does(model):
    context = series()
    first = forecast(model, context)
    torch.manual_seed(123)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    assert torch.equal(forecast(model, context), first)
    assert torch.equal(torch.random.get_rng_state(), before[0]), "the caller's random state is left alone"
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(forecast(model, context, seed=1), first) == (model.card.family not in DRAWS)


def test_a_card_is_complete(model):
    card, net = model.card, getattr(model, "net", None)
    family = families()[card.family]
    assert (card.kind, bool(card.name), bool(card.licence)) == (family.kind, True, True)
    assert (card.parameters > 0) == (net is not None) == (card.kind in ("network", "pretrained"))
    assert (card.context is None) == (card.horizon is None) == (net is None)
    assert card.kind == kind_of(card.name)


def test_what_a_network_saves_is_read_again_by_its_own_family(model, tmp_path):
    if not hasattr(model, "net"):
        pytest.skip("has nothing to save")
    model.save(tmp_path)
    again = load_model(str(tmp_path))
    assert (again.card.family, again.card.kind) == (model.card.family, model.card.kind)
    torch.testing.assert_close(forecast(again, series()), forecast(model, series()), rtol=0, atol=0)
    content = json.loads((tmp_path / "config.json").read_text())
    assert [f.name for f in families().values() if f.owns is not None and f.owns(content)] == [model.card.family]


def test_a_family_says_what_it_is_and_which_packages_decide_its_numbers():
    for family in families().values():
        assert family.summary
        assert family.releases
        assert family.packages
        assert all(release.licence for release in family.releases.values())
        assert (family.skeleton is not None) == (family.kind == "pretrained")
    for package in {name for family in families().values() for name in family.packages}:
        if find_spec(package.replace("-forecasting", "")) is not None:
            assert importlib.metadata.version(package)


LISTING = """
import sys
from loracast.models import registry
assert len(registry.models()) > 25 and registry.kind_of("tft") == "network" and registry.is_here("chronos-t5-nano")
heavy = {"torch", "transformers", "chronos", "peft", "neuralforecast", "statsforecast", "pandas", "duckdb"}
print(sorted(heavy & set(sys.modules)))
"""


def test_listing_all_models_loads_nothing_that_is_heavy():
    done = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_has_a_kind_and_what_is_not_in_the_table_is_taken_for_a_pretrained_model(tiny):
    known = {"last-value": "naive", "theta": "statistical", "tft": "network", "amazon/chronos-2": "pretrained"}
    assert {name: kind_of(name) for name in known} == known
    assert kind_of("nobody/knows") == kind_of(str(tiny)) == "pretrained"
    assert set(backbones()) == set(models()) - set(OWN)


def test_what_is_here_needs_no_download(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert backbones_here() == ["chronos-t5-nano", "chronos-2-nano", "moirai-nano", "lag-llama-nano"]
    assert is_here("ets")
    assert is_here("some/folder"), "nobody would download it"
    assert not is_here("amazon/chronos-bolt-tiny")
    assert is_listed("amazon/chronos-bolt-tiny")
    assert not is_listed("amazon")


def middle(context: torch.Tensor, horizon: int, levels: tuple[float, ...]) -> torch.Tensor:
    return context.nanmean(dim=1)[:, None, None].expand(-1, horizon, len(levels))


class Middle:
    """A model of somebody else: the mean of the context at every level."""

    def __init__(self, wanted: Wanted) -> None:
        self.card = ModelCard(wanted.name, "middling", "naive", 0, None, None, wanted.licence)

    def forecast(self, context, horizon, *, levels, samples, seed, rows=None):
        return middle(context, horizon, levels)


MIDDLING = Family("middling", "naive", "the middle", {"middle": Release(None, "MIT", {})}, Middle)


@pytest.fixture
def installed(monkeypatch):
    """Put an entry point of a package that is not there before the registry; gives what does so."""

    def install(family: object) -> None:
        bring(monkeypatch, registry.GROUP, family)
        families.cache_clear()

    yield install
    families.cache_clear()


def test_a_family_of_another_package_is_listed_loads_and_forecasts(installed):
    installed(MIDDLING)
    assert (kind_of("middle"), is_here("middle"), list(models())[-1]) == ("naive", True, "middle")
    model = load_model("middle")
    assert (model.card.name, model.card.licence) == ("middle", "MIT")
    torch.testing.assert_close(forecast(model, series()), middle(series(), HORIZON, LEVELS))
    with pytest.raises(BackboneError, match="naive: last-value, seasonal-naive, context-mean, middle;"):
        load_model("muddle")


@pytest.mark.parametrize(
    ("family", "why"),
    [
        (ImportError("no module named fortran"), r"cannot be loaded \(ImportError: no module named fortran\)"),
        ("middling", "is 'middling', no Family of loracast"),
        (Family("moirai", "naive", "", MIDDLING.releases, Middle), "brings the name 'moirai', which"),
        (
            Family("middling", "naive", "", {"ets": Release(None, "MIT", {})}, Middle),
            "brings the name 'ets', which",
        ),
        (Family("middling", "odd", "", MIDDLING.releases, Middle), "is of kind 'odd', none of naive, statistical"),
    ],
)
def test_a_broken_family_of_another_package_is_refused_with_its_package_and_the_reason(installed, family, why):
    installed(family)
    with pytest.raises(ConfigError, match=f"The family of models ward:Brought of the package loracast-ward {why}"):
        models()


@pytest.mark.parametrize("name", SIZES)
def test_lora_of_rank_two_and_the_whole_have_the_published_sizes(name):
    arm = ArmSpec(model=name, method="lora", rank=2)
    attached = attach(skeleton(name), arm.method)
    assert (attached.trainable_parameters, attached.network.card.parameters) == SIZES[name]
    assert all(p.is_meta for p in attached.network.net.parameters())


def test_the_name_on_the_hub_means_the_same_as_the_short_name():
    assert skeleton("amazon/chronos-t5-mini").card == skeleton("chronos-t5-mini").card
    assert skeleton("chronos-t5-mini").card.name == "chronos-t5-mini"


def test_the_packaged_model_has_the_sizes_of_the_table_and_fits_in_8_mb():
    _, release = models()["chronos-t5-nano"]
    card = load_backbone("chronos-t5-nano").card
    assert card.parameters == skeleton("chronos-t5-nano").card.parameters
    assert (card.name, card.licence, card.revision) == ("chronos-t5-nano", "Apache-2.0", None)
    assert sum(file.stat().st_size for file in Path(release.location).iterdir()) < 8_000_000


def test_a_folder_is_a_backbone_called_after_itself(tiny):
    card = load_backbone(str(tiny)).card
    assert (card.name, card.family, card.context, card.horizon) == ("tiny-t5", "chronos-t5", 48, 16)
    assert card.parameters == sum(tensor.numel() for tensor in weights_of(tiny).values())


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: cc-by-nc-4.0\ntags: [a]\n---\n# A model\n", "CC-BY-NC-4.0"),
        ("---\ntags: [a]\nlicense: 'mit'\n---\n", "mit"),
        ('---\nlicense: "other"\nlicense_name: "mine-alone"\n---\n', "mine-alone"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: [a]\n---\nlicense: mit\n", "not stated in its folder"),
        ("license: mit\n", "not stated in its folder"),
        (None, "not stated in its folder"),
    ],
)
def test_a_folder_has_the_licence_that_its_model_card_states(copied, card, licence):
    if card is not None:
        (copied / "README.md").write_text(card)
    assert load_backbone(str(copied)).card.licence == licence


@pytest.mark.parametrize("ask", [load_model, load_backbone, skeleton])
def test_an_unknown_name_is_refused_with_those_that_are_known(ask):
    with pytest.raises(BackboneError, match=r"'chronos-t5-huge'.*chronos-t5-nano, .*chronos-t5-tiny"):
        ask("chronos-t5-huge")


def test_all_kinds_are_named_where_any_would_do():
    said = (
        r"No model 'arima': .*naive: last-value.*; statistical: ets, theta; network: nbeats, nhits, tft; pretrained: "
    )
    with pytest.raises(BackboneError, match=said):
        load_model("arima")


def test_what_was_never_pretrained_is_no_backbone_and_has_no_skeleton():
    with pytest.raises(BackboneError, match=r"nhits is no backbone but a network model.*load_model.*chronos-t5-nano"):
        load_backbone("nhits")
    with pytest.raises(BackboneError, match=r"No built-in sizes for 'ets'\. Known: chronos-t5-nano"):
        skeleton("ets")


def test_a_revision_is_refused_where_there_is_none(tiny):
    for name in ("chronos-t5-nano", "last-value", str(tiny)):
        with pytest.raises(BackboneError, match="has no revisions; leave 'v1' out"):
            load_model(name, revision="v1")


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(BackboneError, match=r"no config\.json"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("content", [{"architectures": ["BertModel"]}, {}, {"architectures": None}])
def test_another_architecture_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(BackboneError, match=r"BertModel|unknown architecture"):
        load_backbone(str(tmp_path))


def test_a_context_longer_than_the_backbone_takes_is_refused_not_cut(tiny):
    card = load_backbone(str(tiny)).card
    check_window(card, 48)
    with pytest.raises(BackboneError, match=r"49 steps is longer than tiny-t5 takes \(48\).*drop the oldest 1\."):
        check_window(card, 49)


OFFLINE = """
import socket
def refuse(*_, **__):
    raise SystemExit("tried the network")
socket.getaddrinfo = socket.socket.connect = refuse
from loracast.models.registry import load_backbone
from loracast.errors import BackboneError
try:
    load_backbone("chronos-t5-tiny")
except BackboneError as error:
    print(error)
"""


def test_offline_a_model_that_is_not_cached_says_how_to_get_it(tmp_path):
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OFFLINE], env=env, capture_output=True, text=True, check=True)
    assert "amazon/chronos-t5-tiny is neither in the local cache nor to be had from the Hub" in done.stdout
    assert "hf download amazon/chronos-t5-tiny" in done.stdout
