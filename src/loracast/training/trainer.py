# mypy: allow-subclassing-any
"""The Trainer with an optimizer step of our own: any number of processes and of passes, one and the same batch.

Every process draws the same whole batch, takes its share of it, and sends that through the network a micro-batch at a
time. A micro-batch's loss counts by what it is a mean of (a task's `weight`), so that the sum over passes and
processes is the loss of the whole batch. A family whose loss is a mean over observed steps and that does not say so
(`counted`) gets a mean of means, which is another loss where gaps lie unevenly. Where memory runs out, the step is
done again from its own random state with half the micro-batch: the effective batch and, but for rounding and dropout
masks, the numbers stay what they were.

Gradients are summed over the processes once all have come through, not by DDP as it goes: else one that runs out of
memory would leave the others waiting for it.
"""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from loracast.errors import TrainingError
from loracast.training import distributed
from loracast.training.checkpoint import TRAINED, load, save
from loracast.training.task import Batch, Task, examples_in, part_of, rows_in
from loracast.tuning.method import added_modules
from loracast.types import Say


class Loss(nn.Module):
    """The loss of a task as a module, which is what the Trainer optimizes; with the schedule's penalty in training.

    Without `base_dropout` the network stays in evaluation mode in training, all but what a tuner of PEFT has added.
    """

    def __init__(self, task: Task, *, base_dropout: bool) -> None:
        super().__init__()
        self.net = task.net
        self._task = task
        self._base_dropout = base_dropout

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if mode and not self._base_dropout:
            self.net.eval()
            for module in added_modules(self.net):
                module.training = True
        return self

    def forward(self, batch: Batch) -> Tensor:
        loss = self._task.loss(batch)
        if self.training and self._task.schedule is not None:
            loss = loss + self._task.schedule.penalty()
        return loss


def share_of(batch: Batch) -> tuple[int, int]:
    """The first and last (excluded) example of this process's share; nothing is left over, a share may be empty."""
    count, processes, rank = examples_in(batch), distributed.world_size(), distributed.rank()
    return count * rank // processes, count * (rank + 1) // processes


