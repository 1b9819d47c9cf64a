"""Nothing private reaches a model outside: by every way that is known to have leaked elsewhere.

The server is a real one, so are detection and vault; what stands in is the model outside.
"""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from spark_core_http import create_app

from spark_core.settings import Source
from spark_core.spark import compose

from ...scripted import Peer, answer
from .conftest import (
    PATIENCE,
    Exit,
    Frontier,
    Serve,
    chunks,
    events,
    in_json,
    last_text,
    message,
    says,
    settings,
    streamed,
)

pytestmark = pytest.mark.anyio

CHAT = "/v1/frontier/chat/completions"
RESPONSES = "/v1/frontier/responses"

OTTILIE, MAIL, PHONE = "Ottilie Kranzfeld", "ottilie@kranzfeld.example", "+420 601 555 214"
LETTER = f"Tell {OTTILIE} ({MAIL}, KD-7741902) that Břetislav Horňák rings her from {PHONE}."
PRIVATE = ("Ottilie", "Kranzfeld", "kranzfeld.example", "7741902", "Horňák", "601 555 214")


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "far", "messages": [{"role": "user", "content": text}], **more}


def content_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    said: str = answer.json()["choices"][0]["message"]["content"]
    return said


def said_in(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    pieces = [e["choices"][0]["delta"].get("content") or "" for e in events(answer.text)]
    return "".join(pieces)


def clean(frontier: Frontier, *private: str) -> None:
    """Nothing of it was heard outside, in whatever case."""
    heard = frontier.heard.casefold()
    assert frontier.bodies
    found = [value for value in private or PRIVATE if value.casefold() in heard]
    assert found == [], frontier.heard


async def test_upstream_capture_has_zero_original_bytes(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """Not in the body, and not in the head: nothing of the caller's head is passed on."""
    frontier.script = says(last_text)
    headers = {
        "authorization": f"Bearer {OTTILIE.replace(' ', '')}",
        "cookie": "who=Kranzfeld",
        "user-agent": "Kranzfeld/1",
        "x-request-id": "Kranzfeld-1",
        "x-whatever": "Kranzfeld",
        "openai-organization": "Kranzfeld",
        "referer": "http://kranzfeld.example/",
    }
    answer = await http.post(f"{CHAT}?who={quote(OTTILIE)}", json=ask(LETTER), headers=headers)
    assert content_of(answer) == LETTER
    clean(frontier)
    [head] = frontier.heads
    first, *lines = head.decode().lower().strip().splitlines()
    assert first == "post /v1/chat/completions http/1.1"
    names = {line.partition(":")[0] for line in lines}
    assert names == {
        *("host", "accept", "user-agent", "x-spark-relayed"),
        *("authorization", "content-type", "content-length"),
    }
    assert "authorization: bearer our-own-key" in lines


async def test_the_answer_tells_what_was_done(http: httpx.AsyncClient, frontier: Frontier) -> None:
    frontier.script = says(last_text)
    answer = await http.post(CHAT, json=ask(LETTER))
    told = dict(part.split("=") for part in answer.headers["x-spark-redaction"].split(", "))
    assert {"EMAIL", "PERSON", "PHONE"} <= told.keys()
    assert len(answer.headers["x-spark-redaction-handle"]) >= 22  # 128 bits
    assert answer.headers["x-spark-redaction-unknown"] == "0"


async def test_responses_and_their_input_are_scrubbed_too(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    async def script(peer: Peer, body: dict[str, Any]) -> None:
        [part] = body["input"][0]["content"]
        item = {"type": "message", "content": [{"type": "output_text", "text": part["text"]}]}
        await peer.send(in_json({"object": "response", "output": [item], **body}))

    frontier.script = script
    asked = [{"role": "user", "content": [{"type": "input_text", "text": LETTER}]}]
    body = {"model": "far", "instructions": f"You write for {OTTILIE}.", "input": asked}
    answer = await http.post(RESPONSES, json=body)
    clean(frontier)
    assert answer.json()["output"][0]["content"][0]["text"] == LETTER
    assert answer.json()["instructions"] == body["instructions"]


async def test_one_placeholder_is_one_person_over_all_messages(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """Where numbers start anew in each message, the wrong name is restored."""
    asked = ask("")
    asked["messages"] = [
        {"role": "user", "content": OTTILIE},
        {"role": "assistant", "content": "Břetislav Horňák"},
        {"role": "user", "content": OTTILIE},
    ]
    frontier.script = says(lambda body: " / ".join(m["content"] for m in body["messages"]))
    assert content_of(await http.post(CHAT, json=asked)) == (
        f"{OTTILIE} / Břetislav Horňák / {OTTILIE}"
    )
    first, other, again = (m["content"] for m in frontier.asked[0]["messages"])
    assert first == again != other


async def test_a_repeated_value_is_the_same_placeholder(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    await http.post(CHAT, json=ask(f"{MAIL} {MAIL} {MAIL}"))
    assert len(set(last_text(frontier.asked[0]).split())) == 1


async def test_placeholders_stay_over_the_turns_of_a_conversation(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """A model that quotes what it was told before is understood in the same scope."""
    first = await http.post(CHAT, json=ask(f"About {OTTILIE}."))
    scope = {"x-spark-scope": first.headers["x-spark-scope"]}
    told = last_text(frontier.asked[0])
    answer = await http.post(CHAT, json=ask("And Břetislav Horňák?"), headers=scope)
    frontier.script = says(told)
    answer = await http.post(CHAT, json=ask(f"Again: {OTTILIE}."), headers=scope)
    assert content_of(answer) == f"About {OTTILIE}."
    assert last_text(frontier.asked[2]) == told.replace("About", "Again:")


async def test_arguments_of_tool_calls_are_restored(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    async def script(peer: Peer, body: dict[str, Any]) -> None:
        arguments = json.dumps({"to": last_text(body), "n": [1]})
        function = {"name": "mail", "arguments": arguments}
        call = {"id": "call_x", "type": "function", "function": function}
        if not body.get("stream"):
            return await peer.send(in_json(message(None, tool_calls=[call])))
        deltas = [{"tool_calls": [{"index": 0, "id": "call_x", "function": {"name": "mail"}}]}]
        deltas += [
            {"tool_calls": [{"index": 0, "function": {"arguments": letter}}]}
            for letter in arguments
        ]
        await peer.send(*streamed(chunks(deltas, "tool_calls")))

    frontier.script = script
    text = f'{OTTILIE} "quoted"\nand {MAIL}'
    answer = await http.post(CHAT, json=ask(text))
    [call] = answer.json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"to": text, "n": [1]}
    answer = await http.post(CHAT, json=ask(text, stream=True))
    calls = [
        call
        for event in events(answer.text)
        for call in event["choices"][0]["delta"].get("tool_calls", ())
    ]
    arguments = "".join(call["function"].get("arguments", "") for call in calls)
    assert json.loads(arguments) == {"to": text, "n": [1]}
    clean(frontier)


async def test_results_of_tools_and_nested_arguments_do_not_leave(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    inner = json.dumps({"deep": [{"deeper": json.dumps({"who": OTTILIE, "phone": 420601555214})}]})
    call = {
        "id": f"call-{OTTILIE}",
        "type": "function",
        "function": {"name": "look_up_Ottilie_Kranzfeld", "arguments": inner},
    }
    asked = ask("")
    asked["messages"] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": json.dumps({"mail": MAIL})},
    ]
    asked["tools"] = [
        {
            "type": "function",
            "function": {
                "name": "look_up_Ottilie_Kranzfeld",
                "description": LETTER,
                "parameters": {"type": "object", "properties": {"x": {"enum": [OTTILIE]}}},
            },
        }
    ]
    answer = await http.post(CHAT, json=asked)
    assert answer.status_code == 200, answer.text
    clean(frontier, *PRIVATE, "420601555214")


async def test_a_depth_bomb_does_not_leave(http: httpx.AsyncClient, frontier: Frontier) -> None:
    bomb: Any = OTTILIE
    for _ in range(100):
        bomb = [bomb]
    answer = await http.post(CHAT, json=ask("x", metadata={"x": bomb}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "withheld")
    answer = await http.post(CHAT, content=b'{"model": "far", "messages": ' + b"[" * 100_000)
    assert answer.status_code == 400
    assert frontier.bodies == []


async def test_every_split_position_over_sse_says_what_the_buffered_oracle_says(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """Split between deltas, and the bytes between packets, at each position in turn."""
    scope = {"x-spark-scope": (await http.post(CHAT, json=ask(OTTILIE))).headers["x-spark-scope"]}
    mark = last_text(frontier.asked[0])
    said = f"Dear {mark}, {mark}'s pump, {mark.strip('[]').lower()}: fine."
    frontier.script = says(said)
    oracle = content_of(await http.post(CHAT, json=ask(OTTILIE), headers=scope))
    assert oracle == f"Dear {OTTILIE}, {OTTILIE}'s pump, {OTTILIE}: fine."
    for place in range(len(said) + 1):

        async def script(peer: Peer, body: dict[str, Any], place: int = place) -> None:
            told = chunks({"content": text} for text in (said[:place], said[place:]))
            at = place * len(told) // len(said)
            await peer.send(
                *streamed(*filter(None, (told[:at], told[at : at + 3], told[at + 3 :])))
            )

        frontier.script = script
        answer = await http.post(CHAT, json=ask(OTTILIE, stream=True), headers=scope)
        assert said_in(answer) == oracle


async def test_a_caller_who_aborts_ends_it_upstream_and_is_in_the_audit(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """Nothing is held on to: the connection outside is closed when the caller leaves."""
    gone = asyncio.Event()

    async def script(peer: Peer, body: dict[str, Any]) -> None:
        head, first, _ = streamed(
            chunks([{"content": f"to {last_text(body)} "}]).split(b"data: [")[0]
        )
        await peer.send(head, first)
        await peer.gone()
        gone.set()

    frontier.script = script
    async with http.stream("POST", CHAT, json=ask(OTTILIE, stream=True)) as answer:
        async for piece in answer.aiter_bytes():
            assert b"Ottilie Kranzfeld" in piece
            break
    async with asyncio.timeout(PATIENCE):
        await gone.wait()
        while (entry := await newest(http))["outcome"] == "started":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert entry["outcome"] == "client-left"
    clean(frontier)


async def newest(http: httpx.AsyncClient) -> dict[str, Any]:
    """The newest entry of the audit of what crossed."""
    asked = {"action": "redaction.exit", "limit": 1}
    [entry] = (await http.get("/api/audit", params=asked)).json()["entries"]
    found: dict[str, Any] = entry
    return found


async def test_a_stream_that_breaks_off_does_not_end_as_if_it_was_whole(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    async def script(peer: Peer, body: dict[str, Any]) -> None:
        head, first, _ = streamed(chunks([{"content": "half"}])[:-20])
        await peer.send(head, first)
        peer.reset()

    frontier.script = script
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(CHAT, json=ask("x", stream=True))
    assert (await newest(http))["outcome"] not in ("200", "started")


SPACES = "\u200b"
SMUGGLED = {
    "zero-width characters": SPACES.join(OTTILIE),
    "soft hyphens": "\u00ad".join(OTTILIE),
    "full-width forms": "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in OTTILIE),
    "mathematical letters": "".join(
        chr(0x1D400 + ord(c) - 65) if c.isupper() else chr(0x1D41A + ord(c) - 97) if c != " " else c
        for c in OTTILIE
    ),
    "bidi marks": f"\u202e{OTTILIE}\u202c"[:9] + f"\u200f{OTTILIE[8:]}",
    "homoglyphs": OTTILIE.replace("O", "\u041e").replace("a", "\u0430").replace("e", "\u0435"),
    "base64": base64.b64encode(f"write to {OTTILIE}".encode()).decode(),
    "percent encoding": quote(OTTILIE),
    "every letter in percent encoding": "".join(f"%{ord(c):02x}" for c in OTTILIE),
    "HTML entities": "".join(f"&#{ord(c)};" for c in OTTILIE),
    "escapes of JSON": "".join(f"\\u{ord(c):04x}" for c in OTTILIE),
    "circled letters alone": "".join(
        chr(0x24B6 + ord(c) - 65) if c.isupper() else chr(0x24D0 + ord(c) - 97) if c != " " else c
        for c in OTTILIE
    ),
    "a block of code": f"```json\n{json.dumps({'who': OTTILIE})}\n```",
    "another case": OTTILIE.upper(),
    "family name first": "Kranzfeld, Ottilie",
    "underscores": "Ottilie_Kranzfeld",
    "no diacritics": "Bretislav Hornak",
    "decomposed diacritics": "Br\u030cetislav Hor\u006e\u030ca\u0301k",
    "an inflected name": "mit Ottilie Kranzfelds Pumpe",
    "digits in another script": "+٤٢٠ ٦٠١ ٥٥٥ ٢١٤",
}  # fmt: skip

READABLE = (*PRIVATE, "Hornak", "٦٠١ ٥٥٥")


def decoded(text: str) -> str:
    """*text* as somebody could read it who undoes what hides it."""
    import html
    import re
    import unicodedata
    from urllib.parse import unquote

    plain = unquote(html.unescape(text)) + text
    plain = re.sub("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", "", plain)
    for word in re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", text):
        try:
            plain += base64.b64decode(word + "=" * (-len(word) % 4)).decode(errors="ignore")
        except ValueError:
            continue
    plain = plain.translate({0x041E: "O", 0x0430: "a", 0x0435: "e"})
    plain = unicodedata.normalize("NFKC", plain)
    return plain + "".join(
        c for c in unicodedata.normalize("NFD", plain) if not unicodedata.combining(c)
    )


@pytest.mark.parametrize("way", SMUGGLED)
async def test_smuggling(http: httpx.AsyncClient, frontier: Frontier, way: str) -> None:
    """It is found whatever it is hidden in, or nothing leaves; and it comes back to the letter."""
    frontier.script = says(last_text)
    text = f"Please write to {SMUGGLED[way]} today."
    answer = await http.post(CHAT, json=ask(text))
    if answer.status_code == 422:
        assert answer.json()["error"]["code"] == "withheld"
        assert frontier.bodies == []
        return
    assert content_of(answer) == text
    heard = decoded(frontier.heard).casefold()
    assert [v for v in READABLE if v.casefold() in heard] == [], frontier.heard


async def test_names_are_found_without_spaces_and_never_within_words(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """Chinese has no spaces; and who is called May is not in Maybe."""
    frontier.script = says(last_text)
    text = "请告诉李静怡明天来。 Kranzfeldian Tillyness is a word, maybe."
    assert content_of(await http.post(CHAT, json=ask(text))) == text
    heard = last_text(frontier.asked[0])
    assert "李静怡" not in heard
    assert "Tillyness is a word, maybe." in heard


async def test_no_scope_restores_what_is_anothers(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """A placeholder of another request, or of another's scope, stands for nothing."""
    frontier.script = says(last_text)
    first = await http.post(CHAT, json=ask(OTTILIE))
    mark = last_text(frontier.asked[0])
    frontier.script = says(mark)
    other = await http.post(CHAT, json=ask("hello"))
    assert content_of(other) == mark
    assert other.headers["x-spark-redaction-unknown"] == "1"
    assert other.headers["x-spark-scope"] != first.headers["x-spark-scope"]
    wrong = first.headers["x-spark-scope"][:-4] + "AAAA"
    answer = await http.post(CHAT, json=ask(MAIL), headers={"x-spark-scope": wrong})
    assert OTTILIE not in answer.text


async def test_who_guesses_the_name_of_a_scope_is_told_nothing_of_it(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """Programs may agree on a name; what it stands for is restored to who sent it alone."""
    named = {"x-spark-scope": "case-17"}
    frontier.script = says(last_text)
    assert content_of(await http.post(CHAT, json=ask(OTTILIE), headers=named)) == OTTILIE
    mark = last_text(frontier.asked[0])
    assert content_of(await http.post(CHAT, json=ask(OTTILIE), headers=named)) == OTTILIE
    assert last_text(frontier.asked[1]) == mark
    frontier.script = says(mark)
    assert content_of(await http.post(CHAT, json=ask("hello"), headers=named)) == mark


async def test_many_requests_at_once_never_mix(http: httpx.AsyncClient, frontier: Frontier) -> None:
    frontier.script = says(last_text)
    texts = [
        f"Call {name} on line {n}." for n in range(8) for name in (OTTILIE, "Břetislav Horňák")
    ]
    answers = await asyncio.gather(
        *(http.post(CHAT, json=ask(text, stream=n % 2 == 0)) for n, text in enumerate(texts))
    )
    told = [said_in(a) if n % 2 == 0 else content_of(a) for n, a in enumerate(answers)]
    assert told == texts
    clean(frontier)


async def test_text_that_looks_like_a_placeholder_comes_back_as_it_was(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    frontier.script = says(last_text)
    text = f"[PERSON_1] is not {OTTILIE}; [EMAIL_1] and person_1 are words of mine."
    assert content_of(await http.post(CHAT, json=ask(text))) == text


async def test_mangled_placeholders_are_restored_and_invented_ones_left(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    def mangled(body: dict[str, Any]) -> str:
        mark = last_text(body)
        bare = mark.strip("[]")
        escaped = mark.replace("_", "\\_")
        spaced = mark.replace("_", " ").title()
        return f"{mark.lower()} | {bare}'s | {escaped} | {spaced} | {bare}s | [PERSON_999]"

    frontier.script = says(mangled)
    answer = await http.post(CHAT, json=ask(OTTILIE))
    expected = f"{OTTILIE} | {OTTILIE}'s | {OTTILIE} | {OTTILIE} | {OTTILIE}s | [PERSON_999]"
    assert content_of(answer) == expected
    assert answer.headers["x-spark-redaction-unknown"] == "1"
    assert said_in(await http.post(CHAT, json=ask(OTTILIE, stream=True))) == expected


BROKEN = """
from contextlib import asynccontextmanager
import asyncio
from spark_core import Provider, hookimpl

class Broken:
    name = "broken"

    async def find(self, text):
        if "raises" in text:
            raise RuntimeError(text)
        if "hangs" in text:
            await asyncio.sleep(3600)
        return None if "is silent" in text else []

@asynccontextmanager
async def opened():
    yield Broken()

@hookimpl
def spark_register_text_detectors():
    return (Provider("broken", opened),)
"""


@pytest.fixture(scope="module")
async def broken(outside: Frontier, serve: Serve) -> Exit:
    """A server with a detector that fails."""
    more = "[plugins.redaction.detection]\ntimeout_s = 0.5\n"
    return serve(settings(outside.served.url, more), plugin=BROKEN)


@pytest.mark.parametrize("fault", ["raises", "hangs", "is silent"])
async def test_where_a_detector_fails_nothing_leaves_by_any_route(
    broken: Exit, frontier: Frontier, fault: str
) -> None:
    text = f"{OTTILIE} {fault}"
    async with httpx.AsyncClient(base_url=broken.url, timeout=PATIENCE, trust_env=False) as http:
        for path, body in (
            (CHAT, ask(text)),
            (CHAT, ask(text, stream=True)),
            (RESPONSES, {"model": "far", "input": text}),
        ):
            answer = await http.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "withheld")
            assert answer.headers["x-spark-redaction"] == "withheld"
            assert OTTILIE not in answer.text
        assert (await newest(http))["outcome"] == "withheld"
    assert frontier.bodies == []
    assert "Ottilie" not in broken.log.read_text()


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_errors_of_the_model_outside_are_restored(
    http: httpx.AsyncClient, frontier: Frontier, status: int
) -> None:
    async def script(peer: Peer, body: dict[str, Any]) -> None:
        told = {"error": {"message": f"cannot: {last_text(body)}", "type": "x", "code": "y"}}
        await peer.send(in_json(told, b"%d No" % status, b"retry-after: 7"))

    frontier.script = script
    answer = await http.post(CHAT, json=ask(OTTILIE))
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == f"cannot: {OTTILIE}"
    assert answer.headers["retry-after"] == "7"
    entry = await newest(http)
    assert entry["outcome"] == str(status)


GARBAGE: dict[str, list[bytes]] = {
    "no JSON": [answer(b"<html>", b"200 OK", b"content-type: text/html")],
    "broken JSON": [answer(b"{", b"200 OK", b"content-type: application/json")],
    "another address": [answer(b"", b"302 Found", b"location: http://127.0.0.1:9/")],
    "what is compressed": [
        in_json({})[:-2].replace(b"\r\n\r\n", b"\r\ncontent-encoding: br\r\n\r\n{}")
    ],
    "an event that is no JSON": streamed(b"data: x\n\n"),
    "an event that is no object": streamed(b"data: [1]\n\n"),
    "half an event": streamed(b'data: {"a": 1}'),
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_an_answer_that_cannot_be_restored_is_an_error(
    http: httpx.AsyncClient, frontier: Frontier, what: str
) -> None:
    async def script(peer: Peer, body: dict[str, Any]) -> None:
        await peer.send(*GARBAGE[what])

    frontier.script = script
    told = await http.post(CHAT, json=ask(OTTILIE, stream=True))
    assert (told.status_code, told.json()["error"]["code"]) == (502, "backend_error")
    assert (await newest(http))["outcome"] in ("backend-error", "broken-off")


async def test_what_is_said_of_our_key_is_told_to_nobody(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    async def script(peer: Peer, body: dict[str, Any]) -> None:
        told = {"error": {"message": "Incorrect API key provided: our-own-key"}}
        await peer.send(in_json(told, b"401 Unauthorized"))

    frontier.script = script
    answer = await http.post(CHAT, json=ask("x"))
    assert answer.status_code == 502
    assert "api_key" in answer.json()["error"]["message"]
    assert "our-own-key" not in answer.text


async def test_an_answer_that_quotes_our_key_is_replaced_whatever_its_status(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    async def script(peer: Peer, body: dict[str, Any]) -> None:
        told = {"error": {"message": "too many requests with our-own-key"}}
        await peer.send(in_json(told, b"429 Too Many Requests"))

    frontier.script = script
    answer = await http.post(CHAT, json=ask("x"))
    assert (answer.status_code, "our-own-key" in answer.text) == (502, False)


async def test_what_is_given_twice_in_arguments_does_not_leave(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """Readers take the last; the text holds both."""
    function = {"name": "f", "arguments": f'{{"who": "{OTTILIE}", "who": 1}}'}
    call = {"id": "1", "type": "function", "function": function}
    asked = ask("x")
    asked["messages"] += [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert (await http.post(CHAT, json=asked)).status_code == 200
    clean(frontier)


async def test_the_audit_says_how_much_left_and_its_hash_and_nothing_of_it(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    import hashlib

    await http.post(CHAT, json=ask(LETTER))
    entry = await newest(http)
    assert entry["outcome"] == "200"
    detail = entry["detail"]
    [body] = frontier.bodies
    assert detail["sent_sha256"] == hashlib.sha256(body).hexdigest()
    assert detail["sent_bytes"] == len(body)
    assert (detail["model"], detail["hosts"]) == ("far", "127.0.0.1")
    assert detail["counts"]["EMAIL"] == 1
    assert not any(value in json.dumps(entry, ensure_ascii=False) for value in PRIVATE)


async def test_only_models_that_settings_name_are_asked(
    http: httpx.AsyncClient, frontier: Frontier
) -> None:
    """The name of a model is a text like any other; none but those leaves."""
    answer = await http.post(CHAT, json={**ask("x"), "model": OTTILIE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert frontier.bodies == []


async def test_no_other_route_leads_outside(http: httpx.AsyncClient, frontier: Frontier) -> None:
    """Neither a relay of our own models, nor one of sound, nor a query."""
    for path in ("chat/completions", "responses", "completions", "embeddings"):
        answer = await http.post(f"/v1/{path}", json={**ask(OTTILIE), "input": OTTILIE})
        assert answer.status_code in (404, 503), answer.text
    for path in ("audio/transcriptions", "audio/speech", "embeddings", "files", "completions"):
        assert (await http.post(f"/v1/frontier/{path}", json=ask(OTTILIE))).status_code == 404
    assert (await http.get(f"{CHAT}?messages={quote(OTTILIE)}")).status_code == 405
    assert frontier.bodies == []


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_it_is_off_until_it_is_configured(spark_home: Path, path: str) -> None:
    spark = compose(Source.read())
    transport = httpx.ASGITransport(app=create_app(spark=spark))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.post(path, json=ask("x"))
    await spark.resolver.aclose()
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "frontier-off")
    assert "[plugins.redaction.frontier]" in answer.json()["error"]["message"]
