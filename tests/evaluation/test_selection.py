"""DomainBed's three rules against numbers worked out by hand."""

import pytest

from surefoot.evaluation.selection import RULES, SELECTED_ON, Record, choose, leave_one_out, oracle, outcome
from surefoot.evaluation.selection import training_domain as by_training_domain


def record(setting, *, a, b, test_in, target_out, step=100, target="t", trial=0, left_out=()):
    return Record(setting, target, trial, step, {"a": a, "b": b}, test_in, target_out, dict(left_out))


SLOW = record("slow", a=0.90, b=0.70, test_in=0.60, target_out=0.50, left_out={"a": 0.5, "b": 0.4})  # .800, .45
FAST = record("fast", a=0.84, b=0.78, test_in=0.40, target_out=0.70, left_out={"a": 0.3, "b": 0.5})  # .810, .40
MILD = record("mild", a=0.99, b=0.60, test_in=0.55, target_out=0.60, left_out={"a": 0.6, "b": 0.1})  # .795, .35


def test_training_domain_validation_takes_the_best_mean_over_the_sources():
    choice = by_training_domain([SLOW, FAST, MILD])
    assert (choice.record, choice.settings) == (FAST, 3)
    assert choice.score == pytest.approx(0.81)


def test_leave_one_domain_out_takes_the_best_mean_over_the_sources_left_out():
    choice = leave_one_out([SLOW, FAST, MILD])
    assert choice.record is SLOW
    assert choice.score == pytest.approx(0.45)


def test_the_oracle_takes_the_best_on_the_targets_own_held_out_images():
    assert oracle([SLOW, FAST, MILD]).record is FAST
    assert oracle([SLOW, MILD]).record is MILD


def test_the_oracle_looks_at_last_steps_only_and_the_training_domain_rule_at_all():
    early = record("fast", a=0.95, b=0.95, test_in=0.1, target_out=0.99, step=50)
    assert oracle([early, FAST, SLOW]).record is FAST
    assert by_training_domain([early, FAST, SLOW]).record is early
    assert by_training_domain([early, FAST, SLOW]).settings == 2


def test_of_equal_settings_the_first_is_taken():
    twin = record("twin", a=0.84, b=0.78, test_in=0.9, target_out=0.7, left_out=FAST.left_out)
    assert all(rule([FAST, twin]).record is FAST for rule in RULES.values())


def test_only_the_oracle_chooses_on_the_target():
    assert [name for name, where in SELECTED_ON.items() if "target" in where] == ["oracle"]


def test_each_target_and_trial_chooses_for_itself_and_trials_are_averaged_before_targets():
    records = [
        record("x", a=0.5, b=0.5, test_in=0.10, target_out=0.9, target="p", trial=0),
        record("y", a=0.6, b=0.6, test_in=0.20, target_out=0.1, target="p", trial=0),  # chosen
        record("x", a=0.7, b=0.7, test_in=0.40, target_out=0.9, target="p", trial=1),  # chosen
        record("y", a=0.6, b=0.6, test_in=0.90, target_out=0.1, target="p", trial=1),
        record("x", a=0.9, b=0.1, test_in=0.80, target_out=0.2, target="q", trial=0),  # chosen: .50
        record("y", a=0.4, b=0.4, test_in=0.70, target_out=0.3, target="q", trial=0),
        record("x", a=0.1, b=0.1, test_in=0.00, target_out=0.1, target="q", trial=1),
        record("y", a=0.2, b=0.2, test_in=0.60, target_out=0.2, target="q", trial=1),  # chosen
    ]
    found = outcome(choose(records, "training_domain"))
    assert found.by_target == pytest.approx({"p": 0.3, "q": 0.7})
    assert found.accuracy == pytest.approx(0.5)
    assert found.trials == {"p": (0, 1), "q": (0, 1)}
    flattered = outcome(choose(records, "oracle"))
    assert flattered.by_target == pytest.approx({"p": 0.25, "q": 0.65})  # x, x; y, y


def test_what_is_missing_is_told_and_never_averaged_over():
    with pytest.raises(ValueError, match=r"setting 'slow' \(target t, trial 0\) has no run without b"):
        leave_one_out([record("slow", a=0.1, b=0.1, test_in=0, target_out=0, left_out={"a": 0.5})])
    other = record("slow", a=0.1, b=0.1, test_in=0, target_out=0, trial=1)
    with pytest.raises(ValueError, match="trial 1 has no run of setting fast"):
        choose([SLOW, FAST, other], "training_domain")
    elsewhere = record("slow", a=0.1, b=0.1, test_in=0, target_out=0, target="u")
    unequal = choose([SLOW, other, elsewhere], "training_domain")
    with pytest.raises(ValueError, match="t: 0, 1; u: 0"):
        outcome(unequal)
    with pytest.raises(ValueError, match="not the same trials"):
        outcome({})
    with pytest.raises(ValueError, match="nothing to choose from"):
        by_training_domain([])
    with pytest.raises(ValueError, match="one target and trial at a time"):
        by_training_domain([SLOW, other])
