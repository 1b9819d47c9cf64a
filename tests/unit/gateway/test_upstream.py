"""The client of backends: every answer whole or an error, and its end told exactly once."""

from __future__ import annotations

import asyncio
import gc
import itertools
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_core.errors import BackendError, SettingsError, TimedOut
from spark_core.gateway import connection as connecting
from spark_core.gateway import upstream as module
from spark_core.gateway.connection import BrokenOff, Connection
from spark_core.gateway.upstream import Refused, Upstream

from ...scripted import Peer, Script, Scripted, answer, serving

pytestmark = pytest.mark.anyio

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
UPLOAD = [(b"transfer-encoding", b"chunked")]


class Client:
    """Asks *upstream*, and counts how often each request was said to be done."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.done: list[int] = []
        self._changed = asyncio.Event()

    async def ask(self, body: Any = b"", **options: Any) -> Connection:
        number = len(self.done)
        self.done.append(0)
        headers = (
            UPLOAD if not isinstance(body, bytes) else [(b"content-length", b"%d" % len(body))]
        )
        options = {"first_byte_s": 30.0, **options}
        return await self.upstream.ask(
            b"POST", b"/x", headers, body, when_complete=lambda: self._complete(number), **options
        )

    async def get(self, **options: Any) -> tuple[int, bytes]:
        """Ask and read it all."""
        found = await self.ask(**options)
        try:
            return found.status, await whole(found)
        finally:
            found.close()

    def _complete(self, number: int) -> None:
        self.done[number] += 1
        self._changed.set()

    async def close(self) -> None:
        """Close every connection, and wait until they are closed."""
        self.upstream.close()
        await settled(lambda: self.upstream.connections == 0)

    async def all_done(self) -> None:
        """Wait until every request so far is done."""
        while not all(self.done):
            self._changed.clear()
            await self._changed.wait()


async def whole(found: Connection) -> bytes:
    return b"".join([piece async for piece in found])


Open = Callable[..., Any]


@pytest.fixture
def opened() -> Open:
    """Opens a client of a server with a script; in the end every request was done once."""

    @asynccontextmanager
    async def opener(script: Script) -> AsyncIterator[tuple[Client, Scripted]]:
        async with serving(script) as server:
            client = Client(Upstream(server.url))
            async with asyncio.timeout(30):
                yield client, server
                await client.all_done()
            await client.close()
            assert {*client.done} <= {1}

    return opener


async def settled(holds: Callable[[], bool]) -> None:
    """Let the loop run until *holds*."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0)


async def echo(peer: Peer) -> None:
    """Answer every request with its body."""
    while True:
        _, body = await peer.request()
        await peer.send(answer(body))


async def forever(*pieces: bytes) -> AsyncIterator[bytes]:
    """A body that never ends."""
    for piece in pieces:
        yield piece
    await asyncio.get_running_loop().create_future()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


# ------------------------------------------------------------------------------- connections


async def test_one_request_after_the_other_takes_one_connection(opened: Open) -> None:
    async with opened(echo) as (client, server):
        for _ in range(5):
            assert await client.get(body=b"a") == (200, b"a")
        assert (server.connections, client.upstream.connections) == (1, 1)


async def test_requests_at_once_take_a_connection_each_and_leave_them_for_later(
    opened: Open,
) -> None:
    async with opened(echo) as (client, server):
        for _ in range(2):
            await asyncio.gather(*[client.get(body=b"a") for _ in range(4)])
        assert server.connections == 4


async def test_a_connection_that_was_not_used_for_long_is_not_used_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_SECONDS", -1.0)
    async with opened(echo) as (client, server):
        for _ in range(3):
            assert await client.get(body=b"a") == (200, b"a")
        assert server.connections == 3
        await settled(lambda: client.upstream.connections <= 1)


async def test_a_connection_that_the_backend_closes_in_between_is_not_used_again(
    opened: Open,
) -> None:
    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        await peer.send(answer(body))

    async with opened(script) as (client, server):
        for _ in range(3):
            assert await client.get(body=b"a") == (200, b"a")
            await settled(lambda: client.upstream.connections == 0)
        assert server.connections == 3


