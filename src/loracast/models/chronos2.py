"""Chronos-2: an encoder over patches that also attends between the signals of a patient (Ansari et al., 2025).

Network and forecast are those of `chronos-forecasting`. Its `fit` draws windows from numpy's global state, turns LoRA
into full fine-tuning where PEFT is missing, and saves an adapter that forgets a changed context length and stores the
path of its base. Nothing of it is used: training is loracast's own on the loss of the network's `forward`, and the
adapter's card keeps the window and the base's name and hash.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.models.base import ModelCard, Sites, check_window
from loracast.models.chronos_bolt import card_of, scored, undisturbed
from loracast.models.chronos_t5 import is_chronos
from loracast.models.levels import between
from loracast.models.registry import PACKAGED, Family, Release, Wanted
from loracast.models.seasonal_row import Given, beside, paired, seasonal_rows
from loracast.types import Rows

if TYPE_CHECKING:
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.preprocess import PreparedInput
    from jaxtyping import Float
    from torch import Tensor

SITES = Sites(
    # layer 0 attends over time, layer 1 over the signals of a group
    attention=r"encoder\.block\.\d+\.layer\.[01]\.self_attention\.[qkvo]",
    query_value=r"encoder\.block\.\d+\.layer\.[01]\.self_attention\.[qv]",
    key_value=r"encoder\.block\.\d+\.layer\.[01]\.self_attention\.[kv]",
    feed_forward=r".*\.mlp\.w[io]",
    feed_forward_out=r".*\.mlp\.wo",
    embedding=r"input_patch_embedding\.(hidden|output|residual)_layer",
    norm=r".*layer_norm",
    bias=r"(input|output)_patch_embedding\.(hidden|output|residual)_layer\.bias",
    head=r"output_patch_embedding\.(hidden|output|residual)_layer",
)
_PUBLISHED = {
    "context_length": 8192,
    "input_patch_size": 16,
    "input_patch_stride": 16,
    "output_patch_size": 16,
    "max_output_patches": 64,
    "quantiles": [0.01, *(i / 100 for i in range(5, 100, 5)), 0.99],
    "time_encoding_scale": 8192,
    "use_arcsinh": True,
    "use_reg_token": True,
}
_NANO = {
    "d_model": 128,
    "d_kv": 32,
    "d_ff": 384,
    "num_layers": 3,
    "num_heads": 4,
    "vocab_size": 2,
    "seasonal_row": True,
    "chronos_config": {
        **_PUBLISHED,
        "context_length": 512,
        "input_patch_size": 8,
        "input_patch_stride": 8,
        "output_patch_size": 8,
        "max_output_patches": 12,
        "quantiles": [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99],
        "time_encoding_scale": 512,
    },
}
_UNROLLED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # the library's own choice


class Chronos2:
    """A loaded Chronos-2."""

    def __init__(self, card: ModelCard, net: Chronos2Model) -> None:
        self.card = card
        self.seasonal_row: bool = getattr(net.config, "seasonal_row", False)
        """Whether each window is given its own season beside it; so its config.json says, and a saved copy's."""
        self.sites = SITES
        self._net = net

    @property
    def net(self) -> Chronos2Model:
        """The encoder with its patch embeddings."""
        return self._net

    def save(self, folder: Path) -> None:
        """Write the network to a folder."""
        self._net.save_pretrained(folder)

    def loss(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        rows: Rows | None = None,
    ) -> Tensor:
        """Pinball loss of the native quantiles on the standardised, arcsinh-transformed target.

        Twice the pinball loss, sum over quantiles, mean over the steps of the output patches, mean over the rows, as
        the library reduces it. A missing target adds 0 and stays in the denominator; so does a target after a context
        without spread (see `chronos_bolt.scored`). Rows of one group attend to each other. Of a longer horizon the
        native one is scored.
        """
        import torch

        check_window(self.card, context.shape[1])
        future = future[:, : self.card.horizon]
        group = None if rows is None else rows.group
        if not self.seasonal_row:
            return loss_of(self._net, Given(context, None, group, torch.ones(len(context), dtype=torch.bool)), future)
        given = beside(context.cpu(), future.shape[1], None if group is None else group.cpu())
        return loss_of(self._net, given, paired(future, future.new_full(future.shape, math.nan)))

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
        """The model's quantiles, without chance: `samples` and `seed` are not used.

        Rows of one group are forecast jointly. Levels between the native ones (0.01 to 0.99) are interpolated linearly,
        levels beyond them are refused. A horizon beyond the native 1024 steps is rolled out: nine quantiles of one
        block continue the context in turn, and the next block's quantiles are those of all values, weighted by the
        probability between levels.
        """
        import torch
        from chronos import Chronos2Pipeline

        check_window(self.card, context.shape[1])
        inputs = self._inputs(context, horizon, _members(len(context), rows))
        native = self._net.chronos_config.quantiles
        unrolled = [level for level in native if level in _UNROLLED]
        with torch.no_grad(), undisturbed():
            quantiles, _ = Chronos2Pipeline(self._net).predict_quantiles(
                [one for _, one in inputs],
                prediction_length=horizon,
                quantile_levels=list(native),
                batch_size=sum(len(one["context"]) for _, one in inputs),
                unrolled_quantiles=unrolled or native,
            )
        found = torch.empty(len(context), horizon, len(native))
        for (members, _), values in zip(inputs, quantiles, strict=True):
            if members is not None:
                found[members] = values.float().cpu()
        return between(found, native, levels, self.card.name)

    def _inputs(
        self, context: Float[Tensor, "batch context"], horizon: int, groups: list[Tensor]
    ) -> list[tuple[Tensor | None, PreparedInput]]:
        """The rows of each group as the library takes them, and which of the batch's windows they are.

        With seasonal rows a window has two rows always, so that no window changes the shape of a pass and with it the
        last bits of another: where there is no season an empty row stands by itself, and is forecast for nobody.
        """
        if not self.seasonal_row:
            return [(group, _prepared(context[group], horizon)) for group in groups]
        season = seasonal_rows(context, horizon)
        has_one = season.there
        inputs: list[tuple[Tensor | None, PreparedInput]] = []
        empty = context.new_full((1, context.shape[1]), math.nan)
        for group in groups:
            there = group[has_one[group]]
            inputs.append((group, _prepared(context[group], horizon, season.past[there], season.future[there])))
            inputs.extend([(None, _prepared(empty, horizon))] * (len(group) - len(there)))
        return inputs


