"""What is asked, what is answered, and what is refused."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx
import openai
import pytest
from spark_core_bge_m3.serving import app
from spark_core_bge_m3.serving.app import Names, make_app
from spark_core_bge_m3.serving.batching import Models, Worker

pytestmark = pytest.mark.anyio

SECRET = "Ada's private note"


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """What is wrong, in OpenAI's shape and no other."""
    (key, error), *rest = answer.json().items()
    assert (key, rest) == ("error", [])
    assert error.keys() == {"message", "type", "param", "code"}
    assert SECRET not in answer.text
    return dict(error)


# -------------------------------------------------------------------------- embeddings


async def test_a_vector_for_each_text_in_order(client: httpx.AsyncClient) -> None:
    """The answer has OpenAI's shape, with the tokens that were read."""
    texts = ["a longer text", "b"]
    answer = await client.post("/v1/embeddings", json={"model": "BAAI/bge-m3", "input": texts})
    found = answer.json()
    assert answer.status_code == 200
    assert found.keys() == {"object", "data", "model", "usage"}
    assert found["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert [(item["object"], item["index"]) for item in found["data"]] == [
        ("embedding", 0),
        ("embedding", 1),
    ]
    alone = await client.post("/v1/embeddings", json={"input": "b"})
    assert alone.json()["data"][0]["embedding"] == found["data"][1]["embedding"]


async def test_base64_holds_the_same_numbers(client: httpx.AsyncClient) -> None:
    """Little-endian floats of 32 bits, as OpenAI's clients unpack them."""
    listed = await client.post("/v1/embeddings", json={"input": "pump"})
    packed = await client.post(
        "/v1/embeddings", json={"input": "pump", "encoding_format": "base64"}
    )
    numbers = listed.json()["data"][0]["embedding"]
    unpacked = struct.unpack("<64f", base64.b64decode(packed.json()["data"][0]["embedding"]))
    assert list(unpacked) == pytest.approx(numbers, rel=1e-6)


