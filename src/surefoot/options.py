"""Options checked by the pydantic model that owns them, with errors that name the option, its value and the remedy."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError


def check(model: type[BaseModel], section: str, options: Mapping[str, Any]) -> Any:
    """The options as `model`. Raises ValueError with a line for each wrong one."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        lines = [_explain(model, section, problem) for problem in error.errors(include_url=False)]
        raise ValueError("\n".join(lines)) from error


def _explain(model: type[BaseModel], section: str, problem: Mapping[str, Any]) -> str:
    dot = f"{section}." if section else ""
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return unknown(f"{dot}{name}", problem["input"], [f"{dot}{option}" for option in model.model_fields])
    if problem["type"] == "missing":
        return f"{dot}{name} is not set; give {dot}{name}=VALUE"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not name:  # a check over several options, which names them itself
        return message
    return f"{dot}{name}={problem['input']}: {message[:1].lower()}{message[1:]}"


def unknown(name: str, value: Any, known: Iterable[str]) -> str:
    """What to say of an option that does not exist: the nearest known one, and all."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"{name}={value}: there is no such option{hint} Known: {', '.join(known) or 'none'}"
