"""What the tests of the doorway share: a frame of patients, its table, an adapted model and an evaluation."""

import pandas as pd
import pytest

import loracast as lc
from tests.conftest import START, cohort

SPLIT = {"shares": (0.4, 0.1, 0.5)}
"""Seven of fourteen patients are tested: enough for a verdict."""
LOOP = lc.TrainSpec(steps=4, evaluate_every=2)
COLUMNS = {"patient": "subject_id", "stay": "stay_id", "signal": "item", "time": "charttime", "value": "valuenum"}


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    """Fourteen patients with heart rate and arterial pressure by the hour, with gaps; columns of one's own names."""
    rows = [
        (patient, stay, signal, START + pd.Timedelta(hours=hour), value)
        for (patient, stay, signal), values in cohort(14).items()
        for hour, value in enumerate(values)
        if value is not None
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS.values()))


@pytest.fixture(scope="session")
def table(frame: pd.DataFrame) -> lc.Table:
    return lc.Table.from_frame(frame, grid="60min", **COLUMNS)


@pytest.fixture(scope="session")
def tuned(table: lc.Table) -> lc.Adapted:
    return lc.adapt(
        table, "chronos-t5-nano", lc.LoRA(rank=2), horizon=6, context=24, split=SPLIT, training=LOOP, progress=False
    )


class Own:
    """A model of a user's own: the median of what it sees, at every level."""

    class card:  # noqa: N801  as a model has it
        name, family, kind, licence = "my-median", "mine", "statistical", "MIT"
        parameters, context, horizon, revision = 0, None, None, None

    def forecast(self, context, horizon, *, levels, samples, seed, rows=None):
        middle = context.nanmedian(dim=1).values
        return middle[:, None, None].expand(-1, horizon, len(levels)).clone()


@pytest.fixture(scope="session")
def own() -> Own:
    return Own()


@pytest.fixture(scope="session")
def result(table: lc.Table, tuned: lc.Adapted, own: Own) -> lc.Result:
    """Names, an adapted model and a model of one's own, on the same windows."""
    few = lc.ForecastSpec(samples=4)
    return lc.evaluate(table, ["chronos-t5-nano", tuned, own], forecasting=few, progress=False)
