"""Kokoro behind the gateway: text to speech."""

from __future__ import annotations

import json
from collections.abc import Iterable

from spark_core import BackendKind, SettingsSection, hookimpl
from spark_core.errors import BackendError
from spark_core.gateway.backends import AUDIO, Ask, Backend
from spark_core.gateway.relays import SPEECH, VOICES

__all__ = ["KIND"]


async def check(ask: Ask, backend: Backend) -> str:
    """Let it speak a word."""
    model = backend.models[0]
    request = {"model": model, "input": "Yes.", "voice": "af_heart", "response_format": "wav"}
    audio = await ask("/v1/audio/speech", json.dumps(request).encode())
    if not audio.startswith(b"RIFF"):
        raise BackendError("what it spoke is no sound")
    return f"it spoke {len(audio)} bytes"


SETTINGS = "spark_core_kokoro.settings:KokoroSettings"

KIND = BackendKind(
    "kokoro",
    SETTINGS,
    (SPEECH, VOICES),
    models=("kokoro",),
    aliases={"tts-1": "kokoro", "tts-1-hd": "kokoro", "gpt-4o-mini-tts": "kokoro"},
    group=AUDIO,
    limit=AUDIO.most,
    check=check,
)


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.kokoro]``"""
    return (SettingsSection("plugins.kokoro", SETTINGS),)


@hookimpl
def spark_register_backends() -> Iterable[BackendKind]:
    """Speech, and the voices there are."""
    return (KIND,)
