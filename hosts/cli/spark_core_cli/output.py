"""What is written to standard output and standard error, and nothing else writes there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from spark_core.operations import Operation
from spark_core.references import resolved

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["clean", "show", "tell", "tell_json"]

# Records hold what anybody sent: nothing in them may steer the terminal. Colours may stay.
_CONTROL = re.compile(r"(?!\x1b\[[0-9;]*m)[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """*text* without control characters other than line ends, tabs and colours."""
    return _CONTROL.sub("", text)


def tell(message: str) -> None:
    """Write a line to people, on standard error."""
    click.echo(clean(message), err=True)


def tell_json(value: Any) -> None:
    """Write *value* as one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show(operation: Operation, result: BaseModel, *, as_json: bool) -> None:
    """Write a result, or one event of a stream."""
    if as_json:
        click.echo(result.model_dump_json(indent=None if operation.streams else 2))
    elif operation.render:
        click.echo(clean(resolved(operation.render)(result)))
    elif operation.streams:
        click.echo(clean(_line(result.model_dump(mode="json"))))
    else:
        _show(result.model_dump(mode="json"))


def _line(value: Any) -> str:
    if not isinstance(value, dict):  # of a root model
        return _text(value)
    return "  ".join(f"{name}: {_text(inner)}" for name, inner in value.items())


def _show(value: Any) -> None:
    if isinstance(value, dict) and value:
        _show_fields(value)
    elif _is_table(value):
        _show_table(value)
    elif isinstance(value, list) and value:
        for item in value:
            click.echo(clean(_text(item)))
    else:
        click.echo(clean(_text(value)))


def _show_fields(fields: Mapping[str, Any]) -> None:
    """Single values line by line, then a table for each list of models, however deep."""
    for line in _lines(_without_tables(fields)):
        click.echo(clean(line))
    for name, rows in _tables(fields):
        if len(fields) > 1 or name not in fields:
            click.echo(f"\n{_cell(name)}:")
        _show_table(rows)


def _without_tables(fields: Mapping[str, Any]) -> dict[str, Any]:
    left = {}
    for name, value in fields.items():
        inner = _without_tables(value) if isinstance(value, dict) else value
        if not _is_table(value) and (inner or not value):
            left[name] = inner
    return left


def _tables(fields: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if _is_table(value):
            yield above + name, value
        elif isinstance(value, dict):
            yield from _tables(value, f"{above}{name}.")


def _is_table(value: Any) -> bool:
    return bool(value) and isinstance(value, list) and all(isinstance(v, dict) for v in value)


def _lines(fields: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {_text(value)}"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return ", ".join(_text(item) for item in value) or "none"
    return json.dumps(value, ensure_ascii=False)


def _show_table(rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    names = [_cell(name) for name in columns]  # they may be data, too
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    if sys.stdout.isatty():
        from .terminal import print_table  # rich, only where somebody looks

        print_table(names, cells)
    else:
        for line in (names, *cells):
            click.echo("\t".join(line))


def _cell(value: Any) -> str:
    return clean(" ".join(_text(value).split()))
