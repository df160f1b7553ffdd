"""MLflow: a run in the store that MLFLOW_TRACKING_URI names, else in `mlflow.db` in the run's folder."""

import os
import re
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from surefoot.trackers.base import About, Tracker

STORE = "MLFLOW_TRACKING_URI"
FOLDER_TAG = "surefoot.folder"
REFUSED = re.compile(r"[^\w\-. :/]")  # in names
LONGEST, AT_ONCE = 500, 100  # characters of a value that every server takes; parameters, and so metrics, in one request


class MLflow(Tracker):
    summary: ClassVar[str] = "RUN/mlflow.db, or the store that MLFLOW_TRACKING_URI names"
    extra: ClassVar[str] = "mlflow"

    def start(self, about: About, step: int) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read while it is imported
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        folder = about.folder.absolute()
        here = STORE not in os.environ
        self.client: Any = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}" if here else os.environ[STORE])
        known = self.client.get_experiment_by_name(about.project)
        artifacts = {"artifact_location": (folder / "mlflow").as_uri()} if here else {}
        experiment = known.experiment_id if known else self.client.create_experiment(about.project, **artifacts)
        quoted = str(folder).replace("'", "")
        found = self.client.search_runs([experiment], f"tags.`{FOLDER_TAG}` = '{quoted}'") if step else []
        if found:
            self.run = found[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
            return
        self.run = self.client.create_run(experiment, run_name=about.name, tags={FOLDER_TAG: quoted}).info.run_id
        params = [Param(_name(name), str(value)[:LONGEST]) for name, value in _flat(about.settings).items()]
        for first in range(0, len(params), AT_ONCE):
            self.client.log_batch(self.run, params=params[first : first + AT_ONCE])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(_name(name), value, now, step) for name, value in values.items()]
        for first in range(0, len(metrics), AT_ONCE):
            self.client.log_batch(self.run, metrics=metrics[first : first + AT_ONCE])

    def conclude(self, values: Mapping[str, float]) -> None:
        self.log(0, {f"result/{name}": value for name, value in values.items()})

    def close(self, *, finished: bool) -> None:
        self.client.set_terminated(self.run, status="FINISHED" if finished else "KILLED")


def _flat(settings: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, prefix=f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return found


def _name(name: str) -> str:
    return REFUSED.sub("_", name)
