"""Each fault, at the level where it happens; and which requests get it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import httpx
import openai as api
import pytest
from pydantic import ValidationError
from spark_core_lab.faults import Fault, Faults

pytestmark = pytest.mark.anyio

ASKED = {"model": "lab/echo", "messages": [{"role": "user", "content": "repair the pump"}]}
CHAT = "/v1/chat/completions"


@pytest.fixture
def vllm(lab):
    return lab.vllm


@pytest.fixture
def client(vllm, openai):
    return openai(vllm)


async def ask(http, vllm, **more):
    return await http.post(vllm.url + CHAT, json={**ASKED, **more})


def port_of(stand_in):
    return int(stand_in.url.rpartition(":")[2])


# -------------------------------------------------------------------------------- refusing


async def test_refuse_closes_the_port_until_it_is_cleared(vllm, client, http):
    """Also the connections that were open, as when a server dies; then all is as before."""
    await ask(http, vllm)
    vllm.faults.set("refuse")
    with pytest.raises(httpx.TransportError):
        await http.get(f"{vllm.url}/health")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port_of(vllm))
    with pytest.raises(api.APIConnectionError):
        await client.models.list()
    vllm.faults.clear()
    assert (await ask(http, vllm)).status_code == 200


async def test_refuse_cuts_what_is_being_answered(vllm, http):
    vllm.knobs.token_seconds = 60
    async with http.stream("POST", vllm.url + CHAT, json={**ASKED, "stream": True}) as answer:
        vllm.faults.set("refuse")
        with pytest.raises(httpx.TransportError):
            await answer.aread()


async def test_a_port_that_refuses_is_not_given_to_others(vllm):
    """Or else a test beside this one might get it, and the stand-in never again."""
    vllm.faults.set("refuse")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port_of(vllm)))


async def test_refusing_ends_by_itself(vllm, http):
    vllm.faults.set("refuse", seconds=0.01)
    while True:
        with suppress(httpx.ConnectError):
            assert (await http.get(f"{vllm.url}/health")).status_code == 200
            break


async def test_who_asks_for_refusing_is_answered_first(vllm, http):
    asked = {"fault": "refuse", "seconds": 0}
    assert (await http.post(f"{vllm.url}/__lab__/faults", json=asked)).status_code == 200


# ----------------------------------------------------------------------- instead of an answer


async def test_hang_never_answers(vllm, http):
    vllm.faults.set("hang", times=1)
    asking = asyncio.create_task(ask(http, vllm))
    await vllm.until(lambda v: v.in_flight == 1)
    assert (await ask(http, vllm)).status_code == 200
    assert not asking.done()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await vllm.until(lambda v: v.cancelled == 1)


@pytest.mark.parametrize("fault", ["hang", "slow_first_byte", "slow_body"])
async def test_what_is_slow_comes_in_the_end(vllm, client, fault):
    vllm.faults.set(fault, seconds=0)
    assert (await client.chat.completions.create(**ASKED)).choices
    stream = await client.chat.completions.create(**ASKED, stream=True)
    assert len([chunk async for chunk in stream]) > 3


async def test_slow_first_byte_is_slow(vllm, http):
    vllm.faults.set("slow_first_byte", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        await http.post(vllm.url + CHAT, json=ASKED, timeout=httpx.Timeout(30, read=0.05))


async def test_slow_body_begins_at_once(vllm, http):
    vllm.faults.set("slow_body", seconds=60)
    async with http.stream("POST", vllm.url + CHAT, json=ASKED) as answer:
        assert await anext(answer.aiter_raw())


@pytest.mark.parametrize("status", ["500", "503"])
async def test_errors_are_the_runtimes_own(lab, http, status):
    for stand_in, key in ((lab.vllm, "error"), (lab.kokoro, "detail"), (lab.bge_m3, "detail")):
        stand_in.faults.set(status, times=1, path="/v1/models", seconds=7)
        answer = await http.get(f"{stand_in.url}/v1/models")
        assert answer.status_code == int(status)
        assert answer.headers["retry-after"] == "7"
        assert key in answer.json()


async def test_html_is_a_page_where_json_was_expected(vllm, http):
    vllm.faults.set("html", times=1)
    answer = await ask(http, vllm)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")
    assert answer.text.startswith("<!doctype html>")


# ------------------------------------------------------------------------ of the answer's body


async def test_a_stream_is_cut(vllm, client):
    """After so many events, and without HTTP's own end."""
    vllm.faults.set("cut_mid_stream", times=1, after=3)
    stream = await client.chat.completions.create(**ASKED, stream=True)
    for _ in range(3):
        await anext(stream)
    with pytest.raises(api.APIConnectionError):
        await anext(stream)


