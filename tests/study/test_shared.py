"""The frozen base is read once, and every run has a copy of its own."""

import torch

from loracast.study import shared
from loracast.study.shared import Shared
from loracast.tuning.adapter import base_digest
from tests.conftest import save_backbone


def test_a_base_is_read_once_for_the_runs_that_follow_each_other(tiny, monkeypatch):
    loads: list[str] = []
    whole = shared.load_backbone
    monkeypatch.setattr(shared, "load_backbone", lambda name, revision: loads.append(name) or whole(name))
    bases = Shared()
    copies = [bases.copy(str(tiny), None) for _ in range(3)]
    assert loads == [str(tiny)]
    assert len({digest for _, digest in copies}) == 1
    assert len({id(backbone.net) for backbone, _ in copies}) == 3


def test_what_a_run_does_to_its_copy_reaches_no_other(tiny):
    bases = Shared()
    first, digest = bases.copy(str(tiny), None)
    with torch.no_grad():
        for parameter in first.net.parameters():
            parameter.zero_()
    second, again = bases.copy(str(tiny), None)
    assert digest == again == base_digest(second) != base_digest(first)


def test_another_backbone_takes_the_place_of_the_last(tiny, tmp_path):
    other = save_backbone(tmp_path / "other", seed=3)
    bases = Shared()
    digests = [bases.copy(str(name), None)[1] for name in (tiny, other, tiny)]
    assert digests[0] == digests[2] != digests[1]


def test_a_copy_forecasts_what_its_base_does(tiny):
    bases = Shared()
    context = 80 + torch.randn(2, 30, generator=torch.Generator().manual_seed(0)).cumsum(dim=1)
    one, other = (
        bases.copy(str(tiny), None)[0].forecast(
            context, 4, levels=(0.1, 0.5, 0.9), samples=8, generator=torch.Generator().manual_seed(1)
        )
        for _ in range(2)
    )
    assert torch.equal(one, other)
