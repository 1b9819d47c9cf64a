"""``spark config``: what the settings are, whether they are right, and what they may be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import click

from spark_core.declarations import SettingsSection
from spark_core.errors import SparkError
from spark_core.resolution import unknown_providers
from spark_core.settings import Settings, redacted
from spark_core.sources import CORE_SECTIONS

from .commands import JSON_OPTION
from .installed import current
from .output import clean, tell_json

__all__ = ["check", "config", "schema", "show"]

config = click.Group("config", help="Show the settings, check them, or print their JSON schema.")


# -------------------------------------------------------------------------------------- show


@config.command("show", params=[JSON_OPTION])
def show(_json: bool) -> None:
    """Show every setting, and where it comes from; secrets are masked."""
    settings = current().spark.settings
    if _json:
        tell_json({path: _section_json(settings, path) for path in settings.sections})
        return
    for path in settings.sections:
        click.echo(clean("\n".join(_section_toml(settings, path)) + "\n"))


def _section_json(settings: Settings, path: str) -> dict[str, Any]:
    values = _values(settings, path).items()
    return {key: {"value": v, "from": _origin(settings, path, key)} for key, v in values}


def _section_toml(settings: Settings, path: str) -> Iterator[str]:
    return _toml(path, _values(settings, path), lambda key: _origin(settings, path, key))


def _origin(settings: Settings, path: str, key: str) -> str:
    return settings.origins.get((path, key), "default")


def _values(settings: Settings, path: str) -> dict[str, Any]:
    """The section's values as JSON has them, with nothing secret in them."""
    model = settings.sections[path].model
    if model in settings.incomplete:  # `config check` says what is missing
        return dict.fromkeys(model.model_fields)
    section = settings.section(model)
    return {key: _masked(value) for key, value in section.model_dump(mode="json").items()}


def _masked(value: Any) -> Any:
    """*value* without secrets in URLs; settings of a secret type already are without theirs."""
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return redacted(value) if isinstance(value, str) else value


def _toml(path: str, values: Mapping[str, Any], origin: Callable[[str], str]) -> Iterator[str]:
    """A table and those in it, each value with its *origin* as a comment."""
    tables = {key: value for key, value in values.items() if isinstance(value, dict) and value}
    yield f"[{path}]"
    for key in (key for key in values if key not in tables):
        yield f"{_assignment(key, values[key])}  # {origin(key)}"
    for key, table in tables.items():
        yield ""
        yield from _toml(f"{path}.{_key(key)}", table, partial(_always, origin(key)))


def _always(origin: str, key: str) -> str:
    """All that is in a table comes from where the table comes from."""
    return origin


def _assignment(key: str, value: Any) -> str:
    """TOML has no null: what is not set is a comment."""
    return f"# {_key(key)} =" if value is None else f"{_key(key)} = {_inline(value)}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ((key, item) for key, item in value.items() if item is not None)
        return "{" + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value if item is not None) + "]"
    # Python writes a float as TOML does, also inf and nan; the rest is the same in JSON.
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------------------------- check


@config.command("check", params=[JSON_OPTION])
def check(_json: bool) -> None:
    """Check every setting; say all that is wrong, and what is probably not meant."""
    problems, warnings = _findings()
    if _json:
        tell_json({"ok": not problems, "problems": problems, "warnings": warnings})
    else:
        told = [*problems, *(f"warning: {warning}" for warning in warnings)]
        click.echo(clean("\n".join(told if problems else [*told, "ok"])))
    if problems:
        raise click.exceptions.Exit(2)


def _findings() -> tuple[list[str], list[str]]:
    try:
        spark = current().spark
        return list(unknown_providers(spark.plugins, spark.settings)), spark.settings.warnings
    except SparkError as error:
        return error.message.splitlines(), []


# ------------------------------------------------------------------------------------ schema


@config.command("schema", params=[JSON_OPTION])
def schema(_json: bool) -> None:
    """Print the JSON schema of spark.toml, for editors that check and complete it."""
    plugins = current().plugins
    plugins.examine()
    tell_json(_schema([*CORE_SECTIONS, *plugins.settings_sections()]))


def _schema(sections: Iterable[SettingsSection]) -> dict[str, Any]:
    from pydantic.json_schema import models_json_schema

    by_path = {section.path: section.model for section in sections}
    references, top = models_json_schema([(model, "validation") for model in by_path.values()])
    definitions = top.get("$defs", {})
    root: dict[str, Any] = {"type": "object", "properties": {}}
    for path, model in by_path.items():
        reference = references[model, "validation"]
        if path.startswith("plugins."):  # a plugin's section can also switch it off
            definition = definitions[reference["$ref"].rpartition("/")[2]]
            definition.setdefault("properties", {})["enabled"] = {"type": "boolean"}
        _put(root, path.split("."), reference)
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "spark.toml", **root, "$defs": definitions}


def _put(table: dict[str, Any], path: list[str], reference: Mapping[str, Any]) -> None:
    for part in path[:-1]:
        table = table["properties"].setdefault(part, {"type": "object", "properties": {}})
    table["properties"][path[-1]] = dict(reference)
