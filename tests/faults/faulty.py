"""For tests: `fine_tune` with a fault that the environment asks for, as FAULT="nan 5": what, at which step."""

import os
import signal

from torch import Tensor

from surefoot.data.batch import Batch
from surefoot.methods.base import Progress
from surefoot.methods.fine_tune import FineTune


class Faulty(FineTune):
    summary = "fine_tune, with faults."

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        terms = super().forward(batch, progress)
        if due("nan", progress) and os.environ.get("LOCAL_RANK", "0") == os.environ.get("FAULT_RANK", "0"):
            return {name: term * float("nan") for name, term in terms.items()}
        return terms

    def after_step(self, progress: Progress) -> None:
        super().after_step(progress)
        if due("stop", progress):
            os.kill(os.getpid(), signal.SIGTERM)


def due(what: str, progress: Progress) -> bool:
    return os.environ.get("FAULT") == f"{what} {progress.step}"
