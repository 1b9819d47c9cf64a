"""Answers ``POST /v1/audio/transcriptions`` where ``diarize=true``: who said what.

The backends are asked one after the other. They share a GPU that works on one recording at a
time, so asking at once would only keep a place from others, and where there is but one place the
second request would wait for the first, perhaps for too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic_core import from_json

from spark_core.errors import BackendError, InvalidRequest, Problem, Unavailable
from spark_core.gateway.admission import Ticket
from spark_core.gateway.backends import Relay
from spark_core.gateway.compositions import Composed
from spark_core.gateway.forms import FilePart, Form
from spark_core.gateway.gateway import Gateway, Reply
from spark_core.gateway.relays import DIARIZATIONS, DIARIZATIONS_CHUNK, TRANSCRIPTIONS

from .chunks import Chunk, join, plan
from .merging import checked, merge
from .recordings import Recording, open_recording
from .rendering import Rendered, ResponseFormat, render
from .settings import TranscriptsSettings

__all__ = ["transcribe_with_speakers"]

#: Seconds that a chunk shares with the next: enough to hear who goes on speaking.
OVERLAP: Final = 10.0

#: What is for this answer to heed, and not for the recogniser.
OWN: Final = frozenset({"diarize", "response_format", "stream", "timestamp_granularities"})

#: Statuses that say that what was sent is wrong, and not the server.
REFUSED: Final = frozenset({400, 413, 415, 422})


async def transcribe_with_speakers(
    gateway: Gateway, form: Form, ticket: Ticket, settings: TranscriptsSettings
) -> Composed:
    """The transcript of the form's file with its speakers, in the ``response_format`` it names.

    :raises InvalidRequest: the form is not as it should be, or a backend says so.
    :raises NotConfigured: nothing transcribes or nothing diarizes.
    :raises SparkError: a backend did not do its part; there is no answer without speakers.
    """
    response_format, file = _response_format(form), _file(form)
    recording = await asyncio.to_thread(open_recording, file.content)
    in_chunks = recording is not None and recording.duration > settings.diarize_whole_s
    gateway.serving(DIARIZATIONS_CHUNK if in_chunks else DIARIZATIONS)  # before others work
    transcription = await _transcribe(gateway, form, ticket)
    if recording is not None and in_chunks:
        chunks = await _diarize_chunks(gateway, recording, settings.diarize_window_s, ticket)
        diarization, notes = await asyncio.to_thread(_joined, chunks)
    else:
        diarization = await _ask(gateway, DIARIZATIONS, Form((), file), ticket, "diarization")
        notes = _of_length(diarization, settings.diarize_whole_s) if recording is None else []
    rendered = await asyncio.to_thread(_merged, transcription, diarization, notes, response_format)
    return Composed(rendered.body.encode(errors="replace"), rendered.media_type)


def _response_format(form: Form) -> ResponseFormat:
    named = form.last("response_format") or "json"
    if (form.last("stream") or "").strip().lower() in ("true", "1"):
        raise _wrong("stream", "what has speakers is not streamed")
    for known in get_args(ResponseFormat):
        if named == known:
            found: ResponseFormat = known
            return found
    known_ones = ", ".join(get_args(ResponseFormat))
    raise _wrong("response_format", f"it must be one of {known_ones}")


def _file(form: Form) -> FilePart:
    if form.file is None or form.file.name != "file":
        raise _wrong("file", "there is none")
    if not form.file.size:
        raise _wrong("file", "it is empty")
    return form.file


def _wrong(field: str, detail: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {detail}", problems=[Problem(f"/{field}", detail)])


async def _transcribe(gateway: Gateway, form: Form, ticket: Ticket) -> Mapping[str, Any]:
    asked = form.without({*OWN, "timestamp_granularities[]"}).having(
        ("response_format", "verbose_json"), ("timestamp_granularities[]", "word")
    )
    model = form.last("model") or None
    return await _ask(gateway, TRANSCRIPTIONS, asked, ticket, "transcription", model)


async def _diarize_chunks(
    gateway: Gateway, recording: Recording, window: float, ticket: Ticket
) -> list[Chunk]:
    chunks = []
    for part in plan(recording.duration, window=window, overlap=OVERLAP):
        form = Form((), recording.cut(part))
        answer = await _ask(gateway, DIARIZATIONS_CHUNK, form, ticket, "diarization")
        placed = {**answer, "offset": part.start, "duration": part.end - part.start}
        chunks.append(checked(Chunk, placed, "diarization"))
    return chunks


def _joined(chunks: list[Chunk]) -> tuple[Mapping[str, Any], list[str]]:
    try:
        joined = join(chunks)
    except InvalidRequest as error:
        raise BackendError(f"the diarization is not as it should be: {error}") from None
    return {"segments": [turn.model_dump() for turn in joined.turns]}, joined.notes


def _of_length(diarization: Mapping[str, Any], whole_s: float) -> list[str]:
    """A note where the recording would have been cut into chunks if it was a WAV file."""
    duration = diarization.get("duration")
    if isinstance(duration, int | float) and duration > whole_s:
        return ["only WAV files are cut into chunks: those who speak little may be missing"]
    return []


def _merged(
    transcription: Mapping[str, Any],
    diarization: Mapping[str, Any],
    notes: list[str],
    response_format: ResponseFormat,
) -> Rendered:
    transcript = merge(transcription, diarization)
    noted = transcript.model_copy(update={"notes": transcript.notes + notes})
    return render(noted, response_format)


async def _ask(
    gateway: Gateway,
    relay: Relay,
    form: Form,
    ticket: Ticket,
    what: str,
    model: str | None = None,
) -> Mapping[str, Any]:
    """The JSON object that a backend answers to *form*."""
    reply = await gateway.request(relay, form, ticket, model=model)
    _check_status(reply, what)
    try:
        answer = from_json(reply.body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise BackendError(f"the {what} failed: {reply.backend} answered with no JSON object")
    return answer


def _check_status(reply: Reply, what: str) -> None:
    told = f"{reply.backend} answered with status {reply.status}"
    if reply.status in REFUSED:
        raise InvalidRequest(f"the {what} was refused: {told}{_reason(reply.body)}")
    if reply.status in (429, 503):
        raise Unavailable(f"the {what} failed: {told}")
    if reply.status != 200:
        raise BackendError(f"the {what} failed: {told}")


def _reason(body: bytes) -> str:
    """What the backend says of it, if it says it as most do."""
    try:
        answer = from_json(body)
    except ValueError:
        return ""
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    said = (error.get("message") or error.get("detail")) if isinstance(error, dict) else error
    return f" ({said[:300]})" if isinstance(said, str) and said else ""
