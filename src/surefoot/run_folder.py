"""The folder of a run: run.json, metrics.jsonl, last/, classifier/, predictions.npz, results.json.

Each file is written whole or not at all; results.json comes last and makes the run a finished one.
"""

import json
import os
import platform
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.checkpoint import write_text, write_whole

FORMAT = 1
NOT_BLENDED: Mapping[str, Any] = MappingProxyType({})
LIBRARIES = ("surefoot", "torch", "transformers", "lightning-fabric", "numpy", "pillow")


@dataclass(frozen=True)
class RunFolder:
    """Paths and records of one run."""

    path: Path

    @property
    def last(self) -> Path:
        return self.path / "last"

    @property
    def classifier(self) -> Path:
        return self.path / "classifier"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def finished(self) -> bool:
        return (self.path / "results.json").is_file()

    def record(self) -> dict[str, Any]:
        """The content of run.json. ValueError where there is none."""
        return self._read("run.json", "give the folder of a run")

    def results(self) -> dict[str, Any]:
        """The content of results.json. ValueError where the run is unfinished."""
        return self._read("results.json", "the run is unfinished; start its command again to go on")

    def predictions(self) -> Mapping[str, NDArray[Any]]:
        """The arrays of predictions.npz by "split.what"."""
        path = self.path / "predictions.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged or missing ({error}); remove the folder and run again") from error

    def begin(
        self, config: Mapping[str, Any], data: Mapping[str, Any], *, blend: Mapping[str, Any] = NOT_BLENDED
    ) -> None:
        """Write run.json, or check that the one that stands there is of the same config, data and blend.

        Raises ValueError naming what differs.
        """
        if not (self.path / "run.json").is_file():
            about = {"blend": dict(blend), "versions": versions(), "machine": machine()}
            self.write_json("run.json", {"format": FORMAT, "config": config, "data": data, **about})
            return
        record = self.record()
        if record.get("format") != FORMAT:
            raise ValueError(f"{self.path} has run format {record.get('format')}, this Surefoot writes {FORMAT}")
        there = {**record["config"], "blend": record.get("blend", {})}
        wanted = json.loads(json.dumps({**config, "blend": dict(blend)}))
        differing = [
            f"{name} was {old!r}, is {new!r}" for name, old, new in differences(there, wanted) if name not in INNOCENT
        ]
        if differing:
            raise ValueError(
                f"{self.path} holds a run with other settings ({'; '.join(differing)}); "
                "give another output folder, or remove this one"
            )
        if record["data"]["fingerprint"] != data["fingerprint"]:
            raise ValueError(f"{self.path}: the data changed since this run began; give another output folder")

    def finish(self, results: Mapping[str, Any], predictions: Mapping[str, NDArray[Any]]) -> None:
        """Write predictions.npz, then results.json, and drop what was kept to resume from."""

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.savez_compressed(file, **dict(predictions))  # type: ignore[arg-type]

        write_whole(self.path / "predictions.npz", write)
        self.write_json("results.json", results)
        shutil.rmtree(self.last, ignore_errors=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_text(self.path / name, as_json(content))

    def _read(self, name: str, remedy: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"{path} is missing; {remedy}") from None
        except (ValueError, OSError) as error:
            raise ValueError(f"{path} cannot be read ({error}); remove the folder and run again") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} holds no record; remove the folder and run again")
        return content


def classifier_folder(path: Path) -> Path:
    """The classifier's folder, given it or the run's."""
    inner = RunFolder(path).classifier
    return inner if inner.is_dir() else path


def as_json(content: Any) -> str:
    """JSON text as it stands in files; ValueError where a number is not finite."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


INNOCENT = frozenset(
    {
        "data.workers",
        "data.eval_batch_size",
        "engine.save_every",
        "engine.log_every",
        "engine.devices",
        "engine.nodes",
        "tracking.to",
        "tracking.project",
    }
)
"""Settings that may change between the start of a run and its resumption: they do not change its numbers."""


SHOWN = 80  # characters of a value that differs


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted names whose values differ, with both values ("absent" where one side lacks it)."""
    found: list[tuple[str, Any, Any]] = []
    for name in sorted({*old, *new}):
        left, right = old.get(name, "absent"), new.get(name, "absent")
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, prefix=f"{prefix}{name}.")
        elif left != right:
            found.append((prefix + name, left, right))
    return found


def told_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """`differences` in words, long values cut; empty where there are none."""
    return "; ".join(f"{name} is {_short(left)} and {_short(right)}" for name, left, right in differences(old, new))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def machine() -> dict[str, Any]:
    """The machine in words: system, processor type, number of cores."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
