"""What the series of a data set are like, from its training windows, and thresholds beside it.

Only steps that some training window covers are looked at, so that nothing of a validation or test patient is used.
A series is what was not observed as well: gaps are skipped, never filled. Numbers of a series that cannot be had (too
short, constant) leave it out of the median; None where no series has one.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from loracast.data.twins import spans_of
from loracast.data.windows import WindowSet
from loracast.study.ranks.result import ALL, Correlation, RankSweep, Relation, RelationRow

PROPERTIES = {
    "length": "steps from first to last observation, median over series",
    "missing": "share of those steps that were not observed",
    "noise": "half the mean squared step-to-step change over the variance (half of von Neumann's ratio): white noise "
    "has 1, a smooth series 0; above 1 neighbours repel each other. Median over series",
    "seasonality": "autocorrelation at the season's lag of the series less its moving mean over one season: a pure "
    "season has 1, none about 0. Median over series",
    "scale_distance": "log10 of the spread within a context (standard deviation over absolute mean, median over "
    "windows) over that of loracast's synthetic pretraining corpus: -1 is ten times flatter than that corpus",
}
FEWEST_ROWS = 3
"""Below, every rank correlation is 1, -1 or undefined."""
_MOST_SERIES = 1000
_MOST_WINDOWS = 2000
_CORPUS = {"seed": 0, "series": 1024, "length": 96}

Values = Float[np.ndarray, " time"]


def describe(windows: WindowSet, *, seed: int = 0) -> dict[str, dict[str, float | None]]:
    """The `PROPERTIES` of every signal of these (training) windows, for JSON.

    Reads at most 1,000 series and 2,000 contexts a signal, a seeded choice where there are more, one at a time.
    """
    return {name: _signal(windows, code, seed) for code, name in enumerate(windows.signals)}


def _signal(windows: WindowSet, code: int, seed: int) -> dict[str, float | None]:
    own = windows.rows(np.flatnonzero(windows.signal == code))
    series = [_of_series(values, windows.season) for values in _series(own, seed)]
    lengths, observed, noises, seasons = np.array(series, dtype=float).reshape(-1, 4).T
    spread = _median([relative_spread(values) for values in _contexts(own, seed)])
    return {
        "length": _median(lengths),
        "missing": float(1 - observed.sum() / lengths.sum()) if len(lengths) else None,
        "noise": _median(noises),
        "seasonality": _median(seasons),
        "scale_distance": float(np.log10(spread / corpus_spread())) if spread else None,
    }


def _of_series(values: Values, season: int) -> tuple[float, int, float, float]:
    return len(values), int(np.isfinite(values).sum()), noise(values), seasonality(values, season)


def _series(windows: WindowSet, seed: int) -> Iterator[Values]:
    """The covered part of each series of one signal, from its first to its last observation."""
    spans = spans_of(windows)
    for i in _some(len(spans), _MOST_SERIES, seed):
        first, last = spans[i, 2:]
        values = np.array(windows.values[first:last], dtype=np.float64)
        seen = np.flatnonzero(np.isfinite(values))
        yield values[seen[0] : seen[-1] + 1]


def _contexts(windows: WindowSet, seed: int) -> Iterator[Values]:
    for i in _some(len(windows), _MOST_WINDOWS, seed):
        yield windows[int(i)]["context"].astype(np.float64)


def _some(count: int, most: int, seed: int) -> np.ndarray:
    return (
        np.arange(count) if count <= most else np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
    )


def _median(values: Any) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else None


def noise(values: Values) -> float:
    """Half the mean squared change between adjacent observations over the variance; NaN where there is none.

    von Neumann (1941), "Distribution of the ratio of the mean square successive difference to the variance".
    """
    change = np.diff(values)
    pairs, seen = np.isfinite(change), np.isfinite(values)
    if pairs.sum() < 2:
        return float("nan")
    return _ratio(float(np.square(change[pairs]).mean()) / 2, float(values[seen].var(ddof=1)))


def seasonality(values: Values, season: int) -> float:
    """Autocorrelation at lag `season` of the values less their centred moving mean over one season.

    The mean takes slow drift away, which would pass for a season. It needs half a season on either side, half of it
    observed. NaN for a season of one step and where fewer than a season of pairs is left.
    """
    kernel = np.ones(season) if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5]
    if season < 2 or len(values) < len(kernel) + season:
        return float("nan")
    seen = np.isfinite(values).astype(np.float64)
    weight = np.convolve(seen, kernel, mode="valid")
    total = np.convolve(np.nan_to_num(values), kernel, mode="valid")
    mean = np.divide(total, weight, out=np.full(len(weight), np.nan), where=weight >= season / 2)
    margin = len(kernel) // 2
    less = values[margin : margin + len(mean)] - mean
    product = less[:-season] * less[season:]
    pairs = np.isfinite(product)
    if pairs.sum() < season:
        return float("nan")
    # The variance is that of the values in the pairs, so that a repeated shape has exactly 1.
    variance = np.sqrt(np.square(less[:-season][pairs]).mean() * np.square(less[season:][pairs]).mean())
    return _ratio(float(product[pairs].mean()), float(variance))


def relative_spread(values: Values) -> float:
    """Standard deviation over absolute mean of what was observed; NaN for fewer than two values or a mean of 0."""
    seen = values[np.isfinite(values)]
    return _ratio(float(seen.std()), abs(float(seen.mean()))) if len(seen) > 1 else float("nan")


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("nan")


@lru_cache(maxsize=1)
def corpus_spread() -> float:
    """Median relative spread of the synthetic series that the nano backbones learnt from (about 0.3).

    A yardstick for released models too: their corpora are not at hand, and another reference moves every
    `scale_distance` by the same amount, which changes no rank correlation. It hardly depends on the length.
    """
    from loracast.training.pretrain import corpora  # scipy, as above

    drawn = (corpora.draw(_CORPUS["seed"], i, _CORPUS["length"]) for i in range(_CORPUS["series"]))
    spread = _median([relative_spread(series.values) for series in drawn])
    assert spread is not None
    return spread


def relate(sweeps: Sequence[RankSweep]) -> Relation:
    """The threshold of every signal of every sweep beside the properties of its series: description, not proof.

    `correlations` holds Spearman's coefficient between the threshold rank and each property with its number of rows;
    None where fewer than three rows have the property, or it or the threshold is the same in all of them.
    """
    rows = [_related(sweep, signal) for sweep in sweeps for signal in sweep.thresholds if signal != ALL]
    return Relation(
        rows=rows,
        correlations={name: _spearman(rows, name) for name in PROPERTIES},
        flat=sum(row.beats_zero_shot is False for row in rows),
    )


def _related(sweep: RankSweep, signal: str) -> RelationRow:
    threshold = sweep.thresholds[signal]
    trained = {row.rank: row.trainable_parameters for row in sweep.rows if row.signal == signal}
    gain = threshold.vs_zero_shot
    return RelationRow(
        data=sweep.data,
        signal=signal,
        model=sweep.model,
        method=sweep.method,
        rank=threshold.rank,
        trainable_parameters=trained[threshold.rank],
        beats_zero_shot=None if gain is None or gain.ci95 is None else gain.ci95[1] < 0,
        properties={name: sweep.series[signal][name] for name in PROPERTIES},
    )


def _spearman(rows: Sequence[RelationRow], name: str) -> Correlation:
    known = [(row.rank, row.properties[name]) for row in rows if row.properties[name] is not None]
    ranks, values = np.array(known, dtype=float).reshape(-1, 2).T
    defined = len(known) >= FEWEST_ROWS and len(set(ranks)) > 1 and len(set(values)) > 1
    from scipy import stats  # when it is needed: a refusal need not wait for it

    return Correlation(spearman=float(stats.spearmanr(ranks, values).statistic) if defined else None, rows=len(known))
