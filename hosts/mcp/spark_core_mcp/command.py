"""``spark mcp``: the server in this process, until its agent leaves or a signal comes."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import click

from spark_core import Spark
from spark_core.listening import listen, url_of
from spark_core.settings import Source
from spark_core.spark import compose

from .server import Context, make_server
from .settings import McpSettings
from .stdio import claimed, connected

__all__ = ["command"]

log = logging.getLogger(__name__)


@click.command("mcp")
@click.option("--http", "over_http", is_flag=True, help="Listen for agents over HTTP.")
@click.option("--host", help="The address to listen at, with --http.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.")
def command(over_http: bool, host: str | None, port: int | None) -> None:
    """Offer tools to agents over MCP.

    On standard input and output, as agents that start their servers themselves want it, it ends
    when its input does. With --http it listens for any number of agents (Streamable HTTP at
    /mcp, /health for a supervisor) until a signal says to stop. The options win over the section
    [mcp] of the settings.
    """
    if not over_http and (host is not None or port is not None):
        raise click.UsageError("--host and --port go with --http")
    config: str | None = click.get_current_context().find_root().obj
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if over_http:
        _serve(config, {"host": host, "port": port})
        return
    with claimed() as (source, sink):
        spark = _composed(config)
        asyncio.run(_talk(spark, source, sink))


def _composed(config: str | None) -> Spark:
    """What is installed; what is broken of it is told, and left out."""
    spark = compose(Source.read(config))
    spark.plugins.examine()
    for plugin in spark.plugins.broken():
        where = f"{plugin.name} ({plugin.distribution} {plugin.version})"
        log.warning("plugin %s is broken: %s", where, plugin.error)
    return spark


@asynccontextmanager
async def _opened(spark: Spark) -> AsyncIterator[None]:
    """While the block runs, what is slow to load is loaded beside it; at its end all is closed."""
    preloading = asyncio.create_task(spark.resolver.preload(), name="preload")
    try:
        yield
    finally:
        preloading.cancel()
        await asyncio.gather(preloading, return_exceptions=True)
        await spark.resolver.aclose()


async def _talk(spark: Spark, source: int, sink: int) -> None:
    """Serve the one agent at the other end until it leaves, or SIGINT or SIGTERM comes."""
    settings = spark.settings.section(McpSettings)
    server = make_server(spark, settings, lambda context: _user())
    loop, talking = asyncio.get_running_loop(), asyncio.current_task()
    assert talking is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, talking.cancel)
    async with _opened(spark):
        with suppress(asyncio.CancelledError):  # the signal: it ends as it should
            async with connected(source, sink, settings.max_message) as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}"


def _serve(config: str | None, given: dict[str, object]) -> None:
    spark = _composed(config)
    changes = {name: value for name, value in given.items() if value is not None}
    settings = spark.settings.section(McpSettings).model_copy(update=changes)
    with listen(settings.host, settings.port) as listener:
        click.echo(f"Serving MCP at {url_of(listener)}/mcp (Ctrl-C stops)")
        asyncio.run(_listen(spark, settings, listener))


async def _listen(spark: Spark, settings: McpSettings, listener: socket.socket) -> None:
    from .web import make_app, serve

    app = make_app(make_server(spark, settings, _address), settings)
    async with _opened(spark):
        await serve(app, listener)


def _address(context: Context) -> str:
    """Where a request comes from."""
    client = getattr(context.request, "client", None)
    return client.host if client else ""
