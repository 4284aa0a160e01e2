"""What a user may call shows how: every public docstring has an example, and it gives what it says."""

import doctest
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import loracast
import loracast as lc
from loracast import errors, spec
from loracast.tuning.method import Method
from loracast.tuning.methods import BUILT_IN

GIVEN = {"table": "vitals", "folder": "tmp_path", "tiny": "tiny", "own_frame": "own_frame"}
GIVEN |= {"tuned": "tuned", "result": "result"}
"""What examples may use without making it: the name, and the fixture that makes it where one does."""
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public functions and properties of a class that loracast wrote, with those of its bases."""
    # What a method does is asked of it by loracast; a user makes one and hands it over.
    own = [] if issubclass(kind, Method) else [one for one in kind.__mro__ if one.__module__.startswith("loracast.")]
    for name in dict.fromkeys(name for one in own for name in vars(one)):
        found = inspect.getattr_static(kind, name)
        if name[0] != "_" and isinstance(found, property | staticmethod | classmethod | type(members)):
            yield name, found


def public() -> dict[str, Any]:
    """Everything that a user may call, by its name; `Forecaster.forecast` is a name too."""
    found: dict[str, Any] = {}
    specs = [one for one in vars(spec).values() if isinstance(one, type) and issubclass(one, spec.Frozen)]
    kinds = [*(one for one in vars(errors).values() if isinstance(one, type)), *specs, *BUILT_IN]
    everything = {name: getattr(loracast, name) for name in loracast.__all__}
    everything |= {one.__name__: one for one in kinds if one is not spec.Frozen}
    for name, one in everything.items():
        if callable(one):
            found[name] = one
        if isinstance(one, type):
            found |= {f"{name}.{member}": function for member, function in members(one)}
    return found


PUBLIC = public()


@pytest.fixture
def own_frame() -> pd.DataFrame:
    """Two patients, six hours, as Nixtla has them."""
    hours = pd.date_range("2150-03-01", periods=6, freq="h")
    rows = [{"unique_id": who, "ds": hour, "y": 80.0 + step} for who in "ab" for step, hour in enumerate(hours)]
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def tuned(vitals: lc.Table) -> lc.Adapted:
    """A LoRA of two steps."""
    loop = lc.TrainSpec(steps=2, evaluate_every=1)
    split = {"shares": (0.6, 0.2, 0.2)}
    return lc.adapt(vitals, "chronos-t5-nano", lc.LoRA(rank=2), horizon=6, context=24, training=loop, split=split)


@pytest.fixture(scope="session")
def result(vitals: lc.Table, tuned: lc.Adapted) -> lc.Result:
    """Zero-shot and that LoRA, beside the naive floor."""
    return lc.evaluate(vitals, ["chronos-t5-nano", tuned], forecasting={"samples": 4})


def run(name: str, found: Any, request: pytest.FixtureRequest) -> tuple[int, str]:
    """How many examples the docstring has, and what they gave where it is something else."""
    text = inspect.getdoc(found) or ""
    plain = inspect.unwrap(getattr(found, "fget", None) or getattr(found, "__func__", found))
    home = vars(sys.modules[plain.__module__])
    given = {one: request.getfixturevalue(by) for one, by in GIVEN.items() if re.search(rf"\b{one}\b", text)}
    names = {one: getattr(loracast, one) for one in loracast.__all__ if re.search(rf"\b{one}\b", text)}
    names |= {kind.__name__: kind for kind in BUILT_IN}
    scope = {**home, "lc": loracast, "np": np, "pd": pd, **names, **given}
    test = doctest.DocTestParser().get_doctest(text, scope, name, None, None)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=said.append)
    return len(test.examples), "".join(said)


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_docstring_has_an_example_that_gives_what_it_says(name, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples, said = run(name, PUBLIC[name], request)
    assert examples > 0, f"the docstring of {name} has no >>> example"
    assert said == ""


def test_an_example_that_gives_something_else_is_told(request):
    def doubled(number: int) -> int:
        """Twice the number.

        >>> 2 * 2
        5
        """
        return 2 * number

    examples, said = run("doubled", doubled, request)
    assert (examples, "Expected:\n    5\nGot:\n    4" in said) == (1, True)
