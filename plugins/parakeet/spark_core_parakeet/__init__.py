"""A speech-to-text server behind the gateway: transcripts, and who spoke when."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable

from spark_core import BackendKind, SettingsSection, hookimpl
from spark_core.errors import BackendError
from spark_core.gateway.backends import AUDIO, Ask, Backend
from spark_core.gateway.relays import DIARIZATIONS, DIARIZATIONS_CHUNK, TRANSCRIPTIONS

__all__ = ["KIND"]


BOUNDARY = "a-clip-of-speech"


async def check(ask: Ask, backend: Backend) -> str:
    """Let it write down a second of speech, made by a synthesizer: "The door is open."."""
    clip = (importlib.resources.files(__name__) / "clip.wav").read_bytes()
    model = backend.models[0]
    start = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="clip.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    body = start.encode() + clip + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    text = json.loads(await ask("/v1/audio/transcriptions", body, kind))["text"]
    if not isinstance(text, str) or not text.strip():
        raise BackendError("it heard nothing in a second of speech")
    return f"it heard {len(text.split())} words"


SETTINGS = "spark_core_parakeet.settings:ParakeetSettings"

KIND = BackendKind(
    "parakeet",
    SETTINGS,
    (TRANSCRIPTIONS, DIARIZATIONS, DIARIZATIONS_CHUNK),
    models=("parakeet",),
    aliases={"whisper-1": "parakeet", "gpt-4o-transcribe": "parakeet"},
    group=AUDIO,
    limit=AUDIO.most,
    check=check,
)


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.parakeet]``"""
    return (SettingsSection("plugins.parakeet", SETTINGS),)


@hookimpl
def spark_register_backends() -> Iterable[BackendKind]:
    """Transcription and diarization."""
    return (KIND,)
