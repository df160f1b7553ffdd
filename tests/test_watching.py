import json
from pathlib import Path
from typing import Any

import pytest

import surefoot
from surefoot.run_folder import RunFolder
from surefoot.watching import told_of

METER = {"forgetting.every": 2, "forgetting.unit": "steps", "forgetting.images": 9, "engine.steps": 6}
OTHER = {"forgetting.tasks": ["icongroups"]}


def losses(folder: Path) -> list[Any]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> bytes:
    return (folder / "classifier" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["fine_tune", "flyp", "lp_ft"])
def test_the_meter_changes_no_bit_of_the_training(method: str, tmp_path: Path, quick: dict[str, Any]) -> None:
    settings = {**quick, "method": method, "engine.steps": 6}
    surefoot.train(tmp_path / "off", settings)
    run = surefoot.train(tmp_path / "on", {**settings, **METER, **OTHER})
    assert losses(tmp_path / "off") == losses(tmp_path / "on")
    assert weights(tmp_path / "off") == weights(tmp_path / "on")
    found = run.results["forgetting"]
    assert found["end"]["feature_distortion"] == found["readings"][-1]["feature_distortion"]
    assert found["start"]["feature_distortion"] == 0
    assert set(found["start"]["accuracy"]) == {"held_out", "icongroups"}
    assert run.results["selected_on"] == "none"
    assert found["stopped"] == {}


def test_readings_stand_at_their_steps_and_the_cost_is_told(
    tmp_path: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = surefoot.train(tmp_path / "run", {**quick, **METER, "forgetting.tasks": [], "engine.steps": 5})
    assert [one["step"] for one in run.results["forgetting"]["readings"]] == [1, 3, 4]
    assert "forgetting meter: 5 readings took" in capsys.readouterr().err


@pytest.mark.parametrize("budget_on", ["held_out", "tasks"])
def test_training_stops_at_the_budget_and_keeps_what_was_within(
    budget_on: str, tmp_path: Path, quick: dict[str, Any]
) -> None:
    """A rate at which everything is forgotten at once: what is kept is the last model within the budget."""
    wild = {**quick, **METER, **OTHER, "engine.lr": 1.0, "engine.warmup": 0, "forgetting.budget_on": budget_on}
    wild["backbone.seed"] = 8 if budget_on == "held_out" else 0  # models that know something there by chance
    wild |= {"engine.steps": 8, "forgetting.every": 1, "data.eval_batch_size": 9}
    free = surefoot.train(tmp_path / "free", wild).results["forgetting"]
    names = [name for name in free["start"]["accuracy"] if (name == "held_out") == (budget_on == "held_out")]
    gone = [100 * (free["start"]["accuracy"][names[0]] - one["accuracy"][names[0]]) for one in free["readings"]]
    budget = max(gone) / 2
    assert budget > 0, "the test needs a model that forgets"
    first = next(step for step, points in enumerate(gone) if points > budget)
    run = surefoot.train(tmp_path / "run", {**wild, "forgetting.budget": budget})
    found = run.results["forgetting"]
    assert found["stopped"]["step"] == first
    assert found["stopped"]["lost"] == pytest.approx(gone[first])
    assert found["stopped"]["kept"] == {"stage": 0, "step": first - 1}
    kept = free["readings"][first - 1] if first else free["start"]
    assert found["end"]["feature_distortion"] == kept["feature_distortion"]
    assert run.results["selected_on"] == "validation"
    assert not RunFolder(run.folder).last.exists()
    assert f"stopped at step {first} of stage 0" in told_of(found, 1.0)[0]


def test_a_budget_that_is_not_spent_trains_to_the_end(tmp_path: Path, quick: dict[str, Any]) -> None:
    plain = surefoot.train(tmp_path / "plain", {**quick, "engine.steps": 6})
    run = surefoot.train(tmp_path / "run", {**quick, **METER, **OTHER, "forgetting.budget": 100})
    assert weights(run.folder) == weights(plain.folder)
    assert run.results["forgetting"]["stopped"] == {}


def test_a_budget_on_tasks_needs_one_beside_the_runs_own(tmp_path: Path, quick: dict[str, Any]) -> None:
    wanted = {**quick, **METER, "forgetting.tasks": [quick["task"]], "forgetting.budget": 2}
    with pytest.raises(ValueError, match=r"none beside the run's own; name some in forgetting\.tasks"):
        surefoot.train(tmp_path / "run", wanted)


def test_without_a_meter_results_have_no_reading(tmp_path: Path, quick: dict[str, Any]) -> None:
    assert surefoot.train(tmp_path / "run", {**quick, "engine.steps": 1}).results["forgetting"] == {}


def test_a_run_that_was_killed_ends_with_the_same_readings(
    tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**quick, **METER, **OTHER, "engine.save_every": 3, "forgetting.budget": 100}
    whole = surefoot.train(tmp_path / "whole", settings)

    class KilledError(Exception):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", killed)
        with pytest.raises(KilledError):
            surefoot.train(tmp_path / "run", settings)
    assert (tmp_path / "run" / "last" / "within" / "state.safetensors").is_file()
    again = surefoot.train(tmp_path / "run", settings)
    assert weights(again.folder) == weights(whole.folder)

    def timeless(readings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**one, "seconds": 0} for one in readings]

    assert timeless(again.results["forgetting"]["readings"]) == timeless(whole.results["forgetting"]["readings"])
