"""An adapted model as an object: it forecasts, shows how it learnt, and is saved as a folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from loracast.data.table import Table
from loracast.doorway.data import Reading, opened
from loracast.doorway.forecaster import FEWEST_PATHS, Forecaster
from loracast.doorway.quiet import bars, quiet, warn
from loracast.errors import AdapterError, ConfigError
from loracast.files import claimed, written
from loracast.files.private import PrivateFolder
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.tuning.arm import ArmSpec
from loracast.tuning.card import TrainedCard, read_card
from loracast.tuning.method import Method

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd
    from matplotlib.figure import Figure

    from loracast.models.base import Model


class Adapted(Forecaster):
    """A pretrained model that was adapted: `lc.adapt` makes one, and `lc.load` of its folder.

    `folder` is where it lies, `card` what it was trained on and with (`TrainedCard`). One that was made without `out`
    lies in a private temporary folder, and goes away with the object.

    >>> tuned
    Adapted(chronos-t5-nano lora r=2)
    >>> tuned.card.signals
    {'heart_rate': '1/min', 'map': 'mmHg'}
    """

    def __init__(self, folder: Path | PrivateFolder, *, backbone: str | None = None) -> None:
        self._private = folder if isinstance(folder, PrivateFolder) else None
        self.folder = folder.path / "adapter" if isinstance(folder, PrivateFolder) else folder
        self.card = read_card(self.folder, TrainedCard)
        self._backbone = backbone
        super().__init__(self.card.arm.name, self.card.arm, self._loaded)

    def _loaded(self) -> "Model":
        from loracast.tuning.adapter import load_adapter

        return load_adapter(self.folder, backbone=self._backbone)

    @property
    def base(self) -> str:
        """Where its base is loaded from: the name in its card, or what the caller said.

        >>> tuned.base
        'chronos-t5-nano'
        """
        return self._backbone or self.card.model

    @property
    def history(self) -> "pd.DataFrame":
        """The losses by training step: a frame with the index step and the columns training and validation.

        NaN where a step has no such loss. Empty where the adapter keeps none (of versions before 0.4).

        >>> tuned.history.columns.tolist()
        ['training', 'validation']
        """
        import pandas as pd

        losses = self.card.losses
        parts = {
            name: pd.Series({int(one["step"]): one["loss"] for one in found}, dtype=float, name=name)
            for name, found in (
                ("training", losses.train if losses else []),
                ("validation", losses.validation if losses else []),
            )
        }
        return pd.concat(parts, axis=1).sort_index().rename_axis("step")

    def save(self, folder: Path | str, *, overwrite: bool = False) -> Path:
        """Copy the adapter to `folder`, whole or not at all, and return it: `lc.load` reads it, and so does PEFT.

        Raises ConfigError where something stands there and `overwrite` is not given.

        >>> lc.load(tuned.save(folder / "adapter")).name
        'chronos-t5-nano lora r=2'
        """
        folder = Path(folder)
        with claimed(folder, self.folder, overwrite=overwrite), written(folder, overwrite=overwrite) as temporary:
            shutil.copytree(self.folder, temporary)
        return folder

    @overload
    def plot(self, data: None = None) -> "Figure": ...
    @overload
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
    ) -> "Figure": ...
    def plot(self, data: Any = None, **settings: Any) -> "Figure":
        """Draw fans of its forecasts of `data`, as `Forecaster.plot` does; without data, how it learnt.

        Raises ConfigError where the adapter keeps no losses, and as `Forecaster.plot` does.

        >>> len(tuned.plot(table, most=2).axes)
        2
        """
        if data is not None:
            return super().plot(data, **settings)
        from loracast.doorway.plots import draw_losses

        return draw_losses(self.card, self.name)

    def _step(self) -> int | None:
        return self.card.window.step_seconds

    def _reading(self) -> dict[str, Any]:
        return self.card.reading or {"grid": f"{self.card.window.step_seconds}s"}

    def _window_of(self, window: WindowSpec, table: Table) -> WindowSpec:
        from loracast.study.steps.asked import fits_adapter

        return fits_adapter(window, self.card, table)

    def _window_of_array(self, window: WindowSpec, steps: int, step: int) -> WindowSpec:
        own = self.card.window
        if own.joint:
            raise AdapterError(
                f"{self.name} reads the signals of a stay together, and an array does not say which they are. Give a "
                "frame, or a table."
            )
        if step != own.step_seconds:
            raise AdapterError(
                f"{self.name} was trained on steps of {own.step_seconds} s; steps of {step} s given. Give the array on "
                "its grid."
            )
        return window.model_copy(
            update={"context": window.context or own.context, "horizon": window.horizon or own.horizon}
        )

    def _horizon(self, window: WindowSpec, step: int) -> int:
        del step
        return window.horizon or self.card.window.horizon

    def _facts(self) -> dict[str, str]:
        card = self.card
        window, patients = card.window, card.patients
        return {
            "model": card.model,
            "method": card.arm.method.short,
            "trained numbers": f"{card.trainable_parameters:,}",
            "window": f"{window.context} steps, then {window.horizon}, of {window.step_seconds} s",
            "signals": ", ".join(f"{name} ({unit})" for name, unit in card.signals.items()),
            "patients": ", ".join(f"{side} {number:,}" for side, number in patients.items()),
            "validation loss": f"{card.validation_loss_at_start:.4g} before, {card.validation_loss:.4g} at step "
            f"{card.best_step}, which was kept",
            "data": f"{card.data.source}{' (SIMULATED DATA)' if card.data.simulated else ''}, {card.data.licence}",
        }


def adapt(
    table: Table | Path | str,
    model: str | Path = "chronos-t5-nano",
    method: Method | str = "lora",
    *,
    horizon: int | None = None,
    context: int | None = None,
    learning_rate: float | None = None,
    revision: str | None = None,
    window: WindowSpec | Mapping[str, Any] | None = None,
    split: SplitSpec | Mapping[str, Any] | None = None,
    training: TrainSpec | Mapping[str, Any] | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Adapted:
    """Adapt a pretrained model to a table, with few trained numbers: the `loracast adapt` of Python.

    `method` is an object such as `lc.LoRA(rank=2)`, or a name for its defaults. `horizon` and `context` are in steps of
    the grid (`WindowSpec.resolved` if not given); `window`, `split` and `training` say the rest. Patients are split by
    `seed` unless `split` says how: the test patients choose nothing. The adapter is saved to the folder `out`, or to
    a private temporary one until `save`. `progress` shows a bar; if not said, wherever it goes away again.

    Raises ConfigError, DataError, BackboneError and TrainingError as `study.steps.adapting.adapt_table` does.

    >>> tuned = lc.adapt(table, "chronos-t5-nano", lc.LoRA(rank=1), horizon=6, training={"steps": 2}, progress=False)
    >>> tuned.card.trainable_parameters
    6144
    """
    table = opened(table)
    arm = arm_of(str(model), method, learning_rate=learning_rate, revision=revision)
    asked = window_of(window, horizon=horizon, context=context)
    folder = PrivateFolder("adapter") if out is None else Path(out)
    place = folder.path / "adapter" if isinstance(folder, PrivateFolder) else folder
    with quiet():
        from loracast.study.steps.adapting import adapt_table

        adapt_table(
            table,
            place,
            arm=arm,
            window=asked,
            split=split,
            training=training,
            seed=seed,
            overwrite=overwrite,
            progress=bars(progress),
            say=warn,
        )
    backbone = str(model) if Path(model).is_dir() else None
    return Adapted(folder, backbone=backbone)


def arm_of(
    model: str, method: Method | str, *, learning_rate: float | None = None, revision: str | None = None
) -> ArmSpec:
    """A model with a method as an arm; raises ConfigError for a name that is none."""
    from loracast.study.steps.asked import asked

    more = {"learning_rate": learning_rate, "revision": revision}
    return asked(ArmSpec, {"model": model, "method": method, **more}, "The arm")


def window_of(window: WindowSpec | Mapping[str, Any] | None, *, horizon: int | None, context: int | None) -> WindowSpec:
    """The window with the two lengths that most callers give; raises ConfigError for one that is given twice."""
    from loracast.study.steps.asked import asked

    whole = asked(WindowSpec, window, "The window")
    for name, given in (("horizon", horizon), ("context", context)):
        if given is not None and getattr(whole, name) not in (None, given):
            raise ConfigError(f"{name}={given} given, and {getattr(whole, name)} in the window. Give one of the two.")
    return asked(
        WindowSpec, {**whole.model_dump(exclude_unset=True), **_given(horizon=horizon, context=context)}, "The window"
    )


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