async def test_openais_own_client_reads_it(serving: Any, load: Any) -> None:
    """With its defaults, which ask for base64."""
    async with (
        serving(load) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        found = await client.embeddings.create(model="bge-m3", input=["a", "b"], dimensions=64)
        with pytest.raises(openai.NotFoundError, match="BAAI/bge-m3"):
            await client.embeddings.create(model="gpt", input="a")
    assert [len(item.embedding) for item in found.data] == [64, 64]


@pytest.mark.parametrize("model", ["BAAI/bge-m3", "bge-m3", "/models/bge-m3", None])
async def test_a_model_goes_by_the_last_part_of_its_name(
    client: httpx.AsyncClient, model: str | None
) -> None:
    """A copy in a folder is the same model, and one who names none gets the only one."""
    answer = await client.post("/v1/embeddings", json={"model": model, "input": "a"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "param", "says"),
    [
        ({"input": [1, 2, 3]}, 422, "input", "send text"),
        ({"input": [[1, 2], [3]]}, 422, "input", "send text"),
        ({"input": ["a", 3]}, 422, "input", "send text"),
        ({"input": []}, 422, "input", "at least 1"),
        ({"input": {"a": 1}}, 422, "input", "array"),
        ({"input": SECRET, "encoding_format": SECRET}, 422, "encoding_format", "float"),
        ({"input": SECRET, "dimensions": 32}, 422, "dimensions", "have 64"),
        ({"input": SECRET, "dimensions": "64"}, 422, "dimensions", "integer"),
        ({"input": ["a"] * 2049}, 413, "input", "more than 2048"),
        ({"input": SECRET, "model": "gpt"}, 404, "model", "BAAI/bge-m3"),
        ({}, 422, "input", "required"),
        ([SECRET], 422, None, "the body"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    client: httpx.AsyncClient, body: Any, status: int, param: str | None, says: str
) -> None:
    """The error says which field is wrong and why, and quotes nobody's text."""
    answer = await client.post("/v1/embeddings", json=body)
    error = error_of(answer)
    assert (answer.status_code, error["type"]) == (status, "invalid_request_error")
    assert error["param"] == param
    assert says in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", SECRET.encode(), b'{"input": "\xff"}', b"\\ud83d"])
async def test_what_is_no_json_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    """Of a broken body nothing is quoted."""
    answer = await client.post("/v1/rerank", content=body)
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused(
    client: httpx.AsyncClient, announced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its length is announced or not."""
    monkeypatch.setattr(app, "MOST_BYTES", 100)

    async def pieces() -> Any:
        yield b"x" * 60
        yield b"x" * 60

    content: Any = b"x" * 120 if announced else pieces()
    answer = await client.post("/v1/embeddings", content=content)
    assert (answer.status_code, error_of(answer)["code"]) == (413, "too_large")


# ------------------------------------------------------------------------------ rerank


async def test_the_best_documents_come_first(client: httpx.AsyncClient) -> None:
    """Each with its place in the request; a document is text, or an object that has one."""
    body = {
        "model": "bge-reranker-v2-m3",
        "query": "north pump",
        "documents": ["an invoice", {"text": "the north pump", "id": 7}, "a pump"],
    }
    answer = await client.post("/v1/rerank", json=body)
    results = answer.json()["results"]
    assert [result["index"] for result in results] == [1, 2, 0]
    assert results[0]["relevance_score"] == 1.0
    assert all(result.keys() == {"index", "relevance_score"} for result in results)
    assert answer.json()["usage"] == {"total_tokens": 19}


async def test_only_the_top_with_their_text(client: httpx.AsyncClient) -> None:
    """``top_n`` cuts the list, and ``return_documents`` hands the text back."""
    body = {"query": "pump", "documents": ["a", {"text": "pump"}], "top_n": 1}
    (best,) = (await client.post("/v1/rerank", json=body | {"return_documents": True})).json()[
        "results"
    ]
    assert (best["index"], best["document"]) == (1, {"text": "pump"})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": SECRET}, "documents"),
        ({"documents": [SECRET]}, "query"),
        ({"query": "q", "documents": SECRET}, "documents"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": [SECRET, {"body": SECRET}]}, "documents.1"),
        ({"query": "q", "documents": [SECRET], "top_n": 0}, "top_n"),
    ],
)
async def test_what_cannot_be_ranked_is_refused(
    client: httpx.AsyncClient, body: Any, param: str
) -> None:
    """The error says which field is wrong."""
    answer = await client.post("/v1/rerank", json=body)
    assert (answer.status_code, error_of(answer)["param"]) == (422, param)


# ------------------------------------------------------------------- health and the rest


async def test_health_and_models(client: httpx.AsyncClient) -> None:
    """When the models are loaded all is well; the embedder is listed first."""
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    listed = (await client.get("/v1/models")).json()
    assert [card["id"] for card in listed["data"]] == ["BAAI/bge-m3", "BAAI/bge-reranker-v2-m3"]


async def test_while_models_are_loaded_nothing_else_is_done() -> None:
    """Health says so with 503, and work is put off."""
    transport = httpx.ASGITransport(make_app(Worker(batch_tokens=1), Names("a", "b")))
    async with httpx.AsyncClient(transport=transport, base_url="http://spark") as client:
        health = await client.get("/health")
        answer = await client.post("/v1/embeddings", json={"input": "a"})
    assert (health.status_code, health.json()) == (503, {"status": "loading"})
    assert (answer.status_code, error_of(answer)["code"]) == (503, "loading")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v2", 404), ("GET", "/v1/rerank", 405)]
)
async def test_unknown_routes_are_told_in_the_same_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    """There is one shape of errors."""
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert path in error_of(answer)["message"]


# --------------------------------------------------------------------------- failures


async def test_nan_never_leaves(client: httpx.AsyncClient) -> None:
    """One bad number is an error, told as such, and no vector of its request is answered."""
    answer = await client.post("/v1/embeddings", json={"input": ["a", "nan", SECRET]})
    assert (answer.status_code, error_of(answer)["code"]) == (500, "not_finite")


async def test_a_failing_model_is_told_without_its_words(
    client: httpx.AsyncClient, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    """What a library raises may quote a text: neither the answer nor the log has it."""
    models.embedder.failures[0] = RuntimeError(SECRET)  # type: ignore[attr-defined]
    answer = await client.post("/v1/embeddings", json={"input": SECRET})
    error = error_of(answer)
    assert (answer.status_code, error["type"]) == (500, "server_error")
    assert "RuntimeError" in error["message"]
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


async def test_a_bug_is_told_without_its_words(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even what nobody thought of has the shape of an error."""

    def fail(*arguments: object) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(app, "parsed", fail)
    answer = await client.post("/v1/embeddings", json={"input": SECRET})
    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal_error")
    assert SECRET not in caplog.text


async def test_answers_are_json_to_the_letter(client: httpx.AsyncClient) -> None:
    """They are put together by hand, and must be read by anybody."""
    for path, body in (
        ("/v1/embeddings", {"input": ["a", "b", "c"], "encoding_format": "base64"}),
        ("/v1/rerank", {"query": "q", "documents": ['"', "\\"], "return_documents": True}),
    ):
        answer = await client.post(path, json=body)
        assert answer.headers["content-type"] == "application/json"
        json.loads(answer.content, parse_constant=lambda word: pytest.fail(word))
