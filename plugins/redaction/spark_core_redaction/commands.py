"""``spark scrub`` and ``spark rehydrate``: files or standard input, byte for byte."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import spark_core
from spark_core import Spark
from spark_core.errors import InvalidRequest, SettingsError

__all__ = ["rehydrate", "scrub"]

_FILES = click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
_OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that the results are written to, under the names of the files.",
)
_MESSAGES = click.option(
    "--messages", is_flag=True, help="What is read are messages as OpenAI has them, in JSON."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")

Answer = Mapping[str, Any]


@click.command()
@_FILES
@click.option("--scope", help="The handle of an earlier call, or a name of your own.")
@_OUTPUT
@_MESSAGES
@_JSON
def scrub(
    files: Sequence[Path], scope: str | None, output: Path | None, messages: bool, as_json: bool
) -> None:
    """Replace what is private in FILES, or in standard input, so that it may leave.

    The handle, which `spark rehydrate` takes, is written to standard error.
    """

    given = _read(files, output, messages=messages, as_json=as_json)

    async def run(spark: Spark) -> list[Answer]:
        answers: list[Answer] = []
        for each in given:
            request = {**each, "scope": answers[-1]["handle"] if answers else scope}
            answer = await spark.call("redaction.scrub", request, caller="cli")
            answers.append(answer.model_dump())
        return answers

    answers = _called(run)
    _write(files, answers, output, as_json=as_json)
    if not as_json:
        click.echo(f"handle: {answers[-1]['handle']}", err=True)


@click.command()
@_FILES
@click.option("--handle", required=True, envvar="SPARK_HANDLE", help="What scrubbing gave.")
@_OUTPUT
@_MESSAGES
@_JSON
def rehydrate(
    files: Sequence[Path], handle: str, output: Path | None, messages: bool, as_json: bool
) -> None:
    """Restore what placeholders stand for in FILES, or in standard input."""

    given = _read(files, output, messages=messages, as_json=as_json)

    async def run(spark: Spark) -> list[Answer]:
        requests = [{**each, "handle": handle} for each in given]
        name = "redaction.rehydrate"
        return [(await spark.call(name, each, caller="cli")).model_dump() for each in requests]

    answers = _called(run)
    _write(files, answers, output, as_json=as_json)
    for unknown in dict.fromkeys(u for answer in answers for u in answer["unknown"]):
        click.echo(f"warning: {unknown} stands for nothing here", err=True)


def _called(run: Callable[[Spark], Awaitable[list[Answer]]]) -> list[Answer]:
    async def opened() -> list[Answer]:
        config = click.get_current_context().find_root().obj
        async with spark_core.open(config) as spark:
            return await run(spark)

    return asyncio.run(opened())


def _read(
    files: Sequence[Path], output: Path | None, *, messages: bool, as_json: bool
) -> list[dict[str, Any]]:
    """What is in *files*, each as a request has it."""
    if len(files) > 1 and output is None and not as_json:
        raise click.UsageError("several files need --output or --json")
    if output is not None and (not files or Path("-") in files):
        raise click.UsageError("--output needs files, as results have their names")
    if output is not None and len({file.name for file in files}) < len(files):
        raise click.UsageError("files of one name need several calls, each with its --output")
    return [_request(file, messages=messages) for file in files or [Path("-")]]


def _request(file: Path, *, messages: bool) -> dict[str, Any]:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = content.decode()
        return {"messages": json.loads(text)} if messages else {"text": text}
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidRequest(f"{file} is not UTF-8") from None
    except ValueError:
        raise InvalidRequest(f"{file} is not JSON") from None


def _write(
    files: Sequence[Path], answers: Sequence[Answer], output: Path | None, *, as_json: bool
) -> None:
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for file, answer in zip(files, answers, strict=True):
            (output / file.name).write_bytes(_bytes(answer))
    elif not as_json:
        sys.stdout.buffer.write(_bytes(answers[0]))
    if as_json:
        told = answers[0] if len(answers) == 1 else {"files": _named(files, answers)}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))


def _named(files: Sequence[Path], answers: Sequence[Answer]) -> list[Answer]:
    return [{"file": str(f), **answer} for f, answer in zip(files, answers, strict=True)]


def _bytes(answer: Answer) -> bytes:
    if "messages" in answer:
        return json.dumps(answer["messages"], indent=2, ensure_ascii=False).encode() + b"\n"
    return str(answer["text"]).encode()
