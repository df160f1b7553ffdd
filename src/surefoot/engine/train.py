"""The training loop: every stage of a method, step by step, on Lightning Fabric.

Precision, devices and processes are Fabric's; what is trained is the method's. Nothing here evaluates or saves: the
caller's `on_look` does.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Annotated, Literal, Protocol, Self

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor

from surefoot.checkpoint import TrainState, restore
from surefoot.data.batch import Batch, Batches
from surefoot.data.held_out import NOTHING, HeldOut
from surefoot.engine.feed import Feed
from surefoot.engine.optim import build_optimizer, learning_rate, set_learning_rate, suppress_step_where
from surefoot.engine.rates import rate_groups
from surefoot.engine.towers import towers_told
from surefoot.methods.base import Method, Progress, Stage

IMAGENET_WARMUP = 500 / 25_030  # steps of WiSE-FT, FLYP and those after them: 500 of ten epochs at batch 512


class EngineConfig(BaseModel):
    """Section `engine` of a run's config."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    lr: PositiveFloat = 1e-5
    batch_size: PositiveInt = 512  # of all processes together
    epochs: PositiveFloat = 10
    steps: NonNegativeInt = 0  # in place of epochs where it is not 0
    weight_decay: NonNegativeFloat = 0.1
    warmup: Annotated[float, Field(ge=0, le=1)] = IMAGENET_WARMUP  # share of a stage's steps
    clip_norm: NonNegativeFloat = 0.0  # of the whole gradient; 0 = no clipping
    image_lr: NonNegativeFloat = 1.0  # multiplies the rate of the image tower; 0 freezes it
    text_lr: NonNegativeFloat = 1.0  # of the text tower
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # multiplies the rate once more for each block further down
    checkpointing: bool = False  # compute each block again on the way back, to save memory
    micro_batch: NonNegativeInt = 0  # images or sentences that go through a tower at a time; 0 = all
    compile: bool = False  # the towers, by torch.compile
    accumulate: PositiveInt = 1  # parts of a batch that go through the model one after the other
    precision: Annotated[Literal["auto", "bf16", "32"], BeforeValidator(str)] = (
        "auto"  # auto: bf16 in hardware, else 32
    )
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: PositiveInt = 1  # processes on each machine
    nodes: PositiveInt = 1  # machines
    save_every: PositiveInt = 100  # steps between checkpoints
    log_every: PositiveInt = 10  # steps between looks at the loss, where looking means waiting for a device

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        parts = self.accumulate * self.devices * self.nodes
        if self.batch_size % parts:
            nearest = max(1, round(self.batch_size / parts)) * parts
            raise ValueError(
                f"engine.batch_size={self.batch_size} does not divide into {parts} equal parts (engine.accumulate="
                f"{self.accumulate} x {self.devices * self.nodes} processes); give a multiple, such as {nearest}"
            )
        return self

    def concrete(self) -> Self:
        """With the precision that "auto" means on this machine, so that a resumed run keeps it."""
        if self.precision != "auto":
            return self
        return self.model_copy(update={"precision": "bf16" if supports_bf16(self.accelerator) else "32"})


class BatchesOf(Protocol):
    def __call__(self, stage: Stage, *, start: int) -> Batches:
        """Endless batches of a stage for this process, from micro-batch `start` on."""


OnLook = Callable[[TrainState, int, torch.optim.Optimizer, Mapping[str, Tensor]], None]
"""Called with the state, the stage's steps, its optimizer and the last step's loss terms."""


class NotFiniteError(ValueError):
    """A loss term became NaN or infinite; the weights are those before that step."""


def supports_bf16(accelerator: str) -> bool:
    """Whether this machine computes bfloat16 in hardware on that accelerator ("auto": the GPU where there is one)."""
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return accelerator != "mps" and bool(torch.cpu._is_avx512_bf16_supported())


def build_fabric(config: EngineConfig) -> Fabric:
    """The handle on devices and processes; starts the other processes where `devices` or `nodes` ask for them."""
    several = config.devices * config.nodes > 1
    _check_launched(config)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # run.json says what it would say
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if several else "auto",
        precision="bf16-mixed" if config.concrete().precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