async def test_a_plain_answer_is_cut(vllm, http):
    vllm.faults.set("cut_mid_stream", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(http, vllm)


async def test_a_stream_ends_within_an_event_as_if_it_was_whole(vllm, http):
    """HTTP's own end is there: only who reads the events knows."""
    vllm.faults.set("half_event", times=1)
    answer = await ask(http, vllm, stream=True)
    assert answer.status_code == 200
    assert answer.text.count("\n\n") == 2
    assert not answer.text.endswith("\n")


async def test_a_plain_answer_ends_early_as_if_it_was_whole(vllm, http):
    vllm.faults.set("half_event", times=1)
    answer = await ask(http, vllm)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


async def test_speech_is_cut_in_its_middle(lab, http):
    """As Kokoro does when something fails: the status was sent long before."""
    lab.kokoro.faults.set("cut_mid_stream", times=1, after=1)
    body = {"input": "one two three", "response_format": "pcm"}
    async with http.stream("POST", f"{lab.kokoro.url}/v1/audio/speech", json=body) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_vectors_have_another_dimension_or_nan(lab, openai, encoding):
    for stand_in in (lab.vllm, lab.bge_m3):
        client = openai(stand_in)

        async def vector(client=client, model=stand_in.backend.models[0]):
            asked = {"model": model, "input": "x", "encoding_format": encoding}
            answer = await client.with_options(max_retries=0).embeddings.create(**asked)
            return answer.data[0].embedding

        right = await vector()
        stand_in.faults.set("wrong_dimension", times=1)
        assert 0 < len(await vector()) != len(right)
        stand_in.faults.set("nan", times=1)
        wrong = await vector()
        assert wrong != right
        assert await vector() == right


# ----------------------------------------------------------------------- which requests get it


async def test_a_fault_is_used_up(vllm, http):
    vllm.faults.set("500", times=2)
    assert [(await ask(http, vllm)).status_code for _ in range(3)] == [500, 500, 200]


async def test_without_a_number_it_stays_until_it_is_cleared(vllm, http):
    vllm.faults.set("500")
    assert [(await ask(http, vllm)).status_code for _ in range(3)] == [500, 500, 500]
    vllm.faults.clear()
    assert (await ask(http, vllm)).status_code == 200


def test_faults_come_in_the_order_in_which_they_were_set():
    faults = Faults()
    faults.set("500", times=1)
    faults.set("hang", times=1)
    taken = [faults.take("POST", CHAT) for _ in range(3)]
    assert [fault and fault.fault for fault in taken] == ["500", "hang", None]


@pytest.mark.parametrize(
    ("path", "is_for"),
    [
        (None, {("POST", CHAT), ("POST", "/score")}),
        (CHAT, {("POST", CHAT)}),
        ("/health", {("GET", "/health")}),
        ("*", {("POST", CHAT), ("POST", "/score"), ("GET", "/health")}),
    ],
)
def test_probes_do_not_use_up_what_is_for_work(path, is_for):
    fault = Fault(fault="500", path=path)
    every = {("POST", CHAT), ("POST", "/score"), ("GET", "/health")}
    assert {each for each in every if fault.is_for(*each)} == is_for


@pytest.mark.parametrize(
    "wrong",
    [
        {"fault": "fire"},
        {"fault": "hang", "times": 0},
        {"fault": "hang", "seconds": -1},
        {"fault": "hang", "time": 1},
        {"fault": "refuse", "times": 1},
        {"fault": "refuse", "path": CHAT},
    ],
)
def test_a_fault_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        Fault.model_validate(wrong)


# ---------------------------------------------------------------------- from another process


async def test_faults_can_be_set_and_cleared_over_http(vllm, http):
    control = f"{vllm.url}/__lab__/faults"
    asked = {"fault": "503", "times": 5, "path": CHAT}
    assert (await http.post(control, json=asked)).json()["faults"] == [{**asked, "after": 2}]
    assert (await ask(http, vllm)).status_code == 503
    assert (await http.delete(control)).json()["faults"] == []
    assert (await ask(http, vllm)).status_code == 200


async def test_what_is_wrong_is_said(vllm, http):
    answer = await http.post(f"{vllm.url}/__lab__/faults", json={"fault": "fire"})
    assert answer.status_code == 422
    assert answer.json()["error"][0]["loc"] == ["fault"]
    assert (await http.post(f"{vllm.url}/__lab__/faults", content=b"{")).status_code == 422
    assert (await http.get(f"{vllm.url}/__lab__/nothing")).status_code == 404


async def test_refusing_for_ever_cannot_be_asked_for_over_http(vllm, http):
    """Nobody could undo it."""
    answer = await http.post(f"{vllm.url}/__lab__/faults", json={"fault": "refuse"})
    assert answer.status_code == 422
    assert (await ask(http, vllm)).status_code == 200


async def test_knobs_can_be_turned_over_http(vllm, http):
    control = f"{vllm.url}/__lab__/knobs"
    assert (await http.post(control, json={"tokens": 2})).json()["knobs"]["tokens"] == 2
    assert (await ask(http, vllm)).json()["usage"]["completion_tokens"] == 2
    assert (await http.post(control, json={"tokens": 3, "speed": 1})).status_code == 422
    assert vllm.knobs.tokens == 2
