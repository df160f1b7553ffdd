"""Compare methods on one task: a run for each method and seed, then the table, the blend curve, examples, the page.

Of a task with variants (DomainBed's data sets and domains left out) each is compared in a folder of its own, and their
mean stands above. What stands finished in the folder is not done again. Training belongs to `run`, the page to
`report`, the choice among several settings to `tuning`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot import plugins, report
from surefoot.blending import zero_shot_curve
from surefoot.changed_images import changed
from surefoot.checkpoint import disk_errors, write_text
from surefoot.config import SECTIONS, RunConfig, Settings, flatten, resolve
from surefoot.engine.train import build_fabric
from surefoot.evaluation.selection import Rule
from surefoot.first_rank import on_first_rank
from surefoot.run import NO_SETTINGS, Parts, Run, train_with
from surefoot.run_folder import RunFolder, as_json
from surefoot.tuning import NO_GRID, Grid, Tried, about_choice, pick
from surefoot.variants import Branch, grow

if TYPE_CHECKING:
    from lightning_fabric import Fabric

METHODS = ("zero_shot", "fine_tune", "wise_ft", "flyp", "car_ft", "lipsum_ft", "carot", "star_ft")
BASELINE, CURVE = "zero_shot", "fine_tune"  # the curve of their blends is drawn, images that changed sides are shown


def compare(
    output: str | Path = "runs/demo",
    settings: Settings = NO_SETTINGS,
    *,
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (0,),
    grid: Mapping[str, Sequence[Any]] = NO_GRID,
    rule: Rule = "training_domain",
    on_run: Callable[[Run], None] = lambda _: None,
) -> dict[str, Any]:
    """Train and evaluate each method with each seed under the same settings; returns what comparison.json holds.

    Options of one method are settings under its name ("wise_ft.alpha"). With a `grid` of values for some settings, each
    method is trained with all of them, and `rule` chooses the run that is shown. `on_run` is called after each run that
    is. Raises ValueError, before anything trains, where a setting or a method is wrong.
    """
    if not methods or not seeds:
        raise ValueError(f"compare needs methods and seeds; got methods={list(methods)}, seeds={list(seeds)}")
    plan = Plan(tuple(methods), tuple(seeds), Grid(grid, rule), on_run)
    first, *_ = [
        config for seed in seeds for method in methods for config in plan.configs(settings, method, seed).values()
    ]
    branch = grow(settings)
    if rule == "leave_one_out" and any(not leaf.folds() for leaf in branch.leaves()):
        raise ValueError("--rule=leave_one_out: the task has no domains to leave out; choose by training_domain")
    return _compare(Path(output), branch, plan, build_fabric(first.engine))


@dataclass(frozen=True)
class Plan:
    """What is run on each task of a comparison."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    grid: Grid
    on_run: Callable[[Run], None]

    def configs(self, settings: Settings, method: str, seed: int) -> dict[str, RunConfig]:
        """Those of the grid by name; of settings that make no difference to this method only the first."""
        found: dict[str, RunConfig] = {}
        for name, tried in self.grid.settings().items():
            config = config_of({**dict(flatten(settings)), **tried}, method, seed, methods=self.methods)
            if config not in found.values():
                found[name] = config
        return found


@dataclass(frozen=True)
class Bench:
    """Where the runs of one task are made. Seeds share a task, or have one each where it is drawn by the trial."""

    root: Path
    branch: Branch
    plan: Plan
    fabric: "Fabric"
    built: dict[str, Parts] = field(default_factory=dict)

    def parts(self, config: RunConfig) -> Parts:
        task = json.dumps(config.task.to_dict(), sort_keys=True)
        if task not in self.built:
            self.built[task] = Parts.on(self.fabric, config)
        return self.built[task]

    def train(self, method: str, seed: int) -> tuple[Run, dict[str, Any]]:
        """The run of a method and seed, and what the table says of its choice: nothing where it was the only one."""
        where, rule = Path(method) / f"seed-{seed}", self.plan.grid.rule
        configs = self.plan.configs(self.branch.settings, method, seed)
        tried = []
        for name, config in configs.items():
            run = train_with(self.parts(config), config, self.root / name / where)
            crossed = len(configs) > 1 and rule == "leave_one_out"
            tried.append(Tried(name, run, self._without_each_source(method, seed, name) if crossed else {}))
        chosen = pick(tried, rule) if len(tried) > 1 else tried[0]
        run = chosen.run
        if method == CURVE and not run.results["sweep"]:
            run = add_curve(self.parts(configs[chosen.setting]), run)
        if len(tried) == 1:
            return run, {}
        names = [run.folder.relative_to(self.root).as_posix() for one in tried for run in one.runs]
        return run, about_choice(self.plan.grid.settings()[chosen.setting], names, rule)

    def _without_each_source(self, method: str, seed: int, name: str) -> dict[str, Run]:
        """The runs with this setting that leave one more domain out."""
        found = {}
        for domain, settings in self.branch.folds().items():
            config = self.plan.configs(settings, method, seed)[name]
            folder = self.root / "folds" / domain / name / method / f"seed-{seed}"
            found[domain] = train_with(self.parts(config), config, folder)
        return found


def _compare(root: Path, branch: Branch, plan: Plan, fabric: "Fabric") -> dict[str, Any]:
    """The comparison of a task, or of its variants and above them their mean."""
    if not branch.variants:
        return _compare_one(Bench(root, branch, plan, fabric))
    for name, variant in branch.variants.items():
        _compare(root / name, variant, plan, fabric)
    means = report.comparison(report.read_variants(root, list(branch.variants)))
    found = {**means, "variants": list(branch.variants), "notes": list(branch.notes)}
    _write(root, {"comparison.json": found}, fabric)
    return found


def _compare_one(bench: Bench) -> dict[str, Any]:
    plan, root = bench.plan, bench.root
    runs: dict[tuple[str, int], Run] = {}
    choices = []
    tried = plan.configs(bench.branch.settings, plan.methods[0], plan.seeds[0]).values()
    if plan.grid.rule == "oracle" and not bench.parts(next(iter(tried))).task.apart:
        raise ValueError("--rule=oracle: the task has no held-out images of its target; choose by training_domain")
    for seed in plan.seeds:
        for method in plan.methods:
            runs[method, seed], choice = bench.train(method, seed)
            choices.append(choice)
            plan.on_run(runs[method, seed])
    first = plan.seeds[0]
    examples: list[dict[str, Any]] = []
    if (BASELINE, first) in runs and (CURVE, first) in runs:
        config = next(iter(plan.configs(bench.branch.settings, CURVE, first).values()))
        examples = list(changed(runs[BASELINE, first], runs[CURVE, first], bench.parts(config).task))
    finished = report.read_runs(root, [str(run.folder.relative_to(root)) for run in runs.values()])
    found = report.comparison([report.chosen(run, choice) for run, choice in zip(finished, choices, strict=True)])
    _write(root, {"comparison.json": found, "examples.json": examples}, bench.fabric)
    return found


def _write(root: Path, files: Mapping[str, Any], fabric: "Fabric") -> None:
    def write() -> None:
        with disk_errors(root, "the report"):
            for name, content in files.items():
                write_text(root / name, as_json(content))
            report.write_report(root)

    on_first_rank(fabric, write)


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