def _check_launched(config: EngineConfig) -> None:
    """Processes that know nothing of each other would all write into one run folder."""
    by_torchrun = TorchElasticEnvironment.detect()
    launched = (
        TorchElasticEnvironment().world_size() if by_torchrun else int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    )
    if launched > 1 and launched != config.devices * config.nodes:
        raise ValueError(
            f"{'torchrun' if by_torchrun else 'srun'} started {launched} processes, but engine.devices="
            f"{config.devices} x engine.nodes={config.nodes} is {config.devices * config.nodes}; set them to the "
            "processes on each machine and the machines"
        )


def stage_steps(stage: Stage, config: EngineConfig, *, images: int) -> int:
    """Steps of a stage: its share of `steps`, or of epochs * ceil(images / batch size); at least one."""
    return max(1, round(stage.share * (config.steps or config.epochs * -(-images // config.batch_size))))


def steps_done(stages: Sequence[Stage], state: TrainState, config: EngineConfig, *, images: int) -> int:
    """Steps of all stages up to where `state` stands."""
    return state.step + sum(stage_steps(stage, config, images=images) for stage in stages[: state.stage])


def fit(
    fabric: Fabric,
    method: Method,
    batches: BatchesOf,
    config: EngineConfig,
    state: TrainState,
    *,
    images: int,
    seed: int,
    on_look: OnLook,
    held_out: HeldOut = NOTHING,
    also_look: int = 0,
) -> None:
    """Run every stage of `method` from where `state` stands; `images` are in train, `held_out` those of validation.

    `on_look` is called when the loss was looked at: after each step on a CPU; on a device that would have to be waited
    for, every `log_every`, `save_every` and `also_look` (0: none) steps and at the end of a stage. Raises
    NotFiniteError, with step, term and batch; the bad step moved no weight.
    """
    per_epoch = -(-images // config.batch_size)
    if config.checkpointing:
        method.backbone.image.checkpoint_gradients()
        method.backbone.text.checkpoint_gradients()
    for stage in method.stages[state.stage :]:
        steps = stage_steps(stage, config, images=images)
        rates = {"image_lr": config.image_lr, "text_lr": config.text_lr, "layer_decay": config.layer_decay}
        groups = rate_groups(method, stage, **rates)
        optimizer = build_optimizer(groups, weight_decay=config.weight_decay)
        wrapped, wrapped_optimizer = fabric.setup(method, optimizer)  # anew per stage: DDP fixes its parameters
        restore(optimizer, method, state.optimizer)
        state.optimizer = {}
        method.train()
        guard = Guard(fabric, config, optimizer)
        with (
            closing(batches(stage, start=state.step * config.accumulate)) as read,
            towers_told(method, micro_batch=config.micro_batch, compiled=config.compile),
        ):
            stream = Feed.to(fabric, read)
            while state.step < steps:
                started = time.perf_counter()
                rate = learning_rate(state.step, steps, peak=config.lr * stage.lr, warmup=round(config.warmup * steps))
                epoch, epochs = state.step // per_epoch, -(-steps // per_epoch)
                progress = Progress(state.step, steps, epoch, epochs, state.stage, rate)
                torch.manual_seed(_step_seed(seed, progress, fabric.global_rank))  # dropout: equal after a resume
                set_learning_rate(optimizer, rate)
                terms = train_step(fabric, wrapped, wrapped_optimizer, stream, config, progress, guard)
                if fabric.device.type == "cpu":
                    guard.check()  # before anything else moves weights
                method.after_step(progress)
                method.consult(held_out, progress)
                optimizer.zero_grad()
                state.step += 1
                state.seconds += time.perf_counter() - started
                beats = (config.log_every, config.save_every, also_look or steps)
                due = state.step == steps or any(state.step % beat == 0 for beat in beats)
                if fabric.device.type == "cpu" or due:
                    guard.check()
                    on_look(state, steps, optimizer, terms)
        state.stage, state.step = state.stage + 1, 0
    method.finalize()


def train_step(
    fabric: Fabric,
    wrapped: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    config: EngineConfig,
    progress: Progress,
    guard: "Guard",
) -> dict[str, Tensor]:
    """Forward and backward of one batch, then the optimizer; returns the loss terms on the device, no sync.

    `batches` are on the device already (`Feed`).
    """
    totals: dict[str, Tensor] = {}
    for part in range(config.accumulate):
        batch = next(batches)
        with fabric.no_backward_sync(wrapped, enabled=part < config.accumulate - 1):
            terms: dict[str, Tensor] = wrapped(batch, progress)
            loss = torch.stack(list(terms.values())).sum() / config.accumulate
            fabric.backward(loss)
        guard.see(progress, batch, terms)
        for name, term in terms.items():
            totals[name] = totals.get(name, torch.zeros_like(term)) + term.detach() / config.accumulate
    guard.see_gradient(_clip(fabric, wrapped, optimizer, config.clip_norm))
    guard.agree()
    optimizer.step()
    return totals


class Guard:
    """Keeps a loss that is not finite from the weights, on every process, without a device sync a step.

    From the first bad step on the optimizer leaves the weights alone; `check` then stops the run.
    """

    def __init__(self, fabric: Fabric, config: EngineConfig, optimizer: torch.optim.Optimizer) -> None:
        self.fabric = fabric
        self.kept = config.log_every * config.accumulate
        self.flag = torch.zeros((), device=fabric.device)
        self.seen: list[tuple[Progress, Tensor, dict[str, Tensor]]] = []
        suppress_step_where(optimizer, self.flag)

    def see(self, progress: Progress, batch: Batch, terms: Mapping[str, Tensor]) -> None:
        detached = {name: term.detach() for name, term in terms.items()}
        self.seen = [*self.seen, (progress, batch.index, detached)][-self.kept :]
        bad = torch.stack([~term.isfinite() for term in detached.values()]).any()
        self.flag.copy_(torch.maximum(self.flag, bad.float()))

    def see_gradient(self, norm: Tensor) -> None:
        """The length () of the whole gradient, which can overflow where the loss did not."""
        progress, index, terms = self.seen[-1]
        self.seen[-1] = (progress, index, {**terms, "gradient": norm.detach()})
        self.flag.copy_(torch.maximum(self.flag, (~norm.isfinite()).float()))

    def agree(self) -> None:
        """Before the optimizer steps: the flag of any process is the flag of all."""
        if self.fabric.world_size > 1:
            self.flag.copy_(self.fabric.all_reduce(self.flag.clone(), reduce_op="max"))

    def check(self) -> None:
        """Raise NotFiniteError where the flag is up."""
        if not bool(self.flag):
            self.seen = self.seen[-1:]
            return
        for progress, index, terms in self.seen:
            bad = {name: float(term) for name, term in terms.items() if not bool(term.isfinite())}
            if bad:
                raise NotFiniteError(
                    f"the loss is not finite at step {progress.step} of stage {progress.stage}: "
                    + ", ".join(f"{name} = {value}" for name, value in bad.items())
                    + f". Images of the batch (positions in train): {sorted(index.tolist())}. The weights are those "
                    "before this step. Lower engine.lr, set engine.clip_norm=1 or engine.precision=32, "
                    "or look at these images."
                )
        raise NotFiniteError("the loss is not finite in another process, whose message says at which images")


def _clip(fabric: Fabric, wrapped: torch.nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float) -> Tensor:
    """Shorten the gradient to `clip_norm` where that is not 0; the length () it had."""
    if clip_norm:
        norm: Tensor | None = fabric.clip_gradients(wrapped, optimizer, max_norm=clip_norm, error_if_nonfinite=False)
    else:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
    assert norm is not None  # Fabric gives the length where max_norm is set
    return norm


def _step_seed(seed: int, progress: Progress, rank: int) -> int:
    return int(np.random.SeedSequence((seed, progress.stage, progress.step, rank)).generate_state(1, np.uint64)[0])
