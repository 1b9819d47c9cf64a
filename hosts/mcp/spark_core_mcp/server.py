"""The MCP server: tools, resources and prompts of everything that is installed."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any, TypeVar

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from spark_core import Spark

from .progress import Reports, reporting
from .prompts import PROMPTS, prompt
from .resources import Resources
from .settings import McpSettings
from .tools import Tools

__all__ = ["make_server"]

T = TypeVar("T")

Context = ServerRequestContext[Any, Any]

INSTRUCTIONS = (
    "The memory of a firm: its contacts, organisations, notes, mails and meetings. `search` finds "
    "records, each with the entity (the person or organisation) that it belongs to; `get_entity` "
    "and `get_record` tell all of one. What is written is kept beside the firm's CRM, never in "
    "it, and can be taken back with `audit_undo`. Nothing here sends anything to anybody."
)


def make_server(spark: Spark, settings: McpSettings, peer: Callable[[Context], str]) -> Server[Any]:
    """A server over *spark*. *peer* says who asks: where from, or as which user.

    :raises PluginError: two tools have the same name.
    """
    tools = Tools(spark, settings)
    resources = Resources(spark)

    async def list_tools(
        context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools.described)

    async def call_tool(
        context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        caller = f"mcp {peer(context)} {_client(context)}".strip()
        async with _progress(context) as progress:
            call = tools.call(params.name, params.arguments or {}, caller, progress)
            return await _in_a_task(call)

    async def list_resources(
        context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[])  # there are too many: see the templates

    async def list_templates(
        context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=resources.templates)

    async def read_resource(
        context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        return await _in_a_task(resources.read(str(params.uri)))

    async def list_prompts(
        context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[known.described for known in PROMPTS.values()])

    async def get_prompt(
        context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        return prompt(params.name, params.arguments or {})

    return Server(
        "spark-core",
        version=importlib.metadata.version("spark-core-mcp"),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )


def _client(context: Context) -> str:
    """What the agent's program calls itself, as one printable word or two."""
    params = context.session.client_params
    name = params.client_info.name if params else ""
    return "".join(character for character in name if character.isprintable())[:100]


def _progress(context: Context) -> Any:
    """The progress to tell, if the agent asked for it."""
    if context.meta is None or context.meta.get("progress_token") is None:
        return nullcontext[Reports | None](None)
    return reporting(context.session.report_progress)


async def _in_a_task(work: Coroutine[Any, Any, T]) -> T:
    """Await *work* in a task of its own.

    The SDK cancels again and again until its scope is left, which no cleaning up would survive.
    Here it is cancelled once, and then waited for.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        raise
