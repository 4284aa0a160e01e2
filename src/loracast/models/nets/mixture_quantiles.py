"""Quantiles of a mixture, by solving for them: nothing is drawn.

The distribution function of a mixture is the weighted sum of its components', so that a quantile is the root of a
function of one number; scipy finds it (Chandrupatla, Adv. Eng. Softw. 28, 1997). The function jumps where a component
counts: at whole numbers from 0 on. A level that a jump steps over has that whole number as its quantile, the smallest
number with as large a share at or below it; so has a sample, sorted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import elementwise
from torch import Tensor

from loracast.models.nets.mixture import Family, Mixture

Entries = Int[np.ndarray, "*point"]
Numbers = Float[np.ndarray, "*point"]

_WHOLE = 8
_NODES = np.array([-64, -16, -4, -2, -1, *range(_WHOLE + 1), 16, 64], np.float64)
"""Where the distribution is looked up first, in standard deviations of the series; between two of these, or beyond, a
quantile is solved for. Up to 8 every whole number is one, so that no jump lies between two."""
_FARTHEST = 1e300
_NEAR = 1e-8
_CLOSE = {"xatol": _NEAR, "xrtol": _NEAR, "fatol": 1e-6, "frtol": 0.0}
"""In standard deviations of the series, relative to the value, and relative to the share that lies farther out."""
_AT_ONCE = 2**17
"""Numbers that are looked up or solved for at a time."""


def quantiles(mixture: Mixture, levels: tuple[float, ...]) -> Float[Tensor, "entry level"]:
    """Quantiles of flat entries, in their standardised units, float32 on the CPU; NaN where an entry has no numbers.

    The share at or below a quantile is its level to 1e-6, or more where a jump is as large.
    """
    raw = mixture.raw.detach().float().cpu()
    at_once = max(1, _AT_ONCE // max(len(_NODES), len(levels)))
    parts = [_solved(Mixture(mixture.families, raw[i : i + at_once]), levels) for i in range(0, len(raw), at_once)]
    return torch.from_numpy(np.concatenate(parts)).float()


@dataclass(frozen=True)
class _Shares:
    """The distribution functions of flat entries, what is continuous in them apart from what jumps."""

    families: tuple[Family, ...]
    weights: Float[np.ndarray, "component entry"]
    parameters: list[dict[str, Float[np.ndarray, " entry"]]]

    @classmethod
    def of(cls, mixture: Mixture) -> "_Shares":
        weights = mixture.log_weights.double().exp().numpy().T
        components = [{name: p.double().numpy() for name, p in each.items()} for each in mixture.components()]
        return cls(mixture.families, weights / weights.sum(axis=0), components)

    def below(self, value: Numbers, entry: Entries, *, counts: bool) -> Numbers:
        """The share of entries `entry` at or below `value` that components which count add, or those which do not."""
        share: Numbers = np.zeros(value.shape)
        for family, weight, p in zip(self.families, self.weights, self.parameters, strict=True):
            if family.counts == counts:
                share += weight[entry] * family.share_below(value, {name: part[entry] for name, part in p.items()})
        return share

    def whole(self, value: Numbers, entry: Entries) -> Numbers:
        share: Numbers = self.below(value, entry, counts=False) + self.below(value, entry, counts=True)
        return share


def _solved(mixture: Mixture, levels: tuple[float, ...]) -> Float[np.ndarray, "entry level"]:
    sound = mixture.raw.isfinite().all(dim=-1)
    shares = _Shares.of(Mixture(mixture.families, mixture.raw[sound]))
    count = int(sound.sum())
    entry, level = np.arange(count).repeat(len(levels)), np.tile(np.array(levels), count)
    found = np.full((len(sound), len(levels)), np.nan)
    found[sound.numpy()] = _of_entries(shares, entry, level).reshape(count, len(levels))
    return found


def _of_entries(shares: _Shares, entry: Entries, level: Numbers) -> Numbers:
    """The quantile of each entry at each level."""
    entries = np.arange(shares.weights.shape[1])[:, None].repeat(len(_NODES), axis=1)
    nodes = np.broadcast_to(_NODES, entries.shape)
    smooth, counted = (shares.below(nodes, entries, counts=counts) for counts in (False, True))
    place = ((smooth + counted)[entry] < level[:, None]).sum(axis=1)  # the first node that the level does not exceed
    low, high = _NODES[(place - 1).clip(0)], _NODES[place.clip(max=len(_NODES) - 1)]
    before = np.where(place > 0, counted[entry, (place - 1).clip(0)], 0.0)
    _widen(shares, entry, level, low, -1, place == 0)
    _widen(shares, entry, level, high, 1, place == len(_NODES))
    # Between two nodes up to 8 no component counts on: what it adds is what it adds at the lower one.
    steady = high <= _WHOLE
    sought = np.where(steady, level - before, level), np.minimum(level, 1 - level)
    return _roots(shares, entry, sought, (low, high), ~steady)


def _widen(
    shares: _Shares, entry: Entries, level: Numbers, end: Numbers, sign: int, beyond: Bool[np.ndarray, " n"]
) -> None:
    """Move the ends of those `beyond` the nodes out, in place, until the level lies before them."""
    some = np.flatnonzero(beyond)
    while len(some):
        short = (shares.whole(end[some], entry[some]) < level[some]) == (sign > 0)
        some = some[short & (np.abs(end[some]) < _FARTHEST)]
        end[some] = (16 * end[some]).clip(-_FARTHEST, _FARTHEST)


def _roots(
    shares: _Shares,
    entry: Entries,
    sought: tuple[Numbers, Numbers],
    ends: tuple[Numbers, Numbers],
    counts: Bool[np.ndarray, " n"],
) -> Numbers:
    """Where the distribution comes to a level, `sought` with the share that lies farther out than it.

    What counts is looked up only for those that `counts` marks.
    """
    level, tail = sought
    if not len(entry):
        return level

    def short(value: Numbers, entry: Entries, level: Numbers, tail: Numbers, counts: Bool[np.ndarray, " n"]) -> Numbers:
        entry, counts = entry.astype(np.int64), counts.astype(bool)
        share = shares.below(value, entry, counts=False)
        if counts.any():
            share[counts] += shares.below(value[counts], entry[counts], counts=True)
        gap: Numbers = (share - level) / tail
        return gap

    found = elementwise.find_root(short, ends, args=(entry, level, tail, counts), tolerances=_CLOSE)
    # No change of sign: the level is reached at the upper end alone, where a jump steps over it.
    reached = np.where(np.isfinite(found.x), found.x, ends[1])
    # Both sides of a jump: it is at the whole number between them.
    low, high = np.sort(found.bracket, axis=0)
    whole = np.floor(high)
    at_jump = counts & (whole > low) & (high - low <= 4 * (_NEAR + _NEAR * high))
    values: Numbers = np.where(at_jump, whole, reached)
    return values
