"""Writes the reference out of the code: ``python docs/generate.py [--check]``.

It reads the plugins and hosts of this repository, which must be installed, and nothing else.
With ``--check`` it writes nothing, and fails where a page is not what it would write.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from spark_core import errors, hookspecs
from spark_core.declarations import SettingsSection
from spark_core.operations import Operation
from spark_core.plugins import Plugin, Plugins
from spark_core.settings import variables
from spark_core.sources import CORE_SECTIONS

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"

NOTE = "<!-- Written by docs/generate.py out of the code; change it there. -->"


def main() -> int:
    """Write the pages, or check that they are current; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say which pages are stale")
    check: bool = parser.parse_args().check
    stale = {name: text for name, text in pages().items() if _current(name) != text}
    for name, text in stale.items():
        sys.stderr.write(f"docs/reference/{name} {'is stale' if check else 'written'}\n")
        if not check:
            (REFERENCE / name).write_text(text, "utf-8")
    return 1 if check and stale else 0


def _current(name: str) -> str | None:
    file = REFERENCE / name
    return file.read_text("utf-8") if file.is_file() else None


def pages() -> dict[str, str]:
    """Each generated page of the reference by its file's name."""
    plugins = own_plugins()
    made = {
        "hooks.md": hooks(),
        "errors.md": error_tree(),
        "settings.md": settings(plugins),
        "operations.md": operations(plugins),
    }
    return {name: "\n".join((NOTE, "", *lines)).rstrip() + "\n" for name, lines in made.items()}


def own_plugins() -> Plugins:
    """Core and what lies in this repository, whatever else is installed."""
    found = []
    additions = [*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("hosts/*/pyproject.toml")]
    for file in (ROOT / "pyproject.toml", *sorted(additions)):
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        for name, module in project.get("entry-points", {}).get("spark_core", {}).items():
            found.append(Plugin(name, project["name"], "", module=importlib.import_module(module)))
    plugins = Plugins(found)
    for plugin in plugins.broken():
        raise SystemExit(f"{plugin.distribution} is broken: {plugin.error}")
    return plugins


# ----------------------------------------------------------------------------------------- hooks


def hooks() -> Iterator[str]:
    """Every hook, in the groups and the order of the page that defines them."""
    yield from ("# Hooks", "", markdown(hookspecs.__doc__), "")
    group = re.compile(r"^# -{3,} (\w+)$|^def (spark_register_\w+)\(", re.MULTILINE)
    for match in group.finditer(inspect.getsource(hookspecs)):
        title, name = match.groups()
        if title:
            yield from (f"## {title.capitalize()}", "")
        else:
            hook = getattr(hookspecs, name)
            yield from (f"### `{signature(name)}`", "", markdown(inspect.getdoc(hook)), "")


def signature(hook: str) -> str:
    """The hook as it is called: its name and what it returns."""
    return f"{hook}{inspect.signature(getattr(hookspecs, hook))}".replace("'", "")


# ---------------------------------------------------------------------------------------- errors


def error_tree() -> Iterator[str]:
    """The tree as it is drawn, then each error."""
    yield from ("# Errors", "", markdown(errors.__doc__), "")
    yield from ("| error | code | HTTP status | meaning |", "|---|---|---|---|")
    for name in errors.__all__:
        error = getattr(errors, name)
        if isinstance(error, type) and issubclass(error, errors.SparkError):
            meaning = markdown(inspect.getdoc(error)).replace("\n", " ")
            yield f"| `{name}` | `{error('').code}` | {_status(error)} | {meaning} |"


def _status(error: type[errors.SparkError]) -> int:
    from spark_core_http.problems import STATUS

    return next(STATUS[cls] for cls in error.__mro__ if cls in STATUS)


# -------------------------------------------------------------------------------------- settings


def settings(plugins: Plugins) -> Iterator[str]:
    """Every section of ``spark.toml``."""
    yield from ("# Settings", "")
    yield from (
        "`spark.toml` lies in the working directory, or where `--config` or `SPARK_CONFIG` say; it",
        "may be absent. Then come `.env` beside it and the environment, the last winning.",
        "Paths are relative to `spark.toml`. In the environment, tables and lists are JSON.",
        "There a blank variable sets only text; a number, a switch or a path it leaves unset.",
        "`[plugins.<name>] enabled = false` switches a plugin off, as does",
        "`SPARK_PLUGINS_<NAME>_ENABLED=false`; core cannot be switched off.",
        "",
    )
    for section in (*CORE_SECTIONS, *plugins.settings_sections()):
        yield from (f"## `[{section.path}]`", "", *_section(section), "")


