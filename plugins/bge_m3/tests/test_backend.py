"""The server as a backend of the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import spark_core_lab
from pydantic_core import from_json
from spark_core_lab.running import Lab

import spark_core
from spark_core.gateway.backends import Relay
from spark_core.gateway.gateway import Gateway, UnknownModel
from spark_core.gateway.operations import DeepHealth, Models
from spark_core.gateway.relays import EMBEDDINGS, RERANK

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with spark_core_lab.start("bge_m3") as lab:
        yield lab


@pytest.fixture
async def spark(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[spark_core.Spark]:
    """A program whose only backend is the stand-in."""
    monkeypatch.chdir(tmp_path)
    async with spark_core.open(environ={"SPARK_PLUGINS_BGE_M3_URL": lab.bge_m3.url}) as spark:
        yield spark


@pytest.mark.parametrize(
    ("relay", "asked", "model"),
    [
        (EMBEDDINGS, "BAAI/bge-m3", "BAAI/bge-m3"),
        (EMBEDDINGS, "bge-m3", "BAAI/bge-m3"),
        (EMBEDDINGS, "text-embedding-3-small", "BAAI/bge-m3"),
        (EMBEDDINGS, "text-embedding-ada-002", "BAAI/bge-m3"),
        (RERANK, "BAAI/bge-reranker-v2-m3", "BAAI/bge-reranker-v2-m3"),
        (RERANK, "bge-reranker-v2-m3", "BAAI/bge-reranker-v2-m3"),
    ],
)
async def test_models_are_found_by_their_names(
    spark: spark_core.Spark, relay: Relay, asked: str, model: str
) -> None:
    """The server is asked for the model by its own name, however callers call it."""
    gateway = await spark.resolver.get(Gateway)
    (target,) = await gateway.targets(relay, asked)
    assert (target.backend.name, target.model) == ("bge_m3", model)


async def test_another_model_is_not_served(spark: spark_core.Spark) -> None:
    """A name that nobody serves is not sent on."""
    gateway = await spark.resolver.get(Gateway)
    with pytest.raises(UnknownModel):
        await gateway.targets(EMBEDDINGS, "text-embedding-3-large")


async def test_the_models_are_listed(spark: spark_core.Spark) -> None:
    """Both models, and the other names they go by."""
    listed = await spark.call("gateway.models")
    assert isinstance(listed, Models)
    assert {"BAAI/bge-m3", "bge-m3", "BAAI/bge-reranker-v2-m3"} <= {m.id for m in listed.data}


async def test_the_check_embeds_a_word(spark: spark_core.Spark, lab: Lab) -> None:
    """Deep health says how long its vectors are."""
    checked = await spark.call("health.deep")
    assert isinstance(checked, DeepHealth)
    finding = checked.checks["bge_m3"]
    assert (finding.status, finding.detail) == ("ok", "its vectors have 1024 dimensions")
    assert lab.bge_m3.requests == 1


async def test_a_vector_of_nan_fails_the_check(spark: spark_core.Spark, lab: Lab) -> None:
    """A model that computes nonsense is not well, whatever its status says."""
    lab.bge_m3.faults.set("nan")
    checked = await spark.call("health.deep")
    assert isinstance(checked, DeepHealth)
    assert checked.checks["bge_m3"].status == "failed"


async def test_a_vector_of_another_dimension_fails_the_check(
    spark: spark_core.Spark, lab: Lab
) -> None:
    """It would fit into no index."""
    lab.bge_m3.faults.set("wrong_dimension")
    checked = await spark.call("health.deep")
    assert isinstance(checked, DeepHealth)
    finding = checked.checks["bge_m3"]
    assert finding.status == "failed"
    assert "dimensions, not 1024" in finding.detail


async def test_the_check_asks_for_the_embedder_that_settings_name(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose dimension is its own, and which goes by no name of another one's."""
    monkeypatch.chdir(tmp_path)
    toml = '[plugins.bge_m3]\nurl = "{}"\nmodels = ["my/reranker", "my/embedder"]\n'
    (tmp_path / "spark.toml").write_text(toml.format(lab.bge_m3.url) + 'model = "my/embedder"\n')
    async with spark_core.open() as spark:
        await spark.call("health.deep")
        listed = await spark.call("gateway.models")
    assert from_json(lab.bge_m3.recent[-1].body)["model"] == "my/embedder"
    assert isinstance(listed, Models)
    assert {m.id for m in listed.data} == {"my/reranker", "my/embedder"}
