"""What a composition is made of: finds methods and regularisers by name, and checks their options."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surefoot import plugins
from surefoot.methods.base import Method, Stage, Term
from surefoot.options import check

FOLDER = "methods"


def base_of(name: str) -> type[Method]:
    """The method called `name`. ValueError where there is none, or where nothing can stand beside its losses."""
    if name == "compose":
        raise ValueError("method.base=compose: a composition holds no other; add its parts to method.terms")
    found: type[Method] = _find(name, Method, "base")
    if found.losses is Method.losses:
        raise ValueError(f"method.base={name}: it defines forward in place of losses(seen), which terms need")
    return found


def term_of(name: str) -> type[Term]:
    """The regulariser of the method called `name`. ValueError, with those there are, where it has none."""
    if name in plugins.names(FOLDER) and name not in (known := term_names()):
        raise ValueError(f"method.terms: {name!r} has no regulariser of its own; those that have: {', '.join(known)}")
    found: type[Term] = _find(name, Term, "terms")
    return found


def term_names() -> list[str]:
    """The methods of Surefoot that define a regulariser."""
    return [name for name in plugins.names(FOLDER) if _has_term(name)]


def options_of(plugin: type[Method] | type[Term], name: str, options: Mapping[str, Mapping[str, Any]]) -> Any:
    """The checked options of one part. ValueError naming method.PART.OPTION."""
    return check(plugin.Config, f"method.{name}", options.get(name, {}))


def collected(given: dict[str, Any]) -> dict[str, Any]:
    """{"star_ft.weight": 1} as {"options": {"star_ft": {"weight": 1}}}."""
    options = {part: dict(inner) for part, inner in dict(given.get("options", {})).items()}
    for name in [name for name in given if "." in name]:
        part, _, option = name.rpartition(".")
        options.setdefault(part, {})[option] = given[name]
    return {**{name: value for name, value in given.items() if "." not in name}, "options": options}


def made_for(base: Method, name: str, options: Mapping[str, Mapping[str, Any]]) -> Term:
    """The regulariser of the method `name` beside `base`. ValueError where it could not act, naming the option."""
    term = term_of(name)
    if all(prefix.startswith("head.") for prefix in base.trained):
        raise ValueError("method.base: it trains no tower, so that there is nothing for terms to hold; choose another")
    if term.holds_weights and not any(f"{prefix}.".startswith("backbone.") for prefix in base.trained):
        raise ValueError(
            f"method.terms: {name!r} holds the towers' own weights, which do not train in the base; choose terms that "
            "look at features, such as lipsum_ft, or another base"
        )
    try:
        return term(options_of(term, name, options), base.backbone, base.prompts, base.zero_shot)
    except ValueError as error:
        raise ValueError(str(error).replace("method.", f"method.{name}.", 1)) from error


def widened(stage: Stage, terms: Mapping[str, Term]) -> Stage:
    """A stage of the composition's `base` in which the terms' own parameters train too, at their own rates."""
    own = {
        f"terms.{key}.{name}": term.lr
        for key, term in terms.items()
        for name, parameter in term.named_parameters()
        if parameter.requires_grad
    }
    rates = {f"base.{prefix}": rate for prefix, rate in stage.rates.items()}
    return replace(stage, train=(*(f"base.{prefix}" for prefix in stage.train), *own), rates={**rates, **own})


def _find(name: str, base: type[Any], option: str) -> Any:
    try:
        return plugins.find(FOLDER, name, base=base)
    except ValueError as error:
        raise ValueError(f"method.{option}={name}: {error}") from error


def _has_term(name: str) -> bool:
    try:
        plugins.find(FOLDER, name, base=Term)
    except ValueError:
        return False
    return True
