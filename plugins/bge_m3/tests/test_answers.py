"""What a server answers is checked before it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from spark_core_bge_m3.embedder import BgeM3Embedder
from spark_core_bge_m3.reranker import BgeM3Reranker

from spark_core.errors import BackendError

pytestmark = pytest.mark.anyio

SECRET = "Ada's private note"


def last_left_out(answer: dict[str, Any]) -> dict[str, Any]:
    return {"data": answer["data"][:-1]}


def one_twice(answer: dict[str, Any]) -> dict[str, Any]:
    return {"data": [answer["data"][0]] * 2}


def vectors(*components: Any) -> Callable[[Any], Any]:
    return lambda answer: {"data": [{"index": n, "embedding": components} for n in range(2)]}


def uneven(answer: dict[str, Any]) -> dict[str, Any]:
    return {"data": [{"index": n, "embedding": [1.0] * (n + 1)} for n in range(2)]}


@pytest.mark.parametrize(
    "step",
    [
        last_left_out,
        one_twice,
        uneven,
        vectors(),
        vectors(float("nan"), 1.0),
        vectors(1.0, float("-inf")),
        vectors("one", SECRET),
        vectors([1.0]),
        lambda answer: [],
        lambda answer: {"error": {"message": SECRET}},
        lambda answer: {"data": None},
    ],
)
async def test_a_wrong_answer_is_a_backend_error(
    embedder: BgeM3Embedder, server: Any, pauses: Any, step: Any
) -> None:
    """Whatever is not one finite vector per text is refused, not repaired, not asked for again."""
    server.plan = [step]
    with pytest.raises(BackendError, match="/v1/embeddings") as caught:
        await embedder.embed(["a", SECRET])
    assert "Ada" not in str(caught.value)
    assert not pauses


@pytest.mark.parametrize("body", [b"<html>Welcome, Ada!</html>", b"", b'{"data": [', b"\xff\xfe"])
async def test_what_is_not_json_is_a_backend_error(
    embedder: BgeM3Embedder, reranker: BgeM3Reranker, server: Any, body: bytes
) -> None:
    """A login page with status 200 is not an answer."""
    server.plan = [server.Reply(body=body)] * 2
    for asking in (embedder.embed(["a"]), reranker.rerank("q", ["a"])):
        with pytest.raises(BackendError, match="Invalid JSON") as caught:
            await asking
        assert "Ada" not in str(caught.value)


@pytest.mark.parametrize(("status", "hint"), [(302, ""), (401, "API key"), (404, "url"), (500, "")])
async def test_other_statuses_are_backend_errors(
    embedder: BgeM3Embedder, server: Any, pauses: Any, status: int, hint: str
) -> None:
    """Only what may pass is asked for again."""
    server.plan = [server.Reply(status, SECRET.encode())]
    with pytest.raises(BackendError, match=f"status {status}") as caught:
        await embedder.embed([SECRET])
    assert hint in str(caught.value)
    assert "Ada" not in str(caught.value)
    assert not pauses


async def test_another_dimension_later_is_refused(embedder: BgeM3Embedder, server: Any) -> None:
    """Vectors of another model never get into a collection of this one."""
    assert await embedder.dimension() == 64
    server.plan = [vectors(1.0, 2.0)]
    with pytest.raises(BackendError, match=r"2 dimensions .* after 64"):
        await embedder.embed(["a", "b"])
    assert await embedder.dimension() == 64


async def test_the_dimension_is_asked_for_once(embedder: BgeM3Embedder, server: Any) -> None:
    """One short text tells it; after any answer it is known."""
    assert await embedder.dimension() == 64
    assert await embedder.dimension() == 64
    assert len(server.requests) == 1


async def test_scores_may_be_called_scores(reranker: BgeM3Reranker, server: Any) -> None:
    """Both names that servers use for a score are read."""
    server.plan = [lambda answer: {"results": [{"index": 0, "score": 2}]}]
    assert await reranker.rerank("q", ["a"]) == [2.0]


@pytest.mark.parametrize(
    "results",
    [
        [],
        [{"index": 0}],
        [{"index": 1, "score": 1.0}],
        [{"index": 0, "score": float("nan")}],
        [{"index": 0, "score": 1.0}, {"index": 0, "score": 1.0}],
    ],
)
async def test_a_wrong_score_is_a_backend_error(
    reranker: BgeM3Reranker, server: Any, results: Any
) -> None:
    """Whatever is not one finite score per text is refused."""
    server.plan = [lambda answer: {"results": results}]
    with pytest.raises(BackendError, match="/v1/rerank"):
        await reranker.rerank("q", ["a"])
