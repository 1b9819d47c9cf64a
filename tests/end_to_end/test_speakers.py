"""Transcriptions with speakers: ``POST /v1/audio/transcriptions`` with ``diarize=true``."""

from __future__ import annotations

import asyncio
import io
import math
import os
import time
import wave
from array import array
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import spark_core_lab

from .serving import served

pytestmark = pytest.mark.anyio

RATE = 8000
LOW, HIGH, SILENCE = (200.0, 0.9), (400.0, 0.6), (0.0, 0.5)

PATH = "/v1/audio/transcriptions"
DIARIZATIONS = "/v1/audio/diarizations"
CHUNK = "/v1/audio/diarizations/chunk"

MODEL, WANTED = ("model", (None, "whisper-1")), ("diarize", (None, "true"))


def recording(*tones: tuple[float, float]) -> bytes:
    """A WAV file of tones, each in hertz and seconds; one of 0 hertz is silence."""
    sound = array(
        "h",
        (
            int(10_000 * math.sin(2 * math.pi * hertz * n / RATE))
            for hertz, seconds in tones
            for n in range(int(RATE * seconds))
        ),
    )
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(sound.tobytes())
    return file.getvalue()


TALK = recording(LOW, SILENCE, HIGH)
FILE = ("file", ("talk.wav", TALK, "audio/wav"))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[spark_core_lab.Lab]:
    async with spark_core_lab.start("parakeet") as lab:
        yield lab


@pytest.fixture
def lab(running: spark_core_lab.Lab) -> Iterator[spark_core_lab.Lab]:
    running.parakeet.recent.clear()
    yield running
    running.parakeet.faults.clear()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(home: Path, running: spark_core_lab.Lab) -> Iterator[str]:
    toml = (
        f'[plugins.parakeet]\nurl = "{running.parakeet.url}"\n'
        "[plugins.transcripts]\ndiarize_whole_s = 30\ndiarize_window_s = 20\n"
    )
    with served(home, toml, workers=1) as url:
        yield url


@pytest.fixture
async def api(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client


async def ask(api: httpx.AsyncClient, *parts: Any, query: str = "") -> httpx.Response:
    return await api.post(f"{PATH}{query}", files=list(parts))


def asked(lab: spark_core_lab.Lab) -> list[str]:
    """The paths of the work that the backend was asked for."""
    return [call.path for call in lab.parakeet.recent if call.method == "POST"]


def left_behind(home: Path) -> list[str]:
    """Uploads that are on the disk, or held open by the server although they have no name."""
    found = [str(path) for path in (home / ".spark" / "tmp").glob("*")]
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith(str(home / ".spark" / "tmp")):
            found.append(target)
    return found


@pytest.mark.parametrize(
    "parts",
    [(MODEL, WANTED, FILE), (FILE, MODEL, WANTED), (WANTED, FILE, MODEL)],
    ids=["fields first", "file first", "wanted first"],
)
async def test_item_18_each_word_has_its_speaker_whatever_comes_first(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab, home: Path, parts: Any
) -> None:
    answer = await ask(api, *parts, ("response_format", (None, "verbose_json")))
    assert answer.status_code == 200
    spoken = answer.json()
    assert spoken["speakers"] == ["speaker_0", "speaker_1"]
    assert [word["speaker"] for word in spoken["words"]] == ["speaker_0"] * 3 + ["speaker_1"] * 2
    assert " ".join(word["word"] for word in spoken["words"]) == spoken["text"]
    assert asked(lab) == [PATH, DIARIZATIONS]
    assert left_behind(home) == []


async def test_the_query_may_ask_for_speakers(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab
) -> None:
    answer = await ask(api, MODEL, FILE, query="?diarize=true")
    assert {segment["speaker"] for segment in answer.json()["segments"]} == {
        "speaker_0",
        "speaker_1",
    }
    assert asked(lab) == [PATH, DIARIZATIONS]


@pytest.mark.parametrize(
    ("name", "media_type", "beginning"),
    [
        ("json", "application/json", '{"text": "'),
        ("verbose_json", "application/json", '{"task": "transcribe"'),
        ("text", "text/plain; charset=utf-8", "speaker_0: "),
        ("srt", "application/x-subrip; charset=utf-8", "1\n00:00:00,000 --> 00:00:00,900\nspe"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00.000 --> 00:00:00.900\n<v speak"),
    ],
)
async def test_each_response_format_has_the_speakers(
    api: httpx.AsyncClient, name: str, media_type: str, beginning: str
) -> None:
    answer = await ask(api, ("response_format", (None, name)), WANTED, FILE)
    assert answer.headers["content-type"] == media_type
    assert answer.text.startswith(beginning)
    assert "speaker_1" in answer.text


async def test_the_official_client_gets_speakers(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        answer = await client.audio.transcriptions.create(
            model="whisper-1",
            file=("talk.wav", TALK),
            response_format="verbose_json",
            extra_body={"diarize": True},
        )
    assert answer.segments is not None
    speakers = [segment.speaker for segment in answer.segments]  # type: ignore[attr-defined]
    assert speakers == ["speaker_0", "speaker_1"]


@pytest.mark.parametrize(
    "parts",
    [(MODEL, FILE), (FILE, MODEL), (("diarize", (None, "false")), FILE)],
    ids=["fields first", "file first", "false"],
)
async def test_without_it_the_backend_answers(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab, home: Path, parts: Any
) -> None:
    answer = await ask(api, *parts)
    assert answer.status_code == 200
    assert answer.json().keys() == {"text"}
    assert asked(lab) == [PATH]
    assert left_behind(home) == []


async def test_it_is_refused_after_the_file_where_other_fields_come_first(
    api: httpx.AsyncClient,
) -> None:
    answer = await ask(api, MODEL, FILE, WANTED)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "diarize"
    assert "before the file" in error["message"]


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ((WANTED, MODEL), "file"),
        ((WANTED, ("file", ("talk.wav", b""))), "file"),
        ((WANTED, ("response_format", (None, "mp3")), FILE), "response_format"),
        ((WANTED, ("stream", (None, "true")), FILE), "stream"),
    ],
)
async def test_what_cannot_be_is_refused_before_anybody_works(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab, parts: Any, param: str
) -> None:
    answer = await ask(api, *parts)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert asked(lab) == []


async def test_speakers_need_a_form(api: httpx.AsyncClient) -> None:
    answer = await api.post(f"{PATH}?diarize=true", content=TALK)
    assert answer.status_code == 400
    assert "form" in answer.json()["error"]["message"]


async def test_what_is_no_audio_is_not_diarized(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab
) -> None:
    """The recogniser fails with 500, as whisper servers do: that is a bad gateway."""
    answer = await ask(api, WANTED, ("file", ("talk.wav", b"no audio at all")))
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "backend_error"
    assert asked(lab) == [PATH]


async def test_silence_is_an_empty_transcript(api: httpx.AsyncClient) -> None:
    answer = await ask(api, WANTED, ("file", ("talk.wav", recording())))
    assert (answer.status_code, answer.json()) == (200, {"text": "", "segments": []})


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("500", 502, "backend_error"),
        ("503", 503, "unavailable"),
        ("html", 502, "backend_error"),
        ("cut_mid_stream", 502, "backend_error"),
    ],
)
async def test_where_the_diarizer_fails_nothing_is_half_labelled(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab, fault: str, status: int, code: str
) -> None:
    lab.parakeet.faults.set(fault, times=1, path=DIARIZATIONS)
    answer = await ask(api, WANTED, FILE)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize(("number", "path"), [(1, PATH), (2, DIARIZATIONS)])
