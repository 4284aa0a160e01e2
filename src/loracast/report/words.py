"""The verdict in plain words: which arm errs least, and whether adapting was shown to be worth it."""

from loracast.report.arms import MANY, is_adapted, is_naive, is_scratch
from loracast.report.readable import count, decimals_for, interval, number, plural, share
from loracast.report.results import (
    Arm,
    Summary,
    difference_of,
    interval_of,
    is_baseline,
    is_trained,
    label_of,
    score,
    scored_signals,
    seeds_of,
    signals_of,
    unit_of,
)
from loracast.spec import FITTED


def verdict_of_arm(summary: Summary, arm: Arm) -> str:
    """One sentence on a trained arm: what it cost, and on which signals it is shown better or worse than zero-shot.

    A network from scratch has no zero-shot of its own: it is held against the best naive forecast.
    """
    if is_scratch(arm):
        cost = f"{arm['arm']} is a network from scratch: all its {count(arm.get('trainable_parameters'))} numbers are "
        return cost + "trained here. " + _compared(summary, arm, "vs_naive", "the best naive forecast")
    every = "all " if arm.get("method") == "full" else ""
    cost = f"{arm['arm']} trains {every}{count(arm.get('trainable_parameters'))} numbers{_part(summary, arm)}. "
    return cost + _compared(summary, arm, "vs_zero_shot", "zero-shot")