async def test_a_connection_that_is_closed_as_it_is_used_again_is_replaced(opened: Open) -> None:
    """A backend may give it up at the very moment that a request is sent."""

    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        await peer.send(answer(body))
        await peer.request()

    async with opened(script) as (client, server):
        for _ in range(4):
            assert await client.get(body=b"a") == (200, b"a")
        assert server.connections == 4


async def test_a_new_connection_that_is_closed_is_not_replaced(opened: Open) -> None:
    """Then it was the request that the backend did not like."""

    async def script(peer: Peer) -> None:
        await peer.request()

    async with opened(script) as (client, server):
        with pytest.raises(BrokenOff):
            await client.ask(b"a")
        assert server.connections == 1


async def test_an_upload_which_cannot_be_sent_twice_takes_a_new_connection(opened: Open) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"a"))
        await peer.head()

    async def once() -> AsyncIterator[bytes]:
        yield b"a"

    async with opened(script) as (client, server):
        for _ in range(3):
            assert await client.get(body=once()) == (200, b"a")
        assert server.connections == 3


async def test_connection_close_is_heeded(opened: Open) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(b"a", b"200 OK", b"connection: close"))

    async with opened(script) as (client, server):
        assert await client.get() == await client.get() == (200, b"a")
        assert server.connections == 2


async def test_nobody_there_is_refused(opened: Open) -> None:
    async with serving(echo) as server:
        gone = server.url
    client = Client(Upstream(gone))
    with pytest.raises(Refused, match="cannot be reached"):
        await client.ask()
    assert (client.done, client.upstream.connections) == ([1], 0)


@pytest.mark.parametrize("is_there", [True, False])
async def test_who_has_connections_and_refuses_one_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """Too many came at once; who has none is not there."""
    loop, attempts = asyncio.get_running_loop(), 0
    connect = loop.create_connection

    async def refused_once(*arguments: Any, **options: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            raise ConnectionRefusedError
        return await connect(*arguments, **options)

    monkeypatch.setattr(loop, "create_connection", refused_once)
    async with serving(echo) as server:
        client = Client(Upstream(server.url))
        first = await client.ask()
        if not is_there:
            await client.close()
            with pytest.raises(Refused):
                await client.ask()
        else:
            assert (await client.get())[0] == 200
        first.close()
        await client.close()
    assert attempts == (3 if is_there else 2)


async def test_a_connection_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.0)
    client = Client(Upstream("http://127.0.0.1:9"))
    with pytest.raises(Refused, match="in time"):
        await client.ask()
    assert client.done == [1]


@pytest.mark.parametrize("url", ["ftp://a", "http://", "a:80", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        Upstream(url)


def test_a_password_in_an_address_is_shown_to_nobody() -> None:
    assert Upstream("http://me:secret@127.0.0.1:1/v").shown == "http://127.0.0.1:1"


async def test_an_address_may_have_a_path_and_be_ipv6() -> None:
    heads = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        await peer.send(answer(b"six"))

    async with serving(script, host="::1") as server:
        client = Client(Upstream(f"http://[::1]:{server.port}/base/"))
        assert await client.get() == (200, b"six")
        await client.close()
    assert heads[0].startswith(b"POST /base/x HTTP/1.1\r\nhost: [::1]:%d\r\n" % server.port)


async def test_certificates_are_checked_unless_it_is_said_that_they_are_not() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(__file__).with_name("self-signed.pem"))
    async with serving(echo, tls=tls) as server:
        url = f"https://127.0.0.1:{server.port}"
        trusting, wary = Client(Upstream(url, verify=False)), Client(Upstream(url))
        assert await trusting.get(body=b"a" * 300_000) == (200, b"a" * 300_000)
        with pytest.raises(Refused):
            await wary.ask()
        assert (trusting.done, wary.done) == ([1], [1])
        await trusting.close()


# ------------------------------------------------------------------------------------ answers

#: An answer as it comes, and whether the connection's end is its end.
ANSWERS = [
    (answer(b"0123456789"), False),
    (CHUNKED + b"3\r\n012\r\n7;a=b\r\n3456789\r\n0\r\nx: y\r\n\r\n", False),
    (UNTIL_CLOSE + b"0123456789", True),
    (b"HTTP/1.0 200 OK\r\n\r\n0123456789", True),
    (b"HTTP/1.1 100 Continue\r\nx: 1\r\n\r\n" * 2 + answer(b"0123456789"), False),
]


class Wire(asyncio.Transport):
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


@given(found=st.sampled_from(ANSWERS), cuts=st.lists(st.integers(1, 200), max_size=12))
def test_an_answer_is_the_same_however_it_is_cut(
    found: tuple[bytes, bool], cuts: list[int]
) -> None:
    data, until_close = found
    edges = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]

    async def read() -> tuple[int, list[Any], bytes, int]:
        done: list[None] = []
        connection = Connection(Upstream("http://127.0.0.1:9"))
        connection.connection_made(Wire())
        connection.begin(lambda: done.append(None), 30.0, 30.0)
        for start, end in itertools.pairwise(edges):
            connection.data_received(data[start:end])
        if until_close:
            connection.connection_lost(None)
        names = [name for name, _ in connection.headers]
        return connection.status, names, await whole(connection), len(done)

    status, names, body, done = asyncio.run(read())
    assert (status, body, done) == (200, b"0123456789", 1)
    assert b"x" not in names[:1]


