"""The API as an OpenAPI 3.1 document, made from the operations' own models."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from spark_core import Effect, Operation, Relay
from spark_core.plugins import Plugins

from .events import EVENT_STREAM
from .problems import PROBLEM_JSON
from .requests import JSON

__all__ = ["make_document"]

Json = dict[str, Any]
_Mode = Literal["validation", "serialization"]
_Key = tuple[type[BaseModel], _Mode]

_PROBLEM: Final[Json] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Names the kind of error."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, and where."},
        "hint": {"type": "string", "description": "What to do about it."},
        "errors": {
            "type": "array",
            "description": "What is wrong with the request, field by field.",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON pointer (RFC 6901)."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}

_EVENTS: Final = (
    "Server-sent events. `progress`: {phase, done, total, unit}. `message`: what a stream "
    "yields. `result`: the last event, the answer. `error`: instead of it, a problem."
)


def make_document(plugins: Plugins) -> Json:
    """The document of everything that *plugins* offer."""
    operations = plugins.operations()
    schemas = _Schemas(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        _item(paths, operation.path)[operation.method.lower()] = _described(operation, schemas)
    for relay in plugins.relays():
        for path in relay.paths:
            _item(paths, path)[relay.method.lower()] = _relayed(relay, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "spark-core", "version": importlib.metadata.version("spark-core")},
        "paths": paths,
        "components": {"schemas": {**schemas.definitions, "Problem": _PROBLEM}},
    }


def _item(paths: dict[str, Json], path: str) -> Json:
    return paths.setdefault(path, {})


class _Schemas:
    """The schemas of all models, named so that equal names do not clash."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        models: dict[_Key, None] = {}
        for operation in operations:
            models[operation.request, "validation"] = None
            models.update({(model, "serialization"): None for model in operation.response})
        self._by_model, document = models_json_schema(
            list(models), ref_template="#/components/schemas/{model}"
        )
        self.definitions: Json = document.get("$defs", {})

    def of(self, model: type[BaseModel], mode: _Mode) -> Json:
        """A reference to the schema of *model*."""
        return self._by_model[model, mode]

    def fields(self, model: type[BaseModel]) -> tuple[Mapping[str, Json], list[str]]:
        """The fields that requests of *model* have, by name, and which of them are required."""
        reference = self.of(model, "validation")
        schema = self.definitions[reference["$ref"].rpartition("/")[2]]
        return schema.get("properties", {}), schema.get("required", [])


def _described(operation: Operation, schemas: _Schemas) -> Json:
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.name.partition(".")[0]],
        "summary": operation.summary,
        "description": operation.description,
        "x-spark-effect": operation.effect.value,
        "responses": _responses(operation, schemas),
    }
    in_path = re.findall(r"{(\w+)}", operation.path)
    if parameters := _parameters(operation, schemas, in_path):
        described["parameters"] = parameters
    if operation.method != "GET" and operation.takes_request:
        schema = schemas.of(operation.request, "validation")
        required = bool(schemas.fields(operation.request)[1])
        described["requestBody"] = {"required": required, "content": {JSON: {"schema": schema}}}
    return described


def _parameters(operation: Operation, schemas: _Schemas, in_path: list[str]) -> list[Json]:
    """The fields that stand in the path or in headers; with GET the others, in the query."""
    fields, required = schemas.fields(operation.request)
    return [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in in_path or name in required,
            "description": schema.get("description", ""),
            "schema": schema,
        }
        for name, schema in fields.items()
        if name in in_path or operation.method == "GET"
    ] + [
        {"name": header, "in": "header", "required": False, "schema": fields[name]}
        for header, name in operation.headers.items()
    ]


def _responses(operation: Operation, schemas: _Schemas) -> Json:
    results = [schemas.of(model, "serialization") for model in operation.response]
    content: Json = {JSON: {"schema": results[0] if len(results) == 1 else {"anyOf": results}}}
    if operation.streams or operation.reports_progress:
        content[EVENT_STREAM] = {"schema": {"type": "string", "description": _EVENTS}}
    refused = {"422": "A field is wrong; `errors` point at it."}
    if operation.method != "GET":
        refused |= {"400": "The body is not JSON.", "413": "The body is too large."}
        refused |= {"415": "The body is of another content type."}
    if operation.effect is not Effect.READ:
        refused["403"] = "A page of another site sent it."
    answer: Json = {"description": "The answer."}
    if operation.status != 204:
        answer["content"] = content
    return {
        str(operation.status): answer,
        **{status: _problem(text) for status, text in sorted(refused.items())},
        "default": _problem("What else went wrong."),
    }


def _problem(description: str) -> Json:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {PROBLEM_JSON: {"schema": schema}}}


def _relayed(relay: Relay, path: str) -> Json:
    also = "" if path == relay.path else path.replace("/", ".")
    return {
        "operationId": f"relay.{relay.name}{also}",
        "tags": ["relays"],
        "summary": relay.summary,
        "responses": {"default": {"description": "What the backend answers."}},
    }
