"""Tune every method on one task by the same grid, on validation at home only, and write the settings that won.

    python benchmarks/tune.py runs/tune benchmarks/iconshift_tuned.yaml [task] [method ...]

First the learning rate, each method's own options at their defaults; then, at the rate that won, the weight of its
regulariser (or what stands in its place), a third and three times the default. Accuracy on validation decides; of
equals the setting nearest to the default. One seed (0). What stands finished is not trained again; the file is input
for `surefoot compare --config`. Prints JSON: every setting with what validation said.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from surefoot.comparison import config_of
from surefoot.run import Parts, train_with

RATES = (3e-4, 1e-4)  # 1e-3 lost wherever it was tried
OPTIONS: Mapping[str, tuple[str, tuple[float, ...]]] = {  # method -> the option that is tuned, and its values
    "car_ft": ("weight", (1 / 3, 3.0)),
    "lipsum_ft": ("weight", (1 / 3, 3.0)),
    "carot": ("distillation", (0.5, 4.5)),
    "star_ft": ("weight", (0.5 / 3, 1.5)),
    "tracer": ("distillation", (0.3, 2.7)),
    "kd": ("weight", (1 / 3, 3.0)),
    "l2_sp": ("weight", (0.01 / 3, 0.03)),
    "miro": ("weight", (1 / 3, 3.0)),
    "ema": ("momentum", (0.9, 0.97)),
    "r_adapter": ("momentum", (0.9, 0.97)),
    "flyp+lipsum_ft": ("lipsum_ft.weight", (1 / 3, 3.0)),
    "flyp+star_ft+lipsum_ft": ("lipsum_ft.weight", (1 / 3, 3.0)),
    "tracer+lipsum_ft": ("lipsum_ft.weight", (1 / 3, 3.0)),
    "carot+lipsum_ft": ("lipsum_ft.weight", (1 / 3, 3.0)),
    "fine_tune+car_ft+lipsum_ft": ("lipsum_ft.weight", (1 / 3, 3.0)),
}
METHODS = (
    "zero_shot", "linear_probe", "fine_tune", "lp_ft", "wise_ft", "flyp", "car_ft", "lipsum_ft", "carot", "star_ft",
    "tracer", "l2_sp", "kd", "ema", "r_adapter", "tpgm", "ftp", "erm", "swad", "miro",
    "flyp+lipsum_ft", "flyp+star_ft+lipsum_ft", "tracer+lipsum_ft", "carot+lipsum_ft", "fine_tune+car_ft+lipsum_ft",
)  # fmt: skip

Setting = dict[str, Any]


def main(folder: Path, written: Path, task: str, methods: tuple[str, ...]) -> None:
    shared = {"task": task}
    parts = Parts.build(config_of(shared, methods[0], 0, methods=methods))
    told: dict[str, list[dict[str, Any]]] = {}
    chosen: dict[str, Setting] = {}

    def accuracy(method: str, setting: Setting) -> float:
        words = "_".join(f"{name}={value:.4g}" for name, value in setting.items()) or "default"
        own = {f"{method}.{name}": value for name, value in setting.items()}
        run = train_with(parts, config_of({**shared, **own}, method, 0, methods=methods), folder / method / words)
        found: float = run.results["splits"]["validation"]["accuracy"]
        told.setdefault(method, []).append({"setting": setting, "validation_accuracy": round(found, 4)})
        return found

    for method in methods:
        if method == "zero_shot":
            continue
        scores = [(accuracy(method, {"engine.lr": rate}), rate) for rate in RATES]
        best, rate = max(scores, key=lambda pair: pair[0])  # the first of equals: the default
        chosen[method] = {"engine.lr": rate}
        option, values = OPTIONS.get(method, ("", ()))
        for value in values:
            setting = {"engine.lr": rate, option: value}
            if (score := accuracy(method, setting)) > best:
                best, chosen[method] = score, setting
        write(written, task, chosen)
    print(json.dumps({"task": task, "grid": told, "chosen": chosen}, indent=1))


def write(path: Path, task: str, chosen: Mapping[str, Setting]) -> None:
    path.write_text(
        f"# Settings that won on the validation split of {task}, by the grid of benchmarks/tune.py (seed 0).\n"
        + yaml.safe_dump({"task": task, **chosen}, sort_keys=False),
        encoding="utf-8",
    )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3:] or ["iconshift"])[0], tuple(sys.argv[4:]) or METHODS)
