import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from surefoot.engine.optim import build_optimizer, learning_rate, set_learning_rate, suppress_step_where
from surefoot.engine.train import IMAGENET_WARMUP

STEPS, WARMUP, PEAK = 25_030, 500, 3e-5  # ten epochs of ImageNet at batch 512, as in WiSE-FT


def rates(steps: int, *, peak: float, warmup: int) -> list[float]:
    return [learning_rate(k, steps, peak=peak, warmup=warmup) for k in range(steps)]


def test_the_rates_of_imagenet_are_those_of_the_published_formula() -> None:
    k = np.arange(STEPS)
    cosine = 0.5 * (1 + np.cos(np.pi * (k - WARMUP) / (STEPS - WARMUP))) * PEAK
    expected = np.where(k < WARMUP, PEAK * (k + 1) / WARMUP, cosine)
    assert np.allclose(rates(STEPS, peak=PEAK, warmup=WARMUP), expected, rtol=1e-12, atol=0)


def test_the_first_step_already_moves() -> None:
    assert learning_rate(0, STEPS, peak=PEAK, warmup=WARMUP) == PEAK / 500


def test_the_last_warm_up_step_and_the_first_after_it_have_the_peak() -> None:
    assert learning_rate(499, STEPS, peak=PEAK, warmup=WARMUP) == PEAK
    assert learning_rate(500, STEPS, peak=PEAK, warmup=WARMUP) == PEAK


def test_half_way_down_the_cosine_the_rate_is_half_the_peak() -> None:
    middle = WARMUP + (STEPS - WARMUP) // 2
    assert learning_rate(middle, STEPS, peak=PEAK, warmup=WARMUP) == pytest.approx(PEAK / 2)


def test_the_default_warm_up_is_500_of_25030_steps() -> None:
    assert round(IMAGENET_WARMUP * STEPS) == WARMUP


def test_without_warm_up_the_first_rate_is_the_peak() -> None:
    assert rates(4, peak=1.0, warmup=0) == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)])


@given(steps=st.integers(1, 60), share=st.floats(0, 1))
def test_rates_rise_then_fall_and_never_leave_zero_to_peak(steps: int, share: float) -> None:
    warmup = round(share * steps)
    found = rates(steps, peak=2.0, warmup=warmup)
    assert all(0 < rate <= 2.0 for rate in found)
    assert found[:warmup] == sorted(found[:warmup])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
        module.register_parameter("log_scale", nn.Parameter(torch.tensor(2.0)))
        nn.init.normal_(module[1].bias)
    return module


def give_gradients(module: nn.Module, value: float) -> None:
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, value)


def values(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_weight_decay_acts_on_biases_norms_embeddings_and_the_scale_too() -> None:
    module = network()
    before = values(module)
    optimizer = build_optimizer({1.0: list(module.parameters())}, weight_decay=0.5)
    set_learning_rate(optimizer, 0.1)
    give_gradients(module, 0.0)
    optimizer.step()
    for old, new in zip(before, values(module), strict=True):
        torch.testing.assert_close(new, old * (1 - 0.1 * 0.5))


def test_three_steps_are_those_of_adamw_written_by_hand() -> None:
    module = network()
    theta = values(module)
    optimizer = build_optimizer({1.0: list(module.parameters())}, weight_decay=0.1)
    first, second = ([np.zeros(t.shape) for t in theta] for _ in range(2))
    expected = [t.double().numpy() for t in theta]
    for step, (gradient, rate) in enumerate([(0.3, 0.01), (-2.0, 0.02), (0.1, 0.005)], start=1):
        set_learning_rate(optimizer, rate)
        give_gradients(module, gradient)
        optimizer.step()
        for i, weights in enumerate(expected):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            size = np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8
            expected[i] = weights * (1 - rate * 0.1) - rate * first[i] / (1 - 0.9**step) / size
    for found, wanted in zip(values(module), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-7)


def test_while_the_flag_is_up_neither_weights_nor_moments_nor_the_step_count_move() -> None:
    module = network()
    optimizer = build_optimizer({1.0: list(module.parameters())}, weight_decay=0.1)
    set_learning_rate(optimizer, 0.1)
    flag = torch.zeros(())
    suppress_step_where(optimizer, flag)
    give_gradients(module, 1.0)
    optimizer.step()
    before = values(module)
    moments = [tensor.clone() for state in optimizer.state.values() for tensor in state.values()]
    flag.fill_(1)
    give_gradients(module, math.nan)
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, values(module), strict=True))
    after = [tensor for state in optimizer.state.values() for tensor in state.values()]
    assert all(torch.equal(old, new) for old, new in zip(moments, after, strict=True))


def test_with_the_flag_down_a_step_is_bit_for_bit_the_plain_one() -> None:
    plain, flagged = network(), network()
    for module in (plain, flagged):
        optimizer = build_optimizer({1.0: list(module.parameters())}, weight_decay=0.1)
        set_learning_rate(optimizer, 0.1)
        if module is flagged:
            suppress_step_where(optimizer, torch.zeros(()))
        give_gradients(module, 0.7)
        optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(values(plain), values(flagged), strict=True))
