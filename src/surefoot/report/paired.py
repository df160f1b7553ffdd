"""Reads predictions.npz of runs on the same examples and sets every two methods against each other."""

import itertools
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.report.runs import Run
from surefoot.report.statistics import bootstrap, holm, mcnemar, percentile_interval


def right_answers(runs: Sequence[Run], split: str) -> dict[str, NDArray[np.bool_]]:
    """By run, which examples (n) of a split were right. ValueError names a run whose examples or file are not those."""
    found: dict[str, NDArray[np.bool_]] = {}
    labels: NDArray[Any] | None = None
    for run in runs:
        path = run.folder / "predictions.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                label, prediction = arrays[f"{split}.label"], arrays[f"{split}.prediction"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged, missing or without split {split} ({error}); run again") from error
        labels = label if labels is None else labels
        if label.shape != labels.shape or (label != labels).any() or prediction.shape != label.shape:
            raise ValueError(f"runs {runs[0].name} and {run.name} differ in the examples of split {split}")
        found[run.name] = prediction == label
    return found


def pairs(runs: Sequence[Run], split: str, *, resamples: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """Every two methods on a split: `difference` in accuracy with its bootstrap interval, and p of McNemar after Holm.

    Each method is the mean over the seeds that all methods have; McNemar's test is of the first of these.
    """
    methods = list(dict.fromkeys(run.results["method"] for run in runs))
    by_key: Mapping[tuple[str, int], Run] = {(run.results["method"], run.results["seed"]): run for run in runs}
    seeds = [s for s in sorted({key[1] for key in by_key}) if all((method, s) in by_key for method in methods)]
    if not seeds:
        raise ValueError(f"methods {', '.join(methods)} have no seed in common, so nothing pairs them")
    answers = right_answers([by_key[method, s] for method in methods for s in seeds], split)
    each = {method: [answers[by_key[method, s].name] for s in seeds] for method in methods}
    means = np.stack([np.mean(each[method], axis=0) for method in methods])
    draws = bootstrap(means, resamples=resamples, seed=seed)
    chosen = list(itertools.combinations(range(len(methods)), 2))
    tests = [mcnemar(each[methods[i]][0], each[methods[j]][0]) for i, j in chosen]
    corrected = holm([test.p for test in tests])
    return [
        {
            "first": methods[i],
            "second": methods[j],
            "seeds": seeds,
            "difference": float(means[i].mean() - means[j].mean()),
            "interval": percentile_interval(draws[:, i] - draws[:, j]),
            "p": test.p,
            "p_holm": p,
        }
        for (i, j), test, p in zip(chosen, tests, corrected, strict=True)
    ]
