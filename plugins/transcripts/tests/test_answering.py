"""What is asked of backends for a transcript with speakers, and what their answers come to."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from spark_core_transcripts.answering import transcribe_with_speakers
from spark_core_transcripts.settings import TranscriptsSettings

from spark_core.errors import BackendError, InvalidRequest, NotConfigured, Unavailable
from spark_core.gateway.admission import Pool, Ticket, open_admission
from spark_core.gateway.backends import Backend, BackendKind, Relay
from spark_core.gateway.forms import FilePart, Form, Span
from spark_core.gateway.gateway import Gateway, Reply
from spark_core.gateway.relays import DIARIZATIONS, DIARIZATIONS_CHUNK, TRANSCRIPTIONS
from spark_core.gateway.sections import BackendsSection

from .test_recordings import wav

pytestmark = pytest.mark.anyio

SAID = {"text": "a", "duration": 1.0, "words": [{"word": "a", "start": 0.0, "end": 0.5}]}
SPOKEN = {"duration": 1.0, "segments": [{"start": 0.0, "end": 20.0, "speaker": "x"}]}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Answering(Gateway):
    """A gateway whose backends answer what a test says."""

    replies: dict[Relay, list[tuple[int, Any]]]
    asked: list[tuple[Relay, Form]]

    async def request(self, relay: Relay, body: Any, ticket: Ticket, *, model: str | None) -> Reply:
        self.asked.append((relay, body))
        replies = self.replies[relay]
        status, answer = replies.pop(0) if len(replies) > 1 else replies[0]
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return Reply("there", status, raw)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Answering]:
    kind = BackendKind("kind", BackendsSection, (TRANSCRIPTIONS, DIARIZATIONS, DIARIZATIONS_CHUNK))
    there = Backend("there", kind, "http://127.0.0.1:9", (), {}, 1, BackendsSection())
    async with open_admission(tmp_path, [Pool("there", 1)]) as admission:
        opened = Answering([there], admission)
        opened.asked = []
        opened.replies = {
            TRANSCRIPTIONS: [(200, SAID)],
            DIARIZATIONS: [(200, SPOKEN)],
            DIARIZATIONS_CHUNK: [(200, SPOKEN)],
        }
        yield opened
        await opened.aclose()


@pytest.fixture
def form() -> Iterator[Callable[..., Form]]:
    with tempfile.TemporaryFile(buffering=0) as file:

        def make(*fields: tuple[str, str], content: bytes = b"sound") -> Form:
            file.write(content)
            part = FilePart("file", "a.wav", "audio/wav", Span(file.fileno(), 0, len(content)))
            return Form(fields, part)

        yield make


async def answered(gateway: Gateway, form: Form, **settings: float) -> Any:
    found = TranscriptsSettings.model_validate(settings)
    composed = await transcribe_with_speakers(gateway, form, Ticket(), found)
    return json.loads(composed.body)


async def test_the_recogniser_is_asked_for_words_and_hears_all_other_fields(
    gateway: Answering, form: Callable[..., Form]
) -> None:
    own = (("diarize", "true"), ("response_format", "json"), ("timestamp_granularities[]", "x"))
    theirs = (("model", "m"), ("language", "de"), ("prompt", "p"), ("temperature", "0"))
    await answered(gateway, form(*own, *theirs))
    (_, transcription), (_, diarization) = gateway.asked
    words = (("response_format", "verbose_json"), ("timestamp_granularities[]", "word"))
    assert transcription.fields == (*theirs, *words)
    assert diarization.fields == ()


async def test_where_nothing_diarizes_nobody_transcribes(
    gateway: Answering, form: Callable[..., Form]
) -> None:
    gateway.backends.clear()
    with pytest.raises(NotConfigured, match="diarizations"):
        await answered(gateway, form())
    assert gateway.asked == []


@pytest.mark.parametrize("relay", [TRANSCRIPTIONS, DIARIZATIONS])
@pytest.mark.parametrize(
    ("status", "answer", "error", "said"),
    [
        (400, {"error": {"message": "no such language"}}, InvalidRequest, "no such language"),
        (422, {"detail": [{"msg": "Field required"}]}, InvalidRequest, "status 422"),
        (415, b"what?", InvalidRequest, "status 415"),
        (401, {}, BackendError, "status 401"),
        (500, b"Internal Server Error", BackendError, "status 500"),
        (503, {}, Unavailable, "status 503"),
        (200, b"<html>", BackendError, "no JSON"),
        (200, b"[]", BackendError, "no JSON"),
        (200, {"segments": [{"speaker": 7}]}, BackendError, "not as it should be"),
    ],
)
async def test_what_is_wrong_at_a_backend_is_told(
    gateway: Answering,
    form: Callable[..., Form],
    relay: Relay,
    status: int,
    answer: Any,
    error: type[Exception],
    said: str,
) -> None:
    gateway.replies[relay] = [(status, answer)]
    with pytest.raises(error, match=said):
        await answered(gateway, form())


async def test_only_a_long_wav_file_is_diarized_in_chunks(
    gateway: Answering, form: Callable[..., Form]
) -> None:
    long = wav(bytes(2 * 1000 * 70))
    settings = {"diarize_whole_s": 60, "diarize_window_s": 40}
    await answered(gateway, form(content=long), **settings)
    assert [relay for relay, _ in gateway.asked] == [TRANSCRIPTIONS, *[DIARIZATIONS_CHUNK] * 2]


@pytest.mark.parametrize("content", [wav(bytes(2 * 1000 * 60)), b"no wav"])
async def test_anything_else_is_diarized_at_once(
    gateway: Answering, form: Callable[..., Form], content: bytes
) -> None:
    await answered(gateway, form(content=content), diarize_whole_s=60)
    assert [relay for relay, _ in gateway.asked] == [TRANSCRIPTIONS, DIARIZATIONS]


async def test_speakers_without_voiceprints_are_named_in_the_notes(
    gateway: Answering, form: Callable[..., Form]
) -> None:
    long = wav(bytes(2 * 1000 * 70))
    verbose = form(("response_format", "verbose_json"), content=long)
    answer = await answered(gateway, verbose, diarize_whole_s=60, diarize_window_s=40)
    assert answer["notes"] == [
        "no usable voiceprint, so they may be the same as others: SPEAKER_00, SPEAKER_01"
    ]


async def test_voiceprints_that_cannot_be_compared_are_the_backends_fault(
    gateway: Answering, form: Callable[..., Form]
) -> None:
    gateway.replies[DIARIZATIONS_CHUNK] = [
        (200, {**SPOKEN, "speakers": {"x": {"embedding": numbers}}}) for numbers in ([1.0], [1, 2])
    ]
    long = form(content=wav(bytes(2 * 1000 * 70)))
    with pytest.raises(BackendError, match="different lengths"):
        await answered(gateway, long, diarize_whole_s=60, diarize_window_s=40)


async def test_a_long_recording_that_is_no_wav_file_has_a_note(
    gateway: Answering, form: Callable[..., Form]
) -> None:
    gateway.replies[DIARIZATIONS] = [(200, {**SPOKEN, "duration": 4000.0})]
    answer = await answered(gateway, form(("response_format", "verbose_json")))
    assert len(answer["notes"]) == 1
    assert "only WAV files" in answer["notes"][0]
