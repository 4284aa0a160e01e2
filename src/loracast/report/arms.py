"""Which arms there are: their kinds and families, the names of their pages, and a few of many for a figure."""

import re
from collections.abc import Iterable
from typing import Any

from loracast.report.readable import plural
from loracast.report.results import Arm, Summary, is_baseline, is_trained, score, scored_signals
from loracast.spec import FITTED

MANY = 12
"""More arms than this are no longer told apart in one plot, nor read sentence by sentence."""


def is_scratch(arm: Arm) -> bool:
    """Whether an arm is a network that was trained from random numbers, without a pretrained backbone."""
    return arm.get("method") == "scratch"


def is_naive(arm: Arm) -> bool:
    """Whether an arm is a naive forecast: a baseline that fits no model."""
    return is_baseline(arm) and arm["arm"] not in FITTED


def is_adapted(arm: Arm) -> bool:
    """Whether an arm is a pretrained backbone that was trained on."""
    return is_trained(arm) and not is_scratch(arm)


def family_of(arm: Arm) -> tuple[str, str]:
    """Method and backbone; arms of one family differ in rank, sites or share of patients. Empty where unknown."""
    return str(arm.get("method") or ""), str(arm.get("backbone") or "")


def short_name(arm: Arm) -> str:
    """The name without the backbone in front: `lora r=2`."""
    backbone = arm.get("backbone")
    return str(arm["arm"]).removeprefix(f"{backbone} ") if backbone else str(arm["arm"])


def slugs_of(summary: Summary) -> dict[str, str]:
    """The name of each arm's page without its ending: safe in every file system, and no two alike."""
    slugs: dict[str, str] = {}
    taken: set[str] = set()
    for arm in summary["arms"]:
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", str(arm["arm"])).strip(".-")[:100] or "arm"
        tries = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(summary["arms"]) + 1))
        slugs[arm["arm"]] = next(slug for slug in tries if slug.lower() not in taken)
        taken.add(slugs[arm["arm"]].lower())
    return slugs


def missing_of(summary: Summary) -> list[tuple[str, str]]:
    """The arms that are not, or not all, done, as `arm (seeds 0, 1)`, with the reason; empty where none is named."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for entry in summary.get("missing") or ():
        facts = entry if isinstance(entry, dict) else {"arm": entry}
        told = facts.get("reason") or facts.get("error") or facts.get("state") or "no reason was recorded"
        found = seeds.setdefault((str(facts.get("arm") or "unnamed arm"), str(told)), [])
        found += [str(facts["seed"])] if facts.get("seed") is not None else []
    return [
        (f"{name} (seed{'s' if len(found) > 1 else ''} {', '.join(found)})" if found else name, reason)
        for (name, reason), found in seeds.items()
    ]


def without_seeds(missing: str) -> str:
    """The arm that an entry of `missing_of` names."""
    return re.sub(r" \(seeds? [^()]*\)$", "", missing)


def relative_error(summary: Summary, arm: Arm) -> float | None:
    """The MAE of an arm over the lowest of each signal, averaged over its signals; None without a score."""
    parts = []
    for signal in scored_signals(summary):
        value = score(arm, signal, "mae")
        lowest = min(v for other in summary["arms"] if (v := score(other, signal, "mae")) is not None)
        if value is not None and lowest > 0:
            parts.append(value / lowest)
    return sum(parts) / len(parts) if parts else None


def by_error(summary: Summary, arms: Iterable[Arm]) -> list[Arm]:
    """Arms from the lowest relative error to the highest, those without a score last."""
    errors = {arm["arm"]: relative_error(summary, arm) for arm in arms}
    return sorted(arms, key=lambda arm: float("inf") if (error := errors[arm["arm"]]) is None else error)


def chosen(summary: Summary, most: int = MANY) -> tuple[list[Arm], str]:
    """At most `most` arms that stand for all, in the summary's order, and a sentence that says which; "" if all are.

    The best naive forecast, statistical model and network from scratch; of each backbone the best adapted arm,
    zero-shot and full fine-tuning; then the lowest errors.
    """
    arms = summary["arms"]
    if len(arms) <= most:
        return list(arms), ""
    ordered = by_error(summary, arms)
    backbones = list(dict.fromkeys(arm["backbone"] for arm in arms if arm.get("backbone")))
    wanted: list[Arm] = []
    tests: list[Any] = [is_naive, is_scratch]
    for kind in (_is_adapter, _is("zero-shot"), _is("full")):
        tests += [_both(kind, backbone) for backbone in backbones]
    for test in [*tests, lambda arm: arm["arm"] in FITTED, *[lambda arm: True] * len(arms)]:
        first = next((arm for arm in ordered if test(arm) and arm not in wanted), None)
        if first is not None and len(wanted) < most:
            wanted.append(first)
    names = {arm["arm"] for arm in wanted}
    told = (
        f" Of {plural(len(arms), 'arm')} {len(names)} are drawn, in this order as far as there is room: the best naive "
        "forecast and network from scratch; the best adapted arm of each backbone, zero-shot, full fine-tuning; then "
        "the lowest errors (relative to the lowest of each signal). The others are in the tables and on their pages."
    )
    return [arm for arm in arms if arm["arm"] in names], told


def _is_adapter(arm: Arm) -> bool:
    return is_adapted(arm) and arm.get("method") != "full"


def _is(method: str) -> Any:
    return lambda arm: arm.get("method") == method


def _both(kind: Any, backbone: str) -> Any:
    return lambda arm: kind(arm) and arm.get("backbone") == backbone
