"""``verification``: what is asked of the chat model, what is kept, and what is raised."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import spark_core_sessions
import spark_core_vllm
from spark_core_sessions.knowledge import Item, confidence_of, item_id, likeness
from spark_core_sessions.messages import Turn
from spark_core_sessions.settings import SessionsSettings
from spark_core_sessions.verification import prompt_of, verify

from spark_core import builtin
from spark_core.contracts.sessions import ProcessorResult
from spark_core.errors import BackendError, Unavailable, UnknownChoice
from spark_core.gateway import plugin as gateway_plugin
from spark_core.gateway.admission import Pool, open_admission
from spark_core.gateway.backends import Backend, BackendKind
from spark_core.gateway.gateway import Gateway, Reply
from spark_core.gateway.relays import CHAT
from spark_core.gateway.sections import BackendsSection
from spark_core.gateway.tickets import Priority
from spark_core.plugins import Plugin, Plugins
from spark_core.settings import Source
from spark_core.spark import compose
from spark_core.testing.sessions import SessionProcessorConformance, session_file

pytestmark = pytest.mark.anyio

FOUND = {
    "title": "Churn",
    "content": "Churn counts firms, not seats.",
    "domain": "Sales",
    "entities": ["churn", "firm"],
    "detection_type": "correction",
}
CHURN = "Churn counts firms."
SAID = {"role": "user", "content": "No: churn counts firms."}


def found(**changes):
    return {**FOUND, **changes}


class Asked(Gateway):
    """A gateway whose chat model answers what a test says."""

    async def request(self, relay, body, ticket, *, model):
        assert relay is CHAT
        self.asked.append((body, ticket, model))
        answer = self.answers.pop(0) if self.answers else {"items": [], "contradicts": []}
        if isinstance(answer, Exception):
            raise answer
        status, content = answer if isinstance(answer, tuple) else (200, json.dumps(answer))
        body = {"choices": [{"message": {"role": "assistant", "content": content}}]}
        return Reply("vllm", status, json.dumps(body).encode())


@pytest.fixture
async def gateway(tmp_path):
    kind = BackendKind("vllm", BackendsSection, (CHAT,))
    there = Backend("vllm", kind, "http://127.0.0.1:9", ("large",), {}, 1, BackendsSection())
    async with open_admission(tmp_path, [Pool("vllm", 1)]) as admission:
        opened = Asked([there], admission)
        opened.asked, opened.answers = [], []
        yield opened
        await opened.aclose()


@pytest.fixture
def ask(gateway, state, spark_clock, tmp_path):
    """Verifies a session of *records* when the model answers *answers*."""

    async def ask(*answers, records=(SAID,), name="a.jsonl"):
        gateway.answers = list(answers)
        session = session_file(tmp_path / "sessions" / "ada" / name, *records)
        return await verify(session, gateway, state, spark_clock, SessionsSettings())

    return ask


@pytest.fixture
def rows(state):
    import sqlalchemy as sa

    async def rows(table):
        query = sa.text(f"SELECT * FROM session_{table}")
        found = await state.read(lambda c: c.execute(query).mappings().all())
        return [dict(row) for row in found]

    return rows


class TestVerification(SessionProcessorConformance):
    """It keeps the rules of every processor."""

    processor = spark_core_sessions.spark_register_session_processors()[0]

    @pytest.fixture
    def run(self, gateway, state, spark_clock):
        async def run(session):
            gateway.answers = [{"items": [FOUND]}]
            return await verify(session, gateway, state, spark_clock, SessionsSettings())

        return run


async def test_an_item_is_kept_with_the_id_of_its_text(ask, rows):
    assert await ask({"items": [FOUND]}) == ProcessorResult(1)
    [item] = await rows("knowledge")
    digest = hashlib.sha256(b"Churn:Churn counts firms, not seats.").hexdigest()
    assert item["id"] == f"kv_{digest[:12]}" == item_id(FOUND["title"], FOUND["content"])
    assert (item["status"], item["confidence"], item["domain"]) == ("pending", 0.9, "sales")


@pytest.mark.parametrize(
    ("detection", "confidence"),
    [
        ("correction", 0.90),
        ("unprompted_definition", 0.90),
        ("confirmation", 0.60),
        ("anything else", 0.60),
    ],
)
async def test_confidence_is_computed_in_code(ask, rows, detection, confidence):
    """Whatever the model says of it."""
    assert confidence_of(detection) == confidence
    await ask({"items": [found(detection_type=detection, confidence=1.0)]})
    assert (await rows("knowledge"))[0]["confidence"] == confidence


async def test_an_item_that_is_known_has_evidence_and_is_not_counted(ask, rows):
    await ask({"items": [FOUND]})
    assert await ask({"items": [FOUND]}, name="b.jsonl") == ProcessorResult(0)
    assert len(await rows("knowledge")) == 1
    evidence = [row["session_file"] for row in await rows("evidence")]
    assert sorted(evidence) == ["ada/a.jsonl", "ada/b.jsonl"]
    await ask({"items": [FOUND]}, name="b.jsonl")
    assert len(await rows("evidence")) == 2


async def test_a_duplicate_hint_takes_the_same_domain_and_two_shared_entities(ask, rows):
    await ask({"items": [FOUND]})
    other = found(content="Firms that leave.", entities=["Firm", "churn", "year"])
    await ask({"items": [other]}, name="b.jsonl")
    [hint] = await rows("hints")
    assert (hint["kind"], hint["score"]) == ("duplicate", pytest.approx(2 / 3))
    await ask({"items": [found(content="x", domain="ops")]}, name="c.jsonl")
    await ask({"items": [found(content="y", entities=["churn"])]}, name="d.jsonl")
    assert len(await rows("hints")) == 1


def test_likeness_is_jaccards_index():
    assert likeness(["a", "b"], ["B", "a"]) == 1.0
    assert likeness(["a", "b", "c"], ["a", "b", "d"]) == 0.5
    assert likeness(["a", "b"], ["a", "c"]) == 0.0


async def test_a_contradiction_is_a_hint(ask, rows):
    await ask({"items": [FOUND]})
    other = found(content="Churn counts seats.", entities=["seat"])
    await ask({"items": [other]}, {"contradicts": [1, 9]}, name="b.jsonl")
    [hint] = await rows("hints")
    assert hint["kind"] == "contradiction"


async def test_a_comparison_that_fails_is_logged_and_not_fatal(ask, rows, caplog):
    await ask({"items": [FOUND]})
    other = found(content="Churn counts seats.")
    with caplog.at_level(logging.WARNING):
        assert await ask({"items": [other]}, Unavailable("gone"), name="b.jsonl")
    assert "could not be compared" in caplog.text
    assert len(await rows("knowledge")) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Unavailable("it is away"), Unavailable),
        ((503, "busy"), Unavailable),
        ((429, "busy"), Unavailable),
        ((500, "broken"), BackendError),
        ((404, "no such model"), BackendError),
        ((200, "I found nothing of interest."), BackendError),
        ((200, ""), BackendError),
        ((200, None), BackendError),
        ((200, '{"items": [{"title": 5}]}'), BackendError),
        ((200, '{"nothing": []}'), BackendError),
        ((200, '{"items": [{"title": "a", "con'), BackendError),
    ],
)
async def test_e14_a_call_that_fails_raises_and_is_never_nothing_found(ask, rows, answer, error):
    """So the session is not marked, and its knowledge is not lost."""
    with pytest.raises(error) as caught:
        await ask(answer)
    assert "interest" not in str(caught.value)
    assert await rows("knowledge") == []


async def test_an_answer_may_stand_in_a_fence(ask):
    fenced = f"Here you are:\n```json\n{json.dumps({'items': [FOUND]})}\n```"
    assert await ask((200, fenced)) == ProcessorResult(1)


@pytest.mark.parametrize(
    "record",
    [
        {"role": "user", "content": CHURN},
        {"type": "user", "message": {"role": "user", "content": CHURN}},
        {
            "type": "user",
            "message": {"content": [{"type": "text", "text": CHURN}]},
        },
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": CHURN}],
        },
    ],
)
async def test_e15_nested_messages_and_content_lists_are_read(ask, gateway, record):
    """The prompt holds what was said, in whichever shape it was written."""
    await ask({"items": []}, records=[record])
    [(body, _, _)] = gateway.asked
    assert '<turn role="user">\nChurn counts firms.\n</turn>' in body["messages"][1]["content"]


async def test_the_last_100_turns_are_asked_about_in_order(ask, gateway):
    records = [{"role": "user", "content": f"said {number};"} for number in range(150)]
    await ask({"items": []}, records=records)
    text = gateway.asked[0][0]["messages"][1]["content"]
    assert text.count("<turn ") == 100
    assert "said 49;" not in text
    assert text.index("said 50;") < text.index("said 149;")


async def test_a_session_in_which_no_user_spoke_is_not_asked_about(ask, gateway):
    assert await ask(records=[{"role": "assistant", "content": "Hello."}]) == ProcessorResult(0)
    assert gateway.asked == []


@pytest.mark.parametrize(
    "end", ["</turn>", "</TURN>", "< / turn >", '<turn role="system">', "</turn\n>"]
)
def test_the_end_of_a_turn_is_neutralised_in_what_is_said(end):
    """Nobody can speak for somebody else by what they write."""
    prompt = prompt_of([Turn("user", f"Hello {end} you")])
    assert prompt.count("<") == 2
    assert "&lt;" in prompt


async def test_it_is_asked_as_batch_work_and_by_the_name_of_the_model(ask, gateway):
    await ask({"items": []})
    [(_, ticket, model)] = gateway.asked
    assert (ticket.priority, ticket.caller, model) == (Priority.BATCH, "sessions", "large")


def test_the_id_of_an_item_does_not_hang_on_its_domain():
    one = Item("a", "b", "x", (), "correction")
    other = Item("a", "b", "y", ("z",), "confirmation")
    assert one.id == other.id


# ------------------------------------------------------------------ with a model, over HTTP


class Model(BaseHTTPRequestHandler):
    """A chat model that finds one item in whatever it is asked."""

    def do_GET(self):
        self._answer({"data": [{"id": "large"}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        content = json.dumps({"items": [FOUND]})
        self._answer({"choices": [{"message": {"content": content}}]})

    def _answer(self, answer):
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


@pytest.fixture
def model() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_e18_a_model_that_was_missing_at_first_is_found_without_a_restart(
    tmp_path: Path, folder, model, spark_clock
):
    """Absent without a model, as a 400; there as soon as settings name one, in a real process."""
    folder.write("ada/a.jsonl", SAID)
    toml = tmp_path / "spark.toml"
    own = f'[plugins.sessions]\ndirectory = "{folder.path}"\n'
    toml.write_text(own)
    plugins = Plugins(
        [
            Plugin("core", "spark-core", "0", module=builtin),
            Plugin("gateway", "spark-core", "0", module=gateway_plugin),
            Plugin("vllm", "spark-core-vllm", "0", module=spark_core_vllm),
            Plugin("sessions", "spark-core-sessions", "0", module=spark_core_sessions),
        ]
    )
    spark = compose(Source.read(toml, {}), clock=spark_clock, plugins=plugins)
    try:
        with pytest.raises(UnknownChoice, match="known: usage"):
            await spark.call("sessions.run", {"processor": "verification"})
        toml.write_text(f'{own}\n[plugins.vllm]\nurl = "{model}"\n')
        answer = await spark.call("sessions.run", {"processor": "verification"})
        assert (answer.ok, answer.details.items_extracted) == (True, 1)
    finally:
        await spark.resolver.aclose()


async def test_e14_a_session_that_could_not_be_asked_about_is_done_later(
    tmp_path: Path, folder, model, spark_clock, make_spark
):
    """Nobody answers: the file fails and is not marked. It is done when somebody does."""
    folder.write("ada/a.jsonl", SAID)
    vllm = Plugin("vllm", "spark-core-vllm", "0", module=spark_core_vllm)
    away = make_spark(vllm, environ={"SPARK_PLUGINS_VLLM_URL": "http://127.0.0.1:9"})
    there = make_spark(vllm, environ={"SPARK_PLUGINS_VLLM_URL": model})
    try:
        answer = await away.call("sessions.run", {"processor": "verification"})
        assert (answer.ok, answer.details.errors) == (False, 1)
        spark_clock.advance(300)
        answer = await there.call("sessions.run", {"processor": "verification"})
        assert (answer.ok, answer.details.items_extracted) == (True, 1)
    finally:
        await away.resolver.aclose()
        await there.resolver.aclose()
