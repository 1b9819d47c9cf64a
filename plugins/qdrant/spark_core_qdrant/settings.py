"""``[plugins.qdrant]``"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from spark_core import ConfigPath, Env, Section


class QdrantSettings(Section):
    """Which engine holds the vectors, and how."""

    url: Annotated[str | None, Env("QDRANT_URL")] = Field(
        default=None,
        description="A Qdrant server's URL; without one, and without host, the engine is embedded.",
    )
    host: Annotated[str | None, Env("SPARK2_HOST")] = Field(
        default=None,
        description="The machine that a Qdrant server runs on, at port 6333, where url is not set; "
        "a blank url means the embedded engine all the same.",
    )
    api_key: Annotated[SecretStr | None, Env("QDRANT_API_KEY")] = Field(
        default=None, description="The server's API key."
    )
    timeout_s: float = Field(
        default=60.0, gt=0, description="How long the server may work, in seconds."
    )
    directory: ConfigPath | None = Field(
        default=None, description="The embedded engine's files; `qdrant` in the data directory."
    )
    language: str = Field(
        default="english",
        description="Language of BM25's stemmer and stop words, for new collections; "
        '"neutral" for none.',
    )
    idle_s: float = Field(
        default=120.0,
        gt=0,
        description="How long the embedded engine's process stays when nobody asks anything.",
    )

    def address(self) -> str | None:
        """The server's URL, if there is one."""
        if self.url is not None:
            return self.url or None
        return f"http://{self.host}:6333" if self.host else None
