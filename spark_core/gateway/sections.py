"""The sections of settings that say where backends are."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from ..settings import Section

__all__ = ["Address", "BackendSettings", "BackendsSection", "Host", "Key", "Port"]


def _web_address(url: str | None) -> str | None:
    """A blank one counts as none: that is how a variable is unset in a compose file."""
    if url is None or not url.strip():
        return None
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError("must be like http://host:port")
    _check_name(parts.hostname)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("its port must be a number from 1 to 65535")
    return url.strip().rstrip("/")


def _server_address(url: str | None) -> str | None:
    """What is shown, and sent to no server: it must hold no secret."""
    found = _web_address(url)
    if found is not None and "@" in urlsplit(found).netloc:
        raise ValueError("must be without user and password; api_key is sent to the server")
    return found


def _check_name(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("no host can have that name") from None


def _machine(host: str | None) -> str | None:
    """A name or an address alone; a blank one counts as none."""
    if host is None or not host.strip():
        return None
    host = host.strip().removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if set(host) & set(":/@?#[]\\ "):
        raise ValueError("must be a name or an address without a port; url takes both")
    _check_name(host)
    return host


def _sendable(key: SecretStr | None) -> SecretStr | None:
    """A blank one counts as none."""
    text = key.get_secret_value().strip() if key is not None else ""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("must be printable ASCII, as it is sent in a header")
    return SecretStr(text) if text else None


Host = Annotated[
    str | None,
    AfterValidator(_machine),
    Field(description="The machine that it runs on, where url does not say."),
]
Port = Annotated[int, Field(ge=1, le=65535, description="Its port on that machine.")]
Address = Annotated[str | None, AfterValidator(_web_address)]
Key = Annotated[SecretStr | None, AfterValidator(_sendable)]


class BackendSettings(Section):
    """One of several: ``[[plugins.<kind>.backends]]``"""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    url: Annotated[str, AfterValidator(_server_address)]
    models: tuple[str, ...] = Field(
        default=(), description="What it serves; asked of the backend where it is not said."
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="Other names that callers may use for its models."
    )
    limit: int | None = Field(default=None, ge=1, le=10_000, description="Requests at once.")
    api_key: Key = Field(default=None, description="Its own key, if it has another one.")


class BackendsSection(Section):
    """What the section of every kind of backend has.

    A kind says which variable names its ``host``, and its usual ``port``.
    """

    url: Annotated[str | None, AfterValidator(_server_address)] = Field(
        default=None, description="The server's address."
    )
    host: Host = None
    port: Port = 80
    models: tuple[str, ...] = Field(
        default=(), description="What it serves; asked of the backend where it is not said."
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="Other names that callers may use for its models."
    )
    limit: int | None = Field(default=None, ge=1, le=10_000, description="Requests at once.")
    api_key: Key = Field(
        default=None,
        description="What the gateway sends as a bearer token with its own questions, such as for "
        "the models; what callers ask is sent with their own.",
    )
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
        default=(),
        description="Several servers of this kind, instead of the one at url. What one does not "
        "say of its models, aliases, limit and api_key, this section says.",
    )

    def address(self) -> str | None:
        """Where the one backend is: at ``url``, else at the port of ``host``."""
        if self.url or not self.host:
            return self.url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def each(self, kind: str) -> Sequence[BackendSettings]:
        """Every backend that is configured; *kind* is the name of the only one."""
        if self.backends:
            return [self._filled(backend) for backend in self.backends]
        if (url := self.address()) is None:
            return ()
        return (self._filled(BackendSettings(name=kind, url=url)),)

    def _filled(self, backend: BackendSettings) -> BackendSettings:
        """*backend*, with what it does not say itself."""
        return backend.model_copy(
            update={
                "models": backend.models or self.models,
                "aliases": {**self.aliases, **backend.aliases},
                "limit": backend.limit or self.limit,
                "api_key": backend.api_key or self.api_key,
            }
        )
