"""Apps over small plugins that the tests make up, and a client for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import spark_core_http
from falcon.testing import DEFAULT_HOST, ASGIConductor
from spark_core_http import create_app

from spark_core import Spark, builtin, hookimpl
from spark_core.plugins import Plugin, Plugins
from spark_core.settings import Source
from spark_core.spark import compose

MakeSpark = Callable[..., Spark]
OpenClient = Callable[..., AbstractAsyncContextManager[ASGIConductor]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def make_plugin() -> Callable[..., Plugin]:
    """A plugin: ``make_plugin("name", operations=[...], relays=[...])``."""

    def make(name: str, **offers: list[Any]) -> Plugin:
        module = ModuleType(name)
        for kind, items in offers.items():
            setattr(module, f"spark_register_{kind}", _hook(items))
        return Plugin(name, f"dist-{name}", "1.0", module=module)

    return make


def _hook(items: list[Any]) -> Callable[[], list[Any]]:
    return hookimpl(lambda: items)


@pytest.fixture
def make_spark(tmp_path: Path, make_plugin: Callable[..., Plugin]) -> MakeSpark:
    """Core, this host, and a plugin "probe" of the operations and whatever else is offered."""

    def make(*operations: Any, toml: Any = None, plugins: tuple[Plugin, ...] = (), **offers: Any):
        installed = Plugins(
            [
                Plugin("core", "spark-core", "0.1.0", module=builtin),
                Plugin("http", "spark-core-http", "0.1.0", module=spark_core_http),
                make_plugin("probe", operations=list(operations), **offers),
                *plugins,
            ]
        )
        given = dict(toml or {})
        given["http"] = {"allowed_hosts": [DEFAULT_HOST]} | given.get("http", {})
        return compose(Source(None, tmp_path, given, {}, {}), plugins=installed)

    return make


@pytest.fixture
def open_client(make_spark: MakeSpark) -> OpenClient:
    """A client of an app of what ``make_spark`` makes: ``async with open_client(...) as c:``."""

    @asynccontextmanager
    async def client(*operations: Any, **offers: Any) -> AsyncIterator[ASGIConductor]:
        async with ASGIConductor(create_app(spark=make_spark(*operations, **offers))) as conductor:
            yield conductor

    return client
