"""``spark serve``: gunicorn in this process, with workers that each make their own app."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import multiprocessing
import os
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import click
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from spark_core.errors import SettingsError, SparkError
from spark_core.listening import listen, url_of
from spark_core.settings import Source
from spark_core.spark import Spark, compose
from spark_core.state import State

from .app import make_app
from .routes import make_routes
from .settings import HttpSettings

__all__ = ["command"]

KEEP_ALIVE_SECONDS: Final = 75

#: How much longer the master waits than its workers, in seconds: they notice a stop only
#: once a second, and close what they opened after the last request.
MARGIN_SECONDS: Final = 5

#: What every worker comes to import. Imported before they fork, it is in memory once.
ALWAYS_IMPORTED: Final = ("httpx", "sqlalchemy.dialects.sqlite")


@click.command("serve")
@click.option("--host", help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(min=1), help="How many processes serve.")
def command(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve everything over HTTP until a signal says to stop.

    The options win over the section [http] of the settings.
    """
    config: str | None = click.get_current_context().find_root().obj
    given = {"host": host, "port": port, "workers": workers}
    changes = {name: value for name, value in given.items() if value is not None}
    with _told():
        spark = _checked(config)
        settings = spark.settings.section(HttpSettings).model_copy(update=changes)
        listener = listen(settings.host, settings.port)
    click.echo(f"Serving at {url_of(listener)} ({settings.workers} workers; Ctrl-C stops)")
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ALWAYS_IMPORTED:
        importlib.import_module(name)
    _prepare_state(spark)
    _allow_many_files()
    with _shared_metrics():
        Server(config, settings, listener).run()


def _allow_many_files() -> None:
    """As many open files as this user may have: each connection is one, and shells allow 1,024."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # it is less then
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def _shared_metrics() -> Iterator[None]:
    """A directory in which all workers count; see :mod:`.metrics`."""
    master, path = os.getpid(), tempfile.mkdtemp(prefix="spark-metrics-")
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", path)
    try:
        yield
    finally:
        if os.getpid() == master:  # workers, which are forked, leave through here, too
            shutil.rmtree(path, ignore_errors=True)


class WrongSettings(click.ClickException):
    """Nothing is served with these settings."""

    exit_code = 2


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong in the block is one clear line, also where no ``spark`` is around this."""
    try:
        yield
    except SettingsError as error:
        raise WrongSettings(str(error)) from error
    except SparkError as error:
        raise click.ClickException(str(error)) from error


def _checked(config: str | None) -> Spark:
    """What is served, when all that the workers will check was found right.

    They import nothing for that which is not in memory already.
    """
    spark = compose(Source.read(config))
    spark.plugins.examine()
    make_routes(spark, max_body=0)
    return spark


def _prepare_state(spark: Spark) -> None:
    """Make the state's tables, in a process that ends then, with the libraries that takes.

    What goes wrong there goes wrong in the workers, too, which say so.
    """

    async def open_state() -> None:
        try:
            await spark.resolver.get(State)
        finally:
            await spark.resolver.aclose()

    def run() -> None:
        logging.disable()
        with suppress(Exception, KeyboardInterrupt):
            asyncio.run(open_state())

    process = multiprocessing.get_context("fork").Process(target=run, name="state")
    process.start()
    process.join()


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn, told all it needs here; it reads no settings of its own."""

    def __init__(
        self, config: str | os.PathLike[str] | None, settings: HttpSettings, listener: socket.socket
    ) -> None:
        self._config = config
        self._host = settings.host
        self._options = options(settings, listener.detach())
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn, also when it reloads."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The app: called in each worker, so that processes share nothing that is open."""
        return make_app(self._config, None, self._host)


def options(settings: HttpSettings, listener: int) -> Mapping[str, Any]:
    """What gunicorn is told; *listener* is a bound socket's file descriptor."""

    def pre_fork(server: Any, worker: Any) -> None:
        gc.collect()
        gc.freeze()  # memory that the collector does not touch stays shared with the workers

    def post_fork(server: Any, worker: Any) -> None:
        worker.cfg.set("graceful_timeout", settings.graceful_timeout_s)

    def child_exit(server: Any, worker: Any) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]

    return {
        "bind": f"fd://{listener}",
        "workers": settings.workers,
        "worker_class": "spark_core_http.worker.Worker",
        "asgi_loop": "uvloop",
        "asgi_disconnect_grace_period": 0,  # a client that left ends its request at once
        "http_parser": "fast",
        "keepalive": KEEP_ALIVE_SECONDS,
        "graceful_timeout": settings.graceful_timeout_s + MARGIN_SECONDS,
        "pre_fork": pre_fork,
        "post_fork": post_fork,
        "child_exit": child_exit,
        "control_socket_disable": True,
        "loglevel": "warning",
        "proc_name": "spark serve",
    }