def _compared(summary: Summary, arm: Arm, key: str, reference: str) -> str:
    """On which signals an arm is shown better or worse than a reference."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for signal in scored_signals(summary):
        difference = difference_of(arm, signal, key)
        if difference is not None and difference.value is not None:
            kind = difference.verdict if difference.verdict in found else ""
            found[kind].append(label_of(summary, signal))
    compared = sum(map(len, found.values()))
    if not compared:
        return f"It was not compared with {reference}."
    phrases = [f"{kind} than {reference} on {_listed(found[kind])}" for kind in ("better", "worse") if found[kind]]
    if not phrases:
        where = f"on {_listed(found[''])}" if compared == 1 else f"on any of {plural(compared, 'signal')}"
        return f"No difference to {reference} is shown {where}."
    if found[""]:
        where = _listed(found[""]) if len(found[""]) < 4 else f"the other {len(found[''])} signals"
        phrases[-1] += f"; on {where} no difference is shown"
    return f"It is shown to be {' and '.join(phrases)}."


def verdict_of_many(summary: Summary) -> list[str]:
    """Many trained arms in a few sentences: how many of them are shown better than zero-shot, and on how much."""
    adapted = [arm for arm in summary["arms"] if is_adapted(arm)]
    scratch = [arm for arm in summary["arms"] if is_scratch(arm)]
    told = _tally(summary, adapted, "vs_zero_shot", "zero-shot of their backbone", "adapted arm")
    return told + _tally(summary, scratch, "vs_naive", "the best naive forecast", "scratch network")


def _tally(summary: Summary, arms: list[Arm], key: str, reference: str, noun: str) -> list[str]:
    """Who of `arms` is shown better on all signals, on some, worse on any; and how many neither."""
    everywhere, somewhere, worse, open_ = [], [], [], []
    for arm in arms:
        found = [d for signal in scored_signals(summary) if (d := difference_of(arm, signal, key)) is not None]
        verdicts = [difference.verdict for difference in found if difference.value is not None]
        if "worse" in verdicts:
            worse.append(arm["arm"])
        if verdicts and all(verdict == "better" for verdict in verdicts):
            everywhere.append(arm["arm"])
        elif "better" in verdicts:
            somewhere.append(arm["arm"])
        elif verdicts and "worse" not in verdicts:
            open_.append(arm["arm"])
    compared = len({*everywhere, *somewhere, *worse, *open_})
    if not compared:
        return [f"{plural(len(arms), noun)}, not compared with {reference}."] if arms else []
    signals = len(scored_signals(summary))
    where = "on the only signal" if signals == 1 else f"on all {signals} signals"
    told = [f"{plural(compared, noun)} compared with {reference}: {len(everywhere)} shown better {where}"]
    told[0] += f" ({_some(everywhere)})" if everywhere else ""
    if somewhere:
        told[0] += f", {len(somewhere)} on some ({_some(somewhere)})"
    told[0] += f"; {len(worse)} shown worse on at least one" + (f" ({_some(worse)})" if worse else "")
    told[0] += f"; for {len(open_)} no difference is shown on any." if open_ else "."
    return told


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _part(summary: Summary, arm: Arm) -> str:
    """How small a part the trained numbers are of what full fine-tuning trains, or else of the whole backbone."""
    if arm.get("method") == "full":
        return " of the model"
    for other in summary["arms"]:
        if other.get("method") == "full" and other.get("backbone") == arm.get("backbone"):
            whole = other.get("trainable_parameters")
            return f" ({share(arm.get('trainable_parameters'), whole)} of the {count(whole)} of full fine-tuning)"
    whole = arm.get("total_parameters")
    return f" ({share(arm.get('trainable_parameters'), whole)} of the {count(whole)} of the model)" if whole else ""


def lowest_of_signal(summary: Summary, signal: str) -> tuple[str, bool]:
    """One sentence on a signal, who errs least and next to whom, and whether the naive floor won."""
    scored = [(score(arm, signal, "mae"), arm) for arm in summary["arms"]]
    ranked = sorted(((value, arm) for value, arm in scored if value is not None), key=lambda pair: pair[0])
    if not ranked:
        return "no arm has a score.", False
    decimals, unit = decimals_for(value for value, _ in ranked), unit_of(summary, signal)
    value, best = ranked[0]
    bounds = interval(interval_of(best, signal, "mae"), decimals)
    text = f"lowest error with {best['arm']}, MAE {number(value, decimals)} {unit} {bounds}".rstrip()
    others = [f"{arm['arm']} {number(other, decimals)}" for other, arm in _rivals(ranked)]
    floor_won = is_baseline(best) and any(not is_baseline(arm) for _, arm in ranked)
    kind = "statistical model, which is fitted to each context alone" if best["arm"] in FITTED else "naive forecast"
    ending = f" No {'network' if best['arm'] in FITTED else 'model'} errs less than this {kind}." if floor_won else ""
    ending += _even(summary, signal)
    return text + (f" (for comparison: {', '.join(others)})." if others else ".") + ending, floor_won


def _even(summary: Summary, signal: str) -> str:
    """How many arms are not shown to be worse than the best of a signal; empty where arms are few or not compared."""
    found = [d for arm in summary["arms"] if (d := difference_of(arm, signal, "vs_best")) is not None]
    if len(found) < MANY:
        return ""
    even = sum(difference.verdict != "worse" for difference in found)
    return f" Of {len(found)} other arms {even} {'is' if even == 1 else 'are'} not shown to be worse than it."


def _rivals(ranked: list[tuple[float, Arm]]) -> list[tuple[float, Arm]]:
    """The best zero-shot and the best naive forecast, where they are not the winner themselves."""
    tests = (lambda arm: arm.get("method") == "zero-shot", is_naive)
    firsts = [next((pair for pair in ranked if test(pair[1])), None) for test in tests]
    return [pair for pair in firsts if pair is not None and pair is not ranked[0]]


def doubts(summary: Summary) -> list[str]:
    """What a reader should know before believing: few seeds, few patients, checks that warn."""
    found = []
    if len(seeds_of(summary)) == 1 and any(is_trained(arm) for arm in summary["arms"]):
        found.append("There is one seed only, so how much another training would differ is not known.")
    test = ((summary.get("data") or {}).get("patients") or {}).get("test")
    if test is not None and test < 20:
        found.append(
            f"There {'is' if test == 1 else 'are'} only {plural(test, 'test patient')}: read the intervals as rough."
        )
    warned = [check for check in summary.get("checks") or () if check.get("outcome") == "warning"]
    if warned:
        codes = ", ".join(str(check.get("code")) for check in warned)
        found.append(f"{plural(len(warned), 'check')} {'warns' if len(warned) == 1 else 'warn'} ({codes}); see below.")
    return found


def sentences(summary: Summary) -> list[tuple[str, str]]:
    """The recorded sentences on the differences to zero-shot, each with its arm, arm by arm."""
    return [
        (str(arm["arm"]), difference.sentence)
        for arm in summary["arms"]
        for signal in signals_of(summary)
        if (difference := difference_of(arm, signal)) is not None and difference.sentence
    ]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
