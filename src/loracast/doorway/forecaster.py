"""A model as an object: it forecasts arrays, frames and tables, and draws what it forecasts."""

import html
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from loracast.data.gridding import grid_seconds
from loracast.data.table import Table
from loracast.doorway.data import Reading, as_given, as_table
from loracast.doorway.quiet import quiet, warn
from loracast.errors import ConfigError, DataError
from loracast.models.base import within
from loracast.spec import ForecastSpec, Precision, WindowSpec
from loracast.tuning.arm import BY_KIND, ArmSpec
from loracast.types import LEVELS, Rows

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from narwhals.typing import IntoDataFrameT

    from loracast.models.base import Model
    from loracast.study.steps.ahead import ForecastPlan

HOURLY = 3600
"""The step of an array where nobody says, in seconds."""
FEWEST_PATHS = 100
"""Sample paths of a fan at the least: with fewer its edges are noise."""


class Forecaster:
    """A model that forecasts. `lc.load` makes one; `name` is what tables call it.

    >>> model = lc.load("last-value")
    >>> model
    Forecaster(last-value)
    >>> model.forecast(np.array([80.0, 82.0, np.nan, 81.0]), horizon=2, quantile_levels=[0.5])
    array([[[81.],
            [81.]]], dtype=float32)
    """

    def __init__(self, name: str, arm: ArmSpec, load: "Callable[[], Model]") -> None:
        self.name = name
        self.arm = arm
        self._load = load

    @cached_property
    def model(self) -> "Model":
        """The model itself, loaded when it is first used: `model.card` says what it takes and its licence.

        >>> lc.load("chronos-t5-nano").model.card.context
        512
        """
        with quiet():
            return self._load()

    @overload
    def forecast(
        self,
        data: "np.ndarray",
        *,
        horizon: int | None = None,
        context: int | None = None,
        quantile_levels: Sequence[float] = LEVELS,
        samples: int = 100,
        seed: int = 0,
        precision: Precision = "float32",
        season: int | None = None,
        min_context_observed: float | None = None,
        progress: bool = False,
        **reading: "Unpack[Reading]",
    ) -> "np.ndarray": ...
    @overload
    def forecast(
        self,
        data: Table | Path | str,
        *,
        horizon: int | None = None,
        context: int | None = None,
        quantile_levels: Sequence[float] = LEVELS,
        samples: int = 100,
        seed: int = 0,
        precision: Precision = "float32",
        season: int | None = None,
        min_context_observed: float | None = None,
        progress: bool = False,
    ) -> "pd.DataFrame": ...
    @overload
    def forecast(
        self,
        data: "IntoDataFrameT",
        *,
        horizon: int | None = None,
        context: int | None = None,
        quantile_levels: Sequence[float] = LEVELS,
        samples: int = 100,
        seed: int = 0,
        precision: Precision = "float32",
        season: int | None = None,
        min_context_observed: float | None = None,
        progress: bool = False,
        **reading: "Unpack[Reading]",
    ) -> "IntoDataFrameT": ...
    def forecast(
        self,
        data: Any,
        *,
        horizon: int | None = None,
        context: int | None = None,
        quantile_levels: Sequence[float] = LEVELS,
        samples: int = 100,
        seed: int = 0,
        precision: Precision = "float32",
        season: int | None = None,
        min_context_observed: float | None = None,
        progress: bool = False,
        **reading: "Unpack[Reading]",
    ) -> Any:
        """Predictive quantiles of the steps that follow the end of every series, in the units of the data.

        An array of shape (step,) or (series, step), NaN where nothing was observed, gives an array of shape
        (series, horizon, level). A frame gives a frame of the same library, a table or its file one of pandas: patient,
        stay, signal, time, and a column a level, "0.1" … "0.9". `reading` says how a frame is read, where it is not as
        the frame that the model was adapted to (`Table.from_frame`); of an array, `grid` is its step (hourly if not
        given) and `start` the time of the first.

        `horizon` and `context` are in steps: those of the adaptation; else 6 hours after 24 for steps of an hour, after
        all of an array as far as the model takes it (`WindowSpec.resolved`). `samples` are the paths of a model that
        draws some, `precision` what a pretrained network multiplies in (`ForecastSpec`). A series of whose context less
        than the share `min_context_observed` (half) was observed gets NaN, and a LoracastWarning counts these. Raises
        ConfigError, DataError, AdapterError and BackboneError where data or settings do not fit the model.

        >>> tuned.forecast(table).columns[:6].tolist()
        ['patient', 'stay', 'signal', 'time', '0.1', '0.2']
        """
        import numpy as np

        from loracast.study.steps.asked import asked
        from loracast.study.steps.forecasting import ascending

        given = {"horizon": horizon, "context": context, "season": season, "min_context_observed": min_context_observed}
        window = asked(WindowSpec, given, "The forecast")
        settings = asked(ForecastSpec, {"samples": samples, "seed": seed, "precision": precision}, "The forecast")
        levels = ascending(quantile_levels)
        if isinstance(data, np.ndarray):
            with quiet():
                return self._of_array(data, window, settings, levels, reading)
        table = as_table(data, reading, usual=self._reading())
        with quiet():
            found, too_sparse = self._of_table(table, window, settings, levels, progress=progress)
        if too_sparse:
            _tell_sparse(too_sparse, len(found) // max(1, self._horizon(window, table.step_seconds)))
        return as_given(found, data)

    def _of_array(
        self,
        array: "np.ndarray",
        window: WindowSpec,
        settings: ForecastSpec,
        levels: tuple[float, ...],
        reading: Reading,
    ) -> "np.ndarray":
        import numpy as np
        import torch

        from loracast.data.frames import moment_of
        from loracast.data.series import seconds
        from loracast.study.steps.ahead import ahead

        if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or array.size == 0:
            raise DataError(
                f"An array of {array.dtype.name} and shape {array.shape} given. Give numbers of shape (step,) or "
                "(series, step), NaN where nothing was observed."
            )
        strange = sorted(set(reading) - {"grid", "start"})
        if strange:
            raise ConfigError(f"{', '.join(strange)}: of an array only grid and start can be said. Leave it out.")
        values = np.ma.filled(np.ma.asarray(np.atleast_2d(array), np.float32), np.nan)
        grid = reading.get("grid")
        step = self._step() or HOURLY if grid is None else grid_seconds(grid)
        plan = self._plan(self._window_of_array(window, values.shape[1], step), step, settings, levels)
        context = np.full((len(values), plan.context), np.nan, np.float32)
        taken = min(plan.context, values.shape[1])
        context[:, -taken:] = values[:, -taken:]
        first = seconds(moment_of(reading.get("start"))) + (values.shape[1] - plan.context) * step
        numbers = torch.arange(len(values))
        rows = Rows(torch.full((len(values),), first), step, season=plan.window.season or 1, series=numbers)
        found = ahead(context, rows, plan)
        too_sparse = int(np.isnan(found).all(axis=(1, 2)).sum())
        if too_sparse:
            _tell_sparse(too_sparse, len(values))
        return found

    def _of_table(
        self, table: Table, window: WindowSpec, settings: ForecastSpec, levels: tuple[float, ...], *, progress: bool
    ) -> tuple[Any, int]:
        import pyarrow as pa

        from loracast.study.steps.ahead import forecasts

        plan = self._plan(self._window_of(window, table), table.step_seconds, settings, levels)
        parts, facts = zip(*forecasts(table, plan, progress=progress), strict=True)
        whole = pa.concat_tables(parts)
        names = ["patient", "stay", "signal", "time"]
        found = whole.select([*names, *(f"q{level!r}" for level in levels)])
        return found.rename_columns([*names, *(repr(level) for level in levels)]), facts[-1].too_sparse

    def _plan(self, window: WindowSpec, step: int, settings: ForecastSpec, levels: tuple[float, ...]) -> "ForecastPlan":
        from loracast.study.steps.ahead import ForecastPlan

        whole = within(window, step, [self.model.card]).resolved(step)
        return ForecastPlan(self.model, whole, settings, levels)

    def _window_of(self, window: WindowSpec, table: Table) -> WindowSpec:
        """The window on a table, with what the model itself brings; refused where the two do not fit."""
        del table
        return window

    def _window_of_array(self, window: WindowSpec, steps: int, step: int) -> WindowSpec:
        del step
        if window.context is not None:
            return window
        return window.model_copy(update={"context": max(4, min(steps, self.model.card.context or steps))})

    def _horizon(self, window: WindowSpec, step: int) -> int:
        return window.horizon or window.resolved(step).horizon or 1

    def _step(self) -> int | None:
        """The step that the model was made for, in seconds; None where it takes any."""
        return None

    def _reading(self) -> dict[str, Any]:
        """How a frame is read unless the caller says otherwise."""
        return {}

    def plot(
        self,
        data: Any,
        *,
        horizon: int | None = None,
        context: int | None = None,
        samples: int = FEWEST_PATHS,
        seed: int = 0,
        truth: bool = True,
        most: int = 6,
        **reading: "Unpack[Reading]",
    ) -> "Figure":
        """Draw what was observed, the forecast as a fan, and what then was observed, a panel a series, `most` at most.

        `data` is as in `forecast`. The last `horizon` steps are held back from the model and drawn as the truth;
        without `truth` the forecast follows the last step. No name of a patient is drawn. Raises ConfigError for fewer
        than 100 `samples`, of which the edges of a fan would be noise, and as `forecast` does.

        >>> len(lc.load("last-value").plot(table, most=3).axes)
        3
        """
        from loracast.doorway.plots import draw_fans, tails
        from loracast.study.steps.asked import asked

        if samples < FEWEST_PATHS:
            raise ConfigError(f"{samples} paths asked for; a fan is drawn from {FEWEST_PATHS} at least.")
        window = asked(WindowSpec, {"horizon": horizon, "context": context}, "The plot")
        table = as_table(data, reading, usual=self._reading())
        with quiet():
            plan = self._plan(
                self._window_of(window, table), table.step_seconds, ForecastSpec(samples=samples, seed=seed), LEVELS
            )
            return draw_fans(tails(table, plan, truth=truth, most=most), self.name, simulated=table.simulated)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th scope='row'>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table><caption>{html.escape(self.name)}</caption><tbody>{rows}</tbody></table>"

    def _facts(self) -> dict[str, str]:
        """What is shown of it."""
        card = self.model.card
        most = "any" if card.context is None else f"{card.context:,}"
        return {
            "model": card.name,
            "kind": card.kind,
            "numbers": f"{card.parameters:,}",
            "most steps of context": most,
            "licence": card.licence,
        }


def load(name: str | Path, *, revision: str | None = None, backbone: str | None = None) -> Forecaster:
    """Load a model by its name, a folder of a backbone, or a folder of an adapter (then it is an `Adapted`).

    `revision` pins a commit, tag or branch of the Hub; `backbone` says where an adapter's base lies, where its card
    cannot find it. Raises BackboneError for an unknown name or weights that cannot be had, AdapterError for an adapter
    that is damaged or of another base, ConfigError for a network that has to be trained first.

    >>> lc.load("chronos-t5-nano").model.card.licence
    'Apache-2.0'
    """
    from loracast.models.registry import kind_of, load_model
    from loracast.tuning.card import CARD

    if (Path(name) / CARD).is_file():
        from loracast.doorway.adapted import Adapted

        if revision is not None:
            raise ConfigError(f"{name} is an adapter, whose card pins its revision; leave {revision!r} out.")
        adapted = Adapted(Path(name), backbone=backbone)
        _ = adapted.model  # what is damaged is told now
        return adapted
    if backbone is not None:
        raise ConfigError(f"{name} is no adapter, which has a base; leave backbone={backbone!r} out.")
    kind = kind_of(str(name))
    if kind == "network":
        raise ConfigError(
            f"{name} is a network that is trained from nothing, so there is none to load. Run an lc.Study."
        )
    arm = ArmSpec.model_validate({"model": str(name), "method": BY_KIND.get(kind, "zero-shot"), "revision": revision})
    found = Forecaster(arm.name, arm, lambda: load_model(str(name), revision=revision))
    _ = found.model
    return found


def _tell_sparse(too_sparse: int, series: int) -> None:
    warn(
        f"{too_sparse:,} of {series:,} series have no numbers (NaN): too little of their context was observed "
        "(min_context_observed, context)."
    )
