"""Redaction over a vault that tests can look into, and detectors that they know."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
import spark_core_http
import spark_core_redaction
from falcon.testing import DEFAULT_HOST, ASGIConductor
from spark_core_http import create_app
from spark_core_redaction.keys import KeyRing
from spark_core_redaction.scopes import Lifetime
from spark_core_redaction.scrubbing import Looking, Redaction
from spark_core_redaction.vault import Vault

from spark_core import Provider, Spark
from spark_core.contracts.detection import KnownEntities, KnownEntity
from spark_core.declarations import StateSchema
from spark_core.plugins import Plugin, Plugins
from spark_core.settings import Source
from spark_core.spark import compose
from spark_core.state import Leases, State
from spark_core.testing.clock import ManualClock
from spark_core.testing.databases import postgresql_server, postgresql_url, state_url
from spark_core.testing.plugins import installed, plugin

__all__ = ["postgresql_server", "postgresql_url", "state_url"]

SCHEMA = StateSchema("redaction", "spark_core_redaction.migrations")
LIFETIME = Lifetime(timedelta(days=1), timedelta(days=30))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def schema() -> StateSchema:
    return SCHEMA


@pytest.fixture(scope="session")
def lifetime() -> Lifetime:
    return LIFETIME


@pytest.fixture(scope="session")
def looking() -> ModuleType:
    """The module ``looking.py`` beside this file."""
    name = "spark_core_redaction_tests_looking"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("looking.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    """The state, in SQLite."""
    async with State.open(tmp_path / "state.db", [SCHEMA]) as state:
        yield state


@pytest.fixture
async def each_state(state_url: str) -> AsyncIterator[State]:
    """The state, on each engine."""
    async with State.open(state_url, [SCHEMA]) as state:
        yield state


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "vault.key"


@pytest.fixture
def make_vault(key_file: Path, spark_clock: ManualClock) -> Callable[..., Vault]:
    """A vault over a state, as another process would open it."""

    def make(state: State, keys: str | None = None) -> Vault:
        ring = KeyRing(keys, key_file)
        return Vault(state, spark_clock, Leases(state, spark_clock), ring, LIFETIME)

    return make


@pytest.fixture
def vault(state: State, make_vault: Callable[..., Vault]) -> Vault:
    return make_vault(state)


@pytest.fixture
def make_redaction(vault: Vault, looking: ModuleType) -> Callable[..., Redaction]:
    """Redaction with detectors that find what a test names."""

    def make(detectors: Looking | None = None, **known: object) -> Redaction:
        return Redaction(detectors or looking.Known(**known), vault)

    return make


# -------------------------------------------------------------------------- everything together

#: The customers of a firm that is not there.
CUSTOMERS = (
    KnownEntity("1", names=("Ada Example",), given="Ada", family="Example", numbers=("C-4711",)),
    KnownEntity("2", names=("Ben Sample",), emails=("ben@sample.example",)),
    KnownEntity("3", "ORGANIZATION", names=("Sample & Sons",)),
)


class Crm:
    """Knows *CUSTOMERS*."""

    async def version(self) -> str:
        return "1"

    async def entities(self, *, batch: int = 5000) -> AsyncGenerator[Sequence[KnownEntity], None]:
        yield CUSTOMERS


@asynccontextmanager
async def open_crm() -> AsyncIterator[KnownEntities]:
    yield Crm()


@pytest.fixture
def plugins() -> Plugins:
    """Core, the HTTP host, this plugin, and a CRM."""
    return installed(
        Plugin("http", "spark-core-http", "0", module=spark_core_http),
        Plugin("redaction", "spark-core-redaction", "0", module=spark_core_redaction),
        plugin("crm", spark_register_known_entities=lambda: [Provider("crm", open_crm)]),
    )


@pytest.fixture
async def spark(tmp_path: Path, spark_clock: ManualClock, plugins: Plugins) -> AsyncIterator[Spark]:
    source = Source(None, tmp_path, {"http": {"allowed_hosts": [DEFAULT_HOST]}}, {}, {})
    spark = compose(source, clock=spark_clock, plugins=plugins)
    yield spark
    await spark.resolver.aclose()


@pytest.fixture
async def client(spark: Spark) -> AsyncIterator[ASGIConductor]:
    """A client over HTTP."""
    async with ASGIConductor(create_app(spark=spark)) as conductor:
        yield conductor
