"""MOIRAI 1.0 and 1.1 (Woo et al., ICML 2024): any number of variates, several patch sizes, one pass a forecast.

The network is our own (`nets/moirai.py`), with the published weights; this file makes windows of it: which rows are
variates of one sample, which patch size is taken, how the mixture becomes quantiles.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.errors import BackboneError
from loracast.models.base import ModelCard, Sites, check_window, count_parameters
from loracast.models.foreign import refuse_layers
from loracast.models.registry import PACKAGED, Family, Release, Wanted
from loracast.types import Rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from loracast.models.nets.moirai import MoiraiNet
    from loracast.models.nets.packing import Series

logger = logging.getLogger(__name__)

SITES = Sites(
    attention=r".*\.self_attn\.(q|k|v|out)_proj",
    query_value=r".*\.self_attn\.(q|v)_proj",
    key_value=r".*\.self_attn\.(k|v)_proj",
    feed_forward=r".*\.ffn\.(fc1|fc2|fc_gate)",
    feed_forward_out=r".*\.ffn\.fc2",
    norm=r".*\.(norm[12]|norm|q_norm|k_norm)",
    bias=r"(in_proj|param_proj\.proj\..*)\.bias",
    head=r"param_proj\.proj\..*",
)


class Moirai:
    """A loaded MOIRAI.

    `patch_size` fixes the patch size of losses and forecasts. With None, the default, a forecast chooses for each
    sample the size that would have forecast the end of its context best, and a loss is the mean over the sizes that
    are chosen among.

    Upstream scores the sizes on horizon steps that follow as many context steps as the forecast reads, so it asks for
    context + horizon past steps. A window here has context steps only: the sizes are scored on its last horizon steps
    (its last half, if that is less), forecast from those before.
    """

    def __init__(self, card: ModelCard, net: MoiraiNet) -> None:
        self.card = card
        self.sites = SITES
        self.net = net
        self.patch_size: int | None = None

    def save(self, folder: Path) -> None:
        """Write the network to a folder."""
        self.net.save_pretrained(folder)

    def loss(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        rows: Rows | None = None,
    ) -> Tensor:
        """Negative log-density of the future in its own units: mean over a row's observed steps, then over rows.

        Mean over the patch sizes that a forecast of such a window chooses among: each has weights of its own, and what
        is not trained would be forecast with all the same. As upstream, a row whose future nobody observed adds
        nothing to the sum and is counted among the rows.
        """
        import torch

        from loracast.models.nets.mixture import training_loss
        from loracast.models.nets.packing import pack

        check_window(self.card, context.shape[1])
        series, _ = self._arranged(context, future, rows)
        losses = []
        for patch in self._fitting(series):
            packed = pack(series, patch, scaling=self.net.settings.scaling)
            losses.append(training_loss(self.net(packed), packed))
        return torch.stack(losses).mean()

    def forecast(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        levels: tuple[float, ...],
        samples: int,
        seed: int,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch horizon level"]:
        """Quantiles of the mixture of every step; the whole horizon comes from one pass.

        Nothing is drawn, so that `samples` and `seed` change nothing: upstream's draws of a step are independent of
        those of every other, and quantiles of them estimate just these.
        """
        import torch

        from loracast.models.nets.mixture import Mixture
        from loracast.models.nets.mixture_quantiles import quantiles
        from loracast.models.nets.packing import standardiser

        check_window(self.card, context.shape[1])
        series, index = self._arranged(context, context.new_zeros((len(context), horizon)), rows)
        with torch.no_grad():
            raw = self._raw(series, self._chosen(series))
        families = self.net.settings.families
        standard = quantiles(Mixture(families, raw[series.present].flatten(0, 1)), levels)
        standard = standard.reshape(-1, horizon, len(levels))
        order = index[series.present].cpu()
        loc, scale = (x[series.present].cpu() for x in standardiser(series, scaling=self.net.settings.scaling))
        out = torch.empty_like(standard)
        out[order] = loc[:, None, None] + scale[:, None, None] * standard
        return out

    def _arranged(
        self, context: Tensor, future: Tensor, rows: Rows | None
    ) -> tuple[Series, Int[Tensor, "sample variate"]]:
        import torch

        from loracast.models.nets.packing import arrange

        device = self.net.mask_encoding.weight.device
        group = None if rows is None else rows.group
        return arrange(context.to(device, torch.float32), future.to(device, torch.float32), group)

    def _fitting(self, series: Series) -> list[int]:
        """The patch sizes among which a forecast of such windows chooses.

        A size fits if its tokens do, and if two patches of it or more are left of a context without its last steps:
        fewer were never met in pretraining, and a score on so little would be chance.
        """
        from loracast.models.nets.packing import fixed_patch_size, tokens_of

        if self.patch_size is not None:
            return [self.patch_size]
        _, variates, context = series.past.shape
        settings = self.net.settings
        held_out = _held_out(series)
        fitting = [
            p
            for p in settings.patch_sizes
            if tokens_of(context, series.horizon, p, variates) <= settings.max_seq_len and 2 * p <= context - held_out
        ]
        if held_out and fitting:
            return fitting
        return [fixed_patch_size(settings.patch_sizes, context, series.horizon, variates, settings.max_seq_len)]

    def _chosen(self, series: Series) -> Int[Tensor, " sample"]:
        """The patch size of each sample: of those that fit, the one that best forecasts the context's end."""
        import torch

        from loracast.models.nets.mixture import variate_scores
        from loracast.models.nets.packing import pack

        fitting, settings = self._fitting(series), self.net.settings
        if len(fitting) == 1:
            return torch.full((len(series.past),), fitting[0], device=series.past.device)
        past = series.hold_out(_held_out(series))
        scores = []
        for patch in fitting:
            packed = pack(past, patch, scaling=settings.scaling)
            scores.append(variate_scores(self.net(packed), packed).sum(dim=1))
        best = torch.stack(scores).nan_to_num(torch.inf).argmin(dim=0)
        return torch.tensor(fitting, device=best.device)[best]

    def _raw(self, series: Series, chosen: Int[Tensor, " sample"]) -> Float[Tensor, "sample variate horizon number"]:
        """The mixture's numbers for every step of the horizon, each sample at its own patch size."""
        import torch

        from loracast.models.nets.packing import by_step, pack

        scaling = self.net.settings.scaling
        whole = torch.arange(len(chosen), device=chosen.device)
        found: Tensor | None = None
        for patch in torch.unique(chosen).tolist():
            mine = chosen == patch
            # As many samples as there are, whoever takes this size: the last bits of a product depend on its shape.
            packed = pack(series.take(torch.where(mine, whole, mine.long().argmax())), patch, scaling=scaling)
            numbers = by_step(self.net(packed).raw, packed.variates, series.horizon)
            found = numbers if found is None else torch.where(mine[:, None, None, None], numbers, found)
        assert found is not None, "there is a window at least"
        return found


