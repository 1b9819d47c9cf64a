"""The fixtures and builders that plugins are tested with."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spark_core.clock import Clock
from spark_core.declarations import Command
from spark_core.testing.clock import ManualClock
from spark_core.testing.plugins import SparkOpener, plugin

pytest_plugins = ["pytester"]


def test_the_clock_stands_still_until_told(spark_clock: ManualClock) -> None:
    """It starts at the same moment in every test, in UTC."""
    assert isinstance(spark_clock, Clock)
    assert spark_clock.now() == spark_clock.now() == datetime(2030, 1, 1, tzinfo=UTC)
    spark_clock.advance(90.5)
    assert spark_clock.now() == datetime(2030, 1, 1, 0, 1, 30, 500_000, tzinfo=UTC)


def test_home_is_empty_and_current(spark_home: Path) -> None:
    """Each test has its own."""
    assert Path.cwd() == spark_home
    assert list(spark_home.iterdir()) == []


def test_home_has_no_settings_of_ours(pytester: pytest.Pytester) -> None:
    """Whatever the developer has set, a test does not see it; the rest stays."""
    pytester.makepyfile(
        """
        import os

        def test_environment(spark_home):
            assert not [name for name in os.environ if name.startswith("SPARK_")]
            assert os.environ["UNRELATED"] == "kept"
        """
    )
    os.environ["SPARK_CONFIG"] = "elsewhere.toml"
    os.environ["UNRELATED"] = "kept"
    try:
        pytester.runpytest_subprocess().assert_outcomes(passed=1)
    finally:
        del os.environ["SPARK_CONFIG"], os.environ["UNRELATED"]


@pytest.mark.anyio
async def test_a_spark_holds_what_it_was_given(
    spark_open: SparkOpener, spark_clock: ManualClock
) -> None:
    """Core and the plugins of the test, its settings and its clock; nothing installed."""
    wave = Command("wave", "Wave.", "x:y")
    waver = plugin("waver", spark_register_commands=lambda: [wave])
    toml = '[providers]\nembedder = "x"\n'
    async with spark_open(waver, toml=toml, environ={"SPARK_PROVIDERS_RERANKER": "y"}) as spark:
        assert [p.name for p in spark.plugins] == ["core", "waver"]
        assert spark.plugins.commands() == [wave]
        assert await spark.resolver.get(Clock) is spark_clock  # type: ignore[type-abstract]
        assert spark.settings.origins == {
            ("providers", "embedder"): str(spark_open.home / "spark.toml"),
            ("providers", "reranker"): "environment SPARK_PROVIDERS_RERANKER",
        }
