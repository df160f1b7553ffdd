"""What the words of a command line mean: settings, and lists of numbers. Imports nothing heavy until it is needed."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surefoot.blending import BlendOptions


OPTIONS = (
    "task",
    "root",
    "backbone",
    "method",
    "methods",
    "seed",
    "seeds",
    "output",
    "config",
    "grid",
    "rule",
    "json",
    "by-text",
    "by-context",
    "look-alike",
    "page",
    "memory",
)
SINGLE = ("task", "backbone", "method", "seed")  # settings without a dot


def settings_of(words: Sequence[str] | None, config: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML file's settings, then the named options that were given, then `section.option=value` words.

    An empty text or None in `chosen` is an option that was not given. `--a.b value` is read as `a.b=value`.
    """
    from surefoot.config import parse_settings, read_yaml

    for word in words or ():
        name = word.removeprefix("--").partition("=")[0]
        near = difflib.get_close_matches(name, OPTIONS, n=1)
        if word.startswith("--") and near and "." not in name and name not in SINGLE:
            raise ValueError(f"--{name}: there is no such option here; did you mean --{near[0]}?")
    given = {name: value for name, value in chosen.items() if value not in ("", None)}
    return {**(read_yaml(config) if config else {}), **given, **parse_settings(_joined(list(words or [])))}


def folder_name(task: str, default: str) -> str:
    """What to call the folder of runs on a task: its name, or that of the folder or file with the user's images."""
    return Path(task).expanduser().resolve().stem if task else default


def whole_numbers(option: str, text: str) -> list[int]:
    """ "0,1,2" as numbers. ValueError naming the option."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--{option}={text}: give whole numbers with commas between, such as 0,1,2") from None


def grid_of(words: Sequence[str]) -> dict[str, list[Any]]:
    """ "engine.lr=1e-5,3e-5" as values to try, each word another setting. ValueError naming the option."""
    found: dict[str, list[Any]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals or name in found or not all(part.strip() for part in values.split(",")):
            raise ValueError(f"--grid {word}: give each setting once with its values, such as engine.lr=1e-5,3e-5")
        found[name] = [part.strip() for part in values.split(",")]
    return found


def numbers(option: str, text: str) -> list[float]:
    """ "0.5,1" as numbers. ValueError naming the option."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--{option}={text}: give numbers with commas between, such as 0.3,0.5") from None


def part_alphas_of(text: str) -> dict[str, list[float]]:
    """ "image=0.5,blocks=0.2:0.8" as numbers by part. ValueError naming the option."""
    found: dict[str, list[float]] = {}
    for word in text.split(",") if text else ():
        part, equals, values = word.partition("=")
        try:
            if not equals or part.strip() in found:
                raise ValueError
            found[part.strip()] = [float(value) for value in values.split(":")]
        except ValueError:
            raise ValueError(
                f"--part-alphas={text}: give each part once with its alpha, such as image=0.5,head=1; blocks may have "
                "several, such as blocks=0.2:0.8 (of the first and the last)"
            ) from None
    return found


def blend_options_of(
    kind: str, alpha: str, part_alphas: str, head: str, *, fisher_images: int, runs: int
) -> "BlendOptions":
    """The checked options of `surefoot blend` for so many runs."""
    from surefoot.blending import ALPHAS, blend_options, check_count

    alphas = ALPHAS if alpha == "sweep" else tuple(numbers("alpha", alpha))
    given = {"kind": kind, "alphas": alphas, "part_alphas": part_alphas_of(part_alphas), "head": head}
    options = blend_options({**given, "fisher_images": fisher_images})
    check_count(runs, options)
    return options


def _joined(words: list[str]) -> Iterator[str]:
    while words:
        word = words.pop(0)
        takes_next = word.startswith("--") and "=" not in word and words and not words[0].startswith("--")
        yield f"{word}={words.pop(0)}" if takes_next else word
