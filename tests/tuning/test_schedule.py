"""AdaLoRA's schedule: what it takes away, what it adds to the loss, and that it can be interrupted."""

import pytest
import torch
from peft import PeftModel

from loracast.errors import TrainingError
from loracast.models.registry import load_backbone
from loracast.tuning.adapter import base_digest, save_adapter
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.tuning.method import Attached, quiet_peft
from loracast.tuning.methods import AdaLoRA

STEPS = 20


def attached_to(tiny) -> Attached:
    torch.manual_seed(0)
    return attach(load_backbone(str(tiny)), AdaLoRA(rank=2))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    walks = 80 + torch.randn(8, 36, generator=torch.Generator().manual_seed(0)).cumsum(dim=1)
    return walks[:, :28], walks[:, 28:]


def train(attached: Attached, optimizer: torch.optim.Optimizer, steps: range) -> None:
    context, future = batch()
    attached.model.net.eval()  # without dropout, so that two halves are one whole
    for step in steps:
        optimizer.zero_grad()
        (attached.model.loss(context, future) + attached.schedule.penalty()).backward()
        optimizer.step()
        attached.schedule.after_step(step)


def adam(attached: Attached) -> torch.optim.Optimizer:
    return torch.optim.AdamW(attached.trainable.values(), 1e-2)


def ranks_left(attached: Attached) -> int:
    return sum(int((p != 0).sum()) for name, p in attached.trainable.items() if "lora_E" in name)


def test_it_starts_with_half_as_many_ranks_again_and_ends_with_those_asked_for(tiny):
    attached = attached_to(tiny)
    matrices = sum("lora_E" in name for name in attached.trainable)
    assert sum(p.numel() for name, p in attached.trainable.items() if "lora_E" in name) == 3 * matrices
    attached.schedule.begin(STEPS)
    train(attached, adam(attached), range(1, STEPS + 1))
    assert ranks_left(attached) == 2 * matrices


def test_the_constant_rank_is_not_trained(tiny):
    assert not [name for name in attached_to(tiny).trainable if "ranknum" in name]


def test_factors_that_are_orthogonal_are_not_penalised(tiny):
    attached = attached_to(tiny)
    assert attached.schedule.penalty() > 0.1
    with torch.no_grad():
        for name, factor in attached.trainable.items():
            if "lora_A" in name or "lora_B" in name:
                factor.copy_(torch.eye(*factor.shape))
    assert attached.schedule.penalty().item() == pytest.approx(0)


def test_what_it_knows_can_be_stored_and_taken_up_again_at_any_step(tiny):
    whole = attached_to(tiny)
    whole.schedule.begin(STEPS)
    train(whole, adam(whole), range(1, STEPS + 1))
    for stop in (4, 12, 16):  # before the first rank is taken, after the last is decided
        half = attached_to(tiny)
        half.schedule.begin(STEPS)
        optimizer = adam(half)
        train(half, optimizer, range(1, stop + 1))
        again = attached_to(tiny)
        again.schedule.begin(STEPS)
        with torch.no_grad():
            for name, parameter in again.trainable.items():
                parameter.copy_(half.trainable[name])
        again.schedule.load(half.schedule.state())
        resumed = adam(again)
        resumed.load_state_dict(optimizer.state_dict())
        train(again, resumed, range(stop + 1, STEPS + 1))
        assert all(torch.equal(p, again.trainable[name]) for name, p in whole.trainable.items()), stop


def test_a_saved_adapter_keeps_what_the_kept_step_had(tiny, tmp_path):
    attached = attached_to(tiny)
    base = base_digest(load_backbone(str(tiny)))
    attached.schedule.begin(STEPS)
    train(attached, adam(attached), range(1, STEPS + 1))
    early = {name: p.detach().clone() for name, p in attached.trainable.items()}
    with torch.no_grad():  # the weights of an earlier step, at which no rank had been taken
        for name, parameter in attached.trainable.items():
            if "lora_E" in name:
                parameter.fill_(0.5)
                early[name] = parameter.detach().clone()
    save_adapter(attached, ArmSpec(model=str(tiny), method="adalora"), tmp_path / "adapter", base=base)
    fresh = load_backbone(str(tiny))
    with quiet_peft():
        PeftModel.from_pretrained(fresh.net, str(tmp_path / "adapter"))
    loaded = dict(fresh.net.named_parameters())
    assert all(torch.equal(loaded[name], p) for name, p in early.items())


def test_too_few_steps_to_weigh_ranks_are_refused(tiny):
    with pytest.raises(TrainingError, match="over 10 steps or more; 9 given"):
        attached_to(tiny).schedule.begin(9)
