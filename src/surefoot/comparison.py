"""Compare methods on one task: a run for each method and seed, then the table, the blend curve, examples, the page.

What stands finished in the folder is not done again. Training belongs to `run`, the page to `report`.
"""

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot import plugins, report
from surefoot.blending import zero_shot_curve
from surefoot.checkpoint import disk_errors, write_text
from surefoot.config import SECTIONS, RunConfig, Settings, flatten, resolve
from surefoot.data.scan import open_example
from surefoot.data.task import Split, Task
from surefoot.run import NO_SETTINGS, Parts, Run, on_first_rank, train_with
from surefoot.run_folder import RunFolder, as_json

METHODS = ("zero_shot", "fine_tune", "wise_ft", "flyp", "car_ft", "lipsum_ft", "carot", "star_ft")
BASELINE, CURVE = "zero_shot", "fine_tune"  # the curve of their blends is drawn, images that changed sides are shown
EXAMPLES = 12  # of each kind, lost and gained
THUMBNAIL = 96  # pixels


def compare(
    output: str | Path = "runs/demo",
    settings: Settings = NO_SETTINGS,
    *,
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (0,),
    on_run: Callable[[Run], None] = lambda _: None,
) -> dict[str, Any]:
    """Train and evaluate each method with each seed under the same settings; returns what comparison.json holds.

    Options of one method are settings under its name ("wise_ft.alpha"). `on_run` is called after each run. Raises
    ValueError, before anything trains, where a setting or a method is wrong.
    """
    if not methods or not seeds:
        raise ValueError(f"compare needs methods and seeds; got methods={list(methods)}, seeds={list(seeds)}")
    root = Path(output)
    configs = [config_of(settings, method, seed, methods=methods) for seed in seeds for method in methods]
    parts = Parts.build(configs[0])
    runs: dict[tuple[str, int], Run] = {}
    for config in configs:
        run = train_with(parts, config, root / config.method.name / f"seed-{config.seed}")
        if config.method.name == CURVE and not run.results["sweep"]:
            run = add_curve(parts, run)
        runs[config.method.name, config.seed] = run
        on_run(run)
    first = seeds[0]
    pair = (BASELINE, first) in runs and (CURVE, first) in runs
    examples = list(changed(runs[BASELINE, first], runs[CURVE, first], parts.task)) if pair else []
    found = report.comparison(report.read_runs(root, [str(run.folder.relative_to(root)) for run in runs.values()]))

    def write() -> None:
        with disk_errors(root, "the report"):
            write_text(root / "comparison.json", as_json(found))
            write_text(root / "examples.json", as_json(examples))
            report.write_report(root)

    on_first_rank(parts.fabric, write)
    return found


def config_of(settings: Settings, method: str, seed: int, *, methods: Sequence[str]) -> RunConfig:
    """The config of one run: the shared settings, and over them those under the method's own name.

    "wise_ft.alpha" is an option of that method alone, "wise_ft.engine.lr" a setting for its runs alone; those of
    methods that are not compared are left out, so that one file of settings serves any choice of methods.
    """
    others = tuple(f"{other}." for other in {*methods, *plugins.names("methods")} - {method})
    refused = {"method": "--methods", "method.name": "--methods", "seed": "--seeds"}
    if odd := [name for name, _ in flatten(settings) if name in refused]:
        raise ValueError(f"{odd[0]} is for one run; a comparison takes {refused[odd[0]]}")
    shared = {
        name: value
        for name, value in flatten(settings)
        if not name.startswith((*others, f"{method}.")) and "+" not in name.partition(".")[0]
    }
    own = {}
    for name, value in flatten(settings):
        if name.startswith(f"{method}."):
            option = name.removeprefix(f"{method}.")
            own[option if option.partition(".")[0] in SECTIONS else f"method.{option}"] = value
    return resolve({**shared, **own, "method": method, "seed": seed})


def add_curve(parts: Parts, run: Run) -> Run:
    """The run with the sweep of its blends with zero-shot, where it has any, in its results.json."""
    results = {**run.results, "sweep": zero_shot_curve(parts, run.folder)}
    if results["sweep"]:
        on_first_rank(parts.fabric, lambda: RunFolder(run.folder).write_json("results.json", results))
    return Run(run.folder, results)


def changed(before: Run, after: Run, task: Task) -> Iterator[dict[str, Any]]:
    """Shifted test images that `before` got right and `after` got wrong ("lost"), and the reverse ("gained").

    Taken in turn from the shifts, the surest wrong answers first: an entry of examples.json each.
    """
    old, new = RunFolder(before.folder).predictions(), RunFolder(after.folder).predictions()
    for change, right, wrong in (("lost", old, new), ("gained", new, old)):
        queues = {name: _surest(right, wrong, name).tolist() for name in task.shifts or (task.home,)}
        for split, index in _in_turn(queues, most=EXAMPLES):
            yield {
                "split": split,
                "index": index,
                "label": task.classes[task.tests[split].labels[index]],
                "image": thumbnail(task.tests[split], index),
                "zero_shot": {"top": _top(old, split, index, task)},
                "fine_tuned": {"method": after.results["method"], "top": _top(new, split, index, task)},
                "change": change,
            }


def thumbnail(split: Split, index: int) -> str:
    """A small PNG of one image as a data URI."""
    image = open_example(split, index).pixels()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _surest(right: Mapping[str, NDArray[Any]], wrong: Mapping[str, NDArray[Any]], split: str) -> NDArray[np.int64]:
    """Positions that the first has right and the second wrong, the second's most confident errors first."""
    labels = right[f"{split}.label"]
    differ = (right[f"{split}.prediction"] == labels) & (wrong[f"{split}.prediction"] != labels)
    found = np.flatnonzero(differ)
    return found[np.argsort(-wrong[f"{split}.confidence"][found], kind="stable")]


def _in_turn(queues: Mapping[str, list[int]], *, most: int) -> Iterator[tuple[str, int]]:
    """One of each queue, then again, up to `most`."""
    longest = max(map(len, queues.values()), default=0)
    turns = ((name, queue[i]) for i in range(longest) for name, queue in queues.items() if i < len(queue))
    yield from (turn for turn, _ in zip(turns, range(most), strict=False))


def _top(predictions: Mapping[str, NDArray[Any]], split: str, index: int, task: Task) -> list[tuple[str, float]]:
    classes, confidences = predictions[f"{split}.top"][index], predictions[f"{split}.top_confidence"][index]
    return [(task.classes[c], round(float(p), 4)) for c, p in zip(classes, confidences, strict=True)]
