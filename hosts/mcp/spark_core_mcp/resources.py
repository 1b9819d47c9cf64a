"""Records and entities as resources: what one tool tells of one thing, under a URI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    ReadResourceResult,
    ResourceTemplate,
    TextResourceContents,
)

from spark_core import Operation, Spark
from spark_core.errors import SparkError

from .tools import as_text

__all__ = ["Resources"]

#: What a URI begins with, and the tool that tells what it leads to.
KINDS: Final = {"record": "get_record", "entity": "get_entity"}


class Resources:
    """What can be read by its URI: as much of it as is installed."""

    def __init__(self, spark: Spark) -> None:
        self._spark = spark
        tools = {o.tool_name: o for o in spark.plugins.operations() if o.tool}
        self._operations = {kind: tools[tool] for kind, tool in KINDS.items() if tool in tools}
        self.templates = [_template(kind, found) for kind, found in self._operations.items()]

    async def read(self, uri: str) -> ReadResourceResult:
        """What *uri* leads to, as JSON.

        :raises MCPError: it leads nowhere, or it cannot be read now.
        """
        operation, request = self._find(uri)
        try:
            found = await self._spark.call(operation, request)
        except SparkError as error:
            raise MCPError(INVALID_PARAMS, as_text(error)) from None
        text = found.model_dump_json(by_alias=True)
        return ReadResourceResult(
            contents=[TextResourceContents(uri=uri, mime_type="application/json", text=text)]
        )

    def _find(self, uri: str) -> tuple[Operation, Mapping[str, str]]:
        parts = urlsplit(uri)
        operation = self._operations.get(parts.netloc) if parts.scheme == "spark" else None
        if operation is not None:
            names, values = _required(operation), parts.path.removeprefix("/").split("/")
            if len(names) == len(values) and all(values):
                return operation, dict(zip(names, map(unquote, values), strict=True))
        known = " or ".join(template.uri_template for template in self.templates) or "none"
        raise MCPError(INVALID_PARAMS, f"there is no resource {uri!r:.200}; known: {known}")


def _template(kind: str, operation: Operation) -> ResourceTemplate:
    fields = "/".join(f"{{{quote(name)}}}" for name in _required(operation))
    return ResourceTemplate(
        name=kind,
        uri_template=f"spark://{kind}/{fields}",
        description=operation.summary,
        mime_type="application/json",
    )


def _required(operation: Operation) -> list[str]:
    """The fields that the request cannot do without, in their order."""
    fields = operation.request.model_fields.items()
    return [name for name, field in fields if field.is_required()]
