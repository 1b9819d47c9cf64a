"""What core itself offers: a look at the plugins, the audit and the background services."""

from __future__ import annotations

import pytest

from spark_core.declarations import BackgroundService
from spark_core.errors import InvalidRequest
from spark_core.introspection import render_plugins
from spark_core.state import AuditLog, Leases
from spark_core.testing.plugins import SparkOpener, plugin

pytestmark = pytest.mark.anyio


async def forever() -> None: ...


def worker(*names: str) -> list[BackgroundService]:
    return [BackgroundService(name, forever) for name in names]


async def test_plugins_are_listed_with_what_is_wrong(spark_open: SparkOpener) -> None:
    """Name, distribution, version, status, hooks; the broken ones with their error."""
    good = plugin("good", spark_register_background_services=lambda: worker("outbox"))
    bad = plugin("bad", spark_register_operations=lambda: [forever])
    async with spark_open(good, bad) as spark:
        listed = await spark.call("plugins")
    by_name = {status.name: status for status in listed.plugins}
    assert by_name["good"].status == "ok"
    assert by_name["good"].hooks == ["spark_register_background_services"]
    assert by_name["bad"].status == "broken"
    assert by_name["core"].distribution == "spark-core"
    lines = render_plugins(listed).splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["core", "ok"], ["good", "ok"]]
    assert "function instead of Operation" in lines[-1]


async def test_the_audit_is_listed_by_page(spark_open: SparkOpener) -> None:
    """The newest first, as many as asked for, of one action if asked for."""
    async with spark_open() as spark:
        audit = await spark.resolver.get(AuditLog)
        for action in ("a", "b", "a"):
            await audit.record("ada", action)
        page = await spark.call("audit.list", {"limit": 2})
        assert [entry.action for entry in page.entries] == ["a", "b"]
        rest = await spark.call("audit.list", {"before": page.entries[-1].id})
        assert [entry.action for entry in rest.entries] == ["a"]
        assert len((await spark.call("audit.list", {"action": "a"})).entries) == 2
        with pytest.raises(InvalidRequest, match="limit"):
            await spark.call("audit.list", {"limit": 0})


async def test_background_services_are_listed_with_their_holder(spark_open: SparkOpener) -> None:
    """Who runs each now, by its lease; nobody, where nobody does."""
    services = plugin("p", spark_register_background_services=lambda: worker("idle", "busy"))
    async with spark_open(services) as spark:
        leases = await spark.resolver.get(Leases)
        lease = await leases.acquire("background:busy", 30, holder="host a")
        idle, busy = (await spark.call("background")).services
    assert (idle.name, idle.holder, idle.until) == ("idle", None, None)
    assert (busy.holder, busy.fence, busy.until) == ("host a", lease.fence, lease.expires_at)
