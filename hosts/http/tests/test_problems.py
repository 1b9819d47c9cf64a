"""Everything that goes wrong is a problem document, and none of it tells too much."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from pydantic import BaseModel

from spark_core import Effect, Operation, errors

pytestmark = pytest.mark.anyio


class Text(BaseModel):
    text: str = ""


class Unforeseen(errors.TimedOut):
    """An error of somebody else's plugin."""


RAISED: dict[str, Exception] = {}


class Panic(BaseException):
    """As native extensions raise: no Exception."""


async def panic() -> Text:
    """Fail as badly as can be."""
    raise Panic


async def give_nothing() -> Text:
    """Give nothing where a text is declared."""
    return None


async def give_a_dict() -> Text:
    """Give what is no model."""
    return {"text": "x"}


async def fail(request: Text) -> Text:
    """Raise what the test wants."""
    if request.text in RAISED:
        raise RAISED[request.text]
    try:
        raise KeyError(f"inner {request.text}")
    except KeyError as error:
        raise RuntimeError(f"outer {request.text}") from error


FAIL = Operation("fail", fail, Effect.READ)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.SparkError("m"), 500),
        (errors.SettingsError("m"), 500),
        (errors.NotConfigured("m"), 503),
        (errors.PluginError("m"), 500),
        (errors.InvalidRequest("m"), 422),
        (errors.NotFound("m"), 404),
        (errors.Conflict("m"), 409),
        (errors.LeaseHeld("m"), 409),
        (errors.SourceError("m"), 502),
        (errors.BackendError("m"), 502),
        (errors.Unavailable("m"), 503),
        (errors.TimedOut("m"), 504),
        (errors.StorageFull("m"), 507),
        (Unforeseen("m"), 504),
    ],
)
async def test_each_error_has_a_status_and_heirs_have_their_ancestors(
    open_client, monkeypatch, error: errors.SparkError, status: int
) -> None:
    monkeypatch.setitem(RAISED, "this", error)
    async with open_client(FAIL) as client:
        answer = await client.simulate_post("/api/fail", json={"text": "this"})
    assert answer.status_code == answer.json["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == f"urn:spark-core:{error.code}"
    assert answer.json["detail"] == "m"
    assert "hint" not in answer.json


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (2.1, "3"), (30, "30")])
@pytest.mark.parametrize("kind", [errors.Unavailable, errors.TimedOut])
async def test_retry_after_is_whole_seconds(
    open_client, monkeypatch, kind: type[errors.Unavailable], seconds: float, header: str
) -> None:
    monkeypatch.setitem(RAISED, "this", kind("busy", retry_after=seconds, hint="wait"))
    async with open_client(FAIL) as client:
        answer = await client.simulate_post("/api/fail", json={"text": "this"})
    assert answer.headers["retry-after"] == header
    assert answer.json["hint"] == "wait"


async def test_an_unexpected_error_tells_nothing_and_is_logged_without_its_text(
    open_client, caplog
) -> None:
    async with open_client(FAIL) as client:
        answer = await client.simulate_post(
            "/api/fail", json={"text": "private"}, headers={"X-Request-Id": "r1"}
        )
    assert (answer.status_code, answer.json["type"]) == (500, "about:blank")
    assert "private" not in answer.text
    assert "private" not in caplog.text
    assert "POST /api/fail (request r1) failed" in caplog.text
    assert "test_problems.py" in caplog.text
    assert "builtins.KeyError" in caplog.text
    assert "builtins.RuntimeError" in caplog.text


async def test_a_backends_error_is_logged_by_its_name_alone(
    open_client, caplog, monkeypatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setitem(RAISED, "this", errors.BackendError("private"))
    monkeypatch.setitem(RAISED, "that", errors.NotFound("private"))
    async with open_client(FAIL) as client:
        await client.simulate_post("/api/fail", json={"text": "this"})
        await client.simulate_post("/api/fail", json={"text": "that"})
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("spark_core")]
    assert [text.rpartition(": ")[2] for text in ours] == ["backend-error"]
    assert "private" not in caplog.text


async def test_an_unknown_path_is_a_problem(open_client) -> None:
    async with open_client() as client:
        answer = await client.simulate_get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json) == {"type", "title", "status", "detail"}


