"""Forty turns with a stand-in for a model that rewrites, quotes, translates and mangles.

Nothing private leaves, and every answer is restored to the letter. What the model is told stands
between « and », so that it finds it whatever became of it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from ...scripted import Peer
from .conftest import Frontier, chunks, events, in_json, message, streamed

pytestmark = pytest.mark.anyio

CHAT = "/v1/frontier/chat/completions"
TURNS = 40

VALUES = (
    "Ottilie Kranzfeld",
    "Tilly Kranzfeld",
    "Kranzfeld, Ottilie",
    "Ottilie",
    "OTTILIE KRANZFELD",
    "Břetislav Horňák",
    "Marguerite Delacourt-Vey",
    "李静怡",
    "Quorrin Pumpworks Ltd",
    "ottilie@kranzfeld.example",
    "m.vey@pompes.example",
    "+420 601 555 214",
    "KD-7741902",
    "88120347",
    "DE89 3704 0044 0532 0130 00",
    "4111 1111 1111 1111",
    "10.20.30.40",
    "https://intern.example/offers?id=7",
)

TEXTS = (
    "Please write to « {} » and put « {} » in copy.",
    "Bitte sagen Sie « {} », dass « {} » morgen anruft.",
    "Merci d'avertir « {} » ; le contact est « {} ».",
    "Napište prosím, že « {} » čeká na « {} ».",
    "« {} » said:\n> ask « {} » first\nWhat do you think?",
    "Per favore, confronta « {} » con « {} ».",
    '{{"to": "« {} »", "about": ["« {} »"]}}',
    "请联系« {} »，并通知« {} »。",
)

#: What a model makes of a placeholder.
MANGLES: tuple[Callable[[str], str], ...] = (
    lambda mark: mark,
    lambda mark: mark.lower(),
    lambda mark: mark.strip("[]"),
    lambda mark: mark.replace("_", "\\_"),
    lambda mark: mark.replace("_", " ").title(),
    lambda mark: f"［{mark.strip('[]')}］",
    lambda mark: f"[ {mark.strip('[]')} ]",
)

#: What a model says of two things that it was told of, and of all that it was told.
ANSWERS: tuple[str, ...] = (
    "Dear {a},\n\nthank you. {b} will see to it.\n",
    "> {text}\n\nI would ask {b} first, then {a}.",
    "Sehr geehrte Damen und Herren, {a} und {b} sind informiert.",
    "Chère équipe, {b} a écrit : « {a} ».",
    '```json\n{{"first": "{a}", "second": "{b}"}}\n```',
    "| who | what |\n|---|---|\n| {a} | {b} |\n",
    "您好，{a}：{b} 已收到。",
    "- **{b}**\n- *{a}*\n",
)

PLACEHOLDER = re.compile(r"\[[A-Z]+(?:_[A-Z0-9]+)+\]")


def answered(turn: int, text: str, mangle: Callable[[str], str]) -> str:
    """What is said in *turn*, in which *text* was said last."""
    a, b, *_ = (mangle(mark) for mark in re.findall("«(.*?)»", text))
    return ANSWERS[turn % len(ANSWERS)].format(a=a, b=b, text=text.replace("\n", "\n> "))


def asked(turn: int) -> str:
    first, second = VALUES[turn % len(VALUES)], VALUES[(turn * 5 + 2) % len(VALUES)]
    return TEXTS[turn % len(TEXTS)].format(first, second)


class Model:
    """The stand-in: it answers plainly, in pieces, or with a call of a tool, and mangles."""

    def __init__(self) -> None:
        self.turn = 0
        self.mangled = 0
        self._random = random.Random(7)

    def _mangle(self, mark: str) -> str:
        self.mangled += len(PLACEHOLDER.findall(mark))
        return PLACEHOLDER.sub(lambda m: MANGLES[self.turn % len(MANGLES)](m[0]), mark)

    async def __call__(self, peer: Peer, body: dict[str, Any]) -> None:
        users = [m["content"] for m in body["messages"] if m["role"] == "user"]
        said = answered(self.turn, users[-1], self._mangle)
        if calls(self.turn):
            function = {"name": "send", "arguments": json.dumps({"text": said})}
            call = {"id": f"c{self.turn}", "type": "function", "function": function}
            await peer.send(in_json(message(None, tool_calls=[call])))
        elif body.get("stream"):
            await peer.send(
                *streamed(*self._cut(chunks({"content": p} for p in self._words(said))))
            )
        else:
            await peer.send(in_json(message(said)))

    def _words(self, said: str) -> Iterator[str]:
        while said:
            length = self._random.randint(1, 5)
            yield said[:length]
            said = said[length:]

    def _cut(self, told: bytes) -> Iterator[bytes]:
        while told:
            length = self._random.randint(1, 400)
            yield told[:length]
            told = told[length:]


def calls(turn: int) -> bool:
    """Whether the model calls a tool in *turn*."""
    return turn % 4 == 3


def told(turn: int, answer: httpx.Response) -> tuple[str, dict[str, Any]]:
    """What the caller hears, and the message that it keeps."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        deltas = [event["choices"][0]["delta"] for event in events(answer.text)]
        said = "".join(delta.get("content") or "" for delta in deltas)
        return said, {"role": "assistant", "content": said}
    kept: dict[str, Any] = answer.json()["choices"][0]["message"]
    if calls(turn):
        return json.loads(kept["tool_calls"][0]["function"]["arguments"])["text"], kept
    return kept["content"], kept


@pytest.mark.parametrize("turns", [12, pytest.param(TURNS, marks=pytest.mark.slow)])
async def test_turns_leak_nothing_and_are_restored_to_the_letter(
    http: httpx.AsyncClient, frontier: Frontier, turns: int
) -> None:
    model = frontier.script = Model()
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": f"You are the assistant of {VALUES[0]}."}
    ]
    scope: dict[str, str] = {}
    wrong = []
    for turn in range(turns):
        model.turn = turn
        messages.append({"role": "user", "content": asked(turn)})
        body = {"model": "far", "messages": messages, "stream": turn % 2 == 1 and not calls(turn)}
        answer = await http.post(CHAT, json=body, headers=scope)
        assert answer.status_code == 200, answer.text
        scope = {"x-spark-scope": answer.headers["x-spark-scope"]}
        said, kept = told(turn, answer)
        messages.append(kept)
        if calls(turn):
            result = json.dumps({"sent": True, "to": VALUES[turn % len(VALUES)]})
            call = kept["tool_calls"][0]["id"]
            messages.append({"role": "tool", "tool_call_id": call, "content": result})
        if said != answered(turn, asked(turn), lambda mark: mark):
            wrong.append((turn, said))
    assert wrong == []
    heard = frontier.heard.casefold()
    parts = {"kranzfeld", "ottilie", "tilly", "horňák", "delacourt", "pumpworks", "7741902"}
    leaked = [value for value in {*VALUES, *parts} if value.casefold() in heard]
    assert leaked == []
    sent = sum(len(PLACEHOLDER.findall(body.decode())) for body in frontier.bodies)
    print(
        f"{turns} turns, {len(frontier.bodies)} requests with {sent} placeholders, "
        f"{model.mangled} of them answered in {len(MANGLES)} ways: {len(leaked)} leaks, "
        f"{turns - len(wrong)} answers restored to the letter"
    )
