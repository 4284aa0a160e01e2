"""The shapes in the annotations hold in every test: whoever breaks one fails."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from loracast.models import naive, statistical
from loracast.scoring import metrics
from loracast.types import Forecast, Rows

CELLS = np.zeros((2, 3))


def test_an_argument_of_another_shape_or_kind_fails():
    assert metrics.error(CELLS, CELLS).shape == (2, 3)
    for truth, point in ((CELLS, CELLS[:, :2]), (CELLS[0], CELLS[0]), (CELLS.astype(int), CELLS)):
        with pytest.raises(TypeCheckError, match=r"metrics\.error"):
            metrics.error(truth, point)


def test_a_field_of_a_dataclass_that_has_another_shape_fails():
    assert Rows(torch.zeros(2, dtype=torch.long), 60).step_seconds == 60
    with pytest.raises(TypeCheckError, match=r"Rows\.__init__"):
        Rows(torch.zeros(2), 60)


def test_what_a_property_or_a_method_gives_is_held_to_its_shape_too():
    with pytest.raises(TypeCheckError, match=r"Forecast\.__init__"):
        Forecast(CELLS)
    flat = Forecast.__new__(Forecast)
    object.__setattr__(flat, "quantiles", np.zeros((2, 3, 9, 1)))
    with pytest.raises(TypeCheckError, match=r"Forecast\.median"):
        _ = flat.median


def test_a_name_that_stands_for_a_shape_to_checkers_alone_is_held_too_where_another_file_takes_it():
    with pytest.raises(TypeCheckError, match=r"naive\.last_value"):
        naive.last_value(CELLS[0], 1)
    with pytest.raises(TypeCheckError, match=r"statistical\.ets"):
        statistical.ets(CELLS[0], 1)
