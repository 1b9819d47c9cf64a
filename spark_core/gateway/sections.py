"""The sections of settings that say where backends are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ..settings import Section

__all__ = ["Address", "BackendSettings", "BackendsSection", "Host", "Port"]


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
