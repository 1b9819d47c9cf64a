"""OpenAI's own client, unmodified, and curl, through ``spark serve``."""

from __future__ import annotations

import asyncio
import importlib.resources
import json
from pathlib import Path
from typing import Any

import openai as api
import pytest
from openai import AsyncOpenAI
from spark_core_lab.running import Lab

from .conftest import Served

pytestmark = pytest.mark.anyio

MODEL = "lab/echo"
SAY = [{"role": "user", "content": "one two three"}]


@pytest.fixture
def clip() -> bytes:
    """A second of speech."""
    return (importlib.resources.files("spark_core_parakeet") / "clip.wav").read_bytes()


async def test_a_chat(lab: Lab, client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model=MODEL, messages=SAY)
    assert "three" in (answer.choices[0].message.content or "")


async def test_a_chat_that_is_streamed(lab: Lab, client: AsyncOpenAI) -> None:
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = [
        c async for c in await client.chat.completions.create(model=MODEL, messages=SAY, **options)
    ]
    assert "three" in "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage


async def test_tools_are_called(lab: Lab, client: AsyncOpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    answer = await client.chat.completions.create(model=MODEL, messages=SAY, tools=[tool])
    [call] = answer.choices[0].message.tool_calls or []
    assert call.function.name == "f"


async def test_a_response(lab: Lab, client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model=MODEL, input="one two three")
    assert "three" in answer.output_text


async def test_a_response_that_is_streamed(lab: Lab, client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model=MODEL, input="one two three", stream=True)
    kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


async def test_a_completion(lab: Lab, client: AsyncOpenAI) -> None:
    answer = await client.completions.create(model=MODEL, prompt="one two three")
    assert "three" in answer.choices[0].text


async def test_embeddings(lab: Lab, client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="BAAI/bge-m3", input=["a", "b"])
    assert [len(item.embedding) for item in answer.data] == [1024, 1024]
    assert lab.bge_m3.requests == 1


async def test_a_transcript_by_the_name_that_openai_uses(
    lab: Lab, client: AsyncOpenAI, clip: bytes
) -> None:
    answer = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", clip))
    assert answer.text.strip()


async def test_speech_by_the_name_that_openai_uses(lab: Lab, client: AsyncOpenAI) -> None:
    answer = await client.audio.speech.create(
        model="gpt-4o-mini-tts", input="one two", voice="af_heart", response_format="wav"
    )
    assert answer.content.startswith(b"RIFF")
    assert json.loads(lab.kokoro.recent[-1].body)["model"] == "kokoro"


async def test_models_are_listed_with_their_other_names(lab: Lab, client: AsyncOpenAI) -> None:
    names = {model.id async for model in client.models.list()}
    assert {MODEL, "parakeet", "whisper-1", "kokoro", "tts-1"} <= names


async def test_an_unknown_model_is_an_error_that_the_client_knows(
    lab: Lab, client: AsyncOpenAI
) -> None:
    with pytest.raises(api.NotFoundError, match=MODEL) as raised:
        await client.chat.completions.create(model="nobody/nothing", messages=SAY)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("fault", ["cut_mid_stream", "half_event"])
async def test_a_stream_that_is_cut_off_does_not_end_as_if_it_was_whole(
    lab: Lab, client: AsyncOpenAI, fault: Any
) -> None:
    lab.vllm.faults.set(fault, times=1)
    stream = await client.chat.completions.create(model=MODEL, messages=SAY, stream=True)
    with pytest.raises((api.APIError, Exception)) as raised:  # httpx's own, too
        [chunk async for chunk in stream]
    assert "peer closed" in str(raised.value) or isinstance(raised.value, api.APIError)


async def curl(*words: str | Path) -> tuple[int, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-w", "\n%{http_code}", *map(str, words), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    body, _, status = out.decode().rpartition("\n")
    return int(status), json.loads(body)


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
async def test_curl_reranks(lab: Lab, server: Served, path: str) -> None:
    body = {
        "model": "BAAI/bge-reranker-v2-m3",
        "query": "loud pump",
        "documents": ["an invoice", "the loud pump"],
    }
    status, answer = await curl(server.url + path, "--json", json.dumps(body))
    assert (status, answer["results"][0]["index"]) == (200, 1)


@pytest.mark.parametrize(
    "path", ["diarizations", "diarization", "diarizations/chunk", "diarize-chunk"]
)
async def test_curl_asks_who_spoke_when(
    lab: Lab, server: Served, clip: bytes, tmp_path: Path, path: str
) -> None:
    (tmp_path / "a.wav").write_bytes(clip)
    url = f"{server.url}/v1/audio/{path}"
    status, answer = await curl(url, "-F", f"file=@{tmp_path / 'a.wav'}")
    assert status == 200, answer
    assert lab.parakeet.requests == 1
