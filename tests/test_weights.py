"""Blending, averaging and following weights, against numpy in float64, hand-made numbers and the goldens."""

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surefoot.weights import (
    average,
    carot_momentum,
    ema_,
    fisher_merge,
    interpolate,
    model_stock,
    trajectory_momenta,
)

GOLDENS = Path(__file__).parent / "goldens"
SHAPES = {"matrix": (4, 3), "vector": (5,), "log_scale": ()}
shares = st.floats(0, 1)
seeds = st.integers(0, 2**31)


def made(seed: int, *, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Random weights with a matrix, a vector, a number and a counter."""
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(shape, dtype=torch.float64, generator=generator) for name, shape in SHAPES.items()}
    return {name: tensor.to(dtype) for name, tensor in weights.items()} | {"counter": torch.tensor(seed)}


def positive(seed: int) -> dict[str, Tensor]:
    """A Fisher information for `made`."""
    return {name: tensor.square() for name, tensor in made(seed).items() if tensor.is_floating_point()}


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in weights.items()}


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class Read(Mapping[str, Tensor]):
    """Weights that are made when they are asked for; `alive` counts the tensors of all of them that still are."""

    alive = 0
    most = 0

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.asked.append(name)
        tensor = made(self.seed)[name]
        Read.alive += 1
        Read.most = max(Read.most, Read.alive)
        weakref.finalize(tensor, self.let_go)
        return tensor

    @staticmethod
    def let_go() -> None:
        Read.alive -= 1

    def __iter__(self) -> Iterator[str]:
        return iter(made(self.seed))

    def __len__(self) -> int:
        return len(made(self.seed))


@pytest.fixture
def reading() -> None:
    Read.alive = Read.most = 0


# --- interpolate ---------------------------------------------------------------------------------------------------


def test_a_quarter_of_the_way() -> None:
    found = interpolate({"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([8.0, 0.0])}, 0.25)
    assert found["w"].tolist() == [2.0, 3.0]


@settings(max_examples=20, deadline=None)
@given(seed=seeds, alpha=shares)
def test_interpolation_is_the_formula(seed: int, alpha: float) -> None:
    start, end = made(seed), made(seed + 1)
    found = interpolate(start, end, alpha)
    for name in SHAPES:
        expected = (1 - alpha) * start[name].numpy() + alpha * end[name].numpy()
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_ends_of_an_interpolation_are_exact(dtype: torch.dtype) -> None:
    start, end = made(0, dtype=dtype), made(1, dtype=dtype)
    assert_same(interpolate(start, end, 0.0), start | {"counter": end["counter"]})
    assert_same(interpolate(start, end, 1.0), end)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_ends_keep_signed_zeros_and_infinities(dtype: torch.dtype) -> None:
    start = {"w": torch.tensor([-0.0, float("inf"), 1e-8, 1.0], dtype=dtype)}
    end = {"w": torch.tensor([0.0, 1.0, -0.0, float("-inf")], dtype=dtype)}
    for alpha, model in ((0.0, start), (1.0, end)):
        blend = interpolate(start, end, alpha)["w"]
        assert blend.view(torch.uint8).equal(model["w"].view(torch.uint8))
        assert blend.data_ptr() != model["w"].data_ptr()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_blended_in_float32_and_keep_their_type(dtype: torch.dtype) -> None:
    start, end = made(0, dtype=dtype), made(1, dtype=dtype)
    found = interpolate(start, end, 0.3)["matrix"]
    assert torch.equal(found, torch.lerp(start["matrix"].float(), end["matrix"].float(), 0.3).to(dtype))


def test_counters_are_taken_from_the_end_and_never_averaged() -> None:
    found = interpolate({"n": torch.tensor(2)}, {"n": torch.tensor(5)}, 0.5)["n"]
    assert found.dtype == torch.int64
    assert found == 5


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_an_interpolation_leaves_its_inputs_alone(alpha: float) -> None:
    start, end = made(0), made(1)
    before = copied(start), copied(end)
    for tensor in interpolate(start, end, alpha).values():
        tensor.zero_()
    assert_same(start, before[0])
    assert_same(end, before[1])


def test_weights_with_gradients_give_a_blend_without() -> None:
    weights = {"w": torch.ones(2, requires_grad=True)}
    results = [interpolate(weights, weights, 0.5), average([weights, weights]), model_stock(weights, [weights] * 2)]
    assert not any(found["w"].requires_grad for found in results)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_alpha_that_is_no_share_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha is .*; give a number from 0 to 1"):
        interpolate(made(0), made(1), alpha)


def test_weights_of_different_models_are_refused_with_the_names_that_differ() -> None:
    start = {"a": torch.zeros(1), "b": torch.zeros(1)}
    end = {"a": torch.zeros(1), **{f"c{i}": torch.zeros(1) for i in range(7)}}
    with pytest.raises(ValueError, match="only the first has b; only the second has c0, c1, c2, c3, c4 and 2 more"):
        interpolate(start, end, 0.5)


def test_another_shape_is_refused_with_the_tensor_s_name() -> None:
    with pytest.raises(ValueError, match=r"head has shape \(2,\) in the first weights and \(3,\) in the second"):
        interpolate({"head": torch.zeros(2)}, {"head": torch.zeros(3)}, 0.5)


# --- Fisher merge --------------------------------------------------------------------------------------------------


def test_the_model_that_is_sure_of_a_coordinate_wins_it() -> None:
    fishers = {"start_fisher": {"w": torch.tensor([3.0, 1.0])}, "end_fisher": {"w": torch.tensor([1.0, 3.0])}}
    found = fisher_merge({"w": torch.zeros(2)}, {"w": torch.full((2,), 4.0)}, alpha=0.5, **fishers)
    assert found["w"].tolist() == [1.0, 3.0]


@settings(max_examples=20, deadline=None)
@given(seed=seeds, alpha=st.floats(0.01, 0.99), floor=st.floats(1e-8, 1.0))
def test_a_fisher_merge_is_the_formula(seed: int, alpha: float, floor: float) -> None:
    start, end, first, second = made(seed), made(seed + 1), positive(seed + 2), positive(seed + 3)
    found = fisher_merge(start, end, start_fisher=first, end_fisher=second, alpha=alpha, floor=floor)
    for name in SHAPES:
        c0 = (1 - alpha) * np.maximum(first[name].numpy(), floor)
        c1 = alpha * np.maximum(second[name].numpy(), floor)
        expected = (c0 * start[name].numpy() + c1 * end[name].numpy()) / (c0 + c1)
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_fisher_of_zeros_or_of_nothing_leaves_a_plain_interpolation() -> None:
    start, end = made(0), made(1)
    zeros = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    plain = interpolate(start, end, 0.3)
    for fisher in (zeros, {}):
        found = fisher_merge(start, end, start_fisher=fisher, end_fisher=fisher, alpha=0.3)
        torch.testing.assert_close(found, plain)


def test_a_fisher_of_one_model_only_is_refused() -> None:
    with pytest.raises(ValueError, match="only the first has log_scale, matrix, vector"):
        fisher_merge(made(0), made(1), start_fisher=positive(2), end_fisher={}, alpha=0.5)


def test_a_fisher_of_another_model_is_refused() -> None:
    fisher = {"other": torch.ones(2)}
    with pytest.raises(ValueError, match="the weights lack other"):
        fisher_merge(made(0), made(1), start_fisher=fisher, end_fisher=fisher, alpha=0.5)


def test_a_fisher_of_another_shape_is_refused() -> None:
    fisher = positive(2) | {"matrix": torch.ones(2, 2)}
    with pytest.raises(ValueError, match="matrix has shape"):
        fisher_merge(made(0), made(1), start_fisher=fisher, end_fisher=fisher, alpha=0.5)


def test_a_floor_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="floor is 0"):
        fisher_merge(made(0), made(1), start_fisher={}, end_fisher={}, alpha=0.5, floor=0.0)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_weights_that_are_read_when_asked_are_blended_tensor_by_tensor(alpha: float) -> None:
    start, end = Read(0), Read(1)
    assert_same(interpolate(start, end, alpha), interpolate(made(0), made(1), alpha))
    assert start.asked == end.asked == list(made(0))
    assert Read.most <= 4  # a pair, and the next while the last is let go


@pytest.mark.usefixtures("reading")
def test_a_fisher_merge_reads_each_tensor_once() -> None:
    weights, fishers = (Read(0), Read(1)), (Read(2), Read(3))
    positive = [{name: tensor for name, tensor in made(seed).items() if name != "counter"} for seed in (2, 3)]
    expected = fisher_merge(made(0), made(1), start_fisher=positive[0], end_fisher=positive[1], alpha=0.3)
    assert_same(fisher_merge(*weights, start_fisher=fishers[0], end_fisher=fishers[1], alpha=0.3), expected)
    assert weights[0].asked == weights[1].asked == list(made(0))
    assert fishers[0].asked == fishers[1].asked == list(SHAPES)
    assert Read.most <= 6


# --- average -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_average_is_the_mean_and_the_last_counter(count: int) -> None:
    models = [made(seed) for seed in range(count)]
    found = average(models)
    for name in SHAPES:
        np.testing.assert_allclose(found[name].numpy(), np.mean([m[name].numpy() for m in models], 0), rtol=1e-12)
    assert found["counter"] == count - 1


def test_an_average_lets_go_of_a_model_before_it_reads_the_next() -> None:
    given: list[weakref.ref[Tensor]] = []

    def models() -> Iterator[dict[str, Tensor]]:
        for seed in range(4):
            assert not [model for model in given if model() is not None]
            given.append(weakref.ref((model := made(seed))["matrix"]))
            yield model
            del model

    found = average(models())
    assert len(given) == 4
    np.testing.assert_allclose(found["vector"].numpy(), np.mean([made(s)["vector"].numpy() for s in range(4)], 0))


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("count", [2, 9])
def test_an_average_holds_one_tensor_of_one_model_at_a_time(count: int) -> None:
    models = [Read(seed) for seed in range(count)]
    assert_same(average(models), average([made(seed) for seed in range(count)]))
    assert all(model.asked == list(made(0)) for model in models)
    assert Read.most == 1


def test_an_average_of_many_half_precision_models_is_kept_in_float32() -> None:
    models = [{"w": torch.tensor([1.0 + k / 1024], dtype=torch.float16)} for k in range(64)]
    assert average(models)["w"] == torch.tensor([1 + 31.5 / 1024], dtype=torch.float16)


def test_an_average_leaves_its_inputs_alone() -> None:
    model, before = made(0), made(0)
    for tensor in average([model]).values():
        tensor.zero_()
    average([model, made(1)])
    assert_same(model, before)


def test_an_average_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no weights to average"):
        average([])


def test_an_average_of_different_models_is_refused() -> None:
    with pytest.raises(ValueError, match="only the second has extra"):
        average([made(0), made(1) | {"extra": torch.zeros(1)}])


# --- Model Stock ---------------------------------------------------------------------------------------------------


def test_model_stock_of_two_models_at_sixty_degrees() -> None:
    models = [{"w": torch.tensor([2.0, 0.0])}, {"w": torch.tensor([1.0, 3.0**0.5])}]
    # cos = 1/2, so t = 2 * (1/2) / (3/2) = 2/3 of the way to the mean, (1.5, 0.87)
    torch.testing.assert_close(
        model_stock({"w": torch.zeros(2)}, models)["w"], torch.tensor([1.0, 1 / 3.0**0.5]), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("count", [2, 3, 4])
def test_model_stock_is_the_formula(count: int) -> None:
    anchor = made(0)
    # near one another, so that the cosines are positive
    models = [interpolate(made(100), made(seed), 0.3) for seed in range(1, count + 1)]
    found = model_stock(anchor, models)
    for name in ("matrix", "vector"):
        origin = anchor[name].numpy().ravel()
        deltas = [model[name].numpy().ravel() - origin for model in models]
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for k, a in enumerate(deltas) for b in deltas[k + 1 :]]
        cosine = float(np.mean(cosines))
        assert cosine > 0
        share = count * cosine / (1 + (count - 1) * cosine)
        expected = origin + share * np.mean(deltas, axis=0)
        np.testing.assert_allclose(found[name].numpy().ravel(), expected, rtol=1e-9, atol=1e-12)


def test_model_stock_of_equal_models_is_that_model() -> None:
    torch.testing.assert_close(model_stock(made(0), [made(1), made(1)]), made(1))


@pytest.mark.parametrize("second", [[-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], ids=["opposite", "at a right angle", "still"])
def test_model_stock_stays_at_the_anchor_where_the_models_disagree(second: list[float]) -> None:
    anchor = torch.tensor([5.0, 5.0])
    models = [{"w": anchor + torch.tensor([1.0, 0.0])}, {"w": anchor + torch.tensor(second)}]
    assert torch.equal(model_stock({"w": anchor}, models)["w"], anchor)


def test_model_stock_of_models_that_never_moved_is_the_anchor() -> None:
    anchor = made(3)
    assert_same(model_stock(anchor, [anchor, anchor]), anchor)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("count", [2, 9])
def test_model_stock_holds_the_anchor_s_tensor_and_one_model_s_at_a_time(count: int) -> None:
    models = [Read(seed) for seed in range(1, count + 1)]
    assert_same(model_stock(made(0), models), model_stock(made(0), [made(seed) for seed in range(1, count + 1)]))
    assert all(model.asked == list(SHAPES) for model in models[:-1])  # the counter is the last model's
    assert Read.most == 1


def test_model_stock_refuses_another_shape_with_the_tensor_s_name() -> None:
    with pytest.raises(ValueError, match="matrix has shape"):
        model_stock(made(0), [made(1), made(2) | {"matrix": torch.zeros(3, 4)}])


def test_model_stock_of_one_model_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 models; give two or more"):
        model_stock(made(0), [made(1)])


# --- ema_ ----------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=seeds, momentum=shares)
def test_an_ema_step_is_the_formula(seed: int, momentum: float) -> None:
    target, source = made(seed), made(seed + 1)
    before = copied(target)
    ema_(target, source, momentum)
    for name in SHAPES:
        expected = momentum * before[name].numpy() + (1 - momentum) * source[name].numpy()
        np.testing.assert_allclose(target[name].numpy(), expected, rtol=1e-12, atol=1e-12)
    assert target["counter"] == source["counter"]


def test_an_ema_at_momentum_one_stays_and_at_zero_copies() -> None:
    target, source = made(0), made(1)
    ema_(target, source, 1.0)
    assert_same(target, made(0) | {"counter": source["counter"]})
    ema_(target, source, 0.0)
    assert_same(target, source)


def test_an_ema_writes_into_the_tensors_it_is_given_and_into_no_other() -> None:
    target, source = made(0), made(1)
    tensors = dict(target)
    ema_(target, source, 0.5)
    assert all(target[name] is tensors[name] for name in tensors)
    assert_same(source, made(1))


def test_a_float32_ema_follows_a_model_in_half_precision() -> None:
    target = {"w": torch.zeros(2)}
    for _ in range(100):
        ema_(target, {"w": torch.ones(2, dtype=torch.bfloat16)}, 0.999)
    torch.testing.assert_close(target["w"], torch.full((2,), 1 - 0.999**100))


def test_an_ema_follows_parameters_without_a_graph() -> None:
    model, teacher = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    ema_(dict(teacher.named_parameters()), dict(model.named_parameters()), 0.0)
    assert torch.equal(teacher.weight, model.weight)
    assert teacher.weight.is_leaf
    assert teacher.weight.requires_grad


@pytest.mark.parametrize(
    ("source", "momentum", "message"),
    [
        ({"a": torch.ones(2), "b": torch.ones(3)}, 0.5, r"b has shape \(2,\)"),
        ({"a": torch.ones(2)}, 0.5, "only the first has b"),
        ({"a": torch.ones(2), "b": torch.ones(2)}, 1.5, "momentum is 1.5"),
    ],
)
def test_a_refused_ema_writes_nothing(source: dict[str, Tensor], momentum: float, message: str) -> None:
    target = {"a": torch.zeros(2), "b": torch.zeros(2)}
    with pytest.raises(ValueError, match=message):
        ema_(target, source, momentum)
    assert not any(tensor.any() for tensor in target.values())


# --- momenta -------------------------------------------------------------------------------------------------------


def test_carot_s_momentum_is_the_golden_one() -> None:
    golden = np.load(GOLDENS / "losses.npz")
    total = int(golden["carot_momentum_total_steps"])
    found = [carot_momentum(int(step), total_steps=total) for step in golden["carot_momentum_steps"]]
    np.testing.assert_allclose(found, golden["carot_momentum"], rtol=1e-9)


def test_carot_s_momentum_rises_over_the_ramp_and_then_stays() -> None:
    found = [carot_momentum(step, total_steps=10, start=0.0, end=0.8, ramp_share=0.4) for step in range(6)]
    assert found == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 0.8])


def test_carot_s_momentum_without_a_ramp_is_its_end() -> None:
    assert carot_momentum(0, total_steps=10, ramp_share=0.0) == 0.9


def test_a_ramp_that_is_no_share_and_a_run_without_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="ramp_share is 2"):
        carot_momentum(0, total_steps=10, ramp_share=2)
    with pytest.raises(ValueError, match="total_steps is 0"):
        carot_momentum(0, total_steps=0)


def followed(trajectory: Tensor, momenta: list[float]) -> list[Tensor]:
    """The teacher after each step."""
    teacher = {"w": torch.zeros_like(trajectory[0])}
    after = []
    for weights, momentum in zip(trajectory, momenta, strict=True):
        ema_(teacher, {"w": weights}, momentum)
        after.append(teacher["w"].clone())
    return after


def test_tracer_s_teacher_is_the_golden_one() -> None:
    golden = np.load(GOLDENS / "kin.npz")
    momenta = trajectory_momenta(int(golden["wma_total_steps"]), beta=float(golden["wma_beta"]))
    found = torch.stack(followed(torch.tensor(golden["wma_trajectory"]), momenta))
    np.testing.assert_allclose(found.numpy(), golden["wma_teacher"], rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(steps=st.integers(1, 60), beta=st.floats(0.1, 20), seed=seeds)
def test_tracer_s_teacher_is_the_weighted_mean_of_the_trajectory(steps: int, beta: float, seed: int) -> None:
    from scipy.stats import beta as beta_distribution

    trajectory = torch.randn(steps + 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    weights = beta_distribution.pdf((np.arange(steps + 1) + 0.5) / (steps + 1), beta, beta)
    expected = np.average(trajectory.numpy(), axis=0, weights=weights)
    found = followed(trajectory, trajectory_momenta(steps, beta=beta))[-1]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_kernel_with_beta_one_weighs_all_steps_alike() -> None:
    assert trajectory_momenta(4, beta=1.0) == pytest.approx([0, 1 / 2, 2 / 3, 3 / 4, 4 / 5])


@pytest.mark.parametrize("beta", [1e-3, 0.5, 1e4])
def test_momenta_of_a_long_run_are_shares_for_any_beta(beta: float) -> None:
    momenta = trajectory_momenta(25_030, beta=beta)
    assert len(momenta) == 25_031
    assert all(0 <= momentum <= 1 for momentum in momenta)


@pytest.mark.parametrize(("arguments", "message"), [((0, 0.5), "total_steps is 0"), ((10, 0.0), "beta is 0.0")])
def test_a_kernel_that_cannot_be_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trajectory_momenta(arguments[0], beta=arguments[1])
