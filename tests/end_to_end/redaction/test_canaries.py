"""Canaries: values that occur nowhere else, and are looked for in everything that was written."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from ...scripted import Peer
from ..swaps.test_secrets import ProcessList
from .conftest import PEOPLE, Exit, Frontier, chunks, in_json, last_text, says, streamed
from .searching import KEY, found_in, written

pytestmark = pytest.mark.anyio

CHAT, RESPONSES = "/v1/frontier/chat/completions", "/v1/frontier/responses"

_, (NAME,), MAIL, PHONE, NUMBER = PEOPLE[-1]
CARD = "4929 1234 5678 9018"
TEXT = f"{NAME} ({MAIL}, {PHONE}, {NUMBER}) paid with {CARD}."


async def everything_goes_on(http: httpx.AsyncClient, frontier: Frontier) -> None:
    """What goes well, and all that can go wrong."""

    def ask(text: str = TEXT, **more: Any) -> dict[str, Any]:
        return {"model": "far", "messages": [{"role": "user", "content": text}], **more}

    async def fails(peer: Peer, body: dict[str, Any]) -> None:
        await peer.send(in_json({"error": {"message": last_text(body)}}, b"500 No"))

    async def breaks(peer: Peer, body: dict[str, Any]) -> None:
        await peer.send(*streamed(chunks([{"content": last_text(body)}])[:-30])[:2])
        peer.reset()

    async def garbage(peer: Peer, body: dict[str, Any]) -> None:
        await peer.send(*streamed(f"data: {last_text(body)}\n\n".encode()))

    frontier.script = says(last_text)
    answer = await http.post(CHAT, json=ask())
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    await http.post(CHAT, json=ask(stream=True))
    await http.post(CHAT, json=ask(), headers={"x-spark-scope": NAME})
    await http.post(f"{CHAT}?who={MAIL}", json=ask(metadata={NAME: MAIL}))
    scrubbed = (await http.post("/scrub", json={"text": TEXT})).json()
    assert NAME not in scrubbed["text"]
    restored = await http.post("/rehydrate", json=scrubbed | {"counts": None})
    await http.post("/rehydrate", json={"text": scrubbed["text"], "handle": NAME})
    assert restored.status_code in (200, 422)
    for script in (fails, breaks, garbage):
        frontier.script = script
        for stream in (False, True):
            try:
                await http.post(CHAT, json=ask(stream=stream))
            except httpx.RemoteProtocolError:
                continue
    frontier.script = says(last_text)
    refused = {"type": "image_url", "image_url": {"url": MAIL}, "name": NAME}
    wrong: list[tuple[str, Any]] = [
        (CHAT, ask(model=NAME)),
        (CHAT, {"model": "far", "messages": [{"role": "user", "content": [refused]}]}),
        (CHAT, ask(**{NAME: [[[NAME]]], "metadata": MAIL})),
        (CHAT, {"model": [NAME]}),
        (RESPONSES, {"model": "far", "input": TEXT, "previous_response_id": NAME}),
        ("/scrub", {"text": [TEXT], NAME: MAIL}),
    ]
    for path, body in wrong:
        assert (await http.post(path, json=body)).status_code < 500
    for content in (f'{{"model": "{NAME}"', f"[{TEXT}]", f'{{"messages": "\\ud800{NAME}"}}'):
        answer = await http.post(CHAT, content=content.encode())
        assert (answer.status_code, NAME in answer.text) == (400, False)


async def test_no_canary_is_found_in_anything_that_was_written(
    server: Exit, http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """The log says everything, and each thing that can go wrong does.

    What other tests wrote is searched, too, when all are done: see the fixture ``server``.
    """
    processes = ProcessList()
    with processes.watched():
        await everything_goes_on(http, frontier)
    told = {
        path: (await http.get(path)).content
        for path in ("/metrics", "/api/audit?limit=1000", "/api/endpoints", "/api/health")
    }
    assert b"redaction.exit" in told["/api/audit?limit=1000"]
    heard = frontier.heard.replace(KEY, "").encode()
    places = [*written(server), *told.items(), ("what was heard outside", heard)]
    places += [("the list of processes", line.encode()) for line in processes.lines]
    assert {place: found for place, content in places if (found := found_in(content))} == {}
    assert len(server.log.read_bytes()) > 10_000


def test_canaries_would_be_found() -> None:
    """Plainly, within a database's pages, and in base64 wherever it begins."""
    for prefix in ("", "a", "ab"):
        assert found_in(base64.b64encode(f"{prefix}x Quillfeather y".encode())) == ["Quillfeather"]
    assert (
        found_in(f"\0\0{MAIL}\0".encode("utf-16-le")) == ["Quillfeather".lower(), "zq.canary"][1:]
    )
