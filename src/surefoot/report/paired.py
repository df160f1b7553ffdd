"""Reads predictions.npz of runs on the same examples and sets every two methods against each other."""

import itertools
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.report.runs import Run
from surefoot.report.statistics import Floats, bootstrap, holm, mcnemar, percentile_interval


@dataclass(frozen=True)
class Resampled:
    """Methods on one split: each the mean over the seeds that all of them have."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    first: tuple[NDArray[np.bool_], ...]  # by method, which examples (n) the first of these seeds had right
    means: Floats  # (M,) accuracies
    draws: Floats  # (resamples, M), all methods on the same draws of examples


def read_predictions(run: Run, split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """True and predicted classes (n each) of a split, from predictions.npz. ValueError names a file that lacks them."""
    path = run.folder / "predictions.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            label, prediction = arrays[f"{split}.label"], arrays[f"{split}.prediction"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged, missing or without split {split} ({error}); run again") from error
    if label.shape != prediction.shape:
        raise ValueError(f"{path} has {label.shape} labels and {prediction.shape} predictions of {split}; run again")
    return label, prediction


def right_answers(runs: Sequence[Run], split: str) -> dict[str, NDArray[np.bool_]]:
    """By run, which examples (n) of a split were right. ValueError names a run whose examples or file are not those."""
    found: dict[str, NDArray[np.bool_]] = {}
    labels: NDArray[Any] | None = None
    for run in runs:
        label, prediction = read_predictions(run, split)
        labels = label if labels is None else labels
        if label.shape != labels.shape or (label != labels).any():
            raise ValueError(f"runs {runs[0].name} and {run.name} differ in the examples of split {split}")
        found[run.name] = prediction == label
    return found


def resampled(runs: Sequence[Run], split: str, *, resamples: int = 2000, seed: int = 0) -> Resampled:
    """Bootstrap of all methods on the same examples. ValueError where they share no seed or not their examples."""
    methods = tuple(dict.fromkeys(run.results["method"] for run in runs))
    by_key: Mapping[tuple[str, int], Run] = {(run.results["method"], run.results["seed"]): run for run in runs}
    seeds = tuple(s for s in sorted({key[1] for key in by_key}) if all((method, s) in by_key for method in methods))
    if not seeds:
        raise ValueError(f"methods {', '.join(methods)} have no seed in common, so nothing pairs them")
    answers = right_answers([by_key[method, s] for method in methods for s in seeds], split)
    each = [[answers[by_key[method, s].name] for s in seeds] for method in methods]
    means = np.stack([np.mean(of_method, axis=0) for of_method in each])
    return Resampled(
        methods=methods,
        seeds=seeds,
        first=tuple(of_method[0] for of_method in each),
        means=means.mean(axis=1),
        draws=bootstrap(means, resamples=resamples, seed=seed),
    )


def pairs(runs: Sequence[Run], split: str, *, resamples: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """Every two methods on a split: `difference` in accuracy with its bootstrap interval, and p of McNemar after Holm.

    Each method is the mean over the seeds that all methods have; McNemar's test is of the first of these.
    """
    found = resampled(runs, split, resamples=resamples, seed=seed)
    chosen = list(itertools.combinations(range(len(found.methods)), 2))
    tests = [mcnemar(found.first[i], found.first[j]) for i, j in chosen]
    corrected = holm([test.p for test in tests])
    return [
        {
            "first": found.methods[i],
            "second": found.methods[j],
            "seeds": list(found.seeds),
            "difference": float(found.means[i] - found.means[j]),
            "interval": percentile_interval(found.draws[:, i] - found.draws[:, j]),
            "p": test.p,
            "p_holm": p,
        }
        for (i, j), test, p in zip(chosen, tests, corrected, strict=True)
    ]
