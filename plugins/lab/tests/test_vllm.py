"""vLLM's stand-in, as the official client sees it."""

from __future__ import annotations

import json

import openai as api
import pytest
import spark_core_lab
from spark_core_lab.answers import STAND_IN

pytestmark = pytest.mark.anyio

MODEL = "lab/echo"
ASKED = [{"role": "user", "content": "repair the pump"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["celsius", "kelvin"]},
            },
        },
    },
}


@pytest.fixture
def client(lab, openai):
    return openai(lab.vllm)


async def chat(client, **more):
    return await client.chat.completions.create(**{"model": MODEL, "messages": ASKED, **more})


# -------------------------------------------------------------------------------------- chat


async def test_chat_echoes_what_was_asked(client):
    """The words of the prompt, each with its number: no two tokens are alike."""
    answer = await chat(client)
    words = answer.choices[0].message.content.split()
    assert words[:4] == ["repair-0", "the-1", "pump-2", "repair-3"]
    assert len(words) == len(set(words)) == answer.usage.completion_tokens == 16
    assert answer.choices[0].finish_reason == "stop"


async def test_the_same_question_gets_the_same_answer(client):
    one, other = await chat(client), await chat(client)
    assert one.choices == other.choices
    assert one.id != other.id


async def test_fewer_tokens_may_be_asked_for(client):
    answer = await chat(client, max_tokens=3)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)


async def test_more_tokens_come_only_where_the_end_is_ignored(client):
    assert (await chat(client, max_tokens=64)).usage.completion_tokens == 16
    more = await chat(client, max_tokens=64, extra_body={"ignore_eos": True})
    assert more.usage.completion_tokens == 64


async def test_streamed_chat_is_the_plain_one_in_pieces(client):
    plain = await chat(client)
    chunks = [chunk async for chunk in await chat(client, stream=True)]
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content for chunk in chunks)
    assert text == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


