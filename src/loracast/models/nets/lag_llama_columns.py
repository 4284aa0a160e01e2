"""One token of many paths at a time through Lag-Llama: activations are [feature, path], a path a column.

Drawing a step is 8 small layers for some hundred tokens, so what counts is the number of operations beside the products
of matrices and how they walk through memory. With paths as columns each product is the network's own matrix times the
tokens, queries, keys and values of one input are one product, and all that is done path by path, norms, rotation and
the attention to a path's own steps, runs along the innermost axis.

Against the network's own modules called for one token of every path, which would need a third of this code: 1.26 × as
fast at 1 window × 100 paths, 1.35 × at 32 (processor time of one thread of an AMD EPYC, alternating pairs).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from loracast.models.nets.lag_llama import NORM_FLOOR, LagLlama, Rotation, StudentT
from loracast.models.precision import dtype_of

Columns = Float[Tensor, "_feature column"]


class _Map:
    """Linear maps that read the same tokens, their outputs one below the other, in the order of `rows`.

    What a tuner has put around a map is part of it: the matrix is then taken from what the module makes of the unit
    vectors, once for all steps. A module that is no affine map, as its answer to one more vector shows, is called; so
    is a tuned one in bfloat16, where an update that is rounded together with its weight would be lost. `norm` is the
    norm whose division the tokens have behind them (`_divided`), but not its factors: these are the matrix's.
    """

    def __init__(
        self, width: int, *modules: nn.Module, norm: nn.Module | None = None, rows: Tensor | None = None
    ) -> None:
        self._modules, self._rows = modules, slice(None) if rows is None else rows
        self._factors = None if norm is None else _factors(norm, width)
        self._matrix: Tensor | None = None
        self._offset: Tensor | None = None
        self._dtype = dtype_of(modules[0])
        parts = [part for part in (_affine(module, width) for module in modules) if part is not None]
        if len(parts) == len(modules):
            matrix = torch.cat([matrix for matrix, _ in parts])[self._rows]
            self._matrix = (matrix if self._factors is None else matrix * self._factors).to(self._dtype)
            if any(offset is not None for _, offset in parts):
                offsets = [matrix.new_zeros(len(matrix)) if offset is None else offset for matrix, offset in parts]
                self._offset = torch.cat(offsets)[self._rows, None].to(self._dtype)

    def __call__(self, x: Columns) -> Columns:
        if self._matrix is None:
            given = x.mT if self._factors is None else x.mT * self._factors
            return torch.cat([module(given[None])[0].mT for module in self._modules])[self._rows]
        return self._matrix @ x if self._offset is None else torch.addmm(self._offset, self._matrix, x)

    def onto(self, x: Columns, taken: Columns) -> Columns:
        """`x` and the outputs for `taken`, in the precision of `x`."""
        if self._matrix is None or self._offset is not None or self._dtype != x.dtype:
            return x + self(taken)
        return torch.addmm(x, self._matrix, taken)


def _factors(norm: nn.Module, width: int) -> Tensor:
    """The factors of a norm, tuned or not: what it makes of ones, whose root mean square is 1."""
    like = next(norm.parameters())
    made: Tensor = norm(torch.ones(1, 1, width, dtype=like.dtype, device=like.device))
    return made[0, 0] * math.sqrt(1 + NORM_FLOOR)


def _divided(x: Columns) -> Columns:
    """Tokens over their root mean square, in float32 as in the network."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(0, keepdim=True) + NORM_FLOOR)).to(x.dtype)


def _affine(module: nn.Module, width: int) -> tuple[Tensor, Tensor | None] | None:
    """Matrix and offset of a module that is an affine map of `width` features; None for one that is none."""
    if type(module) is nn.Linear:
        return module.weight, module.bias
    like = next(module.parameters())
    if dtype_of(module) != like.dtype:
        return None
    probe = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device)
    asked = torch.cat([torch.eye(width, dtype=like.dtype, device=like.device), like.new_zeros(1, width), probe[None]])
    made = module(asked[None])[0]
    offset = made[width]
    matrix = (made[:width] - offset).mT.contiguous()
    expected = matrix @ probe + offset
    rounding = 64 * torch.finfo(like.dtype).eps * made.abs().amax() * math.sqrt(width)
    return (matrix, offset) if bool(((expected - made[-1]).abs() <= rounding).all()) else None


