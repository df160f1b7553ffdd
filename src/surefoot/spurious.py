"""A pool of spurious phrases for a task's classes, asked of a language model in several rounds.

What is asked and which lines can be used stands in `data.phrases`; who answers, in `language_models`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surefoot import __version__
from surefoot.checkpoint import write_text
from surefoot.config import resolve
from surefoot.data.manifest import ClassList, read_classes
from surefoot.data.phrases import Checked, Fault, check_answers, request
from surefoot.data.pools import pool_names
from surefoot.language_models.base import LanguageModel
from surefoot.language_models.endpoint import Endpoint
from surefoot.language_models.local import LocalModel

MINIMUM = 5  # phrases that make a pool
ROUNDS = 8
SHOWN = 200  # letters of an answer in a message


@dataclass(frozen=True)
class Pool:
    """Phrases, each with "{}" once, and where they come from."""

    phrases: tuple[str, ...]
    dropped: Mapping[Fault, int]
    classes: int
    model: str

    def text(self) -> str:
        """A file that `read_pools` reads."""
        model = " ".join(self.model.split())
        return "\n".join(
            (
                f"# Spurious phrases for {self.classes} classes, by the language model {model}.",
                f"# Asked and checked by Surefoot {__version__}. One phrase a line; the slot takes an image's caption.",
                *self.phrases,
                "",
            )
        )

    def summary(self) -> str:
        """How many lines were kept and dropped, and why."""
        return f"kept {len(self.phrases)} phrases, {_told(self.dropped)}"


def language_model(lm: str, *, model: str, key_env: str, timeout: float) -> LanguageModel:
    """The endpoint at a URL, or the local model of a folder or hub id. Asks nothing yet.

    Raises ValueError for options that do not go together.
    """
    if not lm:
        raise ValueError(
            "--lm is not given; name a folder or hub id of a language model, or an endpoint's URL. Without one, "
            f"star_ft has the pools that ship with Surefoot: method.pools=[{','.join(pool_names())}] or some of them"
        )
    if "://" in lm:
        return Endpoint.at(lm, model=model, key_env=key_env, timeout=timeout)
    if model:
        raise ValueError(f"--model={model} is for an endpoint; --lm={lm} names a local model already, so leave it out")
    return LocalModel(lm, timeout)


def require_free(output: Path, *, force: bool) -> None:
    """Raises ValueError where a file stands that is not to be replaced, or where the name would be misread."""
    if str(output) in pool_names():
        raise ValueError(f"--output={output} is the name of a pool that ships; give another, such as {output}.txt")
    if output.is_dir():
        raise ValueError(f"--output={output} is a folder; give a file")
    if output.exists() and not force:
        raise ValueError(f"--output={output} exists; give another file, or --force to replace it")


def read_class_list(place: str) -> ClassList:
    """The classes of a classes.yaml, a text file of a class a line, or a task by its name, folder, zip or table.

    Raises ValueError for what cannot be read or names no class.
    """
    path = Path(place).expanduser()
    if path.suffix.lower() in (".yaml", ".yml"):
        found = read_classes(_bytes(path), str(path))
    elif path.suffix.lower() == ".txt":
        lines = (line.strip() for line in _bytes(path).decode("utf-8-sig", errors="replace").splitlines())
        found = _class_list(tuple(line for line in lines if line and not line.startswith("#")))
    else:
        task = resolve({"task": place}).task
        found = _class_list(task.plugin(task.options).load().classes)
    if not found.names or not all(name.strip() for name in found.names):
        raise ValueError(f"--classes={place}: {'a class' if found.names else 'it'} has no name; name the classes there")
    return found


def ask(model: LanguageModel, classes: ClassList, *, count: int) -> Pool:
    """Ask until there are `count` phrases, an answer brings nothing new, or ROUNDS are over.

    Raises ValueError where fewer than MINIMUM phrases can be used.
    """
    words = {*classes.names, *classes.index}
    answers: list[str] = []
    checked = Checked((), {})
    for turn in range(ROUNDS):
        before = len(checked.phrases)
        given = [phrase.removeprefix("{} ") for phrase in checked.phrases]
        answers.append(model.answer(request(classes.names, count=count - before, given=given, turn=turn)))
        checked = check_answers(answers, names=words)
        if len(checked.phrases) >= count or len(checked.phrases) == before:
            break
    if len(checked.phrases) < MINIMUM:
        raise ValueError(
            f"--lm={model.name} gave {len(checked.phrases)} phrases that can be used, {_told(checked.dropped)}; "
            f"{MINIMUM} are needed. Its answer begins {answers[0][:SHOWN]!r}. Take a larger model that follows "
            "instructions; nothing was written"
        )
    return Pool(checked.phrases[:count], checked.dropped, len(classes.names), model.name)


def write_pool(output: Path, pool: Pool) -> None:
    """Write the pool file, whole or not at all."""
    write_text(output, pool.text())


def _class_list(names: tuple[str, ...]) -> ClassList:
    return ClassList(names=names, index={name: position for position, name in enumerate(names)}, complete=True)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"--classes={path} cannot be read ({error.strerror}); give a classes.yaml or a task"
        ) from error


def _told(dropped: Mapping[Fault, int]) -> str:
    reasons = ", ".join(f"{dropped[fault]} {fault.value}" for fault in Fault if fault in dropped)
    return f"dropped {sum(dropped.values())} lines{f' ({reasons})' if reasons else ''}"
