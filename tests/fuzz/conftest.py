"""Tells, after a large run, how many inputs of each kind were refused and how many were read."""

from collections.abc import Iterator

import pytest

from tests.fuzz.damage import EXAMPLES, OUTCOMES


@pytest.fixture(scope="session", autouse=True)
def figures(pytestconfig: pytest.Config) -> Iterator[None]:
    """Print the counts of a run of `make fuzz`."""
    yield
    if EXAMPLES > 100:
        with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            lines = "\n".join(f"  {name}: {count:,}" for name, count in sorted(OUTCOMES.items()))
            print(f"\n{sum(OUTCOMES.values()):,} damaged inputs:\n{lines}")
