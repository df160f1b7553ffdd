"""One file, one name: lists, finds and loads the plug-ins of `tasks/`, `backbones/`, `methods/` and `trackers/`.

A file's name is the plug-in's name; it defines one subclass of the folder's base class with a nested Config. An
importable module outside the library (`my_package.my_method`) loads in the same way.
"""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import TypeVar

Base = TypeVar("Base")

NO_PLUGINS = ("base",)  # what the folders hold besides


def names(folder: str) -> list[str]:
    """The plug-ins in surefoot/`folder`, sorted; imports none of them."""
    spec = importlib.util.find_spec(f"surefoot.{folder}")
    if spec is None or spec.submodule_search_locations is None:
        raise ValueError(
            f"surefoot has no folder of plug-ins called {folder!r}; there are tasks, backbones, methods and trackers"
        )
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return sorted(name for name in found if name not in NO_PLUGINS and not name.startswith("_"))


def find(folder: str, name: str, *, base: type[Base]) -> type[Base]:
    """The subclass of `base` that the plug-in `name` defines.

    `name` is a file of surefoot/`folder` or a dotted module anywhere. Raises ValueError where there is none, listing
    the known names and the nearest, and where the module does not define exactly one plug-in. What a plug-in raises
    while it is imported is shown as it is.
    """
    if "." in name:
        return _only_plugin(_outside(folder, name), base)
    known = names(folder)
    if name not in known:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(f"there is no {folder.removesuffix('s')} {name!r}{hint} Known: {', '.join(known)}")
    return _only_plugin(importlib.import_module(f"surefoot.{folder}.{name}"), base)


def _outside(folder: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")) or not _exists(name):
        raise ValueError(
            f"there is no module {name!r} for a {folder.removesuffix('s')}; "
            "give the dotted name under which Python imports it (is its folder on PYTHONPATH?)"
        )
    return importlib.import_module(name)


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return False  # the module or a package above it
        raise  # something else that a package above it imports


def _only_plugin(module: ModuleType, base: type[Base]) -> type[Base]:
    """The one finished subclass of `base` made in `module`; what it imports or leaves abstract does not count."""
    own = {
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, base) and value is not base and value.__module__ == module.__name__
    }
    finished = [value for value in own if not inspect.isabstract(value)]
    if len(finished) != 1:
        raise ValueError(
            f"{module.__name__} must define exactly one subclass of {base.__module__}.{base.__name__}, "
            f"but defines {_told(finished or own)}"
        )
    plugin = finished[0]
    if not any(inspect.isclass(vars(parent).get("Config")) for parent in plugin.__mro__):
        raise ValueError(f"{module.__name__}.{plugin.__name__} needs a nested class Config that declares its options")
    return plugin


def _told(classes: Iterable[type]) -> str:
    """The classes by name, with the abstract methods that are still to be written."""
    words = []
    for value in sorted(classes, key=lambda value: value.__name__):
        missing = ", ".join(sorted(vars(value)["__abstractmethods__"])) if inspect.isabstract(value) else ""
        words.append(f"{value.__name__} without {missing}" if missing else value.__name__)
    return ", ".join(words) or "none"
