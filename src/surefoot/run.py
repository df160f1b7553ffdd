"""Where all parts meet: build what a config names, train it, evaluate what came out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surefoot import checkpoint
from surefoot.backbones.base import Backbone
from surefoot.checkpoint import TrainState
from surefoot.classifier import Classifier
from surefoot.config import RunConfig, Settings, choose, resolve
from surefoot.data.batch import Batches, DataConfig, drop_unreadable, training_batches
from surefoot.data.held_out import HeldOutSplit
from surefoot.data.images import UnreadableImage
from surefoot.data.picks import balanced
from surefoot.data.prompts import Prompts
from surefoot.data.scan import broken_images, leakage_notes
from surefoot.data.task import Task
from surefoot.engine.log import metrics_file, progress_bar, tell
from surefoot.engine.optim import current_rate
from surefoot.engine.train import build_fabric, fit, stage_steps, steps_done
from surefoot.evaluation.evaluate import Evaluation, evaluate_classifier
from surefoot.first_rank import first_rank_holds, on_first_rank
from surefoot.interruption import Interrupted, stop_signals
from surefoot.methods.base import Method, Stage
from surefoot.run_folder import RunFolder
from surefoot.trackers.base import About, Trackers, TrackingConfig
from surefoot.watching import Watch, WatchConfig, build_watch, told_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

NO_SETTINGS: Settings = MappingProxyType({})
READ_AT_MOST = 50_000  # images before training; beyond, `surefoot check` looks for broken and for repeated ones


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and what results.json says."""

    folder: Path
    results: Mapping[str, Any]

    def classifier(self) -> Classifier:
        """What the run left behind, ready to predict."""
        return Classifier.from_pretrained(RunFolder(self.folder).classifier)


@dataclass(frozen=True)
class Parts:
    """What a config names, built: shared by the runs of a comparison."""

    fabric: "Fabric"
    task: Task
    data: DataConfig

    @classmethod
    def build(cls, config: RunConfig) -> "Parts":
        return cls.on(build_fabric(config.engine), config)

    @classmethod
    def on(cls, fabric: "Fabric", config: RunConfig) -> "Parts":
        """Those of another task on the same processes."""
        found: Task = config.task.plugin(config.task.options).load()
        task = drop_unreadable(found, config.data)
        if sum(map(len, task.splits().values())) <= READ_AT_MOST:
            leaks = leakage_notes(task, max_pixels=config.data.max_pixels, workers=config.data.workers)
            task = replace(task, notes=(*task.notes, *leaks))
        if fabric.is_global_zero:
            tell(task.notes)
        return cls(fabric, task, config.data)

    @cached_property
    def broken_images(self) -> str:
        """What to tell before training of images that cannot be decoded; a large task's show only when they are met."""
        splits = self.task.splits().values()
        if sum(map(len, splits)) > READ_AT_MOST:
            return ""
        return broken_images(splits, max_pixels=self.data.max_pixels, workers=self.data.workers)


def load_task(name: str = "iconshift", *, options: Settings = NO_SETTINGS) -> Task:
    """The task `name`, or a folder, zip or table of your own; `options` are its own, such as {"home": "sketch"}."""
    choice: Any = choose("task", {"name": name, **options})
    task: Task = choice.plugin(choice.options).load()
    return task


def load_run_backbone(config: RunConfig) -> Backbone:
    """The pre-trained backbone that a config names."""
    backbone: Backbone = config.backbone.plugin(config.backbone.options).load()
    return backbone


def train(output: str | Path, settings: Settings = NO_SETTINGS) -> Run:
    """Fine-tune as `settings` say, evaluate, and leave a run folder at `output`.

    A run that stands there finished is returned as it is; an unfinished one of the same settings goes on. Raises
    ValueError where the settings are wrong or the folder is another run's, Interrupted on SIGTERM or Ctrl-C.
    """
    config = resolve(settings)
    return train_with(Parts.build(config), config, Path(output))


def train_with(parts: Parts, config: RunConfig, output: Path) -> Run:
    """`train` on parts that are built already."""
    folder = RunFolder(output)
    if folder.finished:
        return _train_alone(parts, config, folder)  # which only reads there
    with first_rank_holds(parts.fabric, output):
        return _train_alone(parts, config, folder)


def _train_alone(parts: Parts, config: RunConfig, folder: RunFolder) -> Run:
    fabric, task, output = parts.fabric, parts.task, folder.path
    data = about_data(task)

    def begin() -> None:
        with checkpoint.disk_errors(folder.path, "run.json"):
            folder.begin(config.to_dict(), data)

    if folder.finished:
        on_first_rank(fabric, begin)
        return Run(output, folder.results())
    if not folder.last.is_dir() and parts.broken_images:
        raise UnreadableImage(parts.broken_images)
    torch.manual_seed(config.seed)
    method = build_method(config, task)
    on_first_rank(fabric, begin)  # only now: what could not be built leaves no folder that refuses the next try
    fabric.to_device(method)
    about_meter = WatchConfig(config.forgetting, config.data, config.engine.batch_size, config.seed)
    watch = build_watch(method, task, folder, about_meter, fabric, load=load_task, on_first=on_first_rank)
    state = checkpoint.load(folder.last, method)
    if fabric.is_global_zero and state.note:
        tell([state.note])
    trackers = Trackers(config.tracking if fabric.is_global_zero else TrackingConfig())
    name = "-".join((task.name, config.method.name, str(config.seed)))
    done = steps_done(method.stages, state, config.engine, images=len(task.train))
    with trackers.following(About(output, config.tracking.project, name, config.to_dict()), step=done):
        with watch.training():
            _fit(parts, config, method, state, folder, watch, trackers)
        classifier = method.classifier()
        chosen = "validation" if config.forgetting.budget else method.selected_on
        classifier.provenance = {"config": config.to_dict(), "data": data, "selected_on": chosen}
        forgetting, seconds = watch.results(classifier.backbone), state.seconds
        run = finish(parts, config, classifier, folder, seconds=seconds, selected_on=chosen, forgetting=forgetting)
        trackers.conclude(run.results)
    if fabric.is_global_zero:
        tell(told_of(forgetting, seconds))
    return run


