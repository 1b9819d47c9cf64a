"""``[plugins.bge_m3]``"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from spark_core import Env, Section
from spark_core.settings import Settings

__all__ = ["BgeM3Settings", "is_configured"]


def _web_address(url: str | None) -> str | None:
    """A blank one counts as none: that is how a variable is unset in a compose file."""
    if url is None or not url.strip():
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError("must be like http://host:port")
    return url.strip()


class BgeM3Settings(Section):
    """Where the server is, and how it is asked."""

    url: Annotated[str | None, Env("SPARK_CONTROL_URL"), AfterValidator(_web_address)] = Field(
        default=None, description="The server's address; /v1/embeddings is added to it."
    )
    model: str = Field(default="BAAI/bge-m3", description="The embedder's name on the server.")
    rerank_model: str = Field(
        default="BAAI/bge-reranker-v2-m3", description="The reranker's name on the server."
    )
    api_key: SecretStr | None = Field(default=None, description="Sent as a bearer token.")
    verify_tls: Annotated[bool, Env("SPARK_CONTROL_VERIFY_TLS")] = Field(
        default=True, description="Whether the server's certificate must be one we trust."
    )
    batch: int = Field(default=64, ge=1, description="Texts in one request.")
    concurrency: int = Field(
        default=8,
        ge=1,
        description="Requests at the same moment; more than the server works on at once, so "
        "that it need not wait for the next one.",
    )
    timeout_s: float = Field(
        default=60.0, gt=0, description="How long the server may be silent, in seconds."
    )
    retries: int = Field(default=4, ge=0, le=20, description="How often it is asked again.")


def is_configured(settings: Settings) -> bool:
    """Whether there is a server to ask."""
    return settings.section(BgeM3Settings).url is not None