async def test_a_body_until_the_connections_end_is_whole(opened: Open) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(UNTIL_CLOSE, b"all ", b"of it")

    async with opened(script) as (client, server):
        assert await client.get() == await client.get() == (200, b"all of it")
        assert server.connections == 2


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", CHUNKED + b"4\r\nhalf\r\n", CHUNKED],
)
async def test_a_body_that_is_cut_off_is_an_error_behind_what_came(
    opened: Open, start: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)

    async with opened(script) as (client, _):
        found = await client.ask()
        if b"half" in start:
            assert await found.read() == b"half"
        with pytest.raises(BrokenOff):
            await found.read()
        found.close()


async def test_a_body_until_the_end_is_not_whole_where_the_connection_was_reset(
    opened: Open,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(UNTIL_CLOSE, b"half")
        await read.wait()
        peer.reset()

    read = asyncio.Event()
    async with opened(script) as (client, _):
        found = await client.ask()
        assert await found.read() == b"half"
        read.set()
        with pytest.raises(BrokenOff):
            await found.read()
        found.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01 what\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_a_backends_error(opened: Open, garbage: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(garbage)
        await peer.gone()

    async with opened(script) as (client, _):
        with pytest.raises(BackendError):
            await client.ask()
        await client.all_done()
        await settled(lambda: client.upstream.connections == 0)


@pytest.mark.parametrize("extra", [answer(b"more"), b"garbage\r\n\r\n"])
async def test_what_comes_behind_an_answer_is_no_part_of_it(opened: Open, extra: bytes) -> None:
    """Nor is it the next answer: the connection is given up."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer(b"first", b"200 OK", b"x: 1") + extra)

    async with opened(script) as (client, server):
        for _ in range(2):
            found = await client.ask()
            assert await whole(found) == b"first"
            assert found.headers == [(b"content-length", b"5"), (b"x", b"1")]
            found.close()
            await settled(lambda: client.upstream.connections == 0)
        assert server.connections == 2


@pytest.mark.parametrize("extra", [answer(b"more"), b"garbage\r\n\r\n"])
async def test_what_comes_behind_the_rest_of_a_body_is_no_part_of_it(
    opened: Open, extra: bytes
) -> None:
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        first = answer(b"first")
        await peer.send(first[:-3])
        await begun.wait()
        await peer.send(first[-3:] + extra)
        await peer.gone()

    async with opened(script) as (client, _):
        found = await client.ask()
        assert await found.read() == b"fi"
        begun.set()
        assert await whole(found) == b"rst"
        found.close()
        await settled(lambda: client.upstream.connections == 0)


async def test_an_early_answer_ends_the_upload(opened: Open) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(b"too much", b"413 Too Large"))
        await peer.gone()

    async with opened(script) as (client, server):
        assert await client.get(body=endless()) == (413, b"too much")
        await settled(lambda: client.upstream.connections == 0)
        assert await client.get(body=endless()) == (413, b"too much")
        assert server.connections == 2


async def test_a_request_that_was_not_taken_whole_leaves_no_connection_to_use_again(
    opened: Open,
) -> None:
    """What of it is still on its way would be taken for the next request."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(b"early"))
        await peer.gone()

    async with opened(script) as (client, server):
        assert await client.get(body=b"x" * 50_000_000) == (200, b"early")
        assert await client.get(body=b"x" * 50_000_000) == (200, b"early")
        assert server.connections == 2


async def test_an_upload_that_fails_is_told_and_the_backend_is_let_go_of(opened: Open) -> None:
    class Wrong(Exception):
        pass

    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        head = await peer.head()
        with pytest.raises(Exception):  # noqa: B017, PT011  # it is not whole
            await peer.body(head)
        gone.set()

    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise Wrong

    async with opened(script) as (client, _):
        with pytest.raises(Wrong):
            await client.ask(failing())
        await gone.wait()


@pytest.mark.parametrize("turns", range(6))
async def test_an_upload_that_fails_just_when_its_asker_leaves_is_no_loose_end(
    opened: Open, turns: int
) -> None:
    class Wrong(Exception):
        pass

    fail, loose = asyncio.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loose.append(context))

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        await fail.wait()
        raise Wrong

    async with opened(script) as (client, server):
        asking = asyncio.create_task(client.ask(failing()))
        await settled(lambda: server.connections == 1)
        fail.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled() or isinstance(asking.exception(), Wrong)
    del asking
    gc.collect()
    assert loose == []


# ------------------------------------------------------------------------------ letting go


async def test_a_backend_is_told_at_once_and_is_done_when_it_has_closed_its_side(
    opened: Open,
) -> None:
    """Until then it may still work on the request."""
    closed, may_close = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"1\r\na\r\n")
        await peer.gone()
        closed.set()
        await may_close.wait()

    async with opened(script) as (client, _):
        found = await client.ask()
        assert await found.read() == b"a"
        found.close()
        await closed.wait()
        assert client.done == [0]
        may_close.set()
        await client.all_done()


