"""TensorBoard: an event file in the run's folder `tensorboard/`."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from surefoot.trackers.base import About, Tracker


class TensorBoard(Tracker):
    summary: ClassVar[str] = "An event file in RUN/tensorboard; look at all runs with `tensorboard --logdir runs`"
    extra: ClassVar[str] = "tensorboard"

    def start(self, about: About, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(about.folder / "tensorboard"), purge_step=step + 1 if step else None)
        self.step = step
        settings = json.dumps(dict(about.settings), indent=1, ensure_ascii=False)
        self.writer.add_text("settings", "".join(f"    {line}\n" for line in settings.splitlines()), step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.step = step
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def conclude(self, values: Mapping[str, float]) -> None:
        self.log(self.step, {f"result/{name}": value for name, value in values.items()})

    def close(self, *, finished: bool) -> None:  # noqa: ARG002
        self.writer.close()
