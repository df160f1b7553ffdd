"""Names and templates of ImageNet's classes as others publish them: read as data from a file, never imported.

A file is JSON or plain text. An installed open_clip has both lists in a file of its own; it is parsed, not run, since
importing open_clip would load torchvision.
"""

import ast
import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.data.prompts import has_slot

OPEN_CLIP = "open_clip"
METADATA = "zero_shot_metadata.py"
NAMES, TEMPLATES = "IMAGENET_CLASSNAMES", "OPENAI_IMAGENET_TEMPLATES"


@dataclass(frozen=True)
class ClassNames:
    """`shown` are all different; `called` are the names for sentences, in which two classes may share one."""

    shown: tuple[str, ...]
    called: tuple[str, ...]
    origin: str  # for the record: which file, and the first digits of its SHA-256


@dataclass(frozen=True)
class Templates:
    """Sentences with "{}" in the place of the class."""

    sentences: tuple[str, ...]
    origin: str


def class_names(chosen: str, folders: Sequence[str], *, option: str = "task.class_names") -> ClassNames:
    """The names of the classes in `folders` (WordNet ids, sorted), from a file or, where `chosen` is empty, open_clip.

    A JSON file holds a list in that order or a map from folder to name, a text file a line for each. ValueError naming
    the option where there is none, or where the numbers differ.
    """
    missing = (
        f"{option} is empty and open_clip is not installed, so that there are no class names but WordNet ids such as "
        f"{folders[0]}, which make useless prompts. Give a file of names ({option}=names.txt, a line for each class in "
        "the order of the sorted ids), or pip install --no-deps open_clip_torch, whose list is then read"
    )
    file = Path(chosen).expanduser() if chosen else _metadata(missing)
    names = _entries(file, option) if chosen else _literal(file, NAMES)
    if isinstance(names, dict):
        lost = [folder for folder in folders if folder not in names]
        if lost:
            raise ValueError(f"{option}={file} names no {lost[0]} ({len(lost)} of {len(folders)} classes are missing)")
        names = [names[folder] for folder in folders]
    if len(names) != len(folders):
        remedy = "" if chosen else f"; give {option}=FILE with a line for each of yours"
        raise ValueError(f"{file} names {len(names)} classes, but there are {len(folders)} class folders{remedy}")
    called = tuple(str(name).strip() for name in names)
    twice = {name for name, count in Counter(called).items() if count > 1}
    shown = tuple(f"{name} ({id_})" if name in twice else name for name, id_ in zip(called, folders, strict=True))
    shared = f"; two classes each are called {', '.join(sorted(twice))}" if twice else ""
    return ClassNames(shown, called, _origin(file) + shared)


def templates(chosen: str, own: Sequence[str], *, option: str = "task.templates") -> Templates:
    """`own` where `chosen` is empty, the 80 of CLIP's authors from an installed open_clip, or those of a file."""
    if not chosen:
        return Templates(tuple(own), f"{len(own)} of Surefoot's own")
    missing = (
        f"{option}={OPEN_CLIP}: open_clip is not installed; pip install --no-deps open_clip_torch, or give a file of "
        f"templates ({option}=templates.txt, one a line, with {{}} where the class goes)"
    )
    file = _metadata(missing) if chosen == OPEN_CLIP else Path(chosen).expanduser()
    found = _literal(file, TEMPLATES) if chosen == OPEN_CLIP else _entries(file, option)
    if isinstance(found, dict) or not found:
        raise ValueError(f"{option}={chosen}: expected a list of templates, found none")
    try:
        sentences = tuple(has_slot(str(sentence)) for sentence in found)
    except ValueError as error:
        raise ValueError(f"{option}={chosen}: {error}") from error
    return Templates(sentences, f"{len(sentences)} of {_origin(file)}")


def _metadata(missing: str) -> Path:
    """open_clip's file of names and templates, found without importing it. ValueError(missing) where there is none."""
    spec = importlib.util.find_spec(OPEN_CLIP)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if Path(folder, METADATA).is_file():
            return Path(folder, METADATA)
    raise ValueError(missing)


def _entries(file: Path, option: str) -> Any:
    """A list of texts, or a map, of a JSON or text file."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text) if file.suffix.lower() == ".json" else text.strip().splitlines()
    except OSError as error:
        raise ValueError(f"{option}={file} cannot be read ({error.strerror}); give a JSON or text file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}={file} is no text in UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{option}={file} is not valid JSON: {error}") from error
    entries = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(isinstance(entry, str) and entry.strip() for entry in entries):
        raise ValueError(f"{option}={file}: expected a list of texts or a map from folder to text, none of them empty")
    return content


def _literal(file: Path, name: str) -> list[str]:
    """The texts that `name` is set to in a Python file: a list or tuple of texts, or of lambdas that give one."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            if isinstance(node.value, ast.List | ast.Tuple):
                return [_sentence(item, file, name) for item in node.value.elts]
            break
    raise ValueError(f"{file} sets no list {name}; this version of open_clip is not known. Give a file instead")


def _sentence(item: ast.expr, file: Path, name: str) -> str:
    """A text as it stands, or what `lambda c: f"a photo of a {c}."` says, as "a photo of a {}."."""
    if isinstance(item, ast.Constant) and isinstance(item.value, str):
        return item.value
    if isinstance(item, ast.Lambda) and isinstance(item.body, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in item.body.values]
        return "".join(map(str, parts))
    raise ValueError(f"{file}, {name}: line {item.lineno} is neither a text nor a lambda that gives one")


def _origin(file: Path) -> str:
    return f"{file.name} (SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()[:12]})"
