"""What the shell offers while a command is typed. Listed without torch, so that a tab is answered in a blink."""

from collections.abc import Callable, Iterable

FORMS = ("table", "csv", "json", "markdown")


def _begun(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    def offered(incomplete: str) -> list[str]:
        # Of a comma-separated list the last name is completed.
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last)]

    return offered


def _methods() -> list[str]:
    from loracast.tuning.methods import methods
    from loracast.tuning.other import PREFIX, peft_names

    own = [name for name, kind in methods().items() if "pretrained" in kind.kinds]
    return own + [f"{PREFIX}{name}" for name in peft_names()]


def _backbones() -> Iterable[str]:
    from loracast.models.registry import backbones

    return backbones()


def _cohorts() -> Iterable[str]:
    from loracast.data.cohort import COHORTS

    return COHORTS


def _engines() -> Iterable[str]:
    from loracast.study.engine import ENGINES

    return ENGINES


def _trackers() -> Iterable[str]:
    from loracast.training.trackers import INSTALLED_BY

    return INSTALLED_BY


def _recipes() -> Iterable[str]:
    from loracast.training.pretrain.recipe import packaged_recipes

    return packaged_recipes()


METHODS, BACKBONES, COHORTS = _begun(_methods), _begun(_backbones), _begun(_cohorts)
ENGINES, TRACKERS, RECIPES, FORMATS = _begun(_engines), _begun(_trackers), _begun(_recipes), _begun(lambda: FORMS)
FIELDS = {"cohort": COHORTS}
"""What is offered for a field of a reader, by its name."""
