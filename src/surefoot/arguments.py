"""What the words of a command line mean: settings, and lists of numbers. Imports nothing heavy until it is needed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def settings_of(words: Sequence[str] | None, config: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML file's settings, then the named options that were given, then `section.option=value` words.

    An empty text or -1 in `chosen` is an option that was not given. `--a.b value` is read as `a.b=value`.
    """
    from surefoot.config import parse_settings, read_yaml

    given = {name: value for name, value in chosen.items() if value not in ("", -1)}
    return {**(read_yaml(config) if config else {}), **given, **parse_settings(_joined(list(words or [])))}


def whole_numbers(option: str, text: str) -> list[int]:
    """ "0,1,2" as numbers. ValueError naming the option."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--{option}={text}: give whole numbers with commas between, such as 0,1,2") from None


def numbers(option: str, text: str) -> list[float]:
    """ "0.5,1" as numbers. ValueError naming the option."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--{option}={text}: give numbers with commas between, such as 0.3,0.5") from None


def _joined(words: list[str]) -> Iterator[str]:
    while words:
        word = words.pop(0)
        takes_next = word.startswith("--") and "=" not in word and words and not words[0].startswith("--")
        yield f"{word}={words.pop(0)}" if takes_next else word
