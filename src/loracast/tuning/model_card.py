"""The model card of an adapter, `README.md`: what whoever opens its folder, or a hub, is shown; from its card alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from loracast.files.texts import markdown_text
from loracast.models.registry import backbones
from loracast.tuning.card import CARD, Card, Training

README = "README.md"
Form = Literal["adapter", "weights", "whole", "merged"]
"""What lies beside the card: PEFT's two files, some of the base's own weights, all of them, or both folded together."""

_FORMS: dict[Form, str] = {
    "adapter": "An adapter (PEFT)",
    "weights": "Some of the base's own weights, tuned,",
    "whole": "Every weight, tuned,",
    "merged": "An adapter folded into the weights",
}


def base_on_hub(name: str) -> str | None:
    """The repository of a known backbone on the Hub; None for one that ships with a package, and for a folder."""
    found = backbones().get(name)
    location = found[1].location if found else None
    return location if isinstance(location, str) else None


def base_name(name: str) -> str:
    """What an adapter calls its base for other libraries: its repository on the Hub, or a name that none can have.

    A bare `chronos-t5-nano`, or `loracast/chronos-t5-nano`, could be registered by anybody, and whoever loads the base
    by the adapter's word would get their weights. No repository may have a colon in its name, so that the Hub is not
    even asked.

    >>> base_name("chronos-t5-tiny"), base_name("chronos-t5-nano"), base_name("my-folder")
    ('amazon/chronos-t5-tiny', 'loracast:chronos-t5-nano', 'folder:my-folder')
    """
    return base_on_hub(name) or f"{'loracast' if name in backbones() else 'folder'}:{name}"


def write_model_card(folder: Path, card: Card, training: Training | None, form: Form) -> None:
    """Write the model card of what lies in `folder`; no path of this machine and nobody's identifier is in it."""
    # JSON is YAML, whatever is in a name.
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in _head(card, training, form).items())
    parts = [f"---\n{head}\n---\n", f"# {_plain(card.model)}, {card.arm.method.name}\n", _what(card, form)]
    if training is not None:
        parts += [_data(training), _training(training)]
    parts += [
        _use(card.model, form),
        f"Everything above, and more, stands in `{CARD}`. Research software; not a medical device.",
    ]
    (folder / README).write_text("\n".join(parts) + "\n", encoding="utf-8")


def _head(card: Card, training: Training | None, form: Form) -> dict[str, Any]:
    """The front matter: keys and values as the Hub knows them."""
    method = re.sub(r"[^a-z0-9]+", "-", card.arm.method.name.lower())
    found: dict[str, Any] = _licence(card, training)
    hub = base_on_hub(card.model)
    if hub is not None:  # the Hub takes names of its own alone
        found["base_model"] = hub
        found["base_model_relation"] = "adapter" if form in ("adapter", "weights") else "finetune"
    found["library_name"] = "peft" if form == "adapter" else "loracast"
    found["pipeline_tag"] = "time-series-forecasting"
    found["tags"] = ["loracast", method, *([f"base_model:adapter:{hub}"] if hub and form == "adapter" else [])]
    return found


def _licence(card: Card, training: Training | None) -> dict[str, str]:
    """The base's licence; with the terms of the data where they are somebody's."""
    base = "" if " " in card.base_licence else card.base_licence.lower()
    if training is None or training.data.simulated:
        return {"license": base} if base else {}
    return {"license": "other", "license_name": f"{base or 'unstated'}-and-the-terms-of-the-training-data"}


def _what(card: Card, form: Form) -> str:
    settings = ", ".join(f"{key} {_plain(value)}" for key, value in card.arm.method.model_dump(mode="json").items())
    revision = f", revision `{card.revision}`" if card.revision else ""
    return (
        f"{_FORMS[form]} of `{base_name(card.model)}` (family {card.family}{revision}; SHA-256 of its weights "
        f"`{card.base_sha256}`; licence: {_plain(card.base_licence)}).{_whereabouts(card.model)}\n\n"
        f"- Method: {card.arm.method.name}{f' ({settings})' if settings else ''}\n"
        f"- Trained numbers: {card.trainable_parameters:,}\n"
    )


def _whereabouts(model: str) -> str:
    """Where the base is, if on no hub."""
    if base_on_hub(model) is not None:
        return ""
    if model in backbones():
        return " The base comes with loracast and is on no hub: a repository that bears its name is another's."
    return " The base was a folder of whoever trained this: say where it is (`--backbone BASE`)."


def _data(training: Training) -> str:
    data, window = training.data, training.window
    signals = ", ".join(f"{_plain(name)} ({_plain(unit)})" for name, unit in training.signals.items())
    warning = (
        "Simulated: no patient lived these data, and nothing clinical follows from them."
        if data.simulated
        else f"Licence of the data: **{_plain(data.licence)}**. What was learnt from them falls under their terms, "
        "which may forbid to pass it on: read them before this folder goes to a hub."
    )
    return (
        "## Data\n\n"
        f"{warning}\n\n"
        f"- Source: {_plain(data.source)}; table `{data.table_fingerprint}`, split `{data.split_fingerprint}`\n"
        f"- Signals: {signals}\n"
        f"- Windows: {window.context} steps seen, {window.horizon} forecast, {window.step_seconds} s a step"
        f"{', the signals of a stay jointly' if window.joint else ''}\n"
        f"- Patients: {_counts(training.patients)}\n"
    )


def _training(training: Training) -> str:
    on = training.validated
    seen = "" if on is None else f" on {on.patients} validation patients ({on.windows} windows)"
    versions = ", ".join(f"{name} {version}" for name, version in training.versions.items())
    return (
        "## Training\n\n"
        f"- Kept step {training.best_step}, the one of the lowest validation loss{seen}: "
        f"{training.validation_loss_at_start:.4g} before the first step, {training.validation_loss:.4g} then; without "
        "an interval, and no test score: `loracast evaluate` gives one\n"
        f"- Seed {training.seed}; the dropout of the base {_dropout(training)}; {versions}\n"
    )


def _dropout(training: Training) -> str:
    return "off" if training.base_dropout is False else "as its config has it"


def _use(model: str, form: Form) -> str:
    parts = ["## Use\n", "```python", "import loracast\n", "model = loracast.load(FOLDER)", "```"]
    if form == "adapter":
        parts += [
            "\nOr with PEFT alone, on the network of the same base:\n",
            "```python",
            "from loracast.models.registry import load_backbone",
            "from peft import PeftModel\n",
            f"base = load_backbone({json.dumps(model)}).net  # or as its own library loads it",
            "network = PeftModel.from_pretrained(base, FOLDER)",
            "```",
        ]
    return "\n".join(parts) + "\n"


def _counts(sides: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {side}" for side, number in sides.items())


def _plain(value: object) -> str:
    return markdown_text(" ".join(str(value).split()))
