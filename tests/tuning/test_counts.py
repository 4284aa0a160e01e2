"""What a method trains, by the shapes alone, is what attaching it gives."""

import copy

import pytest

from loracast.errors import LoracastError
from loracast.models.outline import outline
from loracast.models.registry import skeleton
from loracast.tuning.attach import attach
from loracast.tuning.methods import methods

NAMES = ("chronos-t5-nano", "chronos-bolt-tiny", "chronos-2", "moirai-nano", "lag-llama-nano")
OTHERWISE = (
    ("lora", {"rank": 3, "sites": "all-linear"}),
    ("lora", {"rank": 3, "sites": "head"}),
    ("lora", {"rank": 10_000}),
    ("lora", {"sites": "nowhere"}),
    ("dora", {"sites": "feed-forward"}),
    ("adalora", {"rank": 3, "sites": "qv"}),
    ("vera", {"rank": 7, "sites": "feed-forward"}),
    ("fourierft", {"frequencies": 9, "sites": "qv"}),
    ("fourierft", {"frequencies": 10**9}),
    ("ia3", {"sites": "feed-forward"}),
    ("oft", {"block_size": 4, "sites": "qv"}),
    ("oft", {"block_size": 7}),
)


def told(count):
    try:
        return count()
    except LoracastError as error:
        return str(error)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_is_counted_and_refused_as_attaching_does(name):
    own = [(kind.name, {}) for kind in methods().values() if kind.proven and "pretrained" in kind.kinds]
    bare, known = skeleton(name), outline(name)
    for method, settings in (*own, *OTHERWISE):
        one = methods()[method](**settings)
        found = told(lambda one=one: one.counted(known))
        attached = told(lambda one=one: attach(copy.deepcopy(bare), one).trainable_parameters)
        if found is None:  # a kind of module that PEFT is asked about
            assert "is not supported" in attached
        else:
            assert found == attached, f"{method} {settings}"


def test_what_only_the_network_can_tell_is_left_to_it():
    known = outline("chronos-t5-nano")
    assert methods()["lora"](sites="shared").counted(known) is None
    assert methods()["ia3"](sites="shared").counted(known) is None
    assert methods()["layernorm"](sites="encoder").counted(known) is None