async def test_a_stream_ends_with_its_usage_where_that_is_asked_for(client):
    stream = await chat(client, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 16


async def test_events_merge_tokens(client):
    """As at the real one, where 64 tokens came as 35 to 42 events."""
    extra = {"ignore_eos": True}
    stream = await chat(client, stream=True, max_tokens=64, extra_body=extra)
    events = [chunk async for chunk in stream if chunk.choices[0].delta.content]
    assert 35 <= len(events) <= 42


async def test_a_stream_ends_with_done(lab, http):
    body = {"model": MODEL, "messages": ASKED, "stream": True}
    answer = await http.post(f"{lab.vllm.url}/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("\n\ndata: [DONE]\n\n")


# ------------------------------------------------------------------------------------- tools


async def test_a_tool_is_called_with_arguments_that_fit(client):
    answer = await chat(client, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "tool_calls"
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "weather"
    given = json.loads(call.function.arguments)
    assert given == {"city": "repair", "days": len("the"), "unit": "celsius"}


async def test_a_streamed_tool_call_is_the_plain_one_in_pieces(client):
    [plain] = (await chat(client, tools=[WEATHER])).choices[0].message.tool_calls
    chunks = [chunk async for chunk in await chat(client, tools=[WEATHER], stream=True)]
    parts = [part for c in chunks for part in c.choices[0].delta.tool_calls or ()]
    assert (parts[0].id, parts[0].function.name) == (plain.id, "weather")
    assert "".join(part.function.arguments for part in parts) == plain.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_after_a_tools_answer_comes_text(client):
    said = [*ASKED, {"role": "tool", "tool_call_id": "1", "content": "sunny"}]
    answer = await chat(client, messages=said, tools=[WEATHER])
    assert answer.choices[0].message.content.startswith("repair-0")


async def test_json_that_must_fit_a_schema_does(client):
    schema = {"properties": {"names": {"type": "array", "items": {"type": "string"}}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await chat(client, response_format=wanted)
    assert json.loads(answer.choices[0].message.content) == {"names": ["repair"]}


# -------------------------------------------------------------------- completions, responses


async def test_completions_plain_and_streamed(client):
    asked = {"model": MODEL, "prompt": "one two", "max_tokens": 4}
    plain = await client.completions.create(**asked)
    assert plain.choices[0].text == "one-0 two-1 one-2 two-3"
    stream = await client.completions.create(**asked, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == plain.choices[0].text


async def test_a_response_has_its_text_and_usage(client):
    answer = await client.responses.create(model=MODEL, input="repair the pump")
    assert answer.output_text.startswith("repair-0 the-1")
    assert (answer.status, answer.usage.output_tokens) == ("completed", 16)


async def test_a_streamed_response_goes_from_created_to_completed(client):
    stream = await client.responses.create(model=MODEL, input="repair the pump", stream=True)
    events = [event async for event in stream]
    names = [event.type for event in events]
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


async def test_a_response_that_is_cut_short_is_incomplete(client):
    answer = await client.responses.create(model=MODEL, input="hello", max_output_tokens=2)
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"


# -------------------------------------------------------------------------------- the server


async def test_models_say_that_they_are_stand_ins(client):
    [model] = [model async for model in client.models.list()]
    assert (model.id, model.owned_by) == (MODEL, STAND_IN)


async def test_every_answer_says_that_it_is_a_stand_ins(lab, http):
    for stand_in in lab.all.values():
        for path in ("/health", "/nowhere", "/__lab__/"):
            headers = (await http.get(f"{stand_in.url}{path}")).headers
            assert headers["x-spark-lab"] == "stand-in"
            assert headers["server"] == f"spark-lab stand-in ({stand_in.name})"


async def test_another_model_is_not_found(client):
    with pytest.raises(api.NotFoundError) as caught:
        await chat(client, model="gpt")
    assert caught.value.body["message"] == "The model `gpt` does not exist."
    assert caught.value.body["type"] == "NotFoundError"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model": 1'])
async def test_invalid_json_is_a_bad_request(lab, http, body):
    url = f"{lab.vllm.url}/v1/chat/completions"
    answer = await http.post(url, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "Bad Request"


async def test_only_json_is_taken(lab, http):
    url = f"{lab.vllm.url}/v1/chat/completions"
    answer = await http.post(url, content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "Unsupported Media Type" in answer.json()["error"]["message"]


async def test_a_prompt_that_is_too_long_is_a_bad_request(lab, client):
    lab.vllm.knobs.max_model_len = 20
    with pytest.raises(api.BadRequestError, match="maximum context length is 20 tokens"):
        await chat(client, messages=[{"role": "user", "content": "x" * 100}])


async def test_health_is_empty_and_tells_of_a_dead_engine(lab, client, http):
    answer = await http.get(f"{lab.vllm.url}/health")
    assert (answer.status_code, answer.content) == (200, b"")
    lab.vllm.knobs.engine_dead = True
    assert (await http.get(f"{lab.vllm.url}/health")).status_code == 503
    with pytest.raises(api.InternalServerError, match="EngineCore"):
        await chat(client)
    with pytest.raises(api.InternalServerError):
        await chat(client, stream=True)


async def test_a_key_guards_the_api_and_not_the_health(lab, client, http):
    lab.vllm.knobs.api_key = "right"
    with pytest.raises(api.AuthenticationError):
        await chat(client)
    assert (await chat(client.with_options(api_key="right"))).choices
    for path in ("/health", "/metrics", "/version"):
        assert (await http.get(f"{lab.vllm.url}{path}")).status_code == 200


async def test_sleeping_is_for_developers(lab, http):
    url = lab.vllm.url
    assert (await http.get(f"{url}/is_sleeping")).status_code == 404
    lab.vllm.knobs.dev_mode = True
    for path, asleep in (("sleep", True), ("wake_up", False)):
        assert (await http.post(f"{url}/{path}")).status_code == 200
        assert (await http.get(f"{url}/is_sleeping")).json() == {"is_sleeping": asleep}


async def test_metrics_and_load_count_what_runs_and_what_waits(http, openai):
    async with spark_core_lab.start("vllm", slots=1, metrics_lag=0, token_seconds=60) as lab:
        client = openai(lab.vllm)
        first, second = [await chat(client, stream=True) for _ in range(2)]
        assert await anext(first.__aiter__())
        text = (await http.get(f"{lab.vllm.url}/metrics")).text
        label = 'engine="0",model_name="lab/echo"'
        assert f"vllm:num_requests_running{{{label}}} 1.0" in text
        assert f"vllm:num_requests_waiting{{{label}}} 1.0" in text
        assert (await http.get(f"{lab.vllm.url}/load")).json() == {"server_load": 2}
        await first.close()
        await second.close()


async def test_metrics_lag_behind(http, openai):
    """What they tell is as old as they are seldom taken."""
    async with spark_core_lab.start("vllm", metrics_lag=3600, token_seconds=60) as lab:
        stream = await chat(openai(lab.vllm), stream=True)
        assert lab.vllm.in_flight == 1
        text = (await http.get(f"{lab.vllm.url}/metrics")).text
        assert 'vllm:num_requests_running{engine="0",model_name="lab/echo"} 0.0' in text
        await stream.close()


# ---------------------------------------------------------------------------- pooling, tokens


async def test_embeddings_are_unit_vectors_in_either_encoding(client):
    asked = {"model": MODEL, "input": ["a late invoice", "the north pump"]}
    encoded = await client.embeddings.create(**asked)
    listed = await client.embeddings.create(**asked, encoding_format="float")
    vectors = [item.embedding for item in listed.data]
    assert vectors == [item.embedding for item in encoded.data]
    assert [len(vector) for vector in vectors] == [1024, 1024]
    assert [sum(x * x for x in vector) for vector in vectors] == [1.0, 1.0]


async def test_texts_that_share_words_are_near(client):
    texts = ["the pump is loud", "a loud pump", "Graz in the morning, before seven"]
    data = (await client.embeddings.create(model=MODEL, input=texts)).data
    one, near, far = (item.embedding for item in data)

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(one, near) > cosine(one, far) + 0.1


async def test_tokens_can_be_embedded_like_their_text(lab, client, http):
    found = await http.post(f"{lab.vllm.url}/tokenize", json={"prompt": "the pump"})
    of_text = await client.embeddings.create(model=MODEL, input="the pump")
    of_tokens = await client.embeddings.create(model=MODEL, input=found.json()["tokens"])
    assert of_text.data[0].embedding == of_tokens.data[0].embedding


async def test_another_dimension_is_refused(client):
    with pytest.raises(api.BadRequestError, match="matryoshka"):
        await client.embeddings.create(model=MODEL, input="x", dimensions=256)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_reranking_puts_the_best_first(lab, http, path):
    body = {"query": "loud pump", "documents": ["an invoice", "the loud pump"], "top_n": 1}
    [result] = (await http.post(f"{lab.vllm.url}{path}", json=body)).json()["results"]
    assert (result["index"], result["relevance_score"]) == (1, 1.0)
    assert result["document"]["text"] == "the loud pump"


async def test_scores_are_for_pairs(lab, http):
    body = {"text_1": "loud pump", "text_2": ["a pump", "a pear"]}
    data = (await http.post(f"{lab.vllm.url}/score", json=body)).json()["data"]
    assert [item["score"] for item in data] == [0.5, 0.0]


async def test_pooling_answers_numbers(lab, http):
    data = (await http.post(f"{lab.vllm.url}/pooling", json={"input": "x"})).json()["data"]
    assert len(data[0]["data"]) == 128


@pytest.mark.parametrize("text", ["", "the pump", "Gruß, 轴承 👩‍👩‍👧 \x00"])
async def test_tokens_can_be_put_together_again(lab, http, text):
    tokens = (await http.post(f"{lab.vllm.url}/tokenize", json={"prompt": text})).json()
    assert tokens["count"] == len(tokens["tokens"])
    answer = await http.post(f"{lab.vllm.url}/detokenize", json={"tokens": tokens["tokens"]})
    assert answer.json() == {"prompt": text}
