"""The paths that Lag-Llama draws on from a window.

They are drawn one step after the other, by one of two procedures.

`exact` is that of upstream's estimator: before each step the level and spread are taken anew over the history and the
path so far. Where that changes them it changes the features of every token, and the path is computed again
(`lag_llama_exact`).

`frozen` keeps the level and spread of the history, as the training loss does. No token then changes once it is
computed: the keys and values of the history are computed once per window and shared by all its paths, each drawn step
adds one token (`lag_llama_columns`), and the result equals full recomputation with the same level and spread to
rounding.

The two are different estimators from the second step on. They differ as far as the drawn steps move level and spread,
so little where the history is long against the horizon. Measured for 100 paths of 36 steps with the released shape and
random weights, as the mean shift of a decile over the width between the first and the last: 1 % after 1,124 steps of
history, 4 % after 72; another seed moves them by 7 %. With a tiny random network and a history of 89 steps it was up
to 17 %.
"""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from loracast.models.draws import PATHS_AT_ONCE
from loracast.models.nets.lag_llama import LagLlama, StudentT, rotation
from loracast.models.nets.lag_llama_columns import History, Walk
from loracast.models.nets.lag_llama_exact import exact_paths
from loracast.models.nets.lag_llama_window import Window, features, lagged

Paths = Float[Tensor, "batch sample horizon"]
Choose = Callable[[StudentT, int], Float[Tensor, "batch sample"]]
"""The distribution of a step, [batch, sample], and the step's number, to the value that each path takes there."""

_MOST_CACHED = 2**25
"""Numbers that the caches of one pass may hold; a larger batch is worked off in parts."""


@torch.no_grad()
def sample_paths(
    net: LagLlama, window: Window, draws: Float[Tensor, "batch sample horizon 2"], *, exact: bool
) -> Paths:
    """Paths in the units of the window, one for each row and sample of `draws`: numbers from [0, 1), two a step."""
    batch, samples, horizon, _ = draws.shape
    walk = exact_paths if exact else _frozen
    paths = draws.new_empty(batch, samples, horizon)
    for rows, some in _parts(net, window, samples, horizon, exact=exact):
        part = len(range(samples)[some])
        paths[rows, some] = walk(net, window.rows(rows), _drawing(draws[rows, some]), samples=part, horizon=horizon)
    return paths


def _drawing(numbers: Float[Tensor, "batch sample horizon 2"]) -> Choose:
    return lambda predicted, step: student_t(predicted, numbers[:, :, step])


@torch.no_grad()
def mean_path(net: LagLlama, window: Window, horizon: int, *, exact: bool) -> Float[Tensor, "batch horizon"]:
    """The one path whose every step is the mean of its distribution."""
    walk = exact_paths if exact else _frozen
    paths = [
        walk(net, window.rows(rows), lambda predicted, _: predicted.loc, samples=1, horizon=horizon)
        for rows, _ in _parts(net, window, 1, horizon, exact=exact)
    ]
    return torch.cat(paths).squeeze(1)


def student_t(predicted: StudentT, draws: Float[Tensor, "*path 2"]) -> Tensor:
    """Student-t numbers from two uniform ones each, none rejected: Bailey's polar method (Math. Comp. 62, 1994)."""
    radius = torch.expm1(torch.log1p(-draws[..., 0]) * (-2 / predicted.df)) * predicted.df
    return predicted.loc + predicted.scale * radius.sqrt() * torch.cos(2 * math.pi * draws[..., 1])


def _parts(net: LagLlama, window: Window, samples: int, horizon: int, *, exact: bool) -> Iterator[tuple[slice, slice]]:
    """Rows and samples of one pass: one window (exact), as many as its caches may hold, or some paths of one."""
    config = net.config
    kept = window.tokens + horizon if exact else horizon
    paths = _MOST_CACHED // (kept * 2 * config.n_layer * config.width)
    some = min(samples, PATHS_AT_ONCE, max(paths, 1))
    rows = 1 if exact else max(paths // some, 1)
    for row in range(0, len(window.values), rows):
        for sample in range(0, samples, some):
            yield slice(row, row + rows), slice(sample, sample + some)


def _frozen(net: LagLlama, window: Window, choose: Choose, *, samples: int, horizon: int) -> Paths:
    """Level and spread of the history throughout; one new token a step."""
    config, tokens, length = net.config, window.tokens, window.values.shape[1]
    longest, device, batch = tokens + horizon - 1, window.values.device, len(window.values)
    history = History(net)
    predicted = net(
        features(
            lagged(window.values, config.lags_seq, slice(length - tokens, length)),
            window.loc,
            window.scale,
            None if window.time is None else window.time[:, :tokens],
        ),
        rotation(config, 0, tokens, longest=longest, device=device),
        attend=history.keep,
        only_last=True,
    )
    predicted = StudentT(*(part.expand(-1, samples) for part in predicted))
    walk = Walk(net, history, windows=batch, steps=horizon - 1)
    known, turns = _known(net, window, horizon), rotation(config, tokens, longest, longest=longest, device=device)
    path, standard = (window.values.new_empty(horizon, batch, samples) for _ in range(2))
    for step in range(horizon):
        path[step] = window.loc + window.scale * choose(predicted, step)
        if step + 1 == horizon:
            break
        standard[step] = (path[step] - window.loc) / window.scale
        token = known[step].unsqueeze(-1).repeat(1, 1, samples)
        own = [(place, step - lag) for place, lag in enumerate(config.lags_seq) if lag <= step]
        for place, back in own:
            token[place] = standard[back]
        turn = None if turns is None else (turns[0][step : step + 1], turns[1][step : step + 1])
        predicted = StudentT(*(part.view(batch, samples) for part in walk(token.flatten(1), turn)))
    return path.permute(1, 2, 0)


def _known(net: LagLlama, window: Window, horizon: int) -> Float[Tensor, "step feature batch"]:
    """The features of every token that is fed back, as far as they are known before a path is drawn."""
    config, tokens, length = net.config, window.tokens, window.values.shape[1]
    steps = slice(length, length + horizon - 1)
    ahead = torch.nn.functional.pad(window.values, (0, horizon - 1))
    time = None if window.time is None else window.time[:, tokens : tokens + horizon - 1]
    return features(lagged(ahead, config.lags_seq, steps), window.loc, window.scale, time).permute(1, 2, 0)
