"""Trackers: where the curves of a run go besides its own files. One file a tracker; each is off unless asked for.

A tracker that fails is told of once and left out from then on; the run goes on. Secrets are not given to any.
"""

import math
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from surefoot import plugins

FOLDER = "trackers"  # where the plug-ins stand
SECRET = re.compile(r"token|secret|passw|pwd|credential|auth|cookie|signature|(^|[._-]|api|access)key$", re.IGNORECASE)
IN_ADDRESS = re.compile(r"(?<=://)[^/\s]+@|\?\S*")  # who asks, and what follows a question mark (signatures)
HIDDEN = "hidden"


@dataclass(frozen=True)
class About:
    """The run that is tracked: its folder, its project's name and its own, its settings by dotted name."""

    folder: Path
    project: str
    name: str
    settings: Mapping[str, Any]


class Tracker(ABC):
    """Base of the plug-ins in `trackers/`: one subclass a file, which imports its library in its methods."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

    summary: ClassVar[str]
    extra: ClassVar[str] = ""  # of Surefoot, with the library

    @abstractmethod
    def start(self, about: About, step: int) -> None:
        """Begin, or go on from `step` steps on."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of the moment after `step` steps, by name with "/" between the parts."""

    @abstractmethod
    def conclude(self, values: Mapping[str, float]) -> None:
        """The measures of the finished run."""

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Write everything and end; not `finished` where the run was interrupted or failed."""


class TrackingConfig(BaseModel):
    """Section `tracking` of a run's config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[str, ...] = ()
    project: str = Field(default="surefoot", min_length=1)

    @field_validator("to")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            plugins.find(FOLDER, name, base=Tracker)
        return names


class Trackers:
    """Those of a run; each is left out from its first failure on, with one warning."""

    def __init__(self, config: TrackingConfig) -> None:
        self.live = {name: plugins.find(FOLDER, name, base=Tracker)() for name in config.to}

    def log(self, step: int, entry: Mapping[str, Any]) -> None:
        """The numbers in a line of metrics.jsonl, however deep they stand, without its place and time."""
        values = numbers({name: value for name, value in entry.items() if name not in ("stage", "step", "time")})
        self._each(lambda tracker: tracker.log(step, values))

    def conclude(self, results: Mapping[str, Any]) -> None:
        """The numbers of results.json that are about whole splits."""
        splits = {name: _numbers_alone(split) for name, split in results["splits"].items()}
        found = numbers({**splits, "seconds": results["seconds"], "temperature": results["temperature"]})
        self._each(lambda tracker: tracker.conclude(found))

    @contextmanager
    def following(self, about: About, *, step: int) -> Iterator[None]:
        """Started before, and closed after, also where something fails in between."""
        clean = About(about.folder, about.project, about.name, without_secrets(about.settings))
        self._each(lambda tracker: tracker.start(clean, step))
        finished = False
        try:
            yield
            finished = True
        finally:
            self._each(lambda tracker: tracker.close(finished=finished))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.live.items()):
            try:
                act(tracker)
            except Exception as error:  # a tracker's library may raise anything
                del self.live[name]
                warnings.warn(_told(name, tracker, error), stacklevel=3)


def numbers(entry: Mapping[str, Any], *, prefix: str = "") -> dict[str, float]:
    """The finite numbers of nested mappings by name, with "/" between the parts; everything else is left out."""
    found: dict[str, float] = {}
    for name, value in entry.items():
        if isinstance(value, Mapping):
            found |= numbers(value, prefix=f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{prefix}{name}"] = float(value)
    return found


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without what unlocks something: values of options called so, and what addresses carry."""
    return {name: HIDDEN if SECRET.search(name) and value else _clean(value) for name, value in settings.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return IN_ADDRESS.sub("", value) if isinstance(value, str) and "://" in value else value


def _numbers_alone(split: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in split.items() if not isinstance(value, Mapping)}


def _told(name: str, tracker: Tracker, error: Exception) -> str:
    what = f"tracking.to={name} failed ({type(error).__name__}: {error}); the run goes on without it"
    missing = isinstance(error, ImportError) and tracker.extra
    return f"{what}. Install its library: pip install 'surefoot[{tracker.extra}]'" if missing else what
