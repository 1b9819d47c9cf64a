"""The speech server's stand-in."""

from __future__ import annotations

import asyncio

import openai as api
import pytest
import spark_core_lab

pytestmark = pytest.mark.anyio

LOW, HIGH, SILENCE = (200.0, 0.9), (400.0, 0.6), (0.0, 0.5)


@pytest.fixture
def client(lab, openai):
    return openai(lab.parakeet)


async def transcribe(client, recording, **more):
    file = ("talk.wav", recording, "audio/wav")
    return await client.audio.transcriptions.create(model="any", file=file, **more)


async def test_what_is_loud_is_words(client, recording):
    """A word for every 0.3 seconds; the same recording always gives the same ones."""
    talk = recording(LOW, SILENCE, HIGH)
    answer = await transcribe(client, talk)
    assert len(answer.text.split()) == 5
    assert answer == await transcribe(client, talk)
    assert (await transcribe(client, recording(SILENCE))).text == ""


async def test_words_and_segments_have_their_times(client, recording):
    wanted = ["word", "segment"]
    answer = await transcribe(
        client,
        recording(LOW, SILENCE, HIGH),
        response_format="verbose_json",
        timestamp_granularities=wanted,
    )
    assert answer.duration == 2.0
    assert [(s.start, s.end) for s in answer.segments] == [(0.0, 0.9), (1.4, 2.0)]
    assert [word.start for word in answer.words] == [0.0, 0.3, 0.6, 1.4, 1.7]
    assert " ".join(word.word for word in answer.words) == answer.text


async def test_only_the_granularities_that_are_asked_for_come(client, recording):
    wanted = {"response_format": "verbose_json", "timestamp_granularities": ["word"]}
    answer = await transcribe(client, recording(LOW), **wanted)
    assert answer.segments is None
    assert len(answer.words) == 3


async def test_subtitles(client, recording):
    talk = recording(LOW, SILENCE, HIGH)
    srt = await transcribe(client, talk, response_format="srt")
    vtt = await transcribe(client, talk, response_format="vtt")
    assert "2\n00:00:01,400 --> 00:00:02,000\n" in srt
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.900\n")
    text = await transcribe(client, talk, response_format="text")
    assert text.strip() == (await transcribe(client, talk)).text


@pytest.mark.parametrize(("width", "channels"), [(1, 1), (2, 2), (3, 1), (4, 2)])
async def test_any_pcm_is_heard_alike(client, recording, width, channels):
    one = await transcribe(client, recording(LOW))
    assert await transcribe(client, recording(LOW, width=width, channels=channels)) == one


async def test_garbage_crashes_the_request_and_not_the_server(client, recording):
    """As whisper servers do: 500, not 400."""
    with pytest.raises(api.InternalServerError):
        await transcribe(client, b"no audio at all")
    assert (await transcribe(client, recording(LOW))).text


async def test_a_missing_file_is_unprocessable(lab, http):
    answer = await http.post(f"{lab.parakeet.url}/v1/audio/transcriptions", data={"model": "x"})
    assert answer.status_code == 422


@pytest.mark.parametrize("path", ["diarizations", "diarization"])
async def test_each_pitch_is_a_speaker(lab, http, recording, path):
    talk = {"file": ("talk.wav", recording(LOW, SILENCE, HIGH, SILENCE, LOW))}
    answer = (await http.post(f"{lab.parakeet.url}/v1/audio/{path}", files=talk)).json()
    assert answer["duration"] == pytest.approx(3.4)
    speakers = [segment["speaker"] for segment in answer["segments"]]
    assert speakers == ["speaker_0", "speaker_1", "speaker_0"]
    assert "speakers" not in answer


async def test_a_fifth_speaker_is_taken_for_another(lab, http, recording):
    """Sortformer tells four apart at most."""
    tones = [part for n in range(6) for part in ((150.0 * 1.5**n, 0.4), SILENCE)]
    files = {"file": ("talk.wav", recording(*tones))}
    answer = (await http.post(f"{lab.parakeet.url}/v1/audio/diarizations", files=files)).json()
    assert len(answer["segments"]) == 6
    assert len({segment["speaker"] for segment in answer["segments"]}) == 4


@pytest.mark.parametrize("path", ["diarizations/chunk", "diarize-chunk"])
async def test_a_voice_is_the_same_in_every_chunk(lab, http, recording, path):
    """Whatever label it gets there: that is what the embeddings are for."""

    async def voices(*tones):
        files = {"file": ("talk.wav", recording(*tones))}
        answer = await http.post(f"{lab.parakeet.url}/v1/audio/{path}", files=files)
        return [item["embedding"] for item in answer.json()["speakers"].values()]

    low, high = await voices(LOW, SILENCE, HIGH)
    high_again, low_again = await voices(SILENCE, HIGH, SILENCE, LOW)

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(low, low_again) > 0.9 < cosine(high, high_again)
    assert cosine(low, high) < 0.5


async def test_one_recording_at_a_time_and_health_waits_for_it(http, recording):
    """While the GPU works nothing is answered, as at the real one."""
    async with spark_core_lab.start("parakeet", work_seconds=3600) as lab:
        parakeet = lab.parakeet
        url, files = parakeet.url, {"file": ("talk.wav", recording(LOW))}
        work = [
            asyncio.create_task(http.post(f"{url}/v1/audio/transcriptions", files=files))
            for _ in range(2)
        ]
        await parakeet.until(lambda p: p.in_flight == 2 and p.backend.gpu.waiting == 1)
        probe = asyncio.create_task(http.get(f"{url}/health"))
        await parakeet.until(lambda p: p.counters.probes == 1)
        assert (await http.get(f"{url}/v1/models")).status_code == 200  # asked later, and answered
        assert not probe.done()
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        assert (await probe).status_code == 200
