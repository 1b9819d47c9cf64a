"""A server that is down, slow, full, broken or shared with others."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
from qdrant_client import models
from spark_core_qdrant import connection
from spark_core_qdrant.server import ServerEngine, open_server
from spark_core_qdrant.settings import QdrantSettings
from spark_core_qdrant.store import QdrantStore

from spark_core.contracts.vectors import Mode, Point, Query
from spark_core.errors import (
    BackendError,
    Conflict,
    NotFound,
    SettingsError,
    StorageFull,
    TimedOut,
    Unavailable,
)
from spark_core.testing.vectors import point_id

from .processes import PATIENCE, SPEC, fill, some_points
from .stand_in_server import Answer, StandIn, serve_stand_in

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def store_at(url: str, **others: Any) -> AsyncIterator[QdrantStore]:
    async with open_server(QdrantSettings(url=url, **others)) as engine:
        yield QdrantStore(engine)


@asynccontextmanager
async def server_that(says: bytes | None) -> AsyncIterator[str]:
    """A server that answers every connection alike; with ``None`` it never does."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if says is None:
            await stopped.wait()
        else:
            writer.write(says)
        writer.close()

    stopped = asyncio.Event()
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        stopped.set()
        server.close()
        await asyncio.sleep(0)


def answer(status: str, body: str = "", *headers: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in headers)
    return (
        f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


JSON = "Content-Type: application/json"


async def test_a_server_that_is_down_is_named(unused_tcp_port: int) -> None:
    """With the URL, without the password in it or the key."""
    url = f"http://user:passw0rd@127.0.0.1:{unused_tcp_port}"
    async with store_at(url, api_key="s3cret") as store:
        with pytest.raises(Unavailable) as raised:
            await store.collections()
    assert not isinstance(raised.value, TimedOut)
    assert raised.value.retry_after > 0
    assert f"http://127.0.0.1:{unused_tcp_port} cannot be reached" in str(raised.value)
    for secret in ("user", "passw0rd", "s3cret"):
        assert secret not in str(raised.value)


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_server_that_hangs_times_out() -> None:
    """After the time that the settings give it; half a second is rounded up, not to never."""
    async with server_that(None) as url, store_at(url, timeout_s=0.5) as store:
        with pytest.raises(TimedOut, match=url) as raised:
            await store.collections()
        assert raised.value.retry_after > 0


@contextmanager
def black_hole() -> Iterator[str]:
    """A port where nobody takes connections: its queue is full, so what arrives is dropped."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield "http://{}:{}".format(*listener.getsockname())


async def test_a_server_that_cannot_be_connected_to_is_soon_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Long before the time that its work may take is over."""
    monkeypatch.setattr(connection, "QUICK_SECONDS", 0.2)
    with black_hole() as url:
        async with asyncio.timeout(PATIENCE), store_at(url, timeout_s=2 * PATIENCE) as store:
            with pytest.raises(Unavailable, match=f"{url} cannot be reached") as raised:
                await store.collection("things").upsert(some_points(0, 1))
    assert raised.value.retry_after > 0


async def test_a_server_that_takes_connections_and_says_nothing_is_soon_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each operation begins with a question that takes no work to answer."""
    monkeypatch.setattr(connection, "QUICK_SECONDS", 0.2)
    async with server_that(None) as url, store_at(url, timeout_s=2 * PATIENCE) as store:
        for operation in (
            store.collections(),
            store.create("things", SPEC),
            store.drop("things"),
            store.replace("things", by="others"),
            store.collection("things").upsert(some_points(0, 1)),
            store.collection("things").search(Query(vector=[1, 0, 0], text="gear")),
        ):
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(TimedOut, match=url):
                    await operation


async def test_a_server_may_work_for_longer_than_it_may_take_to_connect(
    stand_in: StandIn,
) -> None:
    """What takes work gets the time of the settings."""
    limits: dict[str, dict[str, float]] = {}

    async def remember(request: httpx.Request, send: Any) -> Any:
        response = await send(request)
        limits[request.method] = request.extensions["timeout"]
        return response

    client = connection.connect(stand_in.url, QdrantSettings(timeout_s=45))
    client.http.client.add_middleware(remember)
    await fill(QdrantStore(ServerEngine(client, stand_in.url)))
    await client.close()
    assert (limits["PUT"]["connect"], limits["PUT"]["read"]) == (5, 45)
    assert (limits["GET"]["connect"], limits["GET"]["read"]) == (5, 5)


@pytest.mark.parametrize(
    ("says", "error", "match"),
    [
        (answer("503 Service Unavailable"), Unavailable, "busy"),
        (answer("502 Bad Gateway", "<html>"), Unavailable, "busy"),
        (answer("429 Too Many Requests"), Unavailable, "busy"),
        (answer("429 Too Many Requests", "{}", "Retry-After: 17"), Unavailable, "busy"),
        (answer("429 Too Many Requests", "", "Retry-After: soon"), BackendError, "cannot be read"),
        (answer("401 Unauthorized"), BackendError, "QDRANT_API_KEY"),
        (answer("403 Forbidden", '{"status":{"error":"Forbidden"}}'), BackendError, "api_key"),
        (answer("404 Not Found", "404 page not found"), BackendError, "404"),
        (answer("500 Internal Server Error", "passw0rd"), BackendError, "500"),
        (
            answer("500 Internal Server Error", '{"status":{"error":"No space left on device"}}'),
            StorageFull,
            "room",
        ),
        (answer("507 Insufficient Storage"), StorageFull, "room"),
        (answer("301 Moved Permanently", "", "Location: https://elsewhere"), BackendError, "301"),
        (answer("200 OK", "<html>Welcome!</html>"), BackendError, "cannot be read"),
        (answer("200 OK", "", JSON), BackendError, "cannot be read"),
        (answer("200 OK", "{}", JSON), BackendError, "cannot be read"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff", BackendError, "cannot be read"),
        (answer("200 OK", "[1]", JSON), BackendError, "cannot be read"),
        (answer("200 OK", '{"result": null, "status": "ok"}', JSON), BackendError, "cannot be"),
        (answer("200 OK", '{"result": {"aliases": 5}}', JSON), BackendError, "cannot be read"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Unavailable, "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Unavailable, "cannot be reached"),
        (b"", Unavailable, "cannot be reached"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_whatever_answers_the_error_says_what_and_where(
    says: bytes, error: type[Exception], match: str
) -> None:
    """One of our errors, with the URL, and nothing of what was answered."""
    async with server_that(says) as url, store_at(url) as store:
        with pytest.raises(error, match=match) as raised:
            await store.collections()
        assert url in str(raised.value)
        assert "passw0rd" not in str(raised.value)
        if b"Retry-After: 17" in says:
            assert isinstance(raised.value, Unavailable)
            assert raised.value.retry_after == 17


@pytest.mark.parametrize(
    "url",
    [
        "spark2",
        "localhost:6333",
        "http://",
        "ftp://host",
        "http://host:port",
        "http://u:pw@:1",
        "/",
    ],
)
async def test_what_is_no_url_is_a_wrong_setting(url: str) -> None:
    """The message names the setting, and shows no password."""
    with pytest.raises(SettingsError, match=r"\[plugins\.qdrant\] url") as raised:
        async with store_at(url):
            pass
    assert "pw" not in str(raised.value)


async def test_the_key_is_sent() -> None:
    """Over plain HTTP too: within a private network that is for its owner to decide."""
    with serve_stand_in(StandIn(api_key="s3cret")) as stand_in:
        async with store_at(stand_in.url, api_key="s3cret") as store:
            await fill(store)
            assert await store.collection("things").count() == 10
        async with store_at(stand_in.url, api_key="wrong") as store:
            with pytest.raises(BackendError, match="api_key"):
                await store.collections()


async def test_a_url_may_have_a_path(stand_in: StandIn) -> None:
    """A server behind a proxy."""

    def behind(method: str, path: str) -> Answer | None:
        return (418, {}) if path.startswith("/vectors/") else (500, {})

    stand_in.intercept = behind
    async with store_at(f"{stand_in.url}/vectors?token=passw0rd") as store:
        with pytest.raises(BackendError, match="418") as raised:
            await store.collections()
    assert "passw0rd" not in str(raised.value)


# ----------------------------------------------------------------------- dying and returning


async def test_a_server_that_dies_in_a_batch_is_used_again_when_it_is_back() -> None:
    """By the store that was open all the time."""
    stand_in = StandIn()
    with serve_stand_in(stand_in):
        async with store_at(stand_in.url) as store:
            await fill(store)
            stand_in.intercept = cut_after(2, "PUT", "/points")
            with pytest.raises(Unavailable):
                await store.collection("things").upsert(some_points(0, 1000))
            stand_in.intercept = lambda method, path: None
            await store.collection("things").upsert(some_points(0, 1000))
            assert await store.collection("things").count() == 1000


async def test_a_server_that_was_restarted_is_used_again() -> None:
    """At the same address."""
    stand_in = StandIn()
    with serve_stand_in(stand_in):
        port = int(stand_in.url.rpartition(":")[2])
        url = stand_in.url
    async with store_at(url) as store:
        with pytest.raises(Unavailable):
            await store.collections()
        with serve_stand_in(stand_in, port):
            await fill(store)
        with pytest.raises(Unavailable):
            await store.collection("things").count()
        with serve_stand_in(stand_in, port):
            assert await store.collection("things").count() == 10


def cut_after(count: int, method: str, ending: str) -> Callable[[str, str], Answer | None]:
    """Cut the connection of each such request after the first *count*."""
    left = count

    def intercept(asked: str, path: str) -> Answer | None:
        nonlocal left
        if asked == method and path.endswith(ending):
            left -= 1
            if left < 0:
                raise ConnectionResetError
        return None

    return intercept


@pytest.mark.parametrize("at", range(8))
async def test_a_collection_is_made_whole_or_not_at_all(stand_in: StandIn, at: int) -> None:
    """Whichever request of a create is lost, the next create succeeds."""
    async with store_at(stand_in.url) as store:
        spec = SPEC.model_copy(update={"indexed": ("kind", "year")})
        stand_in.intercept = cut_after(at, "", "")
        asked = 0

        def cut_one(method: str, path: str) -> Answer | None:
            nonlocal asked
            asked += 1
            if asked == at + 1:
                raise ConnectionResetError
            return None

        stand_in.intercept = cut_one
        try:
            await store.create("things", spec)
        except Unavailable:
            assert await store.collections() == []
            assert await on_server(stand_in) == []
            await store.create("things", spec)
        assert [info.name for info in await store.collections()] == ["things"]
        assert len(await on_server(stand_in)) == 1


async def on_server(stand_in: StandIn) -> list[str]:
    """Every collection there, with or without an alias."""
    return [known.name for known in (await stand_in.local.get_collections()).collections]


async def test_what_a_replace_could_not_delete_is_deleted_by_a_later_one(
    stand_in: StandIn,
) -> None:
    """The switch has been made, so it succeeds; the old points only take room for a while."""
    async with store_at(stand_in.url) as store:
        await fill(store)
        (left,) = await on_server(stand_in)
        stand_in.intercept = cut_after(0, "DELETE", left)
        await store.create("things__next", SPEC)
        await store.replace("things", by="things__next")
        assert await store.collection("things").count() == 0
        assert left in await on_server(stand_in)
    stand_in.intercept = lambda method, path: None
    await grow_old(stand_in, left)
    async with store_at(stand_in.url) as store:
        await store.create("things__next", SPEC)
        await store.replace("things", by="things__next")
        assert len(await on_server(stand_in)) == 1


async def test_what_somebody_may_still_be_making_is_no_leftover(stand_in: StandIn) -> None:
    """A collection has no alias before it is complete; nor is another program's ever deleted."""
    foreign = "things." + "f" * 32
    async with store_at(stand_in.url) as store:
        await fill(store)
        await stand_in.local.create_collection(foreign, {})
        stand_in.intercept = dying_before_the_alias
        with pytest.raises(Unavailable):
            await store.create("things__next", SPEC)
        stand_in.intercept = lambda method, path: None
        before = set(await on_server(stand_in))
        await store.create("things__next", SPEC)
        await store.replace("things", by="things__next")
        assert len(before) == 3
        assert len(before & set(await on_server(stand_in))) == 2


def dying_before_the_alias(method: str, path: str) -> Answer | None:
    """As if the program that makes a collection is killed, so that it cleans nothing up."""
    if method == "DELETE" or path == "/collections/aliases":
        raise ConnectionResetError
    return None


async def grow_old(stand_in: StandIn, name: str) -> None:
    """As if *name* had been made long ago."""
    metadata = (await stand_in.local.get_collection(name)).config.metadata
    assert metadata is not None
    metadata["spark_core"]["created_at"] = "2001-01-01T00:00:00+00:00"
    await stand_in.local.update_collection(name, metadata=metadata)


async def test_a_large_batch_is_sent_in_pieces(stand_in: StandIn) -> None:
    """A server takes no more than 32 MB in one request."""
    async with store_at(stand_in.url) as store:
        await store.create("things", SPEC)
        texts = ["x" * 500_000] * 100
        points = [Point(point_id(str(n)), [1, 0, 0], text) for n, text in enumerate(texts)]
        await store.collection("things").upsert(points)
        assert await store.collection("things").count() == 100


async def test_a_collection_replaced_between_two_requests_is_asked_again(
    stand_in: StandIn,
) -> None:
    """Another program deletes the old points as soon as it has switched the alias."""
    async with store_at(stand_in.url) as store:
        await fill(store)
        for ending in ("/points/query/batch", "/points", "/points/count", "/points/scroll"):
            stand_in.intercept = gone_once(ending)
            things = store.collection("things")
            assert len(await things.search(Query(vector=[1, 0, 0], text="gear"))) == 10
            assert await things.count() == 10
            assert len(await things.scroll()) == 10
            await things.upsert(some_points(0, 1))


def gone_once(ending: str) -> Callable[[str, str], Answer | None]:
    """Say once, to the first such request, that the collection is not found."""
    told = False

    def intercept(method: str, path: str) -> Answer | None:
        nonlocal told
        if told or not path.endswith(ending):
            return None
        told = True
        return 404, {"status": {"error": "Not found: Collection `things.1` doesn't exist!"}}

    return intercept


# ------------------------------------------------------------------------------- neighbours


async def theirs(stand_in: StandIn) -> None:
    """Another program's collection ``theirs``, and its alias ``alias``."""
    vectors = models.VectorParams(size=3, distance=models.Distance.DOT)
    await stand_in.local.create_collection("theirs", vectors, metadata={"spark_core": "no"})
    create = models.CreateAlias(collection_name="theirs", alias_name="alias")
    await stand_in.local.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=create)]
    )


