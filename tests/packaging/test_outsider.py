"""A plugin that was installed with pip is there in every host; uninstalled, it is gone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from .environment import Environment

MAPPING = """
[providers]
embedder = "demo"
[plugins.demo]
dimension = 64
[plugins.ingest]
database = "zoo.db"
[plugins.ingest.kinds.animal]
table = "animals"
id = "tag"
text = ["species", "notes"]
"""


def plugins(environment: Environment) -> dict[str, Any]:
    """What ``spark plugins`` says, by name."""
    listed = json.loads(environment.run("spark", "plugins", "--json"))["plugins"]
    return {plugin["name"]: plugin for plugin in listed}


def test_installed_it_is_in_every_host(demo: Environment) -> None:
    """It is listed, a command and a route with its schema, and nothing else was changed."""
    assert plugins(demo)["demo"]["status"] == "ok"
    assert plugins(demo)["demo"]["distribution"] == "spark-core-demo"
    assert "greeting" in demo.run("spark", "--help")
    assert demo.run("spark", "greeting", "say", "Ada") == "text: Hello, Ada!\n"
    with demo.serving() as url, httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/api/greeting/say", json={"name": "Ada"})
        assert (answer.status_code, answer.json()) == (200, {"text": "Hello, Ada!"})
        assert client.post("/api/greeting/say", json={"nam": "Ada"}).status_code == 422
        described = client.get("/openapi.json").json()["paths"]["/api/greeting/say"]["post"]
        assert described["summary"] == "Greet somebody by name."
        listed = client.get("/api/plugins").json()["plugins"]
        assert "demo" in [plugin["name"] for plugin in listed]


def test_uninstalled_it_is_gone(fresh: Environment, demo_wheel: Path) -> None:
    """Not listed, no command, no route, not in the document."""
    with fresh.installed(demo_wheel):
        assert "demo" in plugins(fresh)
    assert "demo" not in plugins(fresh)
    assert "greeting" not in fresh.run("spark", "--help")
    assert "No such command" in fresh.run("spark", "greeting", "say", "Ada", code=2)
    with fresh.serving() as url, httpx.Client(base_url=url, timeout=60) as client:
        assert client.post("/api/greeting/say", json={"name": "Ada"}).status_code == 404
        assert "/api/greeting/say" not in client.get("/openapi.json").json()["paths"]


def test_its_embedder_is_used_where_settings_choose_it(demo: Environment, tmp_path: Path) -> None:
    """A database is indexed and searched with the outsider's vectors."""
    (tmp_path / "spark.toml").write_text(MAPPING)
    with sqlite3.connect(tmp_path / "zoo.db") as database:
        database.execute("create table animals (tag, species, notes)")
        rows = [("a1", "otter", "likes cold water"), ("b2", "gecko", "likes a warm stone")]
        database.executemany("insert into animals values (?, ?, ?)", rows)
    demo.run("spark", "ingest", "backfill", cwd=tmp_path)
    words = ("search", "a warm place", "--mode", "dense", "--json")
    hits = json.loads(demo.run("spark", *words, cwd=tmp_path))["hits"]
    assert [hit["record_id"] for hit in hits] == ["b2", "a1"]


def test_it_can_be_switched_off(demo: Environment, tmp_path: Path) -> None:
    """``enabled = false`` in its section is all that it takes."""
    (tmp_path / "spark.toml").write_text("[plugins.demo]\nenabled = false\n")
    assert "demo           off" in demo.run("spark", "plugins", cwd=tmp_path)
    demo.run("spark", "greeting", "say", "Ada", cwd=tmp_path, code=2)


# ------------------------------------------------------------------------------- broken ones


def test_one_that_cannot_be_imported_is_named(
    fresh: Environment, plugin: Callable[..., Path]
) -> None:
    """It is shown with its error, and everything else works."""
    with fresh.installed(plugin("brittle", "raise RuntimeError('no luck')")):
        found = plugins(fresh)
        assert found["brittle"]["status"] == "broken"
        assert (found["brittle"]["distribution"], found["brittle"]["version"]) == (
            "brittle",
            "1.2.3",
        )
        assert "no luck" in found["brittle"]["error"]
        assert {found[name]["status"] for name in found if name != "brittle"} == {"ok"}
        with fresh.serving() as url:
            warnings = httpx.get(f"{url}/ready", timeout=60).json()["warnings"]
            assert "brittle" in warnings[0]
            assert httpx.get(f"{url}/api/plugins", timeout=60).status_code == 200


def test_one_whose_hook_raises_is_named(fresh: Environment, plugin: Callable[..., Path]) -> None:
    """The hook is named, and what its other hooks offer is there."""
    sulky = """
        from spark_core import Command, hookimpl

        @hookimpl
        def spark_register_operations():
            raise RuntimeError("not today")

        @hookimpl
        def spark_register_commands():
            return [Command("sulk", "Sulk.", "sulky:sulk")]
        """
    with fresh.installed(plugin("sulky", sulky)):
        assert "sulk" in fresh.run("spark", "--help")
        error = plugins(fresh)["sulky"]["error"]
    assert "spark_register_operations" in error
    assert "not today" in error


def test_two_of_one_name_are_refused(demo: Environment, plugin: Callable[..., Path]) -> None:
    """Neither wins in silence: the error names both distributions."""
    with demo.installed(plugin("impostor", "", name="demo")):
        error = demo.run("spark", "plugins", code=1)
    assert "impostor" in error
    assert "spark-core-demo" in error


def test_settings_can_refuse_broken_plugins(
    fresh: Environment, plugin: Callable[..., Path], tmp_path: Path
) -> None:
    """With ``plugin_errors = "refuse"`` nothing is served."""
    (tmp_path / "spark.toml").write_text('[core]\nplugin_errors = "refuse"\n')
    with fresh.installed(plugin("brittle", "raise RuntimeError('no luck')")):
        assert "brittle" in fresh.run("spark", "serve", "--port", "0", cwd=tmp_path, code=1)
