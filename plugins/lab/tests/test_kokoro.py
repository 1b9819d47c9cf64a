"""The speaking server's stand-in."""

from __future__ import annotations

import io
import wave

import openai as api
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
def client(lab, openai):
    return openai(lab.kokoro)


async def speak(client, text="hello world", voice="af_heart", **more):
    answer = await client.audio.speech.create(model="kokoro", input=text, voice=voice, **more)
    return answer.content


def samples(recording):
    with wave.open(io.BytesIO(recording)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (24_000, 2)
        return file.readframes(file.getnframes())


async def test_wav_is_a_tone_for_each_word(client):
    one = samples(await speak(client, "hello", response_format="wav"))
    assert len(one) == 2 * int(24_000 * 0.3)
    assert len(samples(await speak(client, response_format="wav"))) == 2 * len(one)


async def test_pcm_is_the_same_without_a_header(client):
    pcm = await speak(client, response_format="pcm")
    assert samples(await speak(client, response_format="wav")) == pcm


async def test_a_whole_wav_file_knows_its_length(client):
    """One that is streamed, which is the default, does not."""
    whole = await speak(client, response_format="wav", extra_body={"stream": False})
    streamed = await speak(client, response_format="wav")
    assert whole[4:8] == (len(whole) - 8).to_bytes(4, "little")
    assert streamed[4:8] == b"\xff\xff\xff\xff"
    assert samples(whole) == samples(streamed)


async def test_quicker_speech_is_shorter(client):
    quick, slow = [len(await speak(client, response_format="pcm", speed=s)) for s in (2.0, 0.5)]
    assert slow == 4 * quick


async def test_other_voices_sound_different(client):
    one = await speak(client, response_format="pcm")
    assert one != await speak(client, voice="am_adam", response_format="pcm")
    assert await speak(client, voice="af_bella+am_adam(2)", response_format="pcm")


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac"])
async def test_other_formats_are_labelled_as_no_audio(client, form):
    answer = await client.audio.speech.create(
        model="kokoro", input="hello", voice="af_heart", response_format=form
    )
    assert answer.response.headers["content-type"].startswith("audio/")
    assert b"stand-in: not audio" in answer.content


async def test_what_it_says_can_be_heard_by_the_other(lab, client, openai):
    talk = await speak(client, "four words are said", response_format="wav")
    file = ("talk.wav", talk, "audio/wav")
    heard = await openai(lab.parakeet).audio.transcriptions.create(model="any", file=file)
    assert len(heard.text.split()) == 4


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"voice": "nobody"}, 400),
        ({"text": " "}, 422),
        ({"speed": 9.0}, 422),
        ({"response_format": "ogg"}, 422),
    ],
)
async def test_what_cannot_be_said(client, asked, status):
    with pytest.raises(api.APIStatusError) as caught:
        await speak(client, **asked)
    assert caught.value.status_code == status


async def test_errors_are_in_their_own_shape(lab, http):
    body = {"input": "hello", "voice": "nobody"}
    answer = await http.post(f"{lab.kokoro.url}/v1/audio/speech", json=body)
    assert answer.json()["detail"].keys() == {"error", "message", "type"}
    lab.kokoro.faults.set("500", times=1)
    answer = await http.post(f"{lab.kokoro.url}/v1/audio/speech", json={"input": "hello"})
    assert answer.json()["detail"]["error"] == "processing_error"


async def test_voices_are_objects_or_names(lab, http):
    url = f"{lab.kokoro.url}/v1/audio/voices"
    assert (await http.get(url)).json()["voices"][0] == {"id": "af_heart", "name": "af_heart"}
    assert (await http.get(f"{url}?legacy=true")).json()["voices"][0] == "af_heart"
    assert (await http.post(f"{url}/combine", json=["a"])).status_code == 403


async def test_health_is_always_healthy(lab, http):
    lab.kokoro.faults.set("500")
    assert (await http.get(f"{lab.kokoro.url}/health")).json() == {"status": "healthy"}