@pytest.mark.parametrize("name", ["theirs", "alias"])
async def test_another_programs_collection_is_left_alone(stand_in: StandIn, name: str) -> None:
    """It is neither listed nor made, replaced or dropped, nor searched."""
    await theirs(stand_in)
    async with store_at(stand_in.url) as store:
        await fill(store)
        assert [info.name for info in await store.collections()] == ["things"]
        with pytest.raises(Conflict, match=name):
            await store.create(name, SPEC)
        with pytest.raises(Conflict, match="not made by spark_core"):
            await store.replace(name, by="things")
        with pytest.raises((Conflict, NotFound)):
            await store.collection(name).upsert(some_points(0, 1))
        with pytest.raises((Conflict, NotFound)):
            await store.collection(name).search(Query(mode=Mode.SPARSE, text="gear"))
        if name == "alias":
            with pytest.raises(Conflict, match="not made by spark_core"):
                await store.drop(name)
        else:
            await store.drop(name)
        assert [info.name for info in await store.collections()] == ["things"]
    assert await stand_in.local.collection_exists("theirs")
    aliases = (await stand_in.local.get_aliases()).aliases
    assert ("alias", "theirs") in [(one.alias_name, one.collection_name) for one in aliases]


async def test_nothing_is_asked_before_it_is_needed(stand_in: StandIn) -> None:
    """Opening the store asks nothing of the server: it may come up later."""
    async with store_at(stand_in.url) as store:
        store.collection("things")
        assert stand_in.requests == []
        await store.collections()
        assert json.dumps(stand_in.requests) == '[["GET", "/aliases"]]'
