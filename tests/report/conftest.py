"""A comparison folder as `surefoot compare` leaves it, with made-up numbers.

`python tests/report/conftest.py FOLDER` writes one, and its report, to look at; `--groups` adds groups.
"""

import base64
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from surefoot.report import comparison, find_runs

SHIFTS = ("solid", "colour", "emoji", "emoji_3d", "emoji_mono", "pixel", "freehand")
COUNTS = {"line": 512, "solid": 2297, "colour": 1033, "emoji": 640, "emoji_3d": 168, "emoji_mono": 296, "pixel": 268}
ACCURACY = {  # home, then the shifts
    "zero_shot": (0.680, 0.671, 0.625, 0.453, 0.482, 0.399, 0.537, 0.502),
    "linear_probe": (0.712, 0.690, 0.640, 0.441, 0.446, 0.395, 0.529, 0.489),
    "fine_tune": (0.734, 0.725, 0.668, 0.381, 0.351, 0.382, 0.530, 0.451),
    "lp_ft": (0.741, 0.722, 0.671, 0.392, 0.372, 0.388, 0.535, 0.455),
    "wise_ft": (0.731, 0.716, 0.678, 0.438, 0.470, 0.426, 0.560, 0.511),
    "flyp": (0.742, 0.710, 0.661, 0.364, 0.327, 0.375, 0.504, 0.433),
    "car_ft": (0.742, 0.731, 0.681, 0.395, 0.369, 0.361, 0.522, 0.460),
}
NOUNS = (
    "anchor apple axe bag banana bell bicycle bird book bottle bridge broom bus cake camera candle car castle cat chair"
)


