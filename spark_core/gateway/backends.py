"""Backends: what kinds of them there are, where they are, and which models they serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

from ..references import Referable

if TYPE_CHECKING:
    from pydantic import SecretStr

    from .sections import BackendSettings, BackendsSection

__all__ = [
    "AUDIO",
    "Ask",
    "Backend",
    "BackendKind",
    "Group",
    "Relay",
]

#: Requests at once that a backend is given where settings do not say: what one vLLM on a
#: Spark works on at the same moment without making each of them much slower.
LIMIT: Final = 32


JSON: Final = "application/json"


@dataclass(frozen=True)
class Relay:
    """A route whose bytes pass through to a backend and back.

    ``model_from`` says where the model's name is found: in the JSON body, in a field of the
    form, in the query, or nowhere. ``also`` are other paths for the same, and ``at`` is its path
    at the backend, where that is another. ``summary`` says in a line what becomes of a request.
    """

    name: str
    method: str
    path: str
    model_from: Literal["json", "form", "query", "none"] = "json"
    also: tuple[str, ...] = ()
    at: str | None = None
    summary: str = "Passed on to a backend's own API."

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path it is found at."""
        return (self.path, *self.also)


@dataclass(frozen=True)
class Group:
    """What several kinds of backends share, such as one GPU.

    ``limit`` is how many requests they work on at once together, and ``most`` the largest
    number that settings may raise it to.
    """

    name: str
    limit: int
    most: int


#: What works on sound shares a GPU: more than three at once make each other time out.
AUDIO: Final = Group("audio", limit=2, most=3)


class Ask(Protocol):
    """Asks one server: what it answers to a GET of *path*, or to a POST of *body*.

    *kind* is the body's content type. It raises a :class:`~spark_core.errors.SparkError` where
    the answer is no success.
    """

    async def __call__(self, path: str, body: bytes = b"", kind: str = JSON) -> bytes:
        """Ask."""
        ...


@dataclass(frozen=True)
class BackendKind:
    """A kind of server, the section of settings that says where some are, and what it serves.

    ``lists_models`` says that ``GET /v1/models`` tells its models; else ``models`` are those of
    a server whose settings name none, and ``aliases`` the names that OpenAI's clients use.
    ``health`` is the path of its own health check. ``check`` is handed something that asks one
    server, and that server's description, and does real work there: it says what it saw, or
    raises. One that is not ``probed`` hears of nobody but callers.
    """

    name: str
    settings: Referable[type[BackendsSection]]
    relays: tuple[Relay, ...]
    models: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    lists_models: bool = False
    health: str = "/health"
    group: Group | None = None
    limit: int = LIMIT
    check: Referable[Callable[[Ask, Backend], Awaitable[str]]] | None = None
    probed: bool = True


@dataclass(frozen=True)
class Backend:
    """One server that requests can go to."""

    name: str
    kind: BackendKind
    url: str
    models: tuple[str, ...]
    aliases: Mapping[str, str]
    limit: int
    section: BackendsSection
    api_key: SecretStr | None = None

    @classmethod
    def of(cls, kind: BackendKind, section: BackendsSection, found: BackendSettings) -> Self:
        """The backend that *found* describes."""
        return cls(
            name=found.name,
            kind=kind,
            url=found.url,
            models=found.models or (() if kind.lists_models else kind.models),
            aliases={**kind.aliases, **found.aliases},
            limit=found.limit or kind.limit,
            section=section,
            api_key=found.api_key,
        )

    @property
    def credentials(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header that goes with the gateway's own questions, if there is a key."""
        if self.api_key is None:
            return ()
        return ((b"authorization", b"Bearer " + self.api_key.get_secret_value().encode()),)

    def serves(self, relay: Relay) -> bool:
        """Whether requests of *relay* can go here."""
        return relay in self.kind.relays
