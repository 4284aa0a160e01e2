"""The predictive distribution of MOIRAI: a mixture of four families, per step (Woo et al., ICML 2024, section 3.2.3).

A network gives raw numbers; a family maps them to its parameters, scores a value and says how much lies below one, all
in the standardised space of a series. The functions at the end say how well a mixture foretold what came, in the units
of the series.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor
from torch.nn import functional

from loracast.errors import BackboneError
from loracast.models.nets.packing import Packed

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)

Parameters = Mapping[str, Tensor]
Numbers = Float[np.ndarray, "*point"]


class Family(Protocol):
    """One component."""

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the raw numbers that a step needs, as in the names of the published tensors."""
        ...

    def parameters(self, raw: Parameters) -> dict[str, Tensor]:
        """Raw numbers to the parameters of the family."""
        ...

    def log_density(self, value: Tensor, p: Parameters) -> Tensor: ...

    def mean(self, p: Parameters) -> Tensor: ...

    @property
    def counts(self) -> bool:
        """Whether its values are whole numbers from 0 on."""
        ...

    def share_below(self, value: Numbers, p: Mapping[str, Numbers]) -> Numbers:
        """The distribution function, in float64: the share of values at or below each of `value`."""
        ...


def _positive(raw: Tensor) -> Tensor:
    return functional.softplus(raw).clamp_min(torch.finfo(raw.dtype).eps)


