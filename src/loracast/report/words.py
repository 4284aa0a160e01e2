"""The verdict in plain words: which arm errs least, and whether adapting was shown to be worth it."""

from collections.abc import Mapping, Sequence
from typing import Any

from loracast.report.readable import count, decimals_for, interval, memory, number, plural, share
from loracast.report.results import (
    MissingArm,
    Results,
    difference_of,
    is_adapted,
    is_baseline,
    label_of,
    mae_interval,
    mae_of,
    scored_signals,
    shown_unit,
    unit_of,
)
from loracast.scoring.checks import FEWEST_TEST_PATIENTS
from loracast.scoring.compare import FEWEST_PATIENTS
from loracast.scoring.facts import Difference
from loracast.study.summary import ArmSummary, Choice, Summary
from loracast.tuning.card import TrainedCard


def capital(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def sentence_of(difference: Difference, signal_label: str, unit: str, arm: ArmSummary) -> str:
    """A difference of `arm` with its numbers, for people: the signal's label, then what is shown.

    `unit` is that of the signal as facts have it (`1/min`).
    """
    against = reference_name(difference, arm)
    return f"{capital(signal_label)}: {_shown(difference, against, shown_unit(unit), unit.startswith('1/'))}"


def reference_name(difference: Difference, arm: ArmSummary) -> str:
    """Whom an arm is compared with, without the model that they share."""
    name = difference.reference.removeprefix(f"{arm.model} ")
    return "full fine-tuning" if name == "full" else name


def _shown(difference: Difference, against: str, unit: str, joined: bool) -> str:
    value, bounds = difference.mae_difference, difference.ci95
    if value is None:
        return f"no target was observed, so nothing can be said against {against}."
    who = plural(difference.patients, "patient")
    beside = unit if joined or not unit else f" {unit}"
    said = "the same" if value == 0 else f"{abs(value):.3g}{beside} {'lower' if value < 0 else 'higher'}"
    error = f"The mean absolute error is {said}"
    if difference.patients < 2:
        return f"not compared with {against}: {who} cannot speak for others."
    if bounds is None:
        return f"no difference to {against} shown, {who} cannot give an interval. {error}."
    within = f"95 % interval {_side(bounds[0])} to {_side(bounds[1])}; {who}"
    if difference.verdict != "no difference shown":
        return f"{difference.verdict} than {against}. {error} ({within})."
    if difference.patients < FEWEST_PATIENTS:
        return f"no difference to {against} shown, {who} are too few to tell. {error} ({within})."
    return f"no difference to {against} shown. {error} ({within})."


def _side(bound: float) -> str:
    return "0" if bound == 0 else f"{abs(bound):.3g} {'lower' if bound < 0 else 'higher'}"


def sentences_of(summary: Summary, arm: ArmSummary, *against: str) -> list[str]:
    """The sentences of one arm's differences to each of `against`, signal by signal, each once."""
    found = [
        sentence_of(difference, label_of(summary, signal), summary.data.signals[signal].unit, arm)
        for name in against
        for signal in scored_signals(summary)
        if (difference := difference_of(arm, signal, name)) is not None
    ]
    return list(dict.fromkeys(found))


def verdict_of_arm(summary: Summary, arm: ArmSummary) -> str:
    """One sentence on a trained arm: what it cost, and on which signals it is shown better or worse than zero-shot.

    A network from scratch has no zero-shot of its own: it is held against the best naive forecast.
    """
    trained = count(arm.trainable_parameters)
    if arm.kind == "network":
        cost = f"{arm.arm} is a network from scratch: all its {trained} numbers are trained here. "
        return cost + _compared(summary, arm, "vs_naive", "the best naive forecast")
    every = "all " if arm.method == "full" else ""
    cost = f"{arm.arm} trains {every}{trained} numbers{_part(summary, arm)}. "
    return cost + _compared(summary, arm, "vs_zero_shot", "zero-shot")


def _compared(summary: Summary, arm: ArmSummary, key: str, reference: str) -> str:
    """On which signals an arm is shown better or worse than a reference."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "no difference shown": []}
    for signal in scored_signals(summary):
        difference = difference_of(arm, signal, key)
        if difference is not None and difference.mae_difference is not None:
            found[difference.verdict].append(label_of(summary, signal))
    compared, even = sum(map(len, found.values())), found["no difference shown"]
    if not compared:
        return f"It was not compared with {reference}."
    phrases = [f"{kind} than {reference} on {listed(found[kind])}" for kind in ("better", "worse") if found[kind]]
    if not phrases:
        where = f"on {listed(even)}" if compared == 1 else f"on any of {plural(compared, 'signal')}"
        return f"No difference to {reference} is shown {where}."
    if even:
        where = listed(even) if len(even) < 4 else f"the other {len(even)} signals"
        phrases[-1] += f"; on {where} no difference is shown"
    return f"It is shown to be {' and '.join(phrases)}."


def _part(summary: Summary, arm: ArmSummary) -> str:
    """How small a part the trained numbers are of what full fine-tuning trains, or else of the whole backbone."""
    if arm.method == "full":
        return " of the model"
    full = next((other for other in summary.arms if (other.method, other.model) == ("full", arm.model)), None)
    whole = full.trainable_parameters if full else arm.total_parameters
    of = "full fine-tuning" if full else "the model"
    return f" ({share(arm.trainable_parameters, whole)} of the {count(whole)} of {of})" if whole else ""


def verdict_of_many(summary: Summary) -> list[str]:
    """Many trained arms in a few sentences: how many of them are shown better than zero-shot, and on how much."""
    adapted = [arm for arm in summary.arms if is_adapted(arm)]
    networks = [arm for arm in summary.arms if arm.kind == "network"]
    told = _tally(summary, adapted, "vs_zero_shot", "zero-shot of their backbone", "adapted arm")
    return told + _tally(summary, networks, "vs_naive", "the best naive forecast", "scratch network")


def _tally(summary: Summary, arms: Sequence[ArmSummary], key: str, reference: str, noun: str) -> list[str]:
    """Who of `arms` is shown better on all signals, on some, worse on any; and how many neither."""
    everywhere, somewhere, worse, even = list[str](), list[str](), list[str](), list[str]()
    for arm in arms:
        found = [difference_of(arm, signal, key) for signal in scored_signals(summary)]
        verdicts = [one.verdict for one in found if one is not None and one.mae_difference is not None]
        if "worse" in verdicts:
            worse.append(arm.arm)
        if verdicts and all(verdict == "better" for verdict in verdicts):
            everywhere.append(arm.arm)
        elif "better" in verdicts:
            somewhere.append(arm.arm)
        elif verdicts and "worse" not in verdicts:
            even.append(arm.arm)
    compared = len({*everywhere, *somewhere, *worse, *even})
    if not compared:
        return [f"{plural(len(arms), noun)}, not compared with {reference}."] if arms else []
    signals = len(scored_signals(summary))
    where = "on the only signal" if signals == 1 else f"on all {signals} signals"
    told = f"{plural(compared, noun)} compared with {reference}: {len(everywhere)} shown better {where}"
    told += f" ({_some(everywhere)})" if everywhere else ""
    told += f", {len(somewhere)} on some ({_some(somewhere)})" if somewhere else ""
    told += f"; {len(worse)} shown worse on at least one" + (f" ({_some(worse)})" if worse else "")
    return [told + (f"; for {len(even)} no difference is shown on any." if even else ".")]


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def lowest_of_signal(summary: Summary, signal: str) -> tuple[str, bool]:
    """One sentence on a signal, who errs least and next to whom, and whether no model beat the floor."""
    scored = [(mae_of(arm, signal), arm) for arm in summary.arms]
    ranked = sorted(((value, arm) for value, arm in scored if value is not None), key=lambda pair: pair[0])
    if not ranked:
        return "no arm has a score.", False
    decimals, unit = decimals_for(value for value, _ in ranked), unit_of(summary, signal)
    value, best = ranked[0]
    bounds = interval(mae_interval(best, signal), decimals)
    text = f"lowest error with {best.arm}, MAE {number(value, decimals)} {unit} {bounds}".rstrip()
    others = [f"{arm.arm} {number(other, decimals)}{_tested(arm, signal)}" for other, arm in _rivals(ranked)]
    floor_won = is_baseline(best) and any(not is_baseline(arm) for _, arm in ranked)
    endings = {
        "statistical": " No network is shown better than this statistical model, fitted to each context alone.",
        "naive": " No model is shown better than this naive forecast.",
    }
    ending = (endings[best.kind] if floor_won else "") + _even(summary, signal)
    return text + (f" (for comparison: {', '.join(others)})." if others else ".") + ending, floor_won


def _even(summary: Summary, signal: str) -> str:
    """How many arms are not shown to be worse than the best of a signal; empty where none was compared."""
    found = [d for arm in summary.arms if (d := difference_of(arm, signal, "vs_best")) is not None]
    if not found:
        return ""
    even = sum(difference.verdict != "worse" for difference in found)
    return f" Of {plural(len(found), 'other arm')} {even} {'is' if even == 1 else 'are'} not shown to be worse than it."


def _tested(arm: ArmSummary, signal: str) -> str:
    """Whether an arm is shown to be worse than the best of a signal."""
    found = difference_of(arm, signal, "vs_best")
    if found is None:
        return ""
    return ", shown worse" if found.verdict == "worse" else ", not shown worse"


def _rivals(ranked: list[tuple[float, ArmSummary]]) -> list[tuple[float, ArmSummary]]:
    """The best zero-shot and the best naive forecast, where they are not the winner themselves."""
    zero_shot = next((pair for pair in ranked if pair[1].method == "zero-shot"), None)
    naive = next((pair for pair in ranked if pair[1].kind == "naive"), None)
    return [pair for pair in (zero_shot, naive) if pair is not None and pair is not ranked[0]]


def doubts(summary: Summary) -> list[str]:
    """What a reader should know before believing: few seeds, few patients, checks that warn."""
    found = []
    if len({seed for arm in summary.arms for seed in arm.seeds}) == 1 and any(arm.trains for arm in summary.arms):
        found.append("There is one seed only, so how much another training would differ is not known.")
    test = summary.data.patients.get("test")
    if test is not None and test < FEWEST_TEST_PATIENTS:
        be = "is" if test == 1 else "are"
        found.append(f"There {be} only {plural(test, 'test patient')}: read the intervals as rough.")
    fragile = next((len(check.findings) for check in summary.checks if check.code == "C10"), 0)
    if fragile:
        found.append(f"{plural(fragile, 'verdict')} would be another without one single patient.")
    warned = [check.code for check in summary.checks if check.outcome == "warning"]
    if warned:
        warns = "warns" if len(warned) == 1 else "warn"
        found.append(f"{plural(len(warned), 'check')} {warns} ({', '.join(warned)}); see below.")
    return found


def choices_told(summary: Summary) -> list[str]:
    """What was searched, and on whom, a sentence a choice; what is alike for several arms is told once."""
    if summary.choices is None:
        return ["What was searched, and on whom, was not recorded (results of an older version)."]
    alike: dict[tuple[Any, ...], list[Choice]] = {}
    for one in summary.choices:
        alike.setdefault((one.what, tuple(one.tried), one.side, one.patients, one.windows), []).append(one)
    told = [_chosen(list(found)) for found in alike.values()]
    searched = {one.what for one in summary.choices}
    still = [name.replace("_", " ") for name in ("learning_rate", "rank") if name not in searched]
    if still and any(arm.trains for arm in summary.arms):
        told.append(f"Not searched here, but set beforehand: {listed(still)}.")
    return told


def _chosen(found: Sequence[Choice]) -> str:
    """One choice, for all the arms that made it alike."""
    first = found[0]
    on = f"{plural(first.patients, f'{first.side} patient')} ({plural(first.windows, 'window')})"
    tried = _some([_setting(value) for value in first.tried], most=8)
    what = first.what.replace("_", " ")
    if first.what == "step":
        parts = [f"{_some(one.arms)}: {', '.join(map(_setting, one.kept))}" for one in found]
        more = [f"and {len(parts) - 4} more arms"] if len(parts) > 4 else []
        kept = "; ".join([*parts[:4], *more])
        return f"Step of the training: of {tried} the one with the lowest loss on {on} was kept ({kept})."
    if first.kept:
        return f"Best {what}: of {tried} the one with the lowest error of each signal on {on}, which favours it."
    arms = sum(len(one.arms) for one in found)
    if first.side == "validation":
        return f"{capital(what)}: {tried} ({plural(arms, 'arm')}), decided on {on}."
    return (
        f"{capital(what)}: {tried} ({plural(arms, 'arm')}) stand side by side on {on}. Whoever takes the best of them "
        "chooses on the test patients, and its error is then too low."
    )


def _setting(value: str | float | None) -> str:
    return "the default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def adapted_told(card: TrainedCard) -> list[str]:
    """What an adaptation did, on how many, and what to doubt of it: a line each."""
    on = card.validated
    sides = f"{plural(card.patients['train'], 'training patient')}"
    seen = "" if on is None else f" on {plural(on.patients, 'validation patient')} ({plural(on.windows, 'window')})"
    told = [
        f"Trained {card.trainable_parameters:,} numbers on {sides}. Validation loss{seen}: "
        f"{card.validation_loss_at_start:.4g} → {card.validation_loss:.4g} (kept step {card.best_step}), without an "
        "interval: `loracast evaluate` tells on test patients whether it is better."
    ]
    if card.best_step == 0:
        told.append("No trained step was better than the start: this is the model as it was (check C04).")
    if on is not None and on.patients < FEWEST_TEST_PATIENTS:
        told.append(f"With {plural(on.patients, 'validation patient')} the kept step is a rough choice.")
    if card.data.simulated:
        told.append("SIMULATED DATA: no patient lived them (check C07).")
    return told


def seeds_of(missing: MissingArm) -> str:
    """An arm that is missing with its seeds: `lora r=2 (seeds 0, 1)`."""
    noun = "seed" if len(missing.seeds) == 1 else "seeds"
    return f"{missing.arm} ({noun} {', '.join(map(str, missing.seeds))})"


_KINDS = (("patients", "patient"), ("stays", "stay"), ("series", "series"), ("windows", "window"), ("rows", "row"))


def kept(step: Mapping[Any, Any]) -> str:
    """What was left after a step of the attrition: `100 patients · 136 stays · 758,355 rows`."""
    return " · ".join(plural(step[key], noun) for key, noun in _KINDS if step[key] is not None)


def dropped(step: Mapping[Any, Any]) -> str:
    """What a step of the attrition dropped: `12 patients · 1,204 rows`; empty where nothing was."""
    return " · ".join(plural(step[f"dropped_{key}"], noun) for key, noun in _KINDS if step[f"dropped_{key}"])


def machines_of(results: Results) -> str:
    """What the costs were measured on: the machines of all arms, `; ` between them; empty where unknown."""
    found = [_machine(machine) for arm in results.summary.arms for machine in arm.hardware]
    return "; ".join(dict.fromkeys(found))


def _machine(facts: Mapping[str, Any]) -> str:
    """A machine as `Linux x86_64, 8 cores, 4 threads, NVIDIA H100`."""
    known = {key: value for key, value in facts.items() if value is not None}
    parts = [" ".join(str(known.pop(key)) for key in ("system", "machine") if key in known)]
    gpu = known.pop("gpu", None)
    for key, noun in (("cores", "core"), ("torch_threads", "thread")):
        if key in known:
            parts.append(plural(known.pop(key), noun))
    for key in ("memory_bytes", "gpu_memory_bytes"):
        if key in known:
            known[key.removesuffix("_bytes")] = memory(known.pop(key))
    parts += [f"{key.replace('_', ' ')} {value}" for key, value in known.items()]
    return ", ".join(part for part in [*parts, "no GPU" if gpu is None else str(gpu)] if part)
