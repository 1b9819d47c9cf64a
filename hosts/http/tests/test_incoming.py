"""What is read of requests to relays: whose they are, their bodies, and the models they name."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from spark_core_http import incoming
from spark_core_http.incoming import Incoming
from spark_core_http.openai_errors import Incomplete, TooLarge, error_answer
from spark_core_http.uploads import Upload

from spark_core.errors import InvalidRequest, StorageFull
from spark_core.gateway.relays import CHAT, TRANSCRIPTIONS
from spark_core.gateway.settings import GatewaySettings

pytestmark = pytest.mark.anyio


class Clock:
    """The time, as a test says."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(incoming, "time", types.SimpleNamespace(monotonic=clock.monotonic))
    return clock


def request(
    *pieces: bytes, relay: Any = CHAT, client: str = "192.0.2.1", key: str = "", clock: Any = None
) -> Incoming:
    """A request whose body comes in *pieces*, each 20 seconds after the one before."""

    def events() -> Iterator[Mapping[str, Any]]:
        for left in range(len(pieces))[::-1]:
            if clock is not None:
                clock.now += 20.0
            yield {"type": "http.request", "body": pieces[~left], "more_body": left > 0}

    coming = events()

    async def receive() -> Mapping[str, Any]:
        return next(coming)

    scope = {"query_string": b"", "client": (client, 1)}
    found = Incoming(relay, scope, Upload(receive), GatewaySettings())
    found.read_head([(b"authorization", key.encode())] if key else [])
    return found


def test_a_caller_is_who_has_the_same_address_and_the_same_key() -> None:
    """The key that the documentation gives everybody makes them no one caller."""
    callers = [
        request(client=client, key=key).caller
        for client in ("192.0.2.1", "192.0.2.2")
        for key in ("", "Bearer any", "Bearer own")
    ]
    assert len({*callers}) == 6
    assert request(client="192.0.2.1", key="Bearer own").caller == callers[2]


# -------------------------------------------------------------------------------------- models

FEW = incoming.LARGE


async def test_a_large_body_is_read_as_strictly_as_a_small_one() -> None:
    body = b'{"input": "%b", "model": "m"}' % (b"x" * FEW)
    assert await request(body).model() == "m"
    for wrong in (body[:-1], body[:-2], body + b"}", body.replace(b":", b"", 1)):
        with pytest.raises(InvalidRequest, match="not JSON"):
            await request(wrong).model()


@pytest.mark.parametrize("value", [b"[]", b"{}", b'{"":0}', b"0"])
async def test_a_body_with_too_many_values_is_not_parsed(value: bytes) -> None:
    body = b'{"model": "m", "input": [%b]}' % b",".join([value] * (2 * incoming.MOST_VALUES))
    with pytest.raises(TooLarge, match="values"):
        await request(body).model()


@pytest.mark.parametrize("text", [b"1,2,", b"[[{,", b'\\"'])
async def test_what_stands_in_texts_is_no_value(text: bytes) -> None:
    body = b'{"input": ["%b", "%b"], "model": "m"}' % ((text * incoming.MOST_VALUES,) * 2)
    assert await request(body).model() == "m"


# ---------------------------------------------------------------------------------------- time


async def test_how_long_a_body_took_to_come_is_known(clock: Clock) -> None:
    """It is not what the gateway added."""
    found = request(b'{"model":', b'"m"}', clock=clock)
    assert await found.model() == "m"
    assert found.body_s == 40.0


async def test_a_body_that_trickles_is_given_up(clock: Clock) -> None:
    found = request(*[b"x"] * 100, relay=TRANSCRIPTIONS, clock=clock)
    with pytest.raises(Incomplete, match="second"):
        assert [piece async for piece in found.pieces()]
    assert clock.now < 1000.0 + 2 * incoming.PATIENCE_SECONDS


async def test_a_body_that_is_taken_slowly_is_not_given_up(clock: Clock) -> None:
    found = request(*[b"x"] * 10, relay=TRANSCRIPTIONS)
    async for _ in found.pieces():
        clock.now += 20.0


async def test_a_body_that_comes_fast_enough_takes_as_long_as_it_does(clock: Clock) -> None:
    piece = b"x" * 20 * incoming.SLOWEST
    found = request(*[piece] * 10, relay=TRANSCRIPTIONS, clock=clock)
    assert sum([len(each) async for each in found.pieces()]) == 10 * len(piece)


def test_a_full_disk_has_its_own_status() -> None:
    status, _, _ = error_answer(StorageFull("there is no room"))
    assert status == 507
