"""Weights & Biases: offline in the run's folder, unless WANDB_MODE says otherwise; `wandb sync` sends it."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from surefoot.trackers.base import About, Tracker


class WeightsAndBiases(Tracker):
    summary: ClassVar[str] = "Offline in RUN/wandb, or online with WANDB_MODE=online"
    extra: ClassVar[str] = "wandb"

    def start(self, about: About, step: int) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read while it is imported
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        own = hashlib.sha256(str(about.folder.absolute()).encode()).hexdigest()[:16]
        self.run: Any = wandb.init(
            project=about.project,
            name=about.name,
            id=own,  # a resumed run is the same one
            resume="allow" if step and mode == "online" else None,
            dir=str(about.folder),
            mode=mode,
            config=dict(about.settings),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_meta=True),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def conclude(self, values: Mapping[str, float]) -> None:
        self.run.summary.update(dict(values))

    def close(self, *, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)
