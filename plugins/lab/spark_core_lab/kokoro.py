"""Kokoro's API: speech, which here is a tone for each word."""

from __future__ import annotations

import asyncio
import math
import struct
from array import array
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final

from .answers import STAND_IN, Answer, Call, Handler, Refused, Stream, in_json
from .backend import Backend

__all__ = ["Kokoro"]

VOICES: Final = ("af_heart", "af_bella", "af_sky", "am_adam", "bf_emma", "bm_george", "ff_siwis")
MODELS: Final = ("kokoro", "tts-1", "tts-1-hd")

TYPES: Final = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}

RATE: Final = 24_000  #: samples a second, of 16 bits
WORD_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 0.05
MOST_WORDS: Final = 500
UNKNOWN: Final = 0xFFFFFFFF  #: the length in the header of a WAV file that is still being made

#: What other formats are made of: no decoder will take it for music.
LABEL: Final = f"{STAND_IN}: not audio. ".encode()


class Kokoro(Backend):
    """Its ``/health`` says that it is healthy, whatever happens."""

    name: ClassVar[str] = "kokoro"
    default_port: ClassVar[int] = 8880
    default_models: ClassVar[tuple[str, ...]] = MODELS

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """What answers what."""
        return {
            ("GET", "/health"): self._health,
            ("GET", "/v1/models"): self._models,
            ("GET", "/v1/audio/voices"): self._voices,
            ("POST", "/v1/audio/voices/combine"): self._combine,
            ("POST", "/v1/audio/speech"): self._speak,
        }

    def failure(self, status: int, message: str) -> Answer:
        """An error as Kokoro words it."""
        kinds = {400: ("validation_error", "invalid_request_error")}
        error, kind = kinds.get(status, ("processing_error", "server_error"))
        return _failure(status, error, message, kind)

    async def _health(self, call: Call) -> Answer:
        return in_json({"status": "healthy"})

    async def _models(self, call: Call) -> Answer:
        cards = [{"id": name, "object": "model", "owned_by": STAND_IN} for name in self.models]
        return in_json({"object": "list", "data": cards})

    async def _voices(self, call: Call) -> Answer:
        if call.query.get("legacy", "").lower() in ("1", "true"):
            return in_json({"voices": VOICES})
        return in_json({"voices": [{"id": name, "name": name} for name in VOICES]})

    async def _combine(self, call: Call) -> Answer:
        message = "Local voice saving is disabled"
        return _failure(403, "permission_denied", message, "permission_error")

    async def _speak(self, call: Call) -> Answer | Stream:
        asked = self._checked(self.json(call))
        form, text = asked["response_format"], asked["input"]
        pitch = _pitch(asked["voice"])
        tones = [_tone(pitch, word, asked["speed"]) for word in text.split()[:MOST_WORDS]]
        headers = {"content-disposition": f"attachment; filename=speech.{form}"}
        await self.work()
        if asked["stream"]:
            pieces = self._paced(_encoded(form, tones, UNKNOWN))
            return Stream(pieces, TYPES[form], {**headers, "x-accel-buffering": "no"})
        body = b"".join(_encoded(form, tones, sum(map(len, tones))))
        return Answer(body, type=TYPES[form], headers=headers)

    async def _paced(self, pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            if self.knobs.token_seconds:
                await asyncio.sleep(self.knobs.token_seconds)
            yield piece

    def _checked(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request with its defaults.

        :raises Refused: it asks for something that there is not.
        """
        defaults = {
            "model": "kokoro",
            "voice": VOICES[0],
            "response_format": "mp3",
            "speed": 1.0,
            "stream": True,
        }
        asked = {**defaults, **body}
        _check_fields(asked)
        if asked["model"] not in self.models:
            message = f"Unsupported model: {asked['model']}"
            raise Refused(_failure(400, "invalid_model", message, "invalid_request_error"))
        if not asked["input"].strip():
            message = "Input text is empty"
            raise Refused(_failure(422, "validation_error", message, "invalid_request_error"))
        for voice in _parts(asked["voice"]):
            if voice not in VOICES:
                known = ", ".join(VOICES)
                message = f"Voice '{voice}' not found. Available voices: {known}"
                raise Refused(self.failure(400, message))
        return asked


def _failure(status: int, error: str, message: str, kind: str) -> Answer:
    return in_json({"detail": {"error": error, "message": message, "type": kind}}, status)


def _check_fields(asked: Mapping[str, Any]) -> None:
    """Fields of a wrong type or value are FastAPI's own business, and errors of another shape."""
    wrong = {
        "input": not isinstance(asked.get("input"), str),
        "voice": not isinstance(asked["voice"], str),
        "response_format": asked["response_format"] not in TYPES,
        "speed": not isinstance(asked["speed"], int | float) or not 0.25 <= asked["speed"] <= 4,
        "stream": not isinstance(asked["stream"], bool),
    }
    problems = [
        {"type": "value_error", "loc": ["body", name], "msg": f"{name} is missing or wrong"}
        for name, is_wrong in wrong.items()
        if is_wrong
    ]
    if problems:
        raise Refused(in_json({"detail": problems}, 422))


def _parts(voice: str) -> list[str]:
    """The voices that are mixed: ``af_sky+af_bella(2)`` is two."""
    return [part.partition("(")[0].strip() for part in voice.replace("-", "+").split("+")]


def _pitch(voice: str) -> float:
    return 110.0 * 2 ** (VOICES.index(_parts(voice)[0]) / 2)


def _tone(pitch: float, word: str, speed: float) -> bytes:
    """*word* as samples: a tone near the voice's pitch and a pause, quicker by *speed*."""
    return _samples(pitch * (1 + sum(word.encode()) % 8 / 100), round(speed, 2))


@lru_cache(maxsize=1024)
def _samples(pitch: float, speed: float) -> bytes:
    step = 2 * math.pi * pitch / RATE
    sounding, silent = (int(RATE * seconds / speed) for seconds in (WORD_SECONDS, PAUSE_SECONDS))
    samples = array("h", (int(8000 * math.sin(step * n)) for n in range(sounding)))
    return struct.pack(f"<{sounding}h", *samples) + bytes(2 * silent)


def _encoded(form: str, tones: list[bytes], length: int) -> Iterator[bytes]:
    """*tones* in the format *form*; *length* is that of all of them, in bytes."""
    if form == "wav":
        yield _wav_header(length)
    for tone in tones:
        yield tone if form in ("wav", "pcm") else (LABEL * (len(tone) // 10 // len(LABEL) + 1))


def _wav_header(length: int) -> bytes:
    whole = length if length == UNKNOWN else length + 36
    shape = struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", whole)
        + b"WAVEfmt "
        + shape
        + b"data"
        + struct.pack("<I", length)
    )