async def test_a_backend_that_does_not_let_go_is_hung_up_on(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "LET_GO_SECONDS", 0.01)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(b"1\r\na\r\n")

    async with opened(script) as (client, _):
        (await client.ask()).close()
        await client.all_done()
        assert client.upstream.connections == 0


@pytest.mark.parametrize("upload", [False, True])
async def test_whenever_the_asker_leaves_nothing_is_left_behind(opened: Open, upload: bool) -> None:
    """It is cancelled after one step of the loop, after two, and so on, until it is done."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED)
            for _ in range(5):
                await peer.send(b"1\r\na\r\n")
                await asyncio.sleep(0)
            await peer.send(b"0\r\n\r\n")

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"
            await asyncio.sleep(0)

    async with opened(script) as (client, _):
        for steps in itertools.count():
            asking = asyncio.create_task(client.get(body=body() if upload else b"x"))
            for _ in range(steps):
                await asyncio.sleep(0)
            if asking.done():
                assert asking.result() == (200, b"aaaaa")
                break
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await client.all_done()
            await settled(lambda: client.upstream.connections <= 1)
        assert steps > 5


async def test_closing_it_ends_what_is_under_way_at_once(opened: Open) -> None:
    """What is told of its end may be gone a moment later."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.gone()

    async with opened(script) as (client, _):
        found = await client.ask()
        client.upstream.close()
        assert client.done == [1]
        with pytest.raises(BrokenOff):
            await found.read()
        found.close()


# ------------------------------------------------------------------------------ slow ones


async def test_an_answer_that_does_not_begin_in_time_is_an_error(opened: Open) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with opened(script) as (client, _):
        with pytest.raises(TimedOut):
            await client.ask(first_byte_s=0.01)


async def test_an_answer_that_falls_silent_is_an_error(opened: Open) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"1\r\na\r\n")
        await peer.gone()

    async with opened(script) as (client, _):
        found = await client.ask(silent_s=0.01, first_byte_s=0.01)
        assert await found.read() == b"a"
        with pytest.raises(TimedOut):
            await found.read()
        found.close()


