"""The command ``spark demo``."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
from spark_core_cli.output import clean

import spark_core
from spark_core.contracts.vectors import Mode
from spark_core.errors import SettingsError
from spark_core.plugins import Plugins
from spark_core.settings import variables
from spark_core.sources import CORE_SECTIONS

from ..search import SearchHit, SearchRequest, search
from .crm import write_crm, write_mapping
from .environment import Project, installed

__all__ = ["command"]


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("spark-demo"),
    show_default=True,
    help="Where the database, the mapping and the index go.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
def command(directory: Path, as_json: bool) -> None:
    """Try everything on real data: your own Python environment as a CRM.

    Reads what the installed distributions say of themselves (people, projects, notes), writes
    it as a SQLite database, indexes that through an ordinary mapping and searches it in three
    ways. Nothing leaves the machine. Run again, it embeds nothing twice.
    """
    projects = installed()
    config = _prepare(directory, projects, quiet=as_json)
    _backfill(config, quiet=as_json)
    answers = asyncio.run(_searches(config, _questions(projects)))
    if as_json:
        click.echo(json.dumps(answers, indent=2, ensure_ascii=False, default=SearchHit.model_dump))
        return
    for question, by_mode in answers.items():
        _show(question, by_mode)
    _show_next_steps(config)


def _prepare(directory: Path, projects: list[Project], quiet: bool) -> Path:
    """Write the database and, unless it is there, the mapping."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        counts = write_crm(directory / "crm.db", projects)
        config = directory / "spark.toml"
        write_mapping(config)
    except OSError as error:
        raise SettingsError(f"{directory} cannot be written: {error.strerror}") from error
    if not quiet:
        rows = ", ".join(f"{count} {table}" for table, count in counts.items())
        click.echo(f"{directory / 'crm.db'}: {rows} of this Python environment")
        click.echo(f"{config}: how its tables become records")
    return config


def _backfill(config: Path, quiet: bool) -> None:
    """Index, with the command that one would type."""
    arguments = ["--config", str(config), "ingest", "backfill"]
    if not quiet:
        click.echo(f"\n$ spark {' '.join(arguments)}")
    run = [sys.executable, "-m", "spark_core_cli", *arguments, *(["--json"] if quiet else [])]
    out = subprocess.DEVNULL if quiet else None
    done = subprocess.run(run, stdout=out, env=_environment(), check=False)
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)


def _environment() -> dict[str, str]:
    """This process's environment without settings: the demonstration uses its own alone.

    An address of a real embedder or a real index would otherwise be sent the demonstration.
    """
    sections = (*CORE_SECTIONS, *Plugins.discover().settings_sections())
    named = {name for section in sections for _, name in variables(section)} | {"SPARK_CONFIG"}
    return {name: value for name, value in os.environ.items() if name not in named}


def _questions(projects: list[Project]) -> list[str]:
    """What to ask: a meaning no text spells out, a name, and a bit of both."""
    names = Counter(person.name for project in projects for person in project.people)
    somebody = next(
        (name for name, _ in names.most_common() if " " in name and "," not in name), ""
    )
    surname = somebody.split()[-1:] or ["maintainer"]
    return ["try again when the connection drops", surname[0], "checks the types of input data"]


async def _searches(config: Path, questions: list[str]) -> dict[str, dict[str, list[SearchHit]]]:
    answers: dict[str, dict[str, list[SearchHit]]] = {}
    async with spark_core.open(config, environ={}) as spark:
        for question in questions:
            answers[question] = {}
            for mode in (Mode.SPARSE, Mode.DENSE, Mode.HYBRID):
                request = SearchRequest(query=question, mode=mode, limit=3)
                answers[question][mode.value] = (await spark.call(search, request)).hits
    return answers


_WAYS = {"sparse": "by words", "dense": "by meaning", "hybrid": "by both"}


def _show(question: str, by_mode: dict[str, list[SearchHit]]) -> None:
    click.echo(f'\n"{question}"')
    for mode, hits in by_mode.items():
        click.echo(f"  {_WAYS[mode]} ({mode})")
        for number, hit in enumerate(hits, start=1):
            click.echo(clean(f"    {number}. {_title(hit)}"))  # whatever a package calls itself
        if not hits:
            click.echo("    nothing")


def _title(hit: SearchHit) -> str:
    ranks = (("meaning", hit.explain.dense_rank), ("words", hit.explain.sparse_rank))
    why = ", ".join(f"{name} #{rank}" for name, rank in ranks if rank)
    title = hit.title if len(hit.title) <= 60 else f"{hit.title[:57]}..."
    return f"{hit.kind + ' ' + title:<70} {why}"


def _show_next_steps(config: Path) -> None:
    spark = f"spark --config {config}"
    click.echo(
        f"""
Go on:
  {spark} search "read a file in pieces" --mode dense
  {spark} ingest resolve        then: ingest entities --merged; who has several names here
  {spark} serve                 then: curl http://127.0.0.1:9999/openapi.json
Your own database: copy {config} to spark.toml, let `database` be its path, name your
own tables and columns, and run: spark ingest backfill"""
    )
