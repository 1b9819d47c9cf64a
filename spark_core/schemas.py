"""What JSON schemas tell of the models of plugins.

Hosts make one document of what all plugins offer. So whatever would make that impossible or
invalid is refused where its plugin is registered, and spoils nothing for the others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from .errors import PluginError
from .operations import Operation

__all__ = ["check_operation", "schema_of"]

Json = Mapping[str, Any]
Mode = Literal["validation", "serialization"]

#: What a path may be: segments of plain characters and of fields. A field is all of a
#: ``{name}``: nothing converts it but the request's model.
_PATH: Final = re.compile(r"/|(/([A-Za-z0-9._~-]|{[A-Za-z_][A-Za-z0-9_]*})+)+/?")
_FIELD: Final = re.compile(r"{(.*?)}")


def check_operation(operation: Operation) -> None:
    """See that *operation* can be described and called: in JSON, and over HTTP as it says.

    :raises PluginError: its handler cannot be imported, or presented as it is annotated; a model
        has no JSON schema; the path is no template of the request's
        fields; or a field stands in the path or the query that text cannot hold.
    """
    operation.check_annotations()
    owner = f"operation {operation.name}"
    for model in operation.response:
        schema_of(model, owner, "serialization")
    schema = schema_of(operation.request, owner)
    in_path = _path_fields(operation.path, owner)
    fields = dict(_fields(schema))
    for name in in_path:
        if name not in fields:
            raise PluginError(
                f"{owner}: there is no {name!r} in its request {operation.request.__name__}, "
                f"but in its path {operation.path!r}"
            )
        if not _is_scalar(fields[name], schema):
            raise PluginError(f"{owner}: the field {name!r} does not fit into a path")
    if operation.method == "GET":
        for name, field in fields.items():
            if not _is_flat(field, schema):
                raise PluginError(
                    f"{owner}: the field {name!r} does not fit into the query of a GET",
                    hint="only single values and lists of them do; let its method be POST",
                )


def schema_of(model: type[BaseModel], owner: str, mode: Mode = "validation") -> Json:
    """The JSON schema of *model*, which *owner* offers.

    :raises PluginError: there is none, for a callable is in it, for instance.
    """
    try:
        return model.model_json_schema(mode=mode, schema_generator=_Quiet)
    except PydanticUserError as error:
        field = next(_without_schema(model, mode), None)
        place = f"{model.__name__}.{field}" if field else model.__name__
        raise PluginError(f"{owner}: {place} has no JSON schema: {error.message}") from error


class _Quiet(GenerateJsonSchema):
    """A default that JSON cannot hold is left out of a schema, which is no news at each start."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {
        "skipped-choice",
        "non-serializable-default",
    }


def _without_schema(model: type[BaseModel], mode: Mode) -> Iterator[str]:
    for name, info in model.model_fields.items():
        try:
            TypeAdapter(info.annotation or Any).json_schema(mode=mode)
        except PydanticUserError:
            yield name


# -------------------------------------------------------------------------------------- paths


def _path_fields(path: str, owner: str) -> list[str]:
    """The names of the fields in *path*.

    :raises PluginError: it is no path, or has a field twice.
    """
    if not _PATH.fullmatch(path):
        raise PluginError(
            f"{owner}: its path {path!r} is none",
            hint="plain characters and {field}, between slashes, as in /api/people/{name}",
        )
    fields = Counter(_FIELD.findall(path))
    if twice := [name for name, count in fields.items() if count > 1]:
        raise PluginError(f"{owner}: {twice[0]!r} is twice in its path {path!r}")
    return list(fields)


# ------------------------------------------------------------------------------------- fields


def _fields(schema: Json) -> Json:
    """The fields of the object that *schema* describes, by name."""
    found: Json = _resolved(schema, schema).get("properties", {})
    return found


def _resolved(schema: Json, whole: Json) -> Json:
    while "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _choices(schema: Json, whole: Json) -> Iterator[Json]:
    """*schema*, or all that it is one of."""
    found = _resolved(schema, whole)
    inner = [choice for kind in ("anyOf", "oneOf", "allOf") for choice in found.get(kind, ())]
    if not inner:
        yield found
    for choice in inner:
        yield from _choices(choice, whole)


def _is_scalar(schema: Json, whole: Json) -> bool:
    return all(c.get("type") not in ("array", "object") for c in _choices(schema, whole))


def _is_flat(schema: Json, whole: Json) -> bool:
    """Whether it is a single value, or a list of such."""
    return all(
        _is_scalar(inner, whole)
        for choice in _choices(schema, whole)
        for inner in (_items(choice) if choice.get("type") == "array" else [choice])
    )


def _items(array: Json) -> list[Json]:
    items = array.get("items")
    return [*array.get("prefixItems", ()), *([items] if isinstance(items, dict) else [])]