class History:
    """Keys and values of the tokens of a batch of histories, [window x head, ...], kept while the network reads them.

    Keys are kept as they are rotated, positions are absolute, so that none turns later; and divided by the root of
    their width, which the product with the queries asks for.
    """

    def __init__(self, net: LagLlama) -> None:
        self._net = net
        self.keys: list[Float[Tensor, "part token feature"]] = []
        self.values: list[Float[Tensor, "part feature token"]] = []

    def keep(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention among the history's tokens."""
        self.keys.append((key / math.sqrt(key.shape[-1])).flatten(0, 1))
        self.values.append(value.flatten(0, 1).mT.contiguous())
        return self._net.causal(layer, query, key, value)


class Walk:
    """The network on the newest token of every path, step after step.

    Each path of a window asks the keys of the window's history, which are there once, and those of its own earlier
    steps; both kinds of key share one softmax. Columns are ordered by window, then by path.
    """

    def __init__(self, net: LagLlama, history: History, *, windows: int, steps: int) -> None:
        config, self._history, self._windows, self._steps = net.config, history, windows, steps
        self._heads, self._width = config.n_head, config.n_embd_per_head
        width, self._count, self._dtype = config.width, 0, net.param_proj.dtype
        self._own: list[tuple[Tensor, Tensor]] = []
        # Queries and keys by feature, then by head, so that a sum over features adds up whole planes.
        order = torch.arange(3 * width, device=net.param_proj.device).view(3, self._heads, self._width)
        rows = torch.cat([*(part.mT.flatten() for part in order[:2]), order[2].flatten()])
        self._entrance = _Map(config.features, net.transformer["wte"])
        self._layers = [
            (
                _Map(width, block.attn.q_proj, block.attn.kv_proj, norm=block.rms_1, rows=rows),
                _Map(width, block.attn.c_proj),
                _Map(width, block.mlp.c_fc1, block.mlp.c_fc2, norm=block.rms_2),
                _Map(block.mlp.hidden, block.mlp.c_proj),
            )
            for block in net.blocks
        ]
        self._exit = _Map(width, *net.param_proj.proj, norm=net.transformer["ln_f"])

    def __call__(self, tokens: Columns, turn: Rotation) -> StudentT:
        """The predicted distribution of every path's next step, [column]; `turn` is that of the tokens' position."""
        x = self._entrance(tokens.to(self._dtype)).to(self._dtype)
        turns = _turning(turn, x)
        self._count += 1
        for layer, (asked, taken, gated, back) in enumerate(self._layers):
            x = taken.onto(x, self._attend(layer, asked(_divided(x)), turns))
            gate, value = gated(_divided(x)).chunk(2)
            x = back.onto(x, functional.silu(gate).mul_(value))
        return StudentT.of(*self._exit(_divided(x)))

    def _attend(self, layer: int, asked: Columns, turn: tuple[Tensor, Tensor] | None) -> Columns:
        """Queries, keys and values of the tokens to what the tokens take in."""
        heads, width, count, columns = self._heads, self._width, self._count, asked.shape[1]
        both, value = asked[: 2 * heads * width], asked[2 * heads * width :]
        query, key = _rotated(both.view(2, width, heads, columns), turn)
        if len(self._own) == layer:
            of_keys, of_values = (width, self._steps, heads, columns), (self._steps, heads, width, columns)
            self._own.append((asked.new_empty(of_keys), asked.new_empty(of_values)))
        keys, values = self._own[layer][0][:, :count], self._own[layer][1][:count]
        torch.mul(key, 1 / math.sqrt(width), out=keys[:, -1])
        values[-1] = value.view(heads, width, columns)
        by_window = query.view(width, heads, self._windows, -1).permute(2, 1, 0, 3).flatten(0, 1)
        to_history = (self._history.keys[layer] @ by_window).float().unflatten(0, (self._windows, heads))
        to_own = (keys * query[:, None]).sum(0).float().view(count, heads, self._windows, -1).transpose(1, 2)
        highest = torch.maximum(to_history.amax(2), to_own.amax(0))  # [window, head, path]
        to_history = to_history.sub_(highest[:, :, None]).exp_()
        to_own = to_own.sub_(highest).exp_()
        total = to_history.sum(2) + to_own.sum(0)
        shares = to_history.flatten(0, 1).to(value.dtype)
        history = (self._history.values[layer] @ shares).unflatten(0, (self._windows, heads))
        mine = to_own.transpose(1, 2).flatten(2)[:, :, None].to(value.dtype)
        taken = history.permute(1, 2, 0, 3).flatten(2) + (values * mine).sum(0)
        whole: Tensor = taken / total.transpose(0, 1).flatten(1)[:, None].to(taken.dtype)
        return whole.flatten(0, 1)


def _turning(by: Rotation, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """Cosines of every feature of a head and sines of its second half, [feature, 1, 1]."""
    if by is None:
        return None
    cos, sin = (part.flatten().to(like)[:, None, None] for part in by)
    return torch.cat([cos, cos]), sin


def _rotated(heads: Float[Tensor, "kind feature head column"], by: tuple[Tensor, Tensor] | None) -> Tensor:
    """As `nets.lag_llama` turns heads; all tokens have one position."""
    if by is None:
        return heads
    cos, sin = by
    turned, half = heads * cos, len(sin)
    turned[:, :half].addcmul_(heads[:, half:], sin, value=-1)
    turned[:, half:].addcmul_(heads[:, :half], sin)
    return turned
