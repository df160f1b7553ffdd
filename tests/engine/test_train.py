from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from surefoot.backbones.base import load_backbone
from surefoot.checkpoint import TrainState
from surefoot.classifier import Classifier
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.optim import build_optimizer, learning_rate, set_learning_rate
from surefoot.engine.train import (
    EngineConfig,
    Guard,
    NotFiniteError,
    OnLook,
    build_fabric,
    fit,
    stage_steps,
    train_step,
)
from surefoot.methods.base import Method, Progress, Stage

PROMPTS = Prompts(("red", "green", "blue"), ("a {}",), ("a bright {}",))
COUNT = 24  # images; their colours are labels that a linear map can learn
WHOLE = (Stage(train=("linear.",)),)


class Linear(Method):
    """One linear map on the pixels' means, with a term that is as large as the largest pixel."""

    summary = "for these tests"
    paper = ""
    stages = WHOLE

    def __init__(self, config: Method.Config) -> None:
        super().__init__(config, load_backbone("tiny"), PROMPTS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.linear, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
        self.gradients: list[Tensor] = []  # of each step, as the optimizer saw them
        self.finalized = 0

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        logits = self.linear(batch.images.mean((2, 3))) + 0 * self.other(batch.images.mean((2, 3))).detach()
        return {
            "cross_entropy": F.cross_entropy(logits, batch.labels),
            "brightness": 0.01 * batch.images.amax() * self.linear.weight.square().sum(),
            "drawn": torch.rand(()) * self.linear.bias.sum(),
        }

    def classifier(self) -> Classifier:
        raise NotImplementedError

    def after_step(self, progress: Progress) -> None:
        self.gradients.append(torch.cat([p.grad.flatten() for p in self.parameters() if p.grad is not None]))

    def finalize(self) -> None:
        self.finalized += 1


class OnlyCrossEntropy(Linear):
    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return {"cross_entropy": super().forward(batch, progress)["cross_entropy"]}


class TwoStages(Linear):
    stages = (Stage(train=("linear.bias",), lr=30.0, share=1 / 3), Stage(train=("linear.",), share=2 / 3))


def images() -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(COUNT, 3, 4, 4, generator=draw) + 3 * F.one_hot(torch.arange(COUNT) % 3)[:, :, None, None]


@dataclass
class Trained:
    """What a training run showed to its caller."""

    losses: list[dict[str, float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)  # stage, step, steps

    def look(
        self, state: TrainState, steps: int, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]
    ) -> None:
        self.losses.append({name: float(term) for name, term in terms.items()})
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.places.append((state.stage, state.step, steps))


def engine(**options: Any) -> EngineConfig:
    given = {"batch_size": 12, "epochs": 2, "lr": 0.1, "precision": "32", "accelerator": "cpu", **options}
    return EngineConfig.model_validate(given)


def stream(pixels: Tensor, config: EngineConfig) -> Callable[..., Iterator[Batch]]:
    """Batches of the images in their order, over and over."""
    size = config.batch_size // config.accumulate

    def batches(stage: Stage, *, start: int) -> Iterator[Batch]:
        while True:
            index = torch.arange(start * size, (start + 1) * size) % COUNT
            none = torch.full_like(index, -1)
            yield Batch(pixels[index], index % 3, none, index, none)
            start += 1

    return batches


def run(
    method: Method, config: EngineConfig, *, pixels: Tensor | None = None, state: TrainState | None = None
) -> Trained:
    seen = Trained()
    source = stream(images() if pixels is None else pixels, config)
    state = state or TrainState()
    fit(build_fabric(config), method, source, config, state, images=COUNT, seed=0, on_look=seen.look)
    return seen


def linear() -> Linear:
    return Linear(Method.Config())


def test_a_stage_has_its_share_of_the_epochs_times_the_batches_rounded_up() -> None:
    config = engine(batch_size=512, epochs=10)
    assert stage_steps(WHOLE[0], config, images=1_281_167) == 25_030
    assert stage_steps(Stage(train=(), share=0.25), config, images=1_281_167) == round(25_030 / 4)
    assert stage_steps(Stage(train=(), share=0.001), engine(), images=13) == 1


def test_the_loss_is_looked_at_after_every_step_on_a_cpu() -> None:
    assert run(linear(), engine(log_every=3)).places == [(0, step, 4) for step in (1, 2, 3, 4)]


def test_the_loss_falls() -> None:
    losses = [sum(entry.values()) for entry in run(linear(), engine(epochs=10)).losses]
    assert losses[-1] < 0.5 * losses[0]


def test_each_step_has_the_rate_of_the_schedule_times_that_of_its_stage() -> None:
    method = TwoStages(Method.Config())
    seen = run(method, engine(epochs=6, warmup=0.25))
    first = [learning_rate(k, 4, peak=0.1 * 30, warmup=1) for k in range(4)]
    assert seen.rates == first + [learning_rate(k, 8, peak=0.1, warmup=2) for k in range(8)]
    assert seen.places == [(0, k, 4) for k in range(1, 5)] + [(1, k, 8) for k in range(1, 9)]
    assert method.finalized == 1


def test_a_stage_trains_what_it_names_and_nothing_else() -> None:
    method = linear()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    run(method, engine())
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_accumulating_parts_gives_the_gradient_and_the_loss_of_the_whole_batch(parts: int) -> None:
    whole, parted = OnlyCrossEntropy(Method.Config()), OnlyCrossEntropy(Method.Config())
    one = run(whole, engine(epochs=1))
    many = run(parted, engine(epochs=1, accumulate=parts))
    for expected, found in zip(whole.gradients, parted.gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for expected, found in zip(one.losses, many.losses, strict=True):
        assert found == pytest.approx(expected, rel=1e-5)


def test_clipping_shortens_the_whole_gradient_to_the_norm_and_keeps_its_direction() -> None:
    free, clipped = linear(), linear()
    run(free, engine(epochs=0.5))
    run(clipped, engine(epochs=0.5, clip_norm=0.01))
    assert free.gradients[0].norm() > 0.05
    assert clipped.gradients[0].norm() == pytest.approx(0.01, rel=1e-4)
    torch.testing.assert_close(F.normalize(clipped.gradients[0], dim=0), F.normalize(free.gradients[0], dim=0))


def test_a_gradient_below_the_norm_is_left_as_it_is() -> None:
    free, clipped = linear(), linear()
    run(free, engine(epochs=0.5))
    run(clipped, engine(epochs=0.5, clip_norm=1e6))
    assert torch.equal(clipped.gradients[0], free.gradients[0])


def test_what_is_drawn_in_a_step_depends_on_the_step_and_not_on_what_ran_before() -> None:
    class Drawing(Linear):
        def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
            return {"drawn": torch.rand(()) + 0 * self.linear.bias.sum()}

    whole = run(Drawing(Method.Config()), engine()).losses
    torch.rand(17)
    resumed = run(Drawing(Method.Config()), engine(), state=TrainState(step=2)).losses
    assert resumed == whole[2:]
    assert len({entry["drawn"] for entry in whole}) == 4


def test_in_bfloat16_the_weights_stay_in_float32() -> None:
    method = linear()
    run(method, engine(precision="bf16"))
    assert {parameter.dtype for parameter in method.parameters()} == {torch.float32}


# --- a loss that is not finite --------------------------------------------------------------------------------------


def spoilt(*positions: int) -> Tensor:
    pixels = images()
    pixels[list(positions)] = torch.inf
    return pixels


def test_a_loss_that_is_not_finite_names_step_stage_term_and_images() -> None:
    with pytest.raises(NotFiniteError) as error:
        run(linear(), engine(), pixels=spoilt(13))
    message = str(error.value)
    assert "step 1 of stage 0" in message
    assert "cross_entropy = nan" in message
    assert "brightness = inf" in message
    assert "drawn" not in message
    assert f"positions in train): {list(range(12, 24))}" in message
    assert "Lower engine.lr" in message


def test_of_an_accumulated_batch_only_the_part_that_is_bad_is_named() -> None:
    with pytest.raises(NotFiniteError, match=r"positions in train\): \[16, 17, 18, 19\]"):
        run(linear(), engine(accumulate=3), pixels=spoilt(17))


def test_a_loss_that_is_not_finite_stops_before_the_weights_move() -> None:
    stopped, good = linear(), linear()
    config = engine(clip_norm=1.0)
    seen = Trained()

    def stop_after_one(*_: object) -> None:
        raise InterruptedError

    def go(method: Method, pixels: Tensor, on_look: OnLook) -> None:
        batches, fabric = stream(pixels, config), build_fabric(config)
        fit(fabric, method, batches, config, TrainState(), images=COUNT, seed=0, on_look=on_look)

    with pytest.raises(NotFiniteError):
        go(stopped, spoilt(20), seen.look)
    with pytest.raises(InterruptedError):
        go(good, images(), stop_after_one)
    assert seen.places == [(0, 1, 4)]  # nobody was called after the bad step, so nothing was saved
    assert same(stopped.state_dict(), good.state_dict())
    assert not same(stopped.state_dict(), linear().state_dict())


class SteepLoss(OnlyCrossEntropy):
    """Adds a term that is finite where its slope is not: the root of 0."""

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        flat = (0 * self.linear.weight).square().sum().sqrt()
        return {**super().forward(batch, progress), "steep": flat if progress.step else 0 * flat.detach()}


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_a_gradient_that_overflows_where_the_loss_does_not_stops_the_run_too(clip_norm: float) -> None:
    method = SteepLoss(Method.Config())
    with pytest.raises(NotFiniteError, match="step 1 of stage 0: gradient = nan"):
        run(method, engine(clip_norm=clip_norm))
    assert all(tensor.isfinite().all() for tensor in method.state_dict().values())


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@dataclass
class ByHand:
    """A training loop whose caller decides when to look, as on a device that would have to be waited for."""

    method: Linear
    config: EngineConfig
    fabric: Fabric = field(init=False)
    guard: Guard = field(init=False)

    def __post_init__(self) -> None:
        self.fabric = build_fabric(self.config)
        trained = list(self.method.train_only(("linear.",)).values())
        self.optimizer = build_optimizer({1.0: trained}, weight_decay=self.config.weight_decay)
        self.wrapped, self.stepped = self.fabric.setup(self.method, self.optimizer)
        self.guard = Guard(self.fabric, self.config, self.optimizer)
        set_learning_rate(self.optimizer, 0.1)

    def step(self, number: int, pixels: Tensor) -> None:
        source = stream(pixels, self.config)(WHOLE[0], start=number * self.config.accumulate)
        place = Progress(number, 10, 0, 1)
        train_step(self.fabric, self.wrapped, self.stepped, source, self.config, place, self.guard)
        self.optimizer.zero_grad()


def test_between_two_looks_the_weights_stay_those_before_the_first_bad_step() -> None:
    loop = ByHand(linear(), engine(log_every=10))
    loop.step(0, images())
    loop.step(1, images())
    before = {name: value.clone() for name, value in loop.method.state_dict().items()}
    moments = [value.clone() for state in loop.optimizer.state.values() for value in state.values()]
    loop.step(2, spoilt(5))
    for number in (3, 4, 5):
        loop.step(number, images())
    assert same(before, loop.method.state_dict())
    after = [value for state in loop.optimizer.state.values() for value in state.values()]
    assert all(torch.equal(one, other) for one, other in zip(moments, after, strict=True))
    with pytest.raises(NotFiniteError, match="step 2 of stage 0"):
        loop.guard.check()


def test_a_look_at_finite_losses_says_nothing() -> None:
    loop = ByHand(linear(), engine())
    loop.step(0, images())
    loop.guard.check()


class CountReads(TorchDispatchMode):
    """Counts how often a number is read from a tensor, which on a GPU waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.reads += 1
        return func(*args, **(kwargs or {}))


def test_a_step_reads_no_number_from_the_device() -> None:
    loop = ByHand(linear(), engine(clip_norm=1.0, accumulate=2))
    pixels = images()
    loop.step(0, pixels)
    with CountReads() as counted:
        loop.step(1, pixels)
    assert counted.reads == 0
    with CountReads() as counted:
        loop.guard.check()
    assert counted.reads == 1


# --- options --------------------------------------------------------------------------------------------------------


def test_a_batch_that_does_not_divide_into_its_parts_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"engine\.batch_size=100 does not divide into 12 equal parts .* 96"):
        engine(batch_size=100, accumulate=6, devices=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"lr": "inf"},
        {"warmup": 1.5},
        {"clip_norm": -1},
        {"epochs": 0},
        {"epochs": "inf"},
        {"precision": "16"},
    ],
)
def test_options_out_of_their_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        engine(**wrong)


@pytest.mark.parametrize(
    ("starter", "variables"),
    [("torchrun", {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}), ("srun", {"SLURM_STEP_NUM_TASKS": "2"})],
)
def test_processes_that_others_started_must_be_those_of_the_settings(
    starter: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=rf"{starter} started 2 processes, but engine\.devices=1"):
        build_fabric(engine())


def test_the_batches_of_a_stage_are_closed_when_a_step_fails() -> None:
    closed: list[int] = []

    def broken(stage: Stage, *, start: int) -> Iterator[Batch]:
        try:
            yield from stream(torch.full_like(images(), float("nan")), engine())(stage, start=start)
        finally:
            closed.append(start)

    config = engine()
    with pytest.raises(NotFiniteError) as caught:
        fit(build_fabric(config), linear(), broken, config, TrainState(), images=COUNT, seed=0, on_look=lambda *_: None)
    assert closed == [0]
    assert caught.traceback  # which keeps the loop's variables alive