def _section(section: SettingsSection) -> Iterator[str]:
    about = markdown(inspect.getdoc(section.model))
    if about != f"`[{section.path}]`":
        yield from (about, "")
    yield from ("| key | type | default | environment | meaning |", "|---|---|---|---|---|")
    names: dict[str, list[str]] = {}
    for key, variable in variables(section):
        names.setdefault(key, []).append(f"`{variable}`")
    for key, field in section.model.model_fields.items():
        cells = (_default(field), ", ".join(names[key]), markdown(field.description))
        yield _row(f"`{key}`", f"`{_type(field)}`", *cells)
    for key, model in _inner_models(section.model):
        yield from ("", f"In `{key}`: {_about(model)}", "", *_fields(model))


def _type(field: FieldInfo) -> str:
    """The type as a reader of TOML sees it."""
    schema = TypeAdapter(field.annotation or Any).json_schema()
    return " or ".join(dict.fromkeys(_names(schema, schema.get("$defs", {}))))


def _names(schema: dict[str, Any], models: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = models[schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        yield from _names(choice, models)
    if "enum" in schema or "const" in schema:
        yield from (json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    elif schema.get("format") == "password":
        yield "secret"
    elif schema.get("format") in ("path", "directory-path", "file-path"):
        yield "path"
    elif schema.get("type") == "array":
        yield f"list of {' or '.join(_names(schema.get('items', {}), models)) or 'anything'}"
    elif schema.get("type") == "object":
        yield "table"
    elif schema.get("type") not in (None, "null"):
        yield str(schema["type"])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, frozenset):
        value = sorted(value)  # the order of a set is another one in each process
    plain = value.value if isinstance(value, Enum) else value
    return "`(secret)`" if isinstance(value, SecretStr) else f"`{json.dumps(plain, default=str)}`"


# ------------------------------------------------------------------------------------ operations


def operations(plugins: Plugins) -> Iterator[str]:
    """Every operation, by name."""
    yield from ("# Operations", "")
    yield from (
        "Each can be called over HTTP, in Python with `await spark.call(name, {...})`, and from",
        "the shell where a command is told. What *writes* or *operates* is audited.",
        "",
    )
    for operation in sorted(plugins.operations(), key=lambda o: o.name):
        yield from _operation(operation, plugins.distribution_of(operation))


def _operation(operation: Operation, distribution: str) -> Iterator[str]:
    yield from (f"## `{operation.name}`", "", markdown(operation.description), "")
    if operation.command:
        yield f"- Command: `spark {operation.name.replace('.', ' ')}`"
    yield f"- Route: `{operation.method} {operation.path}`"
    yield f"- Effect: {operation.effect}; offered by `{distribution}`"
    yield ""
    if operation.takes_request and operation.request.model_fields:
        yield from ("Request:", "", *_fields(operation.request), "")
        told: set[type[BaseModel]] = set()
        for key, inner in _inner_models(operation.request):
            if inner not in told:
                yield from (f"In `{key}`: {_about(inner)}", "", *_fields(inner), "")
            told.add(inner)
    result = "Events, the last of which is the result:" if operation.streams else "Result:"
    for number, model in enumerate(operation.response):
        yield from (*(() if number else (result, "")), f"`{model.__name__}`: {_about(model)}", "")
        yield from (*_fields(model), "")
        for key, inner in _inner_models(model):
            yield from (f"In `{key}`: {_about(inner)}", "", *_fields(inner), "")


def _inner_models(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models that a model's fields hold, however deep, with the dotted way there."""
    for key, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            yield key, inner
            yield from ((f"{key}.{deeper}", found) for deeper, found in _inner_models(inner))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _about(model: type[BaseModel]) -> str:
    return markdown(inspect.getdoc(model)).replace("\n", " ")


def _fields(model: type[BaseModel]) -> Iterator[str]:
    yield from ("| field | type | default | meaning |", "|---|---|---|---|")
    for name, field in model.model_fields.items():
        shown = f"`{field.alias or name}`"
        yield _row(shown, f"`{_type(field)}`", _default(field), markdown(field.description))


# --------------------------------------------------------------------------------------- writing


def _row(*cells: str) -> str:
    # A pipe within a cell would end it.
    plain = (cell.replace("|", r"\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(plain)} |"


def markdown(text: str | None) -> str:
    """A docstring as Markdown."""
    text = inspect.cleandoc(text or "")
    text = re.sub(r":raises (\w+):", r"Raises `\1`:", text)
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    text = text.replace("``", "`")
    return re.sub(r"^::\n\n|(?<=:):$", "", text, flags=re.MULTILINE)


if __name__ == "__main__":
    raise SystemExit(main())
