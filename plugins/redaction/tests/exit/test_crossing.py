"""Nothing leaves before it is written down, nor where anything on the way fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from spark_core_redaction.exit.crossing import Exit
from spark_core_redaction.exit.routes import CHAT
from spark_core_redaction.exit.settings import FrontierSettings
from spark_core_redaction.exit.streams import ChatStream
from spark_core_redaction.restoring import Restorer
from spark_core_redaction.scrubbing import Scrubbed
from spark_core_redaction.withheld import Withheld

from spark_core.errors import StorageFull
from spark_core.gateway.compositions import Asked
from spark_core.gateway.tickets import Ticket

pytestmark = pytest.mark.anyio

ASKED = Asked(b'{"model": "far", "messages": []}', (), "127.0.0.1")


class World:
    """What is around the exit; what is to fail raises *error*."""

    def __init__(self, failing: str = "", error: Exception | None = None) -> None:
        self.failing, self.error = failing, error
        self.done: list[str] = []

    def _do(self, name: str) -> None:
        if name == self.failing:
            assert self.error is not None
            raise self.error
        self.done.append(name)

    async def targets(self, relay: Any, model: str) -> list[Any]:
        self._do("targets")
        return [
            SimpleNamespace(model="real", backend=SimpleNamespace(url="https://far.example/v1"))
        ]

    async def scrub(self, texts: list[str], scope: str | None, *, pointers: list[str]) -> Scrubbed:
        self._do("scrub")
        return Scrubbed(texts, "handle", [{}] * len(texts))

    async def restorer(self, handle: str) -> Restorer:
        self._do("restorer")
        return Restorer({})

    async def record(self, actor: str, action: str, *, outcome: str, **more: Any) -> int:
        self._do(f"audit {outcome}")
        return 1

    async def begin(self, *_: Any, **__: Any) -> None:
        self._do("begin")
        raise StorageFull("here it ends")

    async def ask(self) -> Any:
        world: Any = self
        return await Exit(world, world, world).answer(CHAT, ASKED, Ticket(), ChatStream)


async def test_a_crossing_is_written_down_before_anything_is_sent() -> None:
    world = World()
    with pytest.raises(StorageFull):
        await world.ask()
    assert world.done[-3:] == ["audit started", "begin", "audit storage-full"]


@pytest.mark.parametrize("failing", ["targets", "scrub", "restorer", "audit started"])
@pytest.mark.parametrize("error", [RuntimeError("broken"), StorageFull("full")])
async def test_what_fails_on_the_way_keeps_everything_in(failing: str, error: Exception) -> None:
    world = World(failing, error)
    with pytest.raises(type(error)):
        await world.ask()
    assert "begin" not in world.done


async def test_what_is_withheld_is_answered_with_422_and_audited() -> None:
    world = World("scrub", Withheld("private text is left: 1 PERSON", counts={"PERSON": 1}))
    answer = await world.ask()
    assert (answer.status, answer.headers) == (422, ((b"x-spark-redaction", b"withheld"),))
    assert world.done == ["targets", "audit withheld"]


def test_models_must_be_named() -> None:
    with pytest.raises(ValueError, match="name those that may be asked"):
        FrontierSettings(url="https://far.example/v1")
    assert FrontierSettings().each("frontier") == ()


def test_a_model_is_called_the_same_at_every_server() -> None:
    """A request is made, and its hash written down, before one of them is chosen."""
    servers = [
        {"name": name, "url": "https://far.example/v1", "models": ["x"], "aliases": {"big": real}}
        for name, real in (("a", "x"), ("b", "y"))
    ]
    with pytest.raises(ValueError, match="'big' must mean the same model"):
        FrontierSettings.model_validate({"backends": servers})
