"""RunConfig: the parts' own Configs put together; YAML and dotted settings in, a plain dictionary out.

Order of precedence: defaults, what the task, the backbone and the method recommend, then what the user sets.
A part checks its options itself; here a wrong one becomes a message with option, value and remedy.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from surefoot import plugins
from surefoot.backbones.base import BackboneSource, source_of
from surefoot.data.batch import DataConfig
from surefoot.data.task import TaskSource
from surefoot.engine.train import EngineConfig
from surefoot.methods.base import Method

Settings = Mapping[str, Any]
"""Dotted names to values: {"method": "flyp", "engine.lr": 1e-5}."""

PLUGINS: Mapping[str, tuple[str, type]] = MappingProxyType(
    {"task": ("tasks", TaskSource), "backbone": ("backbones", BackboneSource), "method": ("methods", Method)}
)
"""Section -> folder of plug-ins and their base class."""

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
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, from which `resolve` makes an equal RunConfig."""
        parts = {name: getattr(self, name).to_dict() for name in PLUGINS}
        sections = {name: getattr(self, name).model_dump(mode="json") for name in SECTIONS}
        return {**parts, **sections, "seed": self.seed}


SECTIONS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {"data": DataConfig, "engine": EngineConfig, "evaluation": EvaluationConfig}
)


def resolve(settings: Settings) -> RunConfig:
    """Check dotted settings and fill in the rest.

    Raises ValueError naming each wrong option, its value, and the known ones nearest to it.
    """
    nested = _nest(settings)
    chosen = {part: _name(part, nested.get(part, {})) for part in PLUGINS}
    found: dict[str, Any] = {
        part: plugins.find(folder, chosen[part][0], base=base) for part, (folder, base) in PLUGINS.items()
    }
    recommended: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for part in PLUGINS:  # a later part's recommendation wins over an earlier one's
        for name, value in found[part].recommended.items():
            section, _, option = name.partition(".")
            if section not in SECTIONS:
                raise ValueError(f"{part} {chosen[part][0]!r} recommends {name}; it can those of {', '.join(SECTIONS)}")
            recommended[section][option] = value
    unknown = set(nested) - set(PLUGINS) - set(SECTIONS) - {"seed"}
    if unknown:
        known = [*PLUGINS, *SECTIONS, "seed"]
        raise ValueError("\n".join(_unknown(name, nested[name], known) for name in sorted(unknown)))
    choices = {
        part: Choice(chosen[part][0], found[part], check(found[part].Config, part, chosen[part][1])) for part in PLUGINS
    }
    sections = {
        name: check(model, name, {**recommended[name], **_as_section(nested, name)}) for name, model in SECTIONS.items()
    }
    seed = check(_Seed, "", {"seed": nested.get("seed", 0)})
    sections["engine"] = sections["engine"].concrete()
    return RunConfig(**choices, **sections, seed=seed.seed)  # type: ignore[arg-type]


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


def check(model: type[BaseModel], section: str, options: Mapping[str, Any]) -> Any:
    """The options as `model`. Raises ValueError with a line for each wrong one."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        lines = [_explain(model, section, problem) for problem in error.errors(include_url=False)]
        raise ValueError("\n".join(lines)) from error


class _Seed(BaseModel):
    seed: int = Field(ge=0, lt=2**32)


def _nest(settings: Settings) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flatten(settings):
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


def _name(part: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The plug-in's name and its options; a path or hub id stands for the plug-in that opens it."""
    rest = {key: value for key, value in options.items() if key != "name"}
    name = str(options.get("name", DEFAULTS[part]))
    if part == "backbone":
        name, found = source_of(name)
        return name, {**found, **rest}
    if part == "task" and name not in plugins.names("tasks") and _is_place(name):
        return "folder", {"root": name, **rest}
    return name, rest


def _is_place(name: str) -> bool:
    return "/" in name or Path(name).suffix in (".csv", ".zip", ".parquet") or Path(name).is_dir()


def _as_section(nested: Mapping[str, Any], section: str) -> dict[str, Any]:
    options = nested.get(section, {})
    if not isinstance(options, dict):
        raise ValueError(
            f"{section}={options!r}: {section} is a section; set its options, as in {section}.OPTION=VALUE"
        )
    return options


def _explain(model: type[BaseModel], section: str, problem: Mapping[str, Any]) -> str:
    dot = f"{section}." if section else ""
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown(f"{dot}{name}", problem["input"], [f"{dot}{option}" for option in model.model_fields])
    if problem["type"] == "missing":
        return f"{dot}{name} is not set; give {dot}{name}=VALUE"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not name:  # a check over several options, which names them itself
        return message
    return f"{dot}{name}={problem['input']}: {message[:1].lower()}{message[1:]}"


def _unknown(name: str, value: Any, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{name}={value}: there is no such option{hint} Known: {', '.join(known) or 'none'}"
