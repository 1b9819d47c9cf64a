"""The plugin does what it says, and its embedder keeps the contract."""

from __future__ import annotations

import pytest
import spark_core_demo
from spark_core_demo.embedder import DemoEmbedder
from spark_core_demo.greeting import say

from spark_core.plugins import Plugin
from spark_core.testing.embedding import EmbedderConformance
from spark_core.testing.plugins import SparkOpener

DEMO = Plugin("demo", "spark-core-demo", "0.1.0", module=spark_core_demo)


class TestDemoEmbedder(EmbedderConformance):
    """Every rule for embedders is a test of the suite."""

    @pytest.fixture
    def embedder(self) -> DemoEmbedder:
        return DemoEmbedder(256)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_greeting_is_a_setting(spark_open: SparkOpener) -> None:
    """``[plugins.demo] greeting`` is what people are greeted with."""
    async with spark_open(DEMO, toml='[plugins.demo]\ngreeting = "Ahoy"') as spark:
        answer = await spark.call(say, {"name": "Ada"})
    assert answer.text == "Ahoy, Ada!"