def loss_of(
    net: Chronos2Model, given: Given, future: Float[Tensor, "row horizon"], weight: Float[Tensor, " row"] | None = None
) -> Tensor:
    """The library's loss as a mean over the targets alone; it counts the rows of covariates too, which add 0.

    `weight` is what each row counts, 1 if not given: the library multiplies by its mask of observed targets.
    """
    device = net.device
    counted = scored(given.context, future)
    out = net(
        context=given.context.to(device),
        group_ids=None if given.group is None else given.group.to(device),
        future_covariates=None if given.known is None else given.known.to(device),
        num_output_patches=math.ceil(future.shape[1] / net.chronos_config.output_patch_size),
        future_target=future.to(device),
        future_target_mask=(counted if weight is None else counted * weight[:, None]).to(device),
    )
    loss: Tensor = out.loss * (len(given.target) / int(given.target.sum()))
    return loss


def _prepared(
    targets: Float[Tensor, "target context"],
    horizon: int,
    past: Float[Tensor, "covariate context"] | None = None,
    future: Float[Tensor, "covariate horizon"] | None = None,
) -> PreparedInput:
    """Targets and the covariates beside them, whose future is known, as one task of the library."""
    import torch
    from chronos.chronos2.preprocess import PreparedInput

    unknown = targets.new_full((len(targets), horizon), math.nan)
    covariates = 0 if past is None else len(past)
    return PreparedInput(
        context=targets if past is None else torch.cat([targets, past]),
        future_covariates=unknown if future is None else torch.cat([unknown, future]),
        n_targets=len(targets),
        n_covariates=covariates,
        n_future_covariates=covariates,
    )


def _members(count: int, rows: Rows | None) -> list[Tensor]:
    """The numbers of the rows of each group, groups in the order of their first row."""
    import torch

    if rows is None or rows.group is None:
        return list(torch.arange(count).unsqueeze(1))
    groups: dict[int, list[int]] = {}
    for row, group in enumerate(rows.group.tolist()):
        groups.setdefault(group, []).append(row)
    return [torch.tensor(one) for one in groups.values()]


def load(wanted: Wanted) -> Chronos2:
    """Load weights from a folder, the Hub or its cache; raises BackboneError with what to do next."""
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    from loracast.models.store import open_network

    opened = open_network(Chronos2Model, Chronos2CoreConfig, wanted.weights, wanted.revision, FAMILY.name)
    return Chronos2(_card(opened.net, wanted.name, wanted.licence, opened.commit), opened.net)


def skeleton(name: str, sizes: Mapping[str, Any], licence: str) -> Chronos2:
    """The architecture without weights, on the meta device."""
    import torch
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    shape = {"chronos_config": _PUBLISHED, **sizes}
    with torch.device("meta"):
        net = Chronos2Model(Chronos2CoreConfig(**copy.deepcopy(shape)))  # the network writes into its config
    return Chronos2(_card(net, name, licence, None), net)


def _card(net: Chronos2Model, name: str, licence: str, revision: str | None) -> ModelCard:
    config = net.chronos_config
    horizon = config.max_output_patches * config.output_patch_size
    return card_of(net, name, FAMILY.name, horizon, licence=licence, revision=revision)


FAMILY = Family(
    name="chronos2",
    kind="pretrained",
    summary="an encoder over patches that also attends between the signals of a patient",
    releases={
        "chronos-2-nano": Release(PACKAGED / "chronos-2-nano", "Apache-2.0", _NANO),
        "chronos-2": Release(
            "amazon/chronos-2",
            "Apache-2.0",
            # The published config.json, as the technical report (arXiv 2510.15821) sizes it: 120 million parameters.
            {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 2},
        ),
    },
    load=load,
    skeleton=skeleton,
    sites=SITES,
    owns=lambda content: is_chronos(content, "Chronos2Model"),
    packages=("chronos-forecasting", "torch", "transformers"),
)
