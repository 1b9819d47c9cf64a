"""The command ``spark-embed``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import uvicorn

from .app import Names, make_app
from .batching import Models, Worker
from .leaving import cancelled_when_left

__all__ = ["command", "make_server", "serve"]

#: Seconds that requests have to be answered when the server is told to stop.
GRACE: Final = 30

log = logging.getLogger(__name__)


@click.command(context_settings={"auto_envvar_prefix": "SPARK_EMBED", "show_default": True})
@click.option("--model", default="BAAI/bge-m3", help="The embedder: its name, or a folder.")
@click.option(
    "--rerank-model",
    default="BAAI/bge-reranker-v2-m3",
    help="The reranker: its name, or a folder.",
)
@click.option("--host", default="127.0.0.1", help="The address to listen at.")
@click.option("--port", default=8081, type=click.IntRange(0, 65535), help="Where to listen.")
@click.option("--device", help="Where the models run, such as cuda or cpu; by default a GPU.")
@click.option(
    "--max-batch-tokens",
    default=16384,
    type=click.IntRange(1),
    help="Tokens in one run of a model, with padding; a longer text runs alone.",
)
@click.option(
    "--max-length", default=8192, type=click.IntRange(8), help="Tokens that are read of a text."
)
def command(
    model: str,
    rerank_model: str,
    host: str,
    port: int,
    device: str | None,
    max_batch_tokens: int,
    max_length: int,
) -> None:
    """Serve embeddings and scores of a reranker over HTTP.

    Each option may be set in the environment, as SPARK_EMBED_PORT for --port. There are no
    accounts: let only the gateway reach it.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

    def load() -> Models:
        from . import models  # it imports torch, which takes seconds

        try:
            return models.load(model, rerank_model, device, max_length)
        except Exception as error:  # torch and transformers raise many kinds
            raise click.ClickException(f"the models cannot be loaded: {error}") from error

    names = Names(shown(model), shown(rerank_model))
    serve(load, names, host, port, max_batch_tokens)


def shown(model: str) -> str:
    """What callers call *model*: nobody needs to know in which folder it lies."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def serve(
    load: Callable[[], Models], names: Names, host: str, port: int, batch_tokens: int
) -> None:
    """Serve until told to stop; requests that came in before are answered.

    What *load* raises is raised.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    worker = Worker(batch_tokens=batch_tokens)
    try:
        asyncio.run(_serve(worker, load, names, _listening(host, port)))
    except SystemExit:
        if worker.models is None:
            os._exit(0)  # the thread that loads them would be waited for
        raise
    except ExceptionGroup as failures:
        failure = failures.exceptions[0]
    else:
        return
    raise failure


def _listening(host: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise click.ClickException(f"{host}:{port}: {error.strerror}") from error
    log.info("listening at %s:%d", *listening.getsockname()[:2])
    return listening


async def _serve(
    worker: Worker, load: Callable[[], Models], names: Names, listening: socket.socket
) -> None:
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(worker.run(load), name="models")
        await make_server(worker, names).serve([listening])
        working.cancel()


def make_server(worker: Worker, names: Names) -> uvicorn.Server:
    """The HTTP server, which asks *worker*."""
    config = uvicorn.Config(
        cancelled_when_left(make_app(worker, names)),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)
