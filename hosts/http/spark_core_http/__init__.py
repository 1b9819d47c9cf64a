"""The HTTP host: a Falcon app of every operation, and the command ``serve``.

::

    gunicorn -k asgi "spark_core_http:create_app()"
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spark_core import Command, SettingsSection, hookimpl

if TYPE_CHECKING:
    from spark_core import Spark

__all__ = ["create_app", "spark_register_commands", "spark_register_settings"]


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """Where and how it is served."""
    return (SettingsSection("http", "spark_core_http.settings:HttpSettings"),)


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """``spark serve``."""
    return (Command("serve", "Serve everything over HTTP", "spark_core_http.serve:command"),)


def create_app(config: str | os.PathLike[str] | None = None, *, spark: Spark | None = None) -> Any:
    """An ASGI app (of Falcon) of everything that is installed, as settings say.

    *config* names the settings file (default: ``SPARK_CONFIG``, else ``spark.toml`` in the
    working directory, else none); with *spark* what it holds is served instead. Nothing is
    opened yet: that is done in the process that serves, at the app's start or when needed.

    Where the settings are wrong or plugins clash, the app tells the server so when it is
    started, and the server stops.

    :raises PluginError: what *spark* holds cannot be served: two of its routes clash.
    """
    from .app import make_app

    return make_app(config, spark)