async def test_e8_a_caller_that_leaves_takes_the_work_and_the_upload_along(
    url: str, lab: spark_core_lab.Lab, home: Path, number: int, path: str
) -> None:
    """Whichever of the two is asked just then."""
    lab.parakeet.faults.set("hang", times=1, path=path)
    requests, cancelled = lab.parakeet.requests, lab.parakeet.cancelled
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        asking = asyncio.create_task(ask(client, WANTED, FILE))
        await lab.parakeet.until(lambda p: p.requests == requests + number and p.in_flight == 1)
        assert len(left_behind(home)) == 1
        asking.cancel()
        await asyncio.wait([asking])
    await lab.parakeet.until(lambda p: p.cancelled == cancelled + 1 and not p.in_flight)
    assert asked(lab)[-1] == path
    deadline = time.monotonic() + 10
    while left_behind(home):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)  # another process, which tells nobody


async def test_seven_speak_in_a_long_recording(
    api: httpx.AsyncClient, lab: spark_core_lab.Lab
) -> None:
    """A diarizer tells four apart: voiceprints say who is who across the chunks."""
    voices = [150.0 * 1.5**n for n in (0, 1, 2, 3, 4, 5, 6, 0, 3)]
    talk = recording(*(part for voice in voices for part in ((voice, 6.0), SILENCE)))
    verbose = ("response_format", (None, "verbose_json"))
    answer = await ask(api, verbose, WANTED, ("file", ("talk.wav", talk)))
    spoken = answer.json()
    assert spoken["speakers"] == [f"SPEAKER_{n:02}" for n in range(7)]
    said = [segment["speaker"] for segment in spoken["segments"]]
    assert list(dict.fromkeys(said)) == spoken["speakers"]
    assert (said[0], said[-1]) == ("SPEAKER_00", "SPEAKER_03")
    assert spoken["notes"] == []
    assert asked(lab) == [PATH, *[CHUNK] * 5]


async def test_what_a_transcript_with_speakers_took_is_told_and_counted(
    lab: spark_core_lab.Lab, api: httpx.AsyncClient
) -> None:
    found = await ask(api, WANTED, MODEL, FILE)
    assert found.status_code == 200
    said = found.headers["server-timing"].split(", ")
    assert [each.split(";")[0] for each in said] == ["queue", "backend", "gateway"]
    assert float(said[1].partition("dur=")[2]) > 0
    lab.parakeet.faults.set("html", times=1, path=DIARIZATIONS)
    assert (await ask(api, WANTED, MODEL, FILE)).status_code == 502
    counted = (await api.get("/metrics")).text
    for outcome in ("200", "backend-error"):
        name = f'backend="",outcome="{outcome}",relay="transcriptions"'
        assert f"spark_requests_total{{{name}}}" in counted
