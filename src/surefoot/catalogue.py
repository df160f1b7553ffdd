"""What there is: tasks, backbones and methods with their options, for `surefoot list` and the docs."""

import json
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from surefoot import plugins
from surefoot.config import PLUGINS, SECTIONS


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """{"tasks": [{"name", "summary", "paper", "options", "recommended"}], "backbones": ..., "methods": ...}."""
    found = {}
    for folder, base in PLUGINS.values():
        loaded: dict[str, Any] = {name: plugins.find(folder, name, base=base) for name in plugins.names(folder)}
        found[folder] = [
            {
                "name": name,
                "summary": plugin.summary,
                "paper": plugin.paper,
                "options": options(plugin.Config),
                "recommended": dict(plugin.recommended),
            }
            for name, plugin in loaded.items()
        ]
    found["sections"] = [{"name": name, "options": options(model)} for name, model in SECTIONS.items()]
    return found


def options(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Each option's name, type in words and default ("required" where there is none)."""
    schema = model.model_json_schema()["properties"] if model.model_fields else {}
    return [
        {
            "name": name,
            "type": _in_words(schema[name]),
            "default": "required"
            if field.default is PydanticUndefined and not field.default_factory
            else schema[name].get("default", "depends on the machine"),
        }
        for name, field in model.model_fields.items()
    ]


def catalogue_text(found: dict[str, list[dict[str, Any]]]) -> str:
    """The catalogue for people: a line each, options below."""
    lines = []
    for folder, entries in found.items():
        lines.append(f"{folder}:")
        for entry in entries:
            about = "  ".join(part for part in (entry.get("summary", ""), entry.get("paper", "")) if part)
            lines.append(f"  {entry['name']:<14} {about}".rstrip())
            prefix = entry["name"] if folder == "sections" else folder.removesuffix("s")
            lines += [f"      {prefix}.{o['name']}={_shown(o['default'])}  ({o['type']})" for o in entry["options"]]
        lines.append("")
    return "\n".join(lines).rstrip()


def _shown(default: Any) -> str:
    return json.dumps(default, ensure_ascii=False) if isinstance(default, list | bool) else str(default)


def _in_words(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    words = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (("exclusiveMinimum", ">"), ("minimum", ">="), ("exclusiveMaximum", "<"), ("maximum", "<="))
        if key in schema
    ]
    return " ".join([words.get(str(schema.get("type")), str(schema.get("type", "value"))), *bounds])
