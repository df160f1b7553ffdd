"""Any task under common corruptions: its own training and validation images, its test images made worse by computer.

So a task without shifted data still shows how accuracy falls under noise, blur, weather and bad coding. The corruptions
are those of ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261), see `data.corruptions`; none is ever
seen in training. The home split stays clean and each corruption makes a shift, so that the mean over the shifts is one
minus the mean corruption error (the plain one: mCE divides each by AlexNet's).
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from surefoot import plugins
from surefoot.data.corruptions import COMMON, Corrupted, names_of
from surefoot.data.places import Place
from surefoot.data.sources import is_place
from surefoot.data.task import Split, Task, TaskSource
from surefoot.options import check

INNER = "options."
Severity = Annotated[int, Field(ge=1, le=5)]


class CorruptedTask(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # of the other task's files; "" = as that task has it
        of: str = ""  # which task; "" = your own images where there is a root, else iconshift
        options: dict[str, Any] = Field(default_factory=dict)  # of that task
        corruptions: Annotated[tuple[str, ...], BeforeValidator(names_of)] = COMMON
        severities: tuple[Severity, ...] = (1, 2, 3, 4, 5)
        split_by: Literal["corruption", "severity"] = "corruption"  # severity: fog-1, fog-2, ...; else dealt to images
        splits: tuple[str, ...] = ()  # which test splits; () = the home split
        size: Annotated[int, Field(ge=0)] = 224  # cut to so many pixels first, but for small images; 0 = never
        seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # of the noise; not the run's, so that all runs see the same

        @model_validator(mode="before")
        @classmethod
        def _dotted(cls, given: Any) -> Any:
            """`task.options.home=photo` as well as `task.options={home: photo}`; a root among them is `root`."""
            if not isinstance(given, Mapping) or not isinstance(given.get("options", {}), Mapping):
                return given
            dotted = {key.removeprefix(INNER): value for key, value in given.items() if key.startswith(INNER)}
            rest = {key: value for key, value in given.items() if not key.startswith(INNER)}
            options = {**rest.get("options", {}), **dotted}
            root = options.pop("root", "")
            return {**rest, "root": rest.get("root") or root, "options": options}

        @field_validator("severities", "corruptions", "splits")
        @classmethod
        def _each_once(cls, given: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
            if len(set(given)) < len(given):
                raise ValueError("one stands twice; give each once")
            if not given and info.field_name != "splits":
                raise ValueError("none is given; give at least one")
            return given

        @model_validator(mode="after")
        def _the_other_task_is_there(self) -> Self:
            inner(self)
            return self

    summary = "Any task with its test images under the 15 + 4 common corruptions: a shift report without shifted data."
    paper = "arXiv:1903.12261"

    @classmethod
    def recommends(cls, config: TaskSource.Config) -> Mapping[str, Any]:
        """What the other task does."""
        if not isinstance(config, cls.Config):
            return {}
        source = inner(config)
        return source.recommends(source.config)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: CorruptedTask.Config = config

    def places(self) -> Sequence[Place]:
        return inner(self.config).places()

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        """Those of the other task, each corrupted."""
        options = self.config.options
        return {name: {"options": {**options, **own}} for name, own in inner(self.config).variants().items()}

    def load(self) -> Task:
        task = inner(self.config).load()
        chosen = self.config.splits or (task.home,)
        for name in chosen:
            if name not in task.tests:
                near = difflib.get_close_matches(name, task.tests, n=1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise ValueError(f"task.splits={name}: no such test split{hint} Known: {', '.join(task.tests)}")
        tests = {task.home: task.tests[task.home]}
        for name in chosen:
            for key, split in self._corrupted(task.tests[name], "" if name == task.home else f"{name}-"):
                if key in tests or key in ("train", "validation"):
                    raise ValueError(f"task.of: {task.name} has a split called {key!r}, as a corruption is; rename it")
                tests[key] = split
        return replace(task, name=f"{task.name}-corrupted", tests=tests, apart=())

    def _corrupted(self, split: Split, prefix: str) -> Sequence[tuple[str, Split]]:
        config = self.config
        levels: dict[str, tuple[int, ...]] = {"": config.severities}
        if config.split_by == "severity":
            levels = {f"-{severity}": (severity,) for severity in config.severities}
        found = []
        for corruption in config.corruptions:
            for suffix, severities in levels.items():
                key = f"{prefix}{corruption}{suffix}"
                alter = Corrupted(corruption, severities, config.size, config.seed, split.alter)
                found.append((key, replace(split, name=key, domain=f"{prefix}{corruption}", alter=alter)))
        return found


def inner(config: CorruptedTask.Config) -> TaskSource:
    """The task that is corrupted. Raises ValueError where there is none of that name, or its options are wrong."""
    name, options = config.of or ("folder" if config.root else "iconshift"), dict(config.options)
    if name not in plugins.names("tasks") and is_place(name):
        name, options = "folder", {"root": name, **options}
    if config.root:
        options = {**options, "root": config.root}
    try:
        plugin = plugins.find("tasks", name, base=TaskSource)
    except ValueError as error:
        raise ValueError(f"task.of={config.of}: {error}") from error
    if plugin is CorruptedTask:
        raise ValueError(f"task.of={config.of}: it cannot corrupt itself; name another task")
    return plugin(check(plugin.Config, "task.options", options))