def _held_out(series: Series) -> int:
    """How many of a context's last steps the patch sizes are scored on."""
    return min(series.horizon, series.past.shape[-1] // 2)


def load(wanted: Wanted) -> Moirai:
    """Load weights from a folder, the Hub or its cache; raises BackboneError with what to do next."""
    import torch

    from loracast.models.hub import fetch, fill, read_config, read_tensors
    from loracast.models.nets.moirai import MoiraiConfig, MoiraiNet
    from loracast.models.store import BAD_CONFIG, bad_config

    fetched = fetch(wanted.weights, ("config.json", "model.safetensors"), wanted.revision)
    try:
        config = MoiraiConfig.read(read_config(fetched.folder))
    except BackboneError as error:
        raise BackboneError(f"{wanted.weights} cannot be loaded as a MOIRAI 1.x. {error}") from error
    tensors = read_tensors(fetched.folder / "model.safetensors")
    refuse_layers(wanted.weights, config.num_layers + len(config.patch_sizes), len(tensors))
    try:
        with torch.device("meta"):
            net = MoiraiNet(config)
    except BAD_CONFIG as error:  # sizes beyond what torch can count
        raise BackboneError(bad_config(wanted.weights, FAMILY.name, error)) from error
    fill(net, tensors, wanted.weights)
    net.eval()
    if "-NC-" in wanted.licence:
        logger.warning(
            "The weights of %s are under %s: not for commercial use, nor is what is made of them.",
            wanted.name,
            wanted.licence,
        )
    return Moirai(_card(wanted.name, net, wanted.licence, fetched.commit), net)


def skeleton(name: str, sizes: Mapping[str, Any], licence: str) -> Moirai:
    """The architecture without weights, on the meta device."""
    import torch

    from loracast.models.nets.moirai import MoiraiConfig, MoiraiNet

    with torch.device("meta"):
        net = MoiraiNet(MoiraiConfig(**sizes))
    return Moirai(_card(name, net, licence, None), net)


def _card(name: str, net: MoiraiNet, licence: str, revision: str | None) -> ModelCard:
    settings = net.settings
    # The network has no bound of its own. Pretraining packed up to max_seq_len tokens and masked 15 to 50 % of them:
    # a quarter of that many tokens of the middle patch size for the horizon, the rest for the context.
    middle = sorted(settings.patch_sizes)[(len(settings.patch_sizes) - 1) // 2]
    ahead = settings.max_seq_len // 4
    return ModelCard(
        name=name,
        family=FAMILY.name,
        kind="pretrained",
        parameters=count_parameters(net),
        context=(settings.max_seq_len - ahead) * middle,
        horizon=ahead * middle,
        licence=licence,
        revision=revision,
    )


# Woo et al. (ICML 2024) in three sizes; both releases share them, as they share patch sizes and components.
_SIZES = (("small", 384, 6), ("base", 768, 12), ("large", 1024, 24))

FAMILY = Family(
    name="moirai",
    kind="pretrained",
    summary="a masked encoder over patches of any number of variates, with a mixture for each step",
    releases={
        "moirai-nano": Release(
            PACKAGED / "moirai-nano",
            "Apache-2.0",
            {"d_model": 128, "num_layers": 4, "patch_sizes": (4, 8, 16, 32), "max_seq_len": 256},
        ),
        **{
            f"moirai-{release}-R-{size}": Release(
                f"Salesforce/moirai-{release}-R-{size}", "CC-BY-NC-4.0", {"d_model": d_model, "num_layers": layers}
            )
            for release in ("1.0", "1.1")
            for size, d_model, layers in _SIZES
        },
    },
    load=load,
    skeleton=skeleton,
    sites=SITES,
    owns=lambda content: "distr_output" in content and "patch_sizes" in content,
    packages=("torch",),
)
