"""RunConfig: the parts' own Configs put together; YAML and dotted settings in, a plain dictionary out.

Order of precedence: defaults, what the task, the backbone and the method recommend, then what the user sets.
A part checks its options itself; here a wrong one becomes a message with option, value and remedy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from surefoot import plugins
from surefoot.backbones.base import BackboneSource, source_of
from surefoot.data.batch import DataConfig
from surefoot.data.sources import is_place
from surefoot.data.task import TRIAL, TaskSource
from surefoot.engine.train import EngineConfig
from surefoot.evaluation.meter import ForgettingConfig
from surefoot.methods.base import Method
from surefoot.options import check as check
from surefoot.options import unknown
from surefoot.trackers.base import TrackingConfig

Settings = Mapping[str, Any]
"""Dotted names to values: {"method": "flyp", "engine.lr": 1e-5}."""

PLUGINS: Mapping[str, tuple[str, type]] = MappingProxyType(
    {"task": ("tasks", TaskSource), "backbone": ("backbones", BackboneSource), "method": ("methods", Method)}
)
"""Section -> folder of plug-ins and their base class."""

ALSO_CALLED: Mapping[str, str] = MappingProxyType({"data.root": "task.root"})
"""Another name of an option -> its own."""

DEFAULTS: Mapping[str, str] = MappingProxyType({"task": "iconshift", "backbone": "iconclip", "method": "fine_tune"})


class EvaluationConfig(BaseModel):
    """Section `evaluation` of a run's config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ece_bins: int = Field(default=15, ge=2)
    top_k: int = Field(default=3, ge=1)  # kept for each example in predictions.npz


@dataclass(frozen=True)
class Choice:
    """A plug-in by name with its checked options."""

    name: str
    plugin: type
    options: BaseModel

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, **self.options.model_dump(mode="json")}


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on; `to_dict` gives it back as YAML-ready values."""

    task: Choice
    backbone: Choice
    method: Choice
    data: DataConfig
    engine: EngineConfig
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    forgetting: ForgettingConfig = field(default_factory=ForgettingConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, from which `resolve` makes an equal RunConfig."""
        parts = {name: getattr(self, name).to_dict() for name in PLUGINS}
        sections = {name: getattr(self, name).model_dump(mode="json") for name in SECTIONS}
        return {**parts, **sections, "seed": self.seed}


SECTIONS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "data": DataConfig,
        "engine": EngineConfig,
        "evaluation": EvaluationConfig,
        "forgetting": ForgettingConfig,
        "tracking": TrackingConfig,
    }
)


def resolve(settings: Settings) -> RunConfig:
    """Check dotted settings and fill in the rest.

    Raises ValueError naming each wrong option, its value, and the known ones nearest to it.
    """
    nested = _nest(settings)
    odd = set(nested) - set(PLUGINS) - set(SECTIONS) - {"seed"}
    if odd:
        known = [*PLUGINS, *SECTIONS, "seed"]
        raise ValueError("\n".join(unknown(name, nested[name], known) for name in sorted(odd)))
    seed = check(_Seed, "", {"seed": nested.get("seed", 0)}).seed
    choices = {part: choose(part, nested.get(part, {})) for part in PLUGINS}
    if TRIAL in type(choices["task"].options).model_fields:
        choices["task"] = choose("task", {TRIAL: seed, **nested.get("task", {})})
    method: Any = choices["method"]
    kind = method.plugin.settings_of(method.options, method.name)
    recommended: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for part, choice in choices.items():  # a later part's recommendation wins over an earlier one's
        for name, value in choice.plugin.recommends(choice.options).items():  # type: ignore[attr-defined]
            *only_for, section, option = name.split(".")
            if section not in SECTIONS:
                raise ValueError(f"{part} {choice.name!r} recommends {name}; it can those of {', '.join(SECTIONS)}")
            if not only_for or ".".join(only_for) == kind:
                recommended[section][option] = value
    sections = {
        name: check(model, name, {**recommended[name], **_as_section(nested, name)}) for name, model in SECTIONS.items()
    }
    sections["engine"] = sections["engine"].concrete()
    return RunConfig(**choices, **sections, seed=seed)  # type: ignore[arg-type]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Settings of a YAML file, as dotted names. Raises ValueError naming the file and the line."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable YAML: {error}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); give a YAML file of settings") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}; expected sections such as 'engine: {{lr: 1e-5}}'")
    return dict(flatten(content))


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """`engine.lr=1e-5` words as dotted settings; a list or mapping value is YAML. ValueError where "=" is missing."""
    settings: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} is no setting; write option=value, such as engine.lr=1e-5")
        if name in settings:
            raise ValueError(f"{name} is set twice ({settings[name]!r} and {value!r}); keep one")
        try:
            settings[name] = yaml.safe_load(value) if value[:1] in "[{" and value else value
        except yaml.YAMLError as error:
            raise ValueError(f"{name}={value}: no readable YAML list or mapping ({error})") from error
    return settings


class _Seed(BaseModel):
    seed: int = Field(ge=0, lt=2**32)


def _nest(settings: Settings) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    given = dict(flatten(settings))
    for alias, own in ALSO_CALLED.items():
        if alias in given and given.setdefault(own, given[alias]) != given[alias]:
            raise ValueError(f"{alias}={given[alias]} and {own}={given[own]} are two names of one option; give one")
        given.pop(alias, None)
    for name, value in given.items():
        section, _, option = name.partition(".")
        if not option:
            option = "name" if section in PLUGINS else ""
        if not option:
            nested[section] = value
            continue
        if not isinstance(nested.setdefault(section, {}), dict):
            raise ValueError(f"{name}={value!r}: {section} is a single value, not a section")
        nested[section][option] = value
    return nested


def flatten(settings: Settings) -> Iterable[tuple[str, Any]]:
    """Dotted names and values, also where sections are given as mappings: {"engine": {"lr": 1e-5}}."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and "." not in str(name):
            yield from ((f"{name}.{option}", inner) for option, inner in value.items())
        else:
            yield str(name), value


def choose(part: str, given: Mapping[str, Any]) -> Choice:
    """The plug-in that a name stands for, with its checked options: also a path, a hub id, or methods joined by "+"."""
    folder, base = PLUGINS[part]
    name = written = str(given.get("name", DEFAULTS[part]))
    options = {key: value for key, value in given.items() if key != "name"}
    if part == "backbone":
        name, found = source_of(name)
        written, options = name, {**found, **options}
    elif part == "task" and name not in plugins.names("tasks") and is_place(name):
        name, written, options = "folder", "folder", {"root": name, **options}
    elif part == "method" and "+" in name:
        first, *terms = name.split("+")
        name, options = "compose", {"base": first, "terms": terms, **options}
    plugin: Any = plugins.find(folder, name, base=base)
    return Choice(written, plugin, check(plugin.Config, part, options))


def _as_section(nested: Mapping[str, Any], section: str) -> dict[str, Any]:
    options = nested.get(section, {})
    if not isinstance(options, dict):
        raise ValueError(
            f"{section}={options!r}: {section} is a section; set its options, as in {section}.OPTION=VALUE"
        )
    return options
