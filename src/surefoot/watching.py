"""Reads the forgetting meter while a run trains, and stops the run where it has forgotten more than its budget.

The meter measures; what is kept lies in the run's `last/within/` until the run is finished.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from surefoot import checkpoint
from surefoot.backbones.base import Backbone
from surefoot.checkpoint import TrainState
from surefoot.data.batch import DataConfig
from surefoot.data.task import Task
from surefoot.evaluation.forgetting import lost
from surefoot.evaluation.meter import HELD_OUT, ForgettingConfig, Meter, Reading
from surefoot.methods.base import Method
from surefoot.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class WatchConfig:
    """What of a run's config a meter depends on."""

    forgetting: ForgettingConfig
    data: DataConfig
    batch_size: int
    seed: int


OnFirst = Callable[["Fabric", Callable[[], None]], None]


class Watch:
    """What is looked at while a run trains; this one looks at nothing."""

    every: int = 0  # steps from look to look; 0: none

    def look(self, state: TrainState, steps: int) -> dict[str, Any]:  # noqa: ARG002
        """What metrics.jsonl is to say of this step beside the loss."""
        return {}

    def stop_if_spent(self) -> None:
        """End the training where the budget is spent."""

    @contextmanager
    def training(self) -> Iterator[None]:
        """Around the training: what ends it early is caught here."""
        yield

    def results(self, backbone: Backbone) -> dict[str, Any]:  # noqa: ARG002
        """What results.json says of it; `backbone` is what the run leaves behind."""
        return {}


class BudgetSpentError(Exception):
    """More was forgotten than the budget allows."""


class MeterWatch(Watch):
    """Reads a meter every so many steps and at the end of each stage.

    Every process reads it, since the parts of a model may lie on all of them; the first one's reading counts. To be
    made before the method has trained or been resumed.
    """

    def __init__(
        self,
        meter: Meter,
        method: Method,
        folder: RunFolder,
        config: ForgettingConfig,
        fabric: "Fabric",
        *,
        per_epoch: int,
        on_first: OnFirst,
    ) -> None:
        self.meter, self.method, self.folder, self.config, self.fabric = meter, method, folder, config, fabric
        self.every = config.steps_between(per_epoch)
        self.on_first = on_first
        self.counted = (
            [HELD_OUT] if config.budget_on == "held_out" else [name for name in meter.sights if name != HELD_OUT]
        )
        if config.budget and not self.counted:
            raise ValueError(
                f"forgetting.budget={config.budget} is on the accuracy of unrelated tasks, but there is none beside "
                "the run's own; name some in forgetting.tasks, or give forgetting.budget_on=held_out"
            )
        self.spent = False
        self.stopped: dict[str, Any] = {}
        if config.budget and not (self.within / checkpoint.FILE).is_file():
            self._keep(TrainState())

    @property
    def within(self) -> Path:
        return self.folder.last / "within"

    def look(self, state: TrainState, steps: int) -> dict[str, Any]:
        if state.step % self.every and state.step != steps:
            return {}
        reading: Reading = self.fabric.broadcast(self.meter.read(self.method.backbone))
        told = reading.to_dict()
        if self.config.budget:
            told["lost"] = self._lost(reading)
            self.spent = told["lost"] > self.config.budget
            if not self.spent:
                self._keep(state)
            else:
                self.stopped = {"stage": state.stage, "step": state.step - 1, "lost": told["lost"]}
        return {"forgetting": told}

    def stop_if_spent(self) -> None:
        if self.spent:
            raise BudgetSpentError

    @contextmanager
    def training(self) -> Iterator[None]:
        try:
            yield
        except BudgetSpentError:
            kept = checkpoint.load(self.within, self.method)
            self.stopped["kept"] = {"stage": kept.stage, "step": kept.step - 1}
            self.method.finalize()

    def results(self, backbone: Backbone) -> dict[str, Any]:
        readings, end = self._readings(), self.fabric.broadcast(self.meter.read(backbone))
        return {
            "start": self.meter.start.to_dict(),
            "readings": readings,
            "end": end.to_dict(),
            "budget": self.config.budget,
            "budget_on": self.config.budget_on,
            "stopped": self.stopped,
            "seconds": self.meter.start.seconds + end.seconds + sum(one["seconds"] for one in readings),
        }

    def _lost(self, reading: Reading) -> float:
        start, now = self.meter.start.accuracy, reading.accuracy
        return lost({name: now[name] for name in self.counted}, {name: start[name] for name in self.counted})

    def _keep(self, state: TrainState) -> None:
        nothing = torch.optim.SGD(self.method.parameters(), lr=0.0)  # has no state: the weights alone are kept
        self.on_first(self.fabric, lambda: checkpoint.save(self.within, self.method, nothing, state))

    def _readings(self) -> list[Mapping[str, Any]]:
        """Those of metrics.jsonl, also of before a resume."""
        if not self.folder.metrics.is_file():
            return []
        entries = map(json.loads, self.folder.metrics.read_text(encoding="utf-8").splitlines())
        return [
            {**one["forgetting"], "stage": one["stage"], "step": one["step"]} for one in entries if "forgetting" in one
        ]


def build_watch(
    method: Method,
    task: Task,
    folder: RunFolder,
    config: WatchConfig,
    fabric: "Fabric",
    *,
    load: Callable[[str], Task],
    on_first: OnFirst,
) -> Watch:
    """The watch of a run that wants a meter and trains, made while the method is still the zero-shot model."""
    wanted, per_epoch = config.forgetting, -(-len(task.train) // config.batch_size)
    if not wanted.every or not method.stages:
        return Watch()
    others = unrelated(wanted.tasks, task, load)
    meter = Meter(method.backbone, task, others=others, config=wanted, data=config.data, seed=config.seed)
    return MeterWatch(meter, method, folder, wanted, fabric, per_epoch=per_epoch, on_first=on_first)


def unrelated(names: Sequence[str], task: Task, load: Callable[[str], Task]) -> dict[str, Task]:
    """The tasks of these names, without `task` itself."""
    found = {name: load(name) for name in names if name != task.name}
    return {name: other for name, other in found.items() if other.fingerprint() != task.fingerprint()}


def told_of(results: Mapping[str, Any], seconds: float) -> list[str]:
    """What to tell at the end: an early stop, and what the meter cost beside so many seconds of training."""
    if not results:
        return []
    notes, stopped = [], results["stopped"]
    if stopped:
        kept = stopped["kept"]
        where = "as it began" if kept["step"] < 0 else f"as of step {kept['step']} of stage {kept['stage']}"
        notes.append(
            f"stopped at step {stopped['step']} of stage {stopped['stage']}: {stopped['lost']:.1f} points of accuracy "
            f"lost, forgetting.budget={results['budget']:g}; what is kept is the model {where}"
        )
    share = 100 * results["seconds"] / seconds if seconds else 0.0
    notes.append(
        f"forgetting meter: {len(results['readings']) + 2} readings took {results['seconds']:.1f} s, {share:.0f} % of "
        f"{seconds:.1f} s of training"
    )
    return notes