async def test_an_answer_that_falls_silent_is_noticed_however_long_it_may_take_to_begin(
    opened: Open,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.05)  # longer than an answer that began may be silent
        await peer.send(CHUNKED, b"1\r\na\r\n")
        await peer.gone()

    async with opened(script) as (client, _):
        found = await client.ask(silent_s=0.01, first_byte_s=60.0)
        assert await found.read() == b"a"
        with pytest.raises(TimedOut):
            await found.read()
        found.close()


async def test_a_backend_that_takes_no_more_of_an_upload_is_too_slow(opened: Open) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.get_running_loop().create_future()

    async with opened(script) as (client, _):
        with pytest.raises(TimedOut):
            await client.ask(endless(), first_byte_s=0.05)
        client.upstream.close()


LARGE = 12 * 1024**2


async def large(peer: Peer) -> None:
    """Answer with more than is held for each reader."""
    while True:
        await peer.request()
        await peer.send(answer(b"x" * LARGE))


async def test_what_is_held_for_a_slow_reader_is_bounded_and_nothing_of_it_is_lost(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_TOGETHER", 2 * connecting.HELD_BYTES)
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (256 * 262144))
        for _ in range(256):
            await peer.send(b"x" * 262144)
            sent += 1

    async with opened(script) as (client, _):
        found = await client.ask()
        await settled(lambda: found._paused)
        assert 2 * connecting.HELD_BYTES <= found.held < 2 * connecting.HELD_BYTES + 1024**2
        assert sent < 256
        assert len(await whole(found)) == 256 * 262144
        found.close()


async def test_a_backend_is_done_before_slow_readers_of_large_answers(opened: Open) -> None:
    async with opened(large) as (client, _):
        found = [await client.ask() for _ in range(2)]
        await client.all_done()
        assert [len(await whole(each)) for each in found] == [LARGE] * 2
        for each in found:
            each.close()


async def test_what_is_held_for_all_readers_of_a_backend_is_bounded(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left unread counts no more."""
    monkeypatch.setattr(module, "HELD_TOGETHER", LARGE + connecting.HELD_BYTES)
    async with opened(large) as (client, _):
        left = await client.ask()
        await client.all_done()
        slow = await client.ask()
        await settled(lambda: slow._paused)
        left.close()
        slow.close()
        found = await client.ask()
        await client.all_done()
        assert len(await whole(found)) == LARGE
        found.close()


async def test_a_slow_reader_is_handed_no_more_at_once_than_it_can_take(opened: Open) -> None:
    async with opened(large) as (client, _):
        found = await client.ask()
        await client.all_done()
        pieces: list[bytes] = []

        def take(piece: bytes) -> bool:
            pieces.append(piece)
            return len(pieces) % 2 == 0

        while not await found.pour(take):
            pass
        assert sum(map(len, pieces)) == LARGE
        assert max(map(len, pieces)) < 2 * connecting.HELD_BYTES
        found.close()


async def test_a_reader_for_which_the_backend_waits_is_given_up_soon(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_TOGETHER", 0)
    monkeypatch.setattr(connecting, "TAKE_SECONDS", 0.05)
    async with opened(large) as (client, _):
        found = await client.ask(silent_s=600.0)
        await client.all_done()
        with pytest.raises(TimedOut, match="nobody took"):
            await whole(found)
        found.close()


async def test_a_reader_that_takes_a_little_now_and_then_gets_it_all(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_TOGETHER", 0)
    async with opened(large) as (client, _):
        found, size = await client.ask(), 0
        while size < LARGE - 2 * connecting.HELD_BYTES:
            await settled(lambda: found._paused)
            size += len(await found.read())
        assert size + len(await whole(found)) == LARGE
        found.close()


async def test_a_reader_that_takes_nothing_for_too_long_is_given_up(opened: Open) -> None:
    """Or it would keep the backend's place for ever."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, *[b"100000\r\n" + b"x" * 0x100000 + b"\r\n"] * 128)

    async with opened(script) as (client, _):
        found = await client.ask(silent_s=0.05)
        await client.all_done()
        with pytest.raises(TimedOut):
            await whole(found)
        found.close()


async def test_a_backend_is_done_before_a_reader_of_an_answer_that_fits(opened: Open) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b"x" * 1024**2))
        await peer.gone()

    async with opened(script) as (client, _):
        found = await client.ask()
        await client.all_done()
        assert len(await whole(found)) == 1024**2
        found.close()
