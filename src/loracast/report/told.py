"""What there is to say of a table of forecasts, in lines for its reader."""

from loracast.report.readable import plural
from loracast.scoring.checks import FEWEST_PATHS
from loracast.study.summary import ForecastFacts


def forecast_told(facts: ForecastFacts) -> list[str]:
    """How many series were forecast, how many got no numbers, and what to beware of."""
    some = f"{facts.series - facts.too_sparse:,} of " if facts.too_sparse else ""
    lines = [f"Forecast {some}{facts.series:,} series."]
    if facts.too_sparse:
        lines.append(
            f"{plural(facts.too_sparse, 'series')} without numbers (null): less than {facts.least_observed:.0%} of the "
            f"context of {plural(facts.context, 'step')} was measured (--min-observed, --context)."
        )
    beyond = {name: told for name, told in facts.signals.items() if told.beyond_range}
    if beyond:
        parts = ", ".join(f"{name} {told.beyond_range:,} of {told.steps:,}" for name, told in beyond.items())
        after = "they were set to its bounds" if facts.clipped else "--clip sets them to its bounds"
        lines.append(f"Steps with a quantile outside what the signal can be: {parts}; {after}.")
    if facts.samples is not None and facts.samples < FEWEST_PATHS:
        lines.append(
            f"Drawn from {facts.samples} sample paths: of fewer than {FEWEST_PATHS}, quantiles are rough (check C13)."
        )
    if facts.precision == "bfloat16":
        lines.append("Computed in bfloat16: the numbers differ a little from those in float32, the usual precision.")
    lines.append(
        "Patients and stays stand in it by pseudonyms, which nobody without the key can make."
        if facts.keyed
        else "Patients and stays stand in it by name; --keyed FILE puts pseudonyms in their place."
    )
    return lines