async def test_an_unknown_method_is_a_problem(open_client) -> None:
    async with open_client() as client:
        answer = await client.simulate_delete("/health")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"text": "private",}', 400, "line 1, column "),
        (b'{"text":\n  private}', 400, "line 2, column 3"),
        (b'{"text": NaN}', 400, "number"),
        (b'{"text": -Infinity}', 400, "number"),
        (b'{"text": ' + b"9" * 5000 + b"}", 400, "number"),
        (b'{"text": "\xff"}', 400, "UTF-8 at byte 10"),
        ('{"text": "private"}'.encode("utf-16"), 400, "UTF-8"),
        (b'{"text":' + b"[" * 200_000, 400, "deep"),
        (b'["private"]', 422, "object"),
        (b"null", 422, "object"),
        (b'"private"', 422, "object"),
        (b'{"text": "\\ud800"}', 400, "surrogate"),
        (b'{"\\ud800": 1}', 400, "surrogate"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(
    open_client, caplog, body: bytes, status: int, says: str
) -> None:
    async with open_client(FAIL) as client:
        answer = await client.simulate_post(
            "/api/fail", body=body, content_type="application/json; charset=utf-8"
        )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json["detail"]
    assert "private" not in answer.text + caplog.text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"text": "a", "text": "b"}', "/text"),
        (b'{"text": "a", "te\\u0078t": "a"}', "/text"),
        (b'{"a": 1, "a": 2, "b": 1, "b": 2}', "/a"),
        (b'{"text": [0, {"x/y": {"~": 1, "~": 1}}]}', "/text/1/x~1y/~0"),
        (b'{"text": {"a": 1, "a": 1}, "text": {}}', "/text"),
        (b'{"text": [{"a": 1, "a": 1}], "more": {"b": 1, "b": 1}}', "/more/b"),
    ],
)
async def test_a_key_that_stands_twice_is_refused(open_client, body: bytes, pointer: str) -> None:
    async with open_client(FAIL) as client:
        answer = await client.simulate_post("/api/fail", body=body)
    assert answer.status_code == 422
    detail = "it is given more than once"
    assert answer.json["errors"] == [{"pointer": pointer, "detail": detail}]
    assert answer.json["detail"] == f"{pointer[1:]}: {detail}"


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "application/xml"])
async def test_another_content_type_is_refused(open_client, content_type: str | None) -> None:
    async with open_client(FAIL) as client:
        answer = await client.simulate_post("/api/fail", body=b"{}", content_type=content_type)
    assert (answer.status_code, answer.json["title"]) == (415, "Unsupported Media Type")


async def test_a_body_up_to_the_limit_is_taken_and_a_larger_one_is_not(open_client) -> None:
    def body(size: int) -> bytes:
        return json.dumps({"text": "x" * (size - len('{"text": ""}'))}).encode()

    toml: dict[str, Any] = {"http": {"max_body": "1 KiB"}}
    async with open_client(Operation("say", say, Effect.READ), toml=toml) as client:
        headers = {"Content-Type": "application/json"}
        taken = await client.simulate_post("/api/say", body=body(1024), headers=headers)
        refused = await client.simulate_post("/api/say", body=body(1025), headers=headers)
    assert taken.status_code == 200
    assert (refused.status_code, refused.json["status"]) == (413, 413)


async def say(request: Text) -> Text:
    """Say it again."""
    return request


@pytest.mark.parametrize(("handler", "given"), [(give_nothing, "nothing"), (give_a_dict, "dict")])
async def test_a_result_that_is_no_model_is_a_problem_by_name(open_client, handler, given) -> None:
    """And nothing is no answer without content."""
    async with open_client(Operation("give", handler, Effect.READ)) as client:
        answer = await client.simulate_post("/api/give")
    assert answer.status_code == 500
    assert answer.json["detail"] == (
        f"operation give of dist-probe gave {given} where it declares Text"
    )


async def test_a_panic_is_a_problem_like_any_other(open_client) -> None:
    """The worker goes on."""
    async with open_client(Operation("panic", panic, Effect.READ)) as client:
        answer = await client.simulate_post("/api/panic")
    assert answer.status_code == 500
    assert answer.json["title"] == "Internal Server Error"
