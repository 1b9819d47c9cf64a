"""A speech server of the Parakeet kind: transcription, and who spoke when."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from .answers import STAND_IN, Answer, Call, Handler, Refused, in_json
from .backend import Backend
from .hearing import Heard, Stretch, hear, voice
from .knobs import Knobs

__all__ = ["Parakeet"]

#: Voices that one call can tell apart: whoever comes fifth is taken for one of them.
MOST_SPEAKERS: Final = 4

#: Octaves between two pitches of one voice, at most.
SAME_VOICE: Final = 0.2

FORMATS: Final = ("json", "text", "srt", "vtt", "verbose_json")

#: What an unhandled exception looks like under uvicorn.
CRASH: Final = Answer(b"Internal Server Error", 500, "text/plain; charset=utf-8")


class Parakeet(Backend):
    """One recording at a time: the server serialises the GPU, and its ``/health`` waits too."""

    name: ClassVar[str] = "parakeet"
    default_port: ClassVar[int] = 8000
    default_models: ClassVar[tuple[str, ...]] = ("lab/parakeet",)

    def __init__(self, knobs: Knobs, models: Sequence[str] = ()) -> None:
        super().__init__(knobs.model_copy(update={"slots": 1}), models)

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """What answers what."""
        return {
            ("GET", "/health"): self._health,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/audio/transcriptions"): self._transcribe,
            ("POST", "/v1/audio/diarizations"): self._diarize,
            ("POST", "/v1/audio/diarization"): self._diarize,
            ("POST", "/v1/audio/diarizations/chunk"): self._diarize_chunk,
            ("POST", "/v1/audio/diarize-chunk"): self._diarize_chunk,
        }

    async def _health(self, call: Call) -> Answer:
        await self.gpu.between()
        return in_json({"status": "ok"})

    async def _models(self, call: Call) -> Answer:
        cards = [{"id": name, "object": "model", "owned_by": STAND_IN} for name in self.models]
        return in_json({"object": "list", "data": cards})

    async def _hear(self, call: Call) -> Heard:
        """Keep the GPU for a while, and then know what is in the file.

        :raises Refused: there is none, or it is no audio.
        """
        if not call.form.get("file"):
            missing = {"type": "missing", "loc": ["body", "file"], "msg": "Field required"}
            raise Refused(in_json({"detail": [missing]}, 422))
        async with self.gpu:
            if self.knobs.work_seconds:
                await asyncio.sleep(self.knobs.work_seconds)
            try:
                return await asyncio.to_thread(hear, call.form["file"][0])
            except ValueError:
                raise Refused(CRASH) from None

    # ------------------------------------------------------------------------- transcription

    async def _transcribe(self, call: Call) -> Answer:
        form = _field(call, "response_format") or "json"
        if form not in FORMATS:
            raise Refused(self.failure(400, f"response_format must be one of {', '.join(FORMATS)}"))
        heard = await self._hear(call)
        if form == "verbose_json":
            return in_json(_verbose(call, heard))
        if form == "json":
            return in_json({"text": heard.text})
        text = {"text": _text, "srt": _srt, "vtt": _vtt}[form](heard)
        return Answer(text.encode(), type="text/plain; charset=utf-8")

    # --------------------------------------------------------------------------- diarization

    async def _diarize(self, call: Call) -> Answer:
        return in_json(_turns(await self._hear(call)))

    async def _diarize_chunk(self, call: Call) -> Answer:
        heard = await self._hear(call)
        voices = _voices(heard.stretches)
        speakers = {_label(n): {"embedding": voice(pitch)} for n, pitch in enumerate(voices)}
        return in_json({**_turns(heard), "speakers": speakers})


def _field(call: Call, name: str) -> str:
    return call.form.get(name, [b""])[-1].decode("utf-8", "replace").strip()


def _text(heard: Heard) -> str:
    return f"{heard.text}\n"


def _srt(heard: Heard) -> str:
    cues = (
        f"{n}\n{_time(s.start, ',')} --> {_time(s.end, ',')}\n{s.text}\n"
        for n, s in enumerate(heard.stretches, 1)
    )
    return "\n".join(cues)


def _vtt(heard: Heard) -> str:
    cues = (f"{_time(s.start, '.')} --> {_time(s.end, '.')}\n{s.text}\n" for s in heard.stretches)
    return "\n".join(["WEBVTT\n", *cues])


def _time(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


def _verbose(call: Call, heard: Heard) -> dict[str, Any]:
    wanted = {
        item.decode("utf-8", "replace")
        for item in call.form.get("timestamp_granularities[]", [b"segment"])
    }
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": _field(call, "language") or "en",
        "duration": heard.duration,
        "text": heard.text,
    }
    if "segment" in wanted:
        diarize = _field(call, "diarize").lower() in ("1", "true")
        answer["segments"] = list(_segments(heard, diarize))
    if "word" in wanted:
        answer["words"] = [
            {"word": word.word, "start": word.start, "end": word.end}
            for stretch in heard.stretches
            for word in stretch.words
        ]
    return answer


def _segments(heard: Heard, diarize: bool) -> Iterator[dict[str, Any]]:
    voices = _voices(heard.stretches)
    for n, s in enumerate(heard.stretches):
        segment = {"id": n, "start": s.start, "end": s.end, "text": s.text}
        yield {**segment, "speaker": _label(_nearest(voices, s.pitch))} if diarize else segment


def _turns(heard: Heard) -> dict[str, Any]:
    voices = _voices(heard.stretches)
    segments = [
        {"start": s.start, "end": s.end, "speaker": _label(_nearest(voices, s.pitch))}
        for s in heard.stretches
    ]
    return {"duration": heard.duration, "segments": segments}


def _voices(stretches: Sequence[Stretch]) -> list[float]:
    """The pitch of each voice that is told apart, in the order in which they speak."""
    voices: list[float] = []
    for stretch in stretches:
        new = (
            not voices
            or _octaves(voices[_nearest(voices, stretch.pitch)], stretch.pitch) > SAME_VOICE
        )
        if new and len(voices) < MOST_SPEAKERS:
            voices.append(stretch.pitch)
    return voices


def _nearest(voices: Sequence[float], pitch: float) -> int:
    return min(range(len(voices)), key=lambda n: _octaves(voices[n], pitch))


def _octaves(one: float, other: float) -> float:
    return abs(math.log2(max(one, 1.0) / max(other, 1.0)))


def _label(number: int) -> str:
    return f"speaker_{number}"
