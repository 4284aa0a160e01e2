"""What the costs were measured on, in words."""

from typing import Any

from loracast.report.results import Results


def hardware_of(results: Results) -> str:
    """The machines of all arms (the runs' where the summary does not say), `; ` between them; empty where unknown."""
    found = [arm.get("hardware") for arm in results.summary["arms"]]
    if not any(found):
        found = [run.result.get("hardware") for run in results.runs]
    flat = [one for entry in found if entry for one in (entry if isinstance(entry, list) else [entry])]
    return "; ".join(dict.fromkeys(_words(one) for one in flat))


def _words(machine: Any) -> str:
    """A machine as `Linux x86_64, 8 cores, 4 threads, NVIDIA H100`."""
    if not isinstance(machine, dict):
        return str(machine)
    known = {key: value for key, value in machine.items() if value is not None}
    parts = [" ".join(str(known.pop(key)) for key in ("system", "machine") if key in known)]
    gpu = known.pop("gpu", None)
    for key, noun in (("cores", "core"), ("torch_threads", "thread")):
        if key in known:
            parts.append(f"{known[key]} {noun}{'' if known.pop(key) == 1 else 's'}")
    parts += [f"{key.replace('_', ' ')} {value}" for key, value in known.items()]
    return ", ".join(part for part in [*parts, str(gpu) if gpu else "no GPU"] if part)
