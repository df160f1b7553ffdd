"""LossValley against recorded segments, and against queues of models as the authors' code has them."""

from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch

from surefoot.loss_valley import History, LossValley

GOLDENS = Path(__file__).parent / "goldens" / "kin.npz"
PATIENCES = [(3, 6), (3, 4), (3, 3), (3, 2), (4, 1), (1, 1), (2, 7), (1, 3)]


def queues(losses: list[float], optimum: int, overfit: int, tolerance: float) -> tuple[list[int], int, bool]:
    """What the queues add to the average, what stands in it where they add nothing, and whether the valley is dead."""
    converge: deque[int] = deque(maxlen=optimum)
    smooth: deque[int] = deque(maxlen=overfit)
    added: list[int] = []
    first, bound, dead = -1, 0.0, False
    for segment in range(len(losses)):
        converge.append(segment)
        smooth.append(segment)
        if first < 0:
            if len(converge) == optimum and np.argmin([losses[i] for i in converge]) == 0:
                first = converge[0]
                bound = float(np.mean([losses[i] for i in converge])) * (1 + tolerance)
                if overfit < optimum:
                    added += [converge[1 + i] for i in range(optimum - overfit)]
                elif overfit > optimum:
                    line, begin = list(smooth)[: overfit - optimum + 1], 0
                    for place in reversed(range(len(line))):
                        if losses[line[place]] > bound:
                            begin = place + 1
                            break
                    added += line[begin + 1 :]
        elif smooth[0] >= first:
            if min(losses[i] for i in smooth) > bound:
                dead = True
                break
            added.append(smooth[0])
    if first < 0:
        return [converge[-1]], -1, False
    if not dead:
        smooth.popleft()
        while smooth and min(losses[i] for i in smooth) <= bound:
            added.append(smooth.popleft())
    return added, first, dead


def test_recorded_segments_give_the_recorded_average() -> None:
    golden = np.load(GOLDENS)
    losses, values = golden["swad_segment_losses"].tolist(), golden["swad_segment_values"]
    valley = LossValley(optimum=3, overfit=6, tolerance=0.3)
    chosen, dead = valley.during(losses)
    assert dead == golden["swad_valley_dead"]
    assert valley.at_the_end(losses) == chosen
    assert len(chosen) == golden["swad_final_count"]
    assert (10 * chosen[0] + 1, 10 * chosen[-1] + 10) == (golden["swad_start_step"], golden["swad_end_step"])
    assert values[list(chosen)].mean() == pytest.approx(golden["swad_final_value"].item(), rel=1e-12)
    weight, history = torch.zeros(1), History(valley, [torch.zeros(1)], segments=len(losses))
    for loss, value in zip(losses, values, strict=True):
        if not history.dead:
            history.add(loss, [torch.tensor([value]).float()])
    assert history.dead
    history.end([weight])
    assert weight.item() == pytest.approx(golden["swad_final_value"].item(), rel=1e-5)


@pytest.mark.parametrize(("optimum", "overfit"), PATIENCES)
@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_any_losses_give_what_the_queues_give(optimum: int, overfit: int, tolerance: float) -> None:
    draw = np.random.default_rng(0)
    valley = LossValley(optimum, overfit, tolerance)
    met = set()
    for number in range(300):
        count = int(draw.integers(1, 20))
        losses = (1 + 0.7 * draw.random(count) + 0.1 * np.abs(np.arange(count) - draw.integers(0, 12))).tolist()
        values = draw.normal(size=count)
        added, first, dead = queues(losses, optimum, overfit, tolerance)
        expected = added or [first]
        assert list(valley.at_the_end(losses)) == expected, number
        weight, history = torch.zeros(1), History(valley, [torch.zeros(1)], segments=20)
        for loss, value in zip(losses, values, strict=True):
            if not history.dead:
                history.add(loss, [torch.tensor([value]).float()])
        assert history.dead == dead
        history.end([weight])
        assert weight.item() == pytest.approx(values[expected].mean(), abs=1e-5)
        met.add((first >= 0, dead))
    assert {(True, True), (True, False)} <= met
    assert optimum == 1 or (False, False) in met


def test_the_way_back_leaves_out_where_it_ends_and_the_converged_segment_counts_twice() -> None:
    losses = [9.0, 8.0, 7.0, 1.2, 1.1, 1.0, 1.05, 1.1]  # converged at 5, bound 1.365; 3 and 4 are below it
    assert LossValley().during(losses) == ((4, 5), False)
    assert LossValley().at_the_end(losses) == (4, 5, 3, 4, 5, 6, 7)


def test_before_there_are_six_segments_later_ones_count_and_the_first_counts_anew() -> None:
    assert LossValley().during([1.0, 1.1, 1.2]) == ((1, 2), False)
    assert LossValley().during([1.0, 1.1, 1.2, 1.1, 1.1, 1.1, 1.1]) == ((1, 2, 0, 0, 0, 1), False)


def test_losses_that_only_fall_leave_the_last_segment() -> None:
    assert LossValley().during([3.0, 2.0, 1.0, 0.5]) == ((), False)
    assert LossValley().at_the_end([3.0, 2.0, 1.0, 0.5]) == (3,)


def test_equal_losses_have_converged() -> None:
    assert LossValley(optimum=2, overfit=2).at_the_end([1.0, 1.0]) == (1,)


def test_a_dead_valley_stays_as_it_is() -> None:
    losses = [1.0, 1.1, 1.2, *[9.0] * 7]
    chosen, dead = LossValley().during(losses)
    assert dead
    assert LossValley().during([*losses, 0.1]) == (chosen, True)


def test_the_history_is_saved_stays_in_main_memory_and_never_trains() -> None:
    history, weights = History(LossValley(), [torch.ones(2), torch.ones(3)], segments=4), [torch.ones(2), torch.ones(3)]
    history.add(0.5, weights)
    assert list(history.parameters()) == []
    assert history.to("meta").saved["weights"].device.type == "cpu"
    again = History(LossValley(), weights, segments=4)
    again.load_state_dict(history.state_dict())
    assert again.losses == [0.5]
    assert all(torch.equal(tensor, again.saved[name]) for name, tensor in history.saved.items())


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused(loss: float) -> None:
    with pytest.raises(ValueError, match=r"validation loss is .*; lower engine\.lr"):
        History(LossValley(), [torch.ones(1)], segments=4).add(loss, [torch.ones(1)])
