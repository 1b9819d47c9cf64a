"""Backends: what kinds of them there are, where they are, and which models they serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, Protocol, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ..settings import Section

__all__ = [
    "AUDIO",
    "Ask",
    "Backend",
    "BackendKind",
    "BackendSettings",
    "BackendsSection",
    "Group",
    "Host",
    "Port",
    "Relay",
]

#: Requests at once that a backend is given where settings do not say: what one vLLM on a
#: Spark works on at the same moment without making each of them much slower.
LIMIT: Final = 32


JSON: Final = "application/json"


def _web_address(url: str | None) -> str | None:
    """A blank one counts as none: that is how a variable is unset in a compose file."""
    if url is None or not url.strip():
        return None
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError("must be like http://host:port")
    return url.strip().rstrip("/")


Host = Annotated[
    str | None, Field(description="The machine that it runs on, where url does not say.")
]
Port = Annotated[int, Field(ge=1, le=65535, description="Its port on that machine.")]
Address = Annotated[str | None, AfterValidator(_web_address)]


class BackendSettings(Section):
    """One of several: ``[[plugins.<kind>.backends]]``"""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    url: Annotated[str, AfterValidator(_web_address)]
    models: tuple[str, ...] = Field(
        default=(), description="What it serves; asked of the backend where it is not said."
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="Other names that callers may use for its models."
    )
    limit: int | None = Field(default=None, ge=1, le=10_000, description="Requests at once.")


class BackendsSection(Section):
    """What the section of every kind of backend has.

    A kind says which variable names its ``host``, and its usual ``port``.
    """

    url: Address = Field(default=None, description="The server's address.")
    host: Host = None
    port: Port = 80
    models: tuple[str, ...] = Field(
        default=(), description="What it serves; asked of the backend where it is not said."
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="Other names that callers may use for its models."
    )
    limit: int | None = Field(default=None, ge=1, le=10_000, description="Requests at once.")
    queue: int = Field(
        default=256, ge=0, le=1024, description="Requests that may wait, in each priority."
    )
    first_byte_s: float = Field(
        default=600.0, gt=0, description="How long an answer may take to begin, in seconds."
    )
    silent_s: float = Field(
        default=600.0, gt=0, description="How long an answer that began may be silent, in seconds."
    )
    verify_tls: bool = Field(default=True, description="Whether certificates must be trusted.")
    backends: tuple[BackendSettings, ...] = Field(
        default=(), description="Several servers of this kind, instead of the one at url."
    )

    def address(self) -> str | None:
        """Where the one backend is: at ``url``, else at the port of ``host``."""
        return self.url or (f"http://{self.host}:{self.port}" if self.host else None)

    def each(self, kind: str) -> Sequence[BackendSettings]:
        """Every backend that is configured; *kind* is the name of the only one."""
        if self.backends:
            return self.backends
        if (url := self.address()) is None:
            return ()
        only = {"name": kind, "url": url, "models": self.models, "aliases": self.aliases}
        return (BackendSettings.model_validate({**only, "limit": self.limit}),)


@dataclass(frozen=True)
class Relay:
    """A route whose bytes pass through to a backend and back.

    ``model_from`` says where the model's name is found: in the JSON body, in a field of the
    form, in the query, or nowhere. ``also`` are other paths for the same, and ``at`` is its path
    at the backend, where that is another.
    """

    name: str
    method: str
    path: str
    model_from: Literal["json", "form", "query", "none"] = "json"
    also: tuple[str, ...] = ()
    at: str | None = None

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
    server, and does real work there: it says what it saw, or raises.
    """

    name: str
    settings: type[BackendsSection]
    relays: tuple[Relay, ...]
    models: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    lists_models: bool = False
    health: str = "/health"
    group: Group | None = None
    limit: int = LIMIT
    check: Callable[[Ask], Awaitable[str]] | None = None


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
        )

    def serves(self, relay: Relay) -> bool:
        """Whether requests of *relay* can go here."""
        return relay in self.kind.relays