def _split(rng: np.random.Generator, count: int, accuracy: float, classes: Sequence[str]) -> dict[str, Any]:
    right = np.zeros(count, dtype=bool)
    right[: round(accuracy * count)] = True
    confidence = np.where(right, rng.beta(5, 2.2, count), rng.beta(2.4, 2.6, count))
    bins = np.minimum((confidence * 15).astype(int), 14)
    counts = np.bincount(bins, minlength=15)
    sums = [np.bincount(bins, weights=each, minlength=15) for each in (confidence, right.astype(float))]
    means = [[float(s / c) if c else None for s, c in zip(each, counts, strict=True)] for each in sums]
    gaps = [c * abs(a - b) for a, b, c in zip(*means, counts, strict=True) if a is not None and b is not None]
    of_class = {name: int(count // len(classes) + (i < count % len(classes))) for i, name in enumerate(classes)}
    return {
        "accuracy": float(right.mean()),
        "ece": float(sum(gaps) / count),
        "ece_calibrated": float(sum(gaps) / count / 2),
        "nll": 1.2,
        "brier": 0.4,
        "count": count,
        "class_accuracy": dict.fromkeys(classes, accuracy),
        "class_count": of_class,
        "groups": {},
        "worst_group_accuracy": None,
        "reweighted_accuracy": None,
        "reliability": {"confidence": means[0], "accuracy": means[1], "count": [int(c) for c in counts]},
    }


def results(
    method: str,
    accuracies: Sequence[float],
    *,
    seed: int = 0,
    classes: Sequence[str] = ("cat", "dog"),
    shifts: Sequence[str] = SHIFTS,
    groups: Mapping[str, float] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The content of a results.json whose splits have these accuracies (home first, then the shifts)."""
    rng = np.random.default_rng([seed, *method.encode()])
    names = ("line", *shifts)
    splits = {
        name: _split(rng, COUNTS.get(name, 100), value, classes) for name, value in zip(names, accuracies, strict=True)
    }
    splits["validation"] = _split(rng, 300, accuracies[0], classes)
    if groups:
        splits["line"]["groups"] = {name: {"accuracy": value, "count": 128} for name, value in groups.items()}
        splits["line"]["worst_group_accuracy"] = min(groups.values())
        splits["line"]["reweighted_accuracy"] = sum(groups.values()) / len(groups)
    return {
        "format": 1,
        "task": "iconshift",
        "backbone": "iconclip",
        "method": method,
        "seed": seed,
        "home": "line",
        "shifts": list(shifts),
        "classes": list(classes),
        "selected_on": "none",
        "seconds": 47.3,
        "temperature": 1.1,
        "splits": splits,
        "sweep": [],
    } | changes


def write_run(folder: Path, content: Mapping[str, Any]) -> Path:
    """A finished run in <folder>/<method>/seed-<n>."""
    run = folder / content["method"] / f"seed-{content['seed']}"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"versions": {"surefoot": "0.1.0", "torch": "2.13.0"}}))
    (run / "results.json").write_text(json.dumps(content))
    return run


def image(rng: np.random.Generator) -> str:
    """A drawing of 64 x 64 pixels as a data URI."""
    drawn = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(drawn)
    for _ in range(3):
        x, y, size = (int(v) for v in rng.integers(4, 34, 3))
        pen.ellipse((x, y, x + size, y + size), outline=tuple(int(v) for v in rng.integers(0, 160, 3)), width=3)
    data = io.BytesIO()
    drawn.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def write_sample(folder: Path, *, seeds: int = 2, groups: bool = False, classes: Sequence[str] = ()) -> Path:
    """Seven methods on seven shifts and 150 classes, with a curve and examples."""
    names = [*classes, *(f"{noun} {i}" if i else noun for i in range(8) for noun in NOUNS.split())][:150]
    rng = np.random.default_rng(0)
    for method, accuracies in ACCURACY.items():
        for seed in range(seeds):
            shaken = [a + rng.normal(0, 0.004) * (method != "zero_shot") for a in accuracies]
            parts = {
                "animal on grass": 0.91,
                "animal on water": 0.62,
                "vehicle on grass": shaken[4],
                "vehicle on water": 0.9,
            }
            sweep = []
            if method == "fine_tune":
                zero_shot, tuned = (0.680, 0.524), (0.734, 0.498)
                for alpha in np.linspace(0, 1, 11):
                    bow = 4 * alpha * (1 - alpha)
                    x = zero_shot[0] + alpha * (tuned[0] - zero_shot[0]) + 0.024 * bow
                    y = zero_shot[1] + alpha * (tuned[1] - zero_shot[1]) + 0.031 * bow
                    sweep.append({"alpha": round(float(alpha), 1), "id_accuracy": x, "shift_accuracy": y})
            content = results(
                method,
                shaken,
                seed=seed,
                classes=names,
                groups=parts if groups else None,
                seconds=0.0 if method == "zero_shot" else 40 + 60 * rng.random(),
                selected_on="validation" if method == "wise_ft" else "none",
                sweep=sweep,
            )
            write_run(folder, content)
    examples = []
    for i in range(12):
        guesses = [[names[(i + k) % 150], round(0.7 / (k + 1), 2)] for k in range(3)]
        others = [[names[(i + k + 1) % 150], round(0.6 / (k + 1), 2)] for k in range(3)]
        lost = i < 6
        tuned = {"method": "fine_tune", "top": others if lost else guesses}
        examples.append(
            {
                "split": SHIFTS[i % 7],
                "index": i,
                "label": names[i],
                "image": image(rng),
                "zero_shot": {"top": guesses if lost else others},
                "fine_tuned": tuned,
                "change": "lost" if lost else "gained",
            }
        )
    (folder / "examples.json").write_text(json.dumps(examples))
    runs = sorted(find_runs(folder), key=lambda run: list(ACCURACY).index(run.results["method"]))
    (folder / "comparison.json").write_text(json.dumps(comparison(runs)))
    return folder


@pytest.fixture(scope="session")
def make_results() -> Callable[..., dict[str, Any]]:
    return results


@pytest.fixture(scope="session")
def make_run() -> Callable[[Path, Mapping[str, Any]], Path]:
    return write_run


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Path]:
    return write_sample


if __name__ == "__main__":
    from surefoot.report import write_report

    target = Path(sys.argv[1])
    sys.stdout.write(f"{write_report(write_sample(target, groups='--groups' in sys.argv))}\n")
