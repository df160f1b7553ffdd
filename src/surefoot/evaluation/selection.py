"""How DomainBed chooses a setting: its three rules, as functions of accuracies (arXiv:2007.01434, section 3).

A rule sees records of several settings, targets and trials. For each target and trial it chooses one setting by its own
measure and gives the accuracy on the target's `test_in` that belongs to it. What is averaged is told with its count.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Rule = Literal["training_domain", "leave_one_out", "oracle"]


@dataclass(frozen=True)
class Record:
    """What one setting reached with one target left out in one trial, at one step; accuracies in [0, 1].

    `sources` are the accuracies on the source domains' own held-out images, `left_out` those on each source when it too
    was left out of training (empty where these runs were not made).
    """

    setting: str
    target: str
    trial: int
    step: int
    sources: Mapping[str, float]
    test_in: float
    target_out: float
    left_out: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """The chosen record, the number that it was chosen by, and of how many settings."""

    record: Record
    score: float
    settings: int


@dataclass(frozen=True)
class Outcome:
    """The mean of `test_in` over targets and trials as tables print it: over trials first, then over targets."""

    accuracy: float
    by_target: Mapping[str, float]
    trials: Mapping[str, tuple[int, ...]]  # of each target


def training_domain(records: Sequence[Record]) -> Choice:
    """The setting, and step, with the highest mean over the sources of the accuracy on their own held-out images."""
    return _best(records, lambda record: _mean(record.sources.values()))


def leave_one_out(records: Sequence[Record]) -> Choice:
    """The setting, and step, with the highest mean accuracy on sources that were left out of training one by one.

    ValueError where a setting was not trained without each of its sources: a mean over some of them is another number.
    """
    for record in records:
        lacking = sorted(set(record.sources) - set(record.left_out))
        if lacking:
            raise ValueError(
                f"leave_one_out: setting {record.setting!r} (target {record.target}, trial {record.trial}) has no run "
                f"without {', '.join(lacking)}; train these too, or choose by training_domain"
            )
    return _best(records, lambda record: _mean(record.left_out[name] for name in record.sources))


def oracle(records: Sequence[Record]) -> Choice:
    """The setting with the highest accuracy on the target's own held-out images, at its last step only.

    It looks at the target, so its numbers are an upper bound and no claim.
    """
    last = {record.setting: record for record in sorted(records, key=lambda record: record.step)}
    return _best([record for record in records if last[record.setting] is record], lambda record: record.target_out)


RULES: Mapping[Rule, Callable[[Sequence[Record]], Choice]] = {
    "training_domain": training_domain,
    "leave_one_out": leave_one_out,
    "oracle": oracle,
}
SELECTED_ON: Mapping[Rule, str] = {
    "training_domain": "validation",
    "leave_one_out": "left-out sources",
    "oracle": "target_out",
}
"""What each rule chooses on. The oracle's is not allowed for claims."""


def choose(records: Sequence[Record], rule: Rule) -> dict[tuple[str, int], Choice]:
    """The choice of each (target, trial). ValueError where they were not run with the same settings."""
    cells: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        cells.setdefault((record.target, record.trial), []).append(record)
    settings = {record.setting for record in records}
    for (target, trial), cell in cells.items():
        if lacking := sorted(settings - {record.setting for record in cell}):
            raise ValueError(
                f"{rule}: target {target}, trial {trial} has no run of setting {', '.join(lacking)}; a choice among "
                "fewer settings is another protocol, so run them first"
            )
    return {cell: RULES[rule](found) for cell, found in cells.items()}


def outcome(choices: Mapping[tuple[str, int], Choice]) -> Outcome:
    """The means of the chosen accuracies. ValueError where targets have not the same trials."""
    trials: dict[str, tuple[int, ...]] = {}
    for target, trial in sorted(choices):
        trials[target] = (*trials.get(target, ()), trial)
    if len(set(trials.values())) != 1:
        told = "; ".join(f"{target}: {', '.join(map(str, each)) or 'none'}" for target, each in trials.items())
        raise ValueError(f"the targets have not the same trials ({told or 'there are none'}); run what is missing")
    by_target = {
        target: _mean(choices[target, trial].record.test_in for trial in each) for target, each in trials.items()
    }
    return Outcome(_mean(by_target.values()), by_target, trials)


def _best(records: Sequence[Record], score: Callable[[Record], float]) -> Choice:
    """The first of equal ones, in the order given."""
    if not records:
        raise ValueError("there is nothing to choose from; give at least one record")
    if len({(record.target, record.trial) for record in records}) > 1:
        raise ValueError("a rule chooses for one target and trial at a time; use choose for several")
    best = max(records, key=score)
    return Choice(best, score(best), len({record.setting for record in records}))


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    if not numbers:
        raise ValueError("no accuracy to choose by; give each record those of its sources")
    return sum(numbers) / len(numbers)
