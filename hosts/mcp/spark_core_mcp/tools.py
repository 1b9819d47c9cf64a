"""Operations as tools: what agents are told of them, and what becomes of a call."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel

from spark_core import Effect, Operation, Progress, Spark
from spark_core.errors import InvalidRequest, PluginError, SparkError
from spark_core.schemas import schema_of
from spark_core.settings import nearest
from spark_core.spark import check_request

from .settings import McpSettings

__all__ = ["Tools", "as_text"]

#: Methods that HTTP knows to have the same effect however often they are called.
IDEMPOTENT: Final = ("GET", "PUT", "DELETE")

log = logging.getLogger(__name__)


class Tools:
    """The operations of *spark* that are tools.

    :raises PluginError: two of them want the same name.
    """

    def __init__(self, spark: Spark, settings: McpSettings) -> None:
        self._spark = spark
        self._max_result = settings.max_result
        self._running = asyncio.Semaphore(settings.max_running)
        self._operations = _by_name(spark, read_only=settings.read_only)
        self.described = [_described(name, found) for name, found in self._operations.items()]

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: str, progress: Progress | None
    ) -> CallToolResult:
        """Call the tool *name*; what goes wrong in it is a result that says so.

        :raises MCPError: there is no such tool.
        """
        if name not in self._operations:
            raise MCPError(
                INVALID_PARAMS, f"there is no tool {name!r:.100}{nearest(name, self._operations)}"
            )
        operation = self._operations[name]
        try:
            async with self._running:
                request = check_request(operation, arguments)
                result = await self._spark.call(
                    operation, request, caller=caller, progress=progress
                )
                return self._answer(result)
        except SparkError as error:
            return _failed(as_text(error))
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled() and not isinstance(error, Exception):
                raise
            _log(operation, error)
            return _failed("something unexpected went wrong; the log of this server says where")

    def _answer(self, result: BaseModel | None) -> CallToolResult:
        if result is None:  # of a stream without events
            return CallToolResult(content=[], structured_content={})
        text = result.model_dump_json(by_alias=True)
        if (size := len(text.encode())) > self._max_result:
            return _failed(
                f"the result has {size} bytes, and agents are given at most {self._max_result}\n"
                "hint: ask for less, with a lower limit or a filter"
            )
        structured = result.model_dump(mode="json", by_alias=True)
        return CallToolResult(
            content=[TextContent(text=text)],
            structured_content=structured if isinstance(structured, dict) else None,
        )


def _is_cancelled() -> bool:
    """Whether somebody wants this task to end; an operation may also cancel itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _by_name(spark: Spark, *, read_only: bool) -> Mapping[str, Operation]:
    found: dict[str, Operation] = {}
    for operation in spark.plugins.operations():
        if not operation.tool or (read_only and operation.effect is not Effect.READ):
            continue
        first = found.setdefault(operation.tool_name, operation)
        if first is not operation:
            owners = " and ".join(spark.plugins.distribution_of(o) for o in (first, operation))
            raise PluginError(
                f"the tool {operation.tool_name} is offered by {owners}",
                hint="switch one of the plugins off: [plugins.NAME] enabled = false",
            )
    return dict(sorted(found.items()))


def _described(name: str, operation: Operation) -> Tool:
    """What agents are told of a tool."""
    owner = f"operation {operation.name}"
    reads = operation.effect is Effect.READ
    return Tool(
        name=name,
        description=operation.description.partition("\n:")[0].strip() or operation.summary,
        input_schema=dict(schema_of(operation.request, owner)),
        output_schema=_output_schema(operation, owner),
        annotations=ToolAnnotations(
            title=operation.summary,
            read_only_hint=reads,
            destructive_hint=not reads and operation.undo is None,
            idempotent_hint=reads or operation.method in IDEMPOTENT,
            open_world_hint=False,
        ),
    )


def _output_schema(operation: Operation, owner: str) -> dict[str, Any] | None:
    """The schema of the result, where there is one kind of it, and it is an object."""
    if operation.streams or len(operation.response) != 1:
        return None
    schema = dict(schema_of(operation.response[0], owner, "serialization"))
    return schema if schema.get("type") == "object" else None


def _failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def as_text(error: SparkError) -> str:
    """What happened, where in the request, and what to do about it: a line for each."""
    return "\n".join(_lines(error))


def _lines(error: SparkError) -> Iterable[str]:
    yield f"{error.code}: {error.message}"
    if isinstance(error, InvalidRequest) and len(error.problems) > 1:
        yield from (f"at {p.pointer or 'the whole'}: {p.detail}" for p in error.problems)
    if error.hint:
        yield f"hint: {error.hint}"


def _log(operation: Operation, error: BaseException) -> None:
    """Log where *error* was raised, without its text, which may quote what is private."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s failed with %s\n%s", operation.name, type(error).__qualname__, trace)