def build_method(config: RunConfig, task: Task) -> Method:
    """The method on a fresh backbone, on the CPU."""
    plugin, part = config.method.plugin, config.engine.batch_size // config.engine.accumulate
    balanced(task.train, config.data.balance)  # what cannot be balanced is said before anything trains
    prompts = Prompts.from_task(task, seed=config.seed)
    method: Method = plugin(config.method.options, load_run_backbone(config), prompts)
    if part < method.smallest_batch:
        raise ValueError(
            f"engine.batch_size={config.engine.batch_size} in {config.engine.accumulate} parts: method "
            f"{config.method.name!r} compares the images of a part with each other; give "
            f"{method.smallest_batch * config.engine.accumulate} or more"
        )
    method.remember_crops(config.data.views)
    return method


def finish(
    parts: Parts,
    config: RunConfig,
    classifier: Classifier,
    folder: RunFolder,
    *,
    seconds: float,
    selected_on: str = "none",
    method: str = "",
    sweep: Sequence[Mapping[str, Any]] = (),
    selection: Sequence[Mapping[str, Any]] = (),
    forgetting: Mapping[str, Any] = NO_SETTINGS,
) -> Run:
    """Evaluate a classifier, calibrate it on validation, and write it with its results into the folder."""
    fabric, task = parts.fabric, parts.task
    found = evaluate_with(parts, config, classifier)
    classifier.temperature = found.temperature
    results = {
        "format": 1,
        "task": task.name,
        "backbone": classifier.backbone.name,
        "method": method or config.method.name,
        "seed": config.seed,
        "home": task.home,
        "shifts": list(task.shifts),
        "classes": list(task.classes),
        "selected_on": selected_on,
        "seconds": seconds,
        "temperature": found.temperature,
        "splits": found.splits,
        "sweep": list(sweep),
        "selection": list(selection),
        "forgetting": dict(forgetting),
    }

    def write() -> None:
        with checkpoint.disk_errors(folder.path, "the result"):
            classifier.save_pretrained(folder.classifier)
            folder.finish(results, found.predictions)

    on_first_rank(fabric, write)
    return Run(folder.path, results)


def evaluate_with(parts: Parts, config: RunConfig, classifier: Classifier) -> Evaluation:
    """Measure a classifier on validation and every test split of the task."""
    parts.fabric.to_device(classifier)
    bins, top_k = config.evaluation.ece_bins, config.evaluation.top_k
    return evaluate_classifier(classifier, parts.task, config.data, parts.fabric, bins=bins, top_k=top_k)


def _fit(
    parts: Parts, config: RunConfig, method: Method, state: TrainState, folder: RunFolder, watch: Watch, also: Trackers
) -> None:
    fabric, train_split = parts.fabric, parts.task.train
    total = sum(stage_steps(stage, config.engine, images=len(train_split)) for stage in method.stages)

    def batches(stage: Stage, *, start: int) -> Batches:
        return training_batches(
            train_split,
            method.backbone.image_spec,
            config.data,
            batch_size=config.engine.batch_size // config.engine.accumulate,
            seed=config.seed,
            start_step=start,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            augment=stage.augment,
        )

    first = fabric.is_global_zero
    with (
        metrics_file(folder.metrics, stage=state.stage, step=state.step, written=first) as metrics,
        progress_bar(config.method.name, total, shown=first and total > 0) as bar,
        stop_signals() as stopping,
    ):

        def look(state: TrainState, steps: int, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]) -> None:
            told = torch.stack([*terms.values(), torch.tensor(float(bool(stopping)), device=fabric.device)])
            *values, stop = fabric.all_reduce(told, reduce_op="mean").tolist()
            loss = dict(zip(terms, values, strict=True))
            entry = {"stage": state.stage, "step": state.step - 1, "lr": current_rate(optimizer), "loss": loss}
            entry |= watch.look(state, steps)
            metrics.write({**entry, "time": time.time()})
            done = steps_done(method.stages, state, config.engine, images=len(train_split))
            also.log(done, entry)
            bar.advance_to(done, f"loss {sum(values):.3f}")
            watch.stop_if_spent()  # before anything is saved that a resumed run would take for its end
            if stop or state.step == steps or state.step % config.engine.save_every == 0:
                on_first_rank(fabric, lambda: checkpoint.save(folder.last, method, optimizer, state))
            if stop:
                raise Interrupted(f"stopped at step {state.step} of stage {state.stage}; the same command goes on")

        held_out = HeldOutSplit(
            parts.task.validation,
            method.backbone.image_spec,
            config.data,
            config.engine.batch_size // config.engine.accumulate,
            config.seed,
            fabric.to_device,
        )
        fit(
            fabric,
            method,
            batches,
            config.engine,
            state,
            images=len(train_split),
            seed=config.seed,
            on_look=look,
            held_out=held_out,
            also_look=watch.every,
        )


def about_data(task: Task) -> dict[str, Any]:
    """What run.json says of a task's data."""
    counts = {name: len(split) for name, split in task.splits().items()}
    return {"fingerprint": task.fingerprint(), "notes": list(task.notes), "counts": counts}
