"""``[plugins.bge_m3]``"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spark_core import Env
from spark_core.gateway.sections import Address, BackendsSection, Host, Key, Port
from spark_core.settings import Settings

__all__ = ["BgeM3Settings", "is_configured"]


class BgeM3Settings(BackendsSection):
    """Where the server is, for the gateway and for search, and how search asks it.

    ``url`` and ``host`` say where the server itself is. ``control_url`` is for search alone, so
    that it can ask through a gateway, even the one of this very host: what that relays to never
    depends on it.
    """

    host: Annotated[Host, Env("SPARK2_HOST")] = None
    port: Port = 8081
    control_url: Annotated[Address, Env("SPARK_CONTROL_URL")] = Field(
        default=None, description="What search asks instead of the server, such as a gateway."
    )
    control_verify_tls: Annotated[bool, Env("SPARK_CONTROL_VERIFY_TLS")] = Field(
        default=True, description="Whether control_url's certificate must be one we trust."
    )
    model: str = Field(default="BAAI/bge-m3", description="The embedder's name on the server.")
    rerank_model: str = Field(
        default="BAAI/bge-reranker-v2-m3", description="The reranker's name on the server."
    )
    api_key: Key = Field(
        default=None,
        description="What search sends as a bearer token, and the gateway with its own questions; "
        "what callers ask is sent with their own.",
    )
    batch: int = Field(default=64, ge=1, description="Texts in one request of search.")
    concurrency: int = Field(
        default=8,
        ge=1,
        description="Requests of search at the same moment; more than the server works on at "
        "once, so that it need not wait for the next one.",
    )
    timeout_s: float = Field(
        default=60.0, gt=0, description="How long the server may be silent, in seconds."
    )
    retries: int = Field(default=4, ge=0, le=20, description="How often search asks it again.")

    def asked(self) -> tuple[str | None, bool]:
        """What search asks, and whether its certificate must be one we trust."""
        if self.control_url is not None:
            return self.control_url, self.control_verify_tls
        return self.address(), self.verify_tls


def is_configured(settings: Settings) -> bool:
    """Whether there is a server to ask."""
    url, _ = settings.section(BgeM3Settings).asked()
    return url is not None