class MicroTrainer(Trainer):
    """A Trainer that adapts its micro-batch to the memory, and whose checkpoints hold the trained numbers only.

    `rate` is the learning rate of a step (from 0) as a share of the one asked for, `micro_batch` how many examples one
    process sends through the network at once, `base_dropout` whether the dropout of the network's own config acts.
    """

    def __init__(
        self,
        task: Task,
        rate: Callable[[int], float],
        micro_batch: int,
        say: Say,
        *,
        base_dropout: bool,
        **settings: Any,
    ) -> None:
        super().__init__(
            model=Loss(task, base_dropout=base_dropout),
            train_dataset=task.train,
            eval_dataset=task.validation,
            data_collator=task.collate,
            **settings,
        )
        self.task = task
        self.rate = rate
        self.micro_batch = micro_batch
        self._most_scored = 2 * micro_batch
        self._say = say

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self.rate)
        return self.lr_scheduler

    def compute_loss(self, model: nn.Module, inputs: Batch, *_: Any, **more: Any) -> Tensor:
        loss: Tensor = model(inputs)
        return loss

    def get_train_dataloader(self) -> Any:
        return _undivided(super().get_train_dataloader())

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return _undivided(super().get_eval_dataloader(eval_dataset))

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """Leave the gradients of the whole batch in every process; returns this process's part of its loss.

        The Trainer logs the mean of what the processes return, hence the factor at the end.
        """
        self.model.train()
        chance = _chance()
        while True:
            loss = self._backward(inputs)
            if not distributed.anywhere(loss is None):
                break
            loss = None
            self._halve()
            _set_chance(chance)
        assert loss is not None
        distributed.add_gradients(list(self.task.trainable.values()))
        return loss * distributed.world_size()

    def _backward(self, batch: Batch) -> Tensor | None:
        """Add up the gradients of this process's share; None where memory ran out."""
        weighed = _weighing(self.task, batch)
        first, last = share_of(batch)
        found = torch.zeros((), device=self.args.device)
        try:
            for part, share in _parts(batch, first, last, self.micro_batch, weighed):
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(self.model, self._prepare_inputs(part)) * share
                self.accelerator.backward(loss)
                found += loss.detach()
        except torch.OutOfMemoryError:
            return None
        return found

    def _halve(self) -> None:
        """Half the micro-batch from now on, and all that the failed step has left in memory given back."""
        if self.micro_batch == 1:
            raise TrainingError(
                "Out of memory with a single example in the network at a time. Lower context or horizon, use a smaller "
                "backbone, or a method that trains fewer numbers."
            )
        self.micro_batch = max(1, self.micro_batch // 2)
        self.model.zero_grad(set_to_none=True)
        _free()
        if distributed.is_main():
            self._say(
                f"Out of memory: the step is done again with {self.micro_batch} examples at a time, "
                f"{self.accumulation} times a step; the effective batch stays {self.args.train_batch_size}"
            )

    @property
    def accumulation(self) -> int:
        """How many micro-batches each process sends through the network in a whole step."""
        return -(-distributed.share_of(self.args.train_batch_size) // self.micro_batch)

    def evaluation_loop(self, dataloader: DataLoader[Batch], *_: Any, **more: Any) -> EvalLoopOutput:
        """The mean loss of all examples of `dataloader`, whatever the batches and processes they are spread over."""
        self.model.eval()
        loss, weight = 0.0, 0.0
        with torch.no_grad():
            for number, batch in enumerate(dataloader):
                if number % distributed.world_size() == distributed.rank():
                    own = self.task.weight(batch)
                    loss, weight = loss + own * self._scored(batch), weight + own
        loss, weight = distributed.total([loss, weight])
        return EvalLoopOutput(None, None, {"eval_loss": loss / weight if weight else float("nan")}, weight)

    def _scored(self, batch: Batch) -> float:
        """The loss of one batch, in parts that fit the memory."""
        weighed, found, first = _weighing(self.task, batch), 0.0, 0
        while first < examples_in(batch):
            last = min(first + min(self._most_scored, 2 * self.micro_batch), examples_in(batch))
            part = part_of(batch, first, last)
            share = weighed(part)
            try:
                if share:
                    with self.compute_loss_context_manager():
                        found += share * float(self.compute_loss(self.model, self._prepare_inputs(part)))
                first = last
                continue
            except torch.OutOfMemoryError:
                self._most_scored = (last - first) // 2
            if not self._most_scored:
                raise TrainingError(
                    "Out of memory in scoring a single validation example. Lower context or horizon, or use a smaller "
                    "backbone."
                )
            _free()
        return found

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if distributed.is_main():
            save(self.task, Path(output_dir or self.args.output_dir), TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load(self.task, Path(resume_from_checkpoint), TRAINED)


def _undivided(loader: Any) -> Any:
    """The loader with whole batches in every process: accelerate would deal them out, and fill up the last one."""
    dealer = loader.batch_sampler
    if distributed.world_size() > 1:
        dealer.num_processes, dealer.process_index, dealer.even_batches = 1, 0, False
    return loader


def _weighing(task: Task, batch: Batch) -> Callable[[Batch], float]:
    """What share of the loss of `batch` a part of it has; by rows where nothing that counts was observed."""
    total = task.weight(batch)
    if total:
        return lambda part: task.weight(part) / total
    return lambda part: rows_in(part) / rows_in(batch)


def _parts(
    batch: Batch, first: int, last: int, size: int, weighed: Callable[[Batch], float]
) -> Iterator[tuple[Batch, float]]:
    """Examples `first` to `last`, at most `size` at once, each part with its share; parts that count for nothing go."""
    for start in range(first, last, size):
        part = part_of(batch, start, min(start + size, last))
        share = weighed(part)
        if share:
            yield part, share


def _chance() -> list[Tensor]:
    """The random states that a forward pass draws from."""
    on_gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *on_gpu]


def _set_chance(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
