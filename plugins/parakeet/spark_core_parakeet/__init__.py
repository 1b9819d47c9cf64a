"""A speech-to-text server behind the gateway: transcripts, and who spoke when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from spark_core import BackendKind, Env, SettingsSection, hookimpl
from spark_core.gateway.backends import AUDIO, BackendsSection
from spark_core.gateway.relays import DIARIZATIONS, DIARIZATIONS_CHUNK, TRANSCRIPTIONS

__all__ = ["KIND", "ParakeetSettings"]


class ParakeetSettings(BackendsSection):
    """``[plugins.parakeet]``: where the speech-to-text server is."""

    host: Annotated[str | None, Env("SPARK2_HOST")] = Field(
        default=None, description="The Spark that it runs on, at port 8000, where url is not set."
    )

    def address(self) -> str | None:
        """``url``, else port 8000 at ``host``."""
        return self.url or (f"http://{self.host}:8000" if self.host else None)


KIND = BackendKind(
    "parakeet",
    ParakeetSettings,
    (TRANSCRIPTIONS, DIARIZATIONS, DIARIZATIONS_CHUNK),
    models=("parakeet",),
    aliases={"whisper-1": "parakeet", "gpt-4o-transcribe": "parakeet"},
    group=AUDIO,
    limit=AUDIO.most,
)


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.parakeet]``"""
    return (SettingsSection("plugins.parakeet", ParakeetSettings),)


@hookimpl
def spark_register_backends() -> Iterable[BackendKind]:
    """Transcription and diarization."""
    return (KIND,)
