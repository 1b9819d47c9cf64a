"""Session files in a folder, processors good and bad, and all that runs them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import spark_core_http
import spark_core_sessions
from falcon.testing import DEFAULT_HOST, ASGIConductor
from spark_core_http import create_app
from spark_core_sessions.isolation import Failed, Postponed

from spark_core import Spark, builtin
from spark_core.contracts.sessions import ProcessorResult, SessionChanged, SessionFile
from spark_core.declarations import StateSchema
from spark_core.gateway import plugin as gateway_plugin
from spark_core.plugins import Plugin, Plugins
from spark_core.references import resolved
from spark_core.settings import Source
from spark_core.spark import compose
from spark_core.state import State
from spark_core.testing.clock import ManualClock
from spark_core.testing.databases import postgresql_server, postgresql_url, state_url

__all__ = ["postgresql_server", "postgresql_url", "state_url"]

SCHEMA = StateSchema("sessions", "spark_core_sessions.migrations")


#: What writes rows of its own kind is shown on each engine every time, and everything else of
#: these two processors on PostgreSQL only where long tests are run.
ON_BOTH = {
    "test_ids_are_idempotent",
    "test_an_error_is_found_by_the_id_of_the_call",
    "test_an_item_is_kept_with_the_id_of_its_text",
    "test_an_item_that_is_known_has_evidence_and_is_not_counted",
    "test_a_duplicate_hint_takes_the_same_domain_and_two_shared_entities",
    "test_a_contradiction_is_a_hint",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name, _, engine = item.name.partition("[")
        is_of_one = item.path.name in ("test_usage.py", "test_verification.py")
        if is_of_one and name not in ON_BOTH and engine.startswith("postgresql"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def state(state_url: str) -> AsyncIterator[State]:
    async with State.open(state_url, [SCHEMA]) as state:
        yield state


@dataclass
class Folder:
    """The folder of session files, and what processors saw of it."""

    path: Path
    seen_file: Path

    def write(self, key: str, *records: Any, mode: str = "w", end: str = "\n") -> Path:
        """Write *records* as JSON lines, or as they are if they are text."""
        file = self.path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
        with file.open(mode, encoding="utf-8") as out:
            out.write("".join(f"{line}\n" for line in lines[:-1]) + "".join(lines[-1:]) + end)
        return file

    def append(self, key: str, *records: Any, end: str = "\n") -> Path:
        return self.write(key, *records, mode="a", end=end)

    def seen(self, by: str = "count") -> list[dict[str, Any]]:
        """What the processor called *by* was given, in order."""
        if not self.seen_file.exists():
            return []
        lines = [json.loads(line) for line in self.seen_file.read_text().splitlines()]
        return [line for line in lines if line["by"] == by]

    def numbers(self, by: str = "count") -> list[Any]:
        """Every new record's number that it saw."""
        return [number for line in self.seen(by) for number in line["new"]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    return Folder(tmp_path / "sessions", tmp_path / "seen")


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """The processors of ``samples/``."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "samples"))
    import sample_processors

    return Plugin("samples", "in-test-samples", "0", module=sample_processors)


MakeSpark = Callable[..., Spark]


@pytest.fixture
def make_spark(
    tmp_path: Path, folder: Folder, samples: Plugin, spark_clock: ManualClock
) -> MakeSpark:
    """Core, the gateway, the HTTP host, this plugin and the samples, with settings."""

    def make(*plugins: Plugin, environ: dict[str, str] | None = None, **settings: Any) -> Spark:
        folders = {"directory": str(folder.path), "homes": str(tmp_path / "homes")}
        given = {**folders, "memory_limit": "768 MiB", **settings}
        toml = {"http": {"allowed_hosts": [DEFAULT_HOST]}, "plugins": {"sessions": given}}
        installed = Plugins(
            [
                Plugin("core", "spark-core", "0", module=builtin),
                Plugin("gateway", "spark-core", "0", module=gateway_plugin),
                Plugin("http", "spark-core-http", "0", module=spark_core_http),
                Plugin("sessions", "spark-core-sessions", "0", module=spark_core_sessions),
                samples,
                *plugins,
            ]
        )
        source = Source(None, tmp_path, toml, {}, environ or {})
        return compose(source, clock=spark_clock, plugins=installed)

    return make


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors run here: quicker, where it is not their isolation that is looked at."""
    monkeypatch.setattr("spark_core_sessions.runner.isolated", _not_isolated)


@dataclass
class NotIsolated:
    spark: Spark
    processor: str

    async def process(self, session: SessionFile, limit_s: float) -> int:
        found = {p.name: p for p in self.spark.plugins.session_processors()}
        process = resolved(found[self.processor].process)
        try:
            needs = await self.spark.resolver.fill(process, {SessionFile: session})
            async with asyncio.timeout(limit_s):
                result = await process(**needs)
        except SessionChanged:
            raise Postponed from None
        except Exception as error:
            raise Failed(type(error).__name__) from error
        return result.items_count if isinstance(result, ProcessorResult) else 0


@asynccontextmanager
async def _not_isolated(spark: Spark, name: str, memory: int) -> AsyncIterator[NotIsolated]:
    yield NotIsolated(spark, name)


@pytest.fixture
async def spark(make_spark: MakeSpark) -> AsyncIterator[Spark]:
    spark = make_spark()
    try:
        yield spark
    finally:
        await spark.resolver.aclose()


@pytest.fixture
def run(spark: Spark) -> Callable[..., Any]:
    """Runs a processor, and gives the answer."""

    async def run(processor: str = "count", *, of: Spark | None = None) -> Any:
        return await (of or spark).call("sessions.run", {"processor": processor})

    return run


@pytest.fixture
def open_client(make_spark: MakeSpark) -> Callable[..., AbstractAsyncContextManager[ASGIConductor]]:
    """A client over HTTP: ``async with open_client(...) as client``."""

    @asynccontextmanager
    async def client(
        *plugins: Plugin, of: Spark | None = None, **settings: Any
    ) -> AsyncIterator[ASGIConductor]:
        spark = of or make_spark(*plugins, **settings)
        async with ASGIConductor(create_app(spark=spark)) as conductor:
            yield conductor

    return client


async def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds, for a minute at most: it is another process's."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to pass")


def alive(pid: int) -> bool:
    """Whether the process *pid* runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