def _normal_log_density(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * ((value - loc) / scale).square() - scale.log() - _HALF_LOG_TAU


@dataclass(frozen=True)
class StudentT:
    """Location-scale Student-t with more than two degrees of freedom."""

    heads = ("df", "loc", "scale")
    counts = False

    def parameters(self, raw: Parameters) -> dict[str, Tensor]:
        return {"df": 2 + functional.softplus(raw["df"]), "loc": raw["loc"], "scale": _positive(raw["scale"])}

    def log_density(self, value: Tensor, p: Parameters) -> Tensor:
        df, scale = p["df"], p["scale"]
        z = (value - p["loc"]) / scale
        normaliser = (
            scale.log()
            + 0.5 * df.log()
            + 0.5 * math.log(math.pi)
            + torch.lgamma(0.5 * df)
            - torch.lgamma(0.5 * df + 0.5)
        )
        return -0.5 * (df + 1) * torch.log1p(z.square() / df) - normaliser

    def mean(self, p: Parameters) -> Tensor:
        return p["loc"]

    def share_below(self, value: Numbers, p: Mapping[str, Numbers]) -> Numbers:
        share: Numbers = special.stdtr(p["df"], (value - p["loc"]) / p["scale"])
        return share


@dataclass(frozen=True)
class FixedNormal:
    """Normal of a fixed, small scale: a spike for series that repeat a value."""

    scale: float = 0.001
    heads = ("loc",)
    counts = False

    def parameters(self, raw: Parameters) -> dict[str, Tensor]:
        return {"loc": raw["loc"], "scale": torch.full_like(raw["loc"], self.scale)}

    def log_density(self, value: Tensor, p: Parameters) -> Tensor:
        return _normal_log_density(value, p["loc"], p["scale"])

    def mean(self, p: Parameters) -> Tensor:
        return p["loc"]

    def share_below(self, value: Numbers, p: Mapping[str, Numbers]) -> Numbers:
        share: Numbers = special.ndtr((value - p["loc"]) / p["scale"])
        return share


@dataclass(frozen=True)
class NegativeBinomial:
    """Negative binomial with log-odds `logits` of a success; its mean is total_count * exp(logits).

    MOIRAI scores any real value from 0 on with the formula for counts, as if it were a density.
    """

    heads = ("total_count", "logits")
    counts = True

    def parameters(self, raw: Parameters) -> dict[str, Tensor]:
        # A count of exactly 0 (raw below about -104) has no density at all; upstream stops there.
        count = functional.softplus(raw["total_count"]).clamp_min(torch.finfo(raw["total_count"].dtype).tiny)
        return {"total_count": count, "logits": raw["logits"]}

    def log_density(self, value: Tensor, p: Parameters) -> Tensor:
        count, logits = p["total_count"], p["logits"]
        inside = value >= 0
        v = torch.where(inside, value, 0.0)  # a value in the support keeps the gradient of the other branch finite
        ways = torch.lgamma(count + v) - torch.lgamma(1 + v) - torch.lgamma(count)
        return torch.where(
            inside, count * functional.logsigmoid(-logits) + v * functional.logsigmoid(logits) + ways, -torch.inf
        )

    def mean(self, p: Parameters) -> Tensor:
        return p["total_count"] * p["logits"].exp()

    def share_below(self, value: Numbers, p: Mapping[str, Numbers]) -> Numbers:
        inside = value >= 0
        share = np.zeros(value.shape)
        count, failure = p["total_count"][inside], special.expit(-p["logits"][inside])
        share[inside] = special.betainc(count, np.floor(value[inside]) + 1, failure)
        return share


@dataclass(frozen=True)
class LogNormal:
    """Log-normal: the logarithm of a value has mean `loc` and standard deviation `scale`."""

    heads = ("loc", "scale")
    counts = False

    def parameters(self, raw: Parameters) -> dict[str, Tensor]:
        return {"loc": raw["loc"], "scale": _positive(raw["scale"])}

    def log_density(self, value: Tensor, p: Parameters) -> Tensor:
        inside = value > 0
        log = torch.where(inside, value, 1.0).log()
        return torch.where(inside, _normal_log_density(log, p["loc"], p["scale"]) - log, -torch.inf)

    def mean(self, p: Parameters) -> Tensor:
        return (p["loc"] + 0.5 * p["scale"].square()).exp()

    def share_below(self, value: Numbers, p: Mapping[str, Numbers]) -> Numbers:
        with np.errstate(divide="ignore"):  # nothing lies at or below 0
            share: Numbers = special.ndtr((np.log(value.clip(0)) - p["loc"]) / p["scale"])
        return share


_MIXTURE = "uni2ts.distribution.mixture.MixtureOutput"
_FAMILIES: dict[str, type[StudentT] | type[FixedNormal] | type[NegativeBinomial] | type[LogNormal]] = {
    "uni2ts.distribution.student_t.StudentTOutput": StudentT,
    "uni2ts.distribution.normal.NormalFixedScaleOutput": FixedNormal,
    "uni2ts.distribution.negative_binomial.NegativeBinomialOutput": NegativeBinomial,
    "uni2ts.distribution.log_normal.LogNormalOutput": LogNormal,
}
"""What a published config may name. The names are data: nothing is ever imported by them."""

PUBLISHED: tuple[Family, ...] = (StudentT(), FixedNormal(), NegativeBinomial(), LogNormal())


def read_families(output: Any) -> tuple[Family, ...]:
    """The components that `distr_output` of a config names; raises BackboneError for any that is not in the table."""
    if not isinstance(output, dict) or output.get("_target_") != _MIXTURE:
        given = output.get("_target_") if isinstance(output, dict) else output
        raise BackboneError(f"distr_output is {given!r}; MOIRAI 1.x forecasts with {_MIXTURE} only. Check config.json.")
    components = output.get("components")
    if not isinstance(components, list) or not components:
        raise BackboneError("distr_output names no components; MOIRAI 1.x has a list of them. Check config.json.")
    return tuple(_read_family(component) for component in components)


def _read_family(component: Any) -> Family:
    target = component.get("_target_") if isinstance(component, dict) else component
    family = _FAMILIES.get(target) if isinstance(target, str) else None
    if family is None:
        raise BackboneError(
            f"distr_output names the unknown distribution {target!r}. Known: {', '.join(_FAMILIES)}. Nothing is "
            "imported by a name in a file; use a model with these components."
        )
    settings = {key: value for key, value in component.items() if key != "_target_"}
    scale = settings.pop("scale", 0.001) if family is FixedNormal else None
    if settings or (scale is not None and not (isinstance(scale, int | float) and 0 < scale < math.inf)):
        raise BackboneError(
            f"distr_output gives {component!r}; only NormalFixedScaleOutput takes a setting, scale, above 0. "
            "Check config.json."
        )
    return family() if scale is None else FixedNormal(float(scale))


def write_families(families: Sequence[Family]) -> dict[str, Any]:
    """`distr_output` as the published configs write it."""
    names = {family: target for target, family in _FAMILIES.items()}
    components = [{"_target_": names[type(f)], **vars(f)} for f in families]  # type: ignore[index]
    return {"_target_": _MIXTURE, "components": components}


@dataclass(frozen=True)
class Mixture:
    """Distributions of standardised values, one for each entry of `raw`'s leading axes.

    `raw` holds, last, one logit a component and then every component's heads, in order.
    """

    families: tuple[Family, ...]
    raw: Float[Tensor, "*entry number"]

    @property
    def log_weights(self) -> Float[Tensor, "*entry component"]:
        """Logarithms of the mixture weights."""
        return self.raw[..., : len(self.families)].log_softmax(dim=-1)

    def components(self) -> list[dict[str, Tensor]]:
        """Parameters of every component, by name, each with the shape of the entries."""
        columns = iter(self.raw[..., len(self.families) :].unbind(dim=-1))
        # zip asks for a head before it takes a column, so each family takes just its own.
        return [family.parameters(dict(zip(family.heads, columns, strict=False))) for family in self.families]

    def log_density(self, value: Float[Tensor, "*entry"]) -> Float[Tensor, "*entry"]:
        """Logarithm of the density at standardised values; values must be finite."""
        parts = [f.log_density(value, p) for f, p in zip(self.families, self.components(), strict=True)]
        return torch.logsumexp(self.log_weights + torch.stack(parts, dim=-1), dim=-1)

    def mean(self) -> Float[Tensor, "*entry"]:
        """Mean of every entry."""
        parts = [f.mean(p) for f, p in zip(self.families, self.components(), strict=True)]
        return (self.log_weights.exp() * torch.stack(parts, dim=-1)).sum(dim=-1)


def log_density(
    mixture: Mixture,
    values: Float[Tensor, "sample token step"],
    loc: Float[Tensor, "sample token"],
    scale: Float[Tensor, "sample token"],
) -> Float[Tensor, "sample token step"]:
    """Logarithm of the density of values in their own units; that of a series 1000 times as large is ln 1000 lower."""
    standard = (values - loc[..., None]) / scale[..., None]
    return mixture.log_density(standard) - scale.log()[..., None]


def variate_scores(mixture: Mixture, packed: Packed) -> Float[Tensor, "sample variate"]:
    """Mean negative log-density of each variate's observed horizon; 0 for a variate that has none.

    `mixture` is that of the horizon's tokens, as the network gives it by default.
    """
    horizon = slice(packed.past, None)
    scored = packed.observed[:, horizon] & packed.forecast[:, horizon, None]
    # A value that nobody observed is neither scored nor lets a gradient overflow: loc stands in for it.
    loc, scale = packed.loc[:, horizon], packed.scale[:, horizon]
    values = torch.where(scored, packed.values[:, horizon], loc[..., None])
    density = torch.where(scored, log_density(mixture, values, loc, scale), 0.0)
    total, count = (x.reshape(len(x), packed.variates, -1).sum(dim=2) for x in (density, scored))
    scores: Tensor = -total / count.clamp_min(1)
    return scores


def training_loss(mixture: Mixture, packed: Packed) -> Tensor:
    """Mean of the variates' scores over a whole batch.

    As upstream, a variate without an observed horizon adds nothing to the sum but is counted; an absent one is not.
    """
    asked = packed.forecast[:, packed.past :].reshape(len(packed.forecast), packed.variates, -1).any(dim=2)
    loss: Tensor = variate_scores(mixture, packed).sum() / asked.sum().clamp_min(1)
    return loss
