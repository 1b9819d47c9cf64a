"""The tree of commands, and how each ends."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from spark_core import Command, Effect, Operation
from spark_core.errors import PluginError, SettingsError
from spark_core.plugins import Plugin


def test_help_lists_operations_in_groups_with_their_summaries(spark):
    text = spark("--help").stdout
    assert "Find books." in text
    assert "add, burn, copy-books, show, titles" in text
    assert "Put a book on the shelf." in spark("shelf", "--help").stdout


def test_core_s_operations_are_commands(spark):
    assert "library" in spark("plugins").stdout
    assert json.loads(spark("audit", "list", "--json").stdout) == {"entries": []}


def test_version(spark):
    assert spark("--version").stdout == "spark 0.1.0\n"


def test_a_group_alone_shows_its_commands_and_is_misuse(spark):
    result = spark("shelf")
    assert result.exit_code == 2
    assert "titles" in result.stderr


@pytest.mark.parametrize("words", [("serch",), ("shelf", "sow")])
def test_a_typo_in_a_command_is_misuse_with_the_nearest_name(spark, words):
    result = spark(*words)
    assert result.exit_code == 2
    assert "Did you mean" in result.stderr


@pytest.mark.parametrize(
    ("how", "code", "lines"),
    [
        (
            "missing",
            1,
            ["error: there is no shelf 'b'; did you mean 'a'?", "hint: list them first"],
        ),
        ("down", 1, ["error: http://127.0.0.1:1/v1 does not answer"]),
        (
            "unset",
            2,
            ["error: there is no shelf yet", "hint: set [plugins.library] shelf"],
        ),
        ("invalid", 2, ["error: Invalid value for 'HOW': not so", "hint: spark fail --help"]),
        ("inside", 2, ["error: no way", "hint: spark fail --help"]),
        (
            "crash",
            1,
            ["unexpected error: ZeroDivisionError: one; `spark --debug ...` shows where"],
        ),
        ("group", 1, ["error: there is no book"]),
        (
            "pipe",
            1,
            [
                "unexpected error: BrokenPipeError: [Errno 32] Broken pipe; "
                "`spark --debug ...` shows where"
            ],
        ),
        ("end", 1, ["unexpected error: EOFError: too short; `spark --debug ...` shows where"]),
    ],
)
@pytest.mark.parametrize("json_option", [(), ("--json",)])
def test_an_error_is_one_sentence_with_its_exit_code(spark, how, code, lines, json_option):
    result = spark("fail", how, *json_option)
    assert result.exit_code == code
    assert result.stderr.splitlines() == lines
    assert not result.stdout


@pytest.mark.parametrize("how", ["crash", "missing", "pipe"])
def test_debug_shows_where(spark, how):
    result = spark("--debug", "fail", how)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "raise ERRORS[request.how]" in result.stderr


class Panic(BaseException):
    """As native extensions raise: no Exception."""


def test_what_is_no_exception_is_one_sentence_too(spark, library):
    def panic(shelf):
        raise Panic("no way out")

    titles = next(o for o in library.OPERATIONS if o.name == "shelf.titles")
    plugins = [library.plugin("bad", operations=[replace(titles, render=panic)])]
    result = spark("shelf", "titles", plugins=plugins)
    assert result.exit_code == 1
    assert result.stderr == (
        "unexpected error: Panic: no way out; `spark --debug ...` shows where\n"
    )


def test_what_writes_is_audited_under_the_user_s_name(spark):
    words = ("shelf", "add", "Emma", "novel", "1815", "--authors", "A", "--signed", "--json")
    caller = json.loads(spark(*words).stdout)["given"]["caller"]
    assert caller.startswith("cli ")
    entry = json.loads(spark("audit", "list", "--json").stdout)["entries"][0]
    assert (entry["actor"], entry["action"], entry["outcome"]) == (caller, "shelf.add", "ok")


def test_what_is_no_command_is_not_offered(spark, library):
    titles = next(o for o in library.OPERATIONS if o.name == "shelf.titles")
    secret = replace(titles, name="shelf.secret", path="/secret", command=False)
    plugins = [library.plugin("private", operations=[secret])]
    assert "secret" not in spark("shelf", "--help", plugins=plugins).stdout
    assert spark("shelf", "secret", plugins=plugins).exit_code == 2


def test_what_operates_needs_yes_where_nobody_can_be_asked(spark):
    refused = spark("shelf", "burn", input="y\n")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert spark("shelf", "burn", "--yes").exit_code == 0


def test_only_what_operates_has_yes(spark):
    assert "--yes" in spark("shelf", "burn", "--help").stdout
    assert "--yes" not in spark("shelf", "add", "--help").stdout


# -------------------------------------------------------------------------- declared commands

HELLO = """
import click

@click.command()
@click.argument("name")
def hello(name):
    "Greet."
    click.echo(f"hello {name}, {click.get_current_context().find_root().obj}")
    return 3

other = 1
"""


@pytest.fixture
def declared(library, tmp_path, monkeypatch):
    (tmp_path / "cli_test_hello.py").write_text(HELLO)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda load: [
        library.plugin("greeter", commands=[Command("hello", "Greet somebody.", load)])
    ]
    sys.modules.pop("cli_test_hello", None)


def test_a_declared_command_is_imported_only_when_it_is_run(spark, declared):
    plugins = declared("cli_test_hello:hello")
    assert "Greet somebody." in spark("--help", plugins=plugins).stdout
    assert "cli_test_hello" not in sys.modules
    result = spark("--config", "my.toml", "hello", "Ada", plugins=plugins)
    assert result.stdout == "hello Ada, my.toml\n"
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "load", ["cli_test_nowhere:hello", "cli_test_hello:nothing", "cli_test_hello:other"]
)
def test_a_declared_command_that_cannot_be_loaded_names_its_distribution(spark, declared, load):
    result = spark("hello", plugins=declared(load))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "dist-greeter" in result.stderr


@pytest.mark.parametrize("name", ["search", "shelf.copy-books"])
def test_a_command_that_two_offer_is_nobody_s_and_named(spark, library, name):
    other = library.plugin("other", commands=[Command(name, "Other.", "nowhere:x")])
    plugins = [library.library(), other]
    result = spark(*name.split("."), plugins=plugins)
    assert result.exit_code == 1
    told = f"'spark {name.replace('.', ' ')}' is not available: dist-library and dist-other"
    assert result.stderr.startswith(f"error: {told}")
    assert spark("--help", plugins=plugins).exit_code == 0
    working = spark("shelf", "titles", plugins=plugins)
    assert (working.exit_code, working.stdout) == (0, "* One\n")
    assert working.stderr.startswith(f"warning: {told}")


@pytest.mark.parametrize("name", ["", "a..b", ".a", "a b", "-x", None])
def test_a_command_s_name_is_checked_where_it_is_declared(name):
    with pytest.raises((PluginError, TypeError)):
        Command(name, "Odd.", "nowhere:x")


@pytest.fixture
def nested(spark, library):
    """`search` is an operation of one plugin, `search.similar.books` of another."""

    async def similar(request):
        return library.Echo(given={"similar": request.query})

    similar.__annotations__ = {"request": library.Search, "return": library.Echo}
    operation = Operation("search.similar.books", similar, Effect.READ)
    plugins = [library.library(), library.plugin("other", operations=[operation])]
    return lambda *words: spark(*words, plugins=plugins)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("search", "whales"), {"query": "whales"}),
        (("search", "similar", "books", "whales"), {"similar": "whales"}),
        (("search", "--", "similar"), {"query": "similar"}),
        (("search", "--limit", "3", "similar"), {"query": "similar", "limit": 3}),
        (("search", "Similar"), {"query": "Similar"}),
    ],
)
def test_an_operation_may_be_a_group_too(nested, words, given):
    result = (
        nested(*words, "--json") if "--" not in words else nested("search", "--json", *words[1:])
    )
    assert json.loads(result.stdout)["given"] == given


def test_help_tells_of_what_is_below_an_operation(nested):
    assert "Find books; also: similar" in nested("--help").stdout
    assert "Also: similar." in nested("search", "--help").stdout
    assert "books" in nested("search", "similar", "--help").stdout
    assert nested("search").exit_code == 2


def test_a_declared_group_may_have_operations_below_it(spark, library):
    operation = Operation("config.find", library.titles, Effect.READ)
    plugins = [library.plugin("other", operations=[operation])]
    assert "title" in spark("config", "find", plugins=plugins).stdout
    assert spark("config", "check", plugins=plugins).stdout == "ok\n"


# ------------------------------------------------------------------ what is broken is contained


def test_a_broken_plugin_is_mentioned_where_an_operation_runs_not_in_help(spark, library):
    broken = Plugin("bad", "dist-bad", "1.0", error="import: ImportError: no x")
    plugins = [library.library(), broken]
    warning = "warning: plugin bad (dist-bad 1.0) is broken: import: ImportError: no x\n"
    result = spark("search", "q", "--json", plugins=plugins)
    assert result.stderr == warning
    assert json.loads(result.stdout)
    assert not spark("--help", plugins=plugins).stderr
    assert not spark("search", "--help", plugins=plugins).stderr
    assert "ImportError: no x" in spark("plugins", plugins=plugins).stdout


@pytest.fixture
def wrong(source):
    return source({"plugins": {"library": {"heigth": 3, "ratio": "x"}}})


def test_help_and_plugins_work_with_wrong_settings(spark, wrong):
    assert spark("--help", settings=wrong).exit_code == 0
    assert spark("search", "--help", settings=wrong).exit_code == 0
    result = spark("plugins", settings=wrong)
    assert result.exit_code == 0
    assert "library" in result.stdout
    assert "spark config check" in result.stderr


def test_other_commands_print_what_is_wrong_in_settings(spark, wrong):
    result = spark("search", "q", settings=wrong)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)
    assert "did you mean 'height'?" in result.stderr


def test_help_works_where_settings_cannot_be_read(spark):
    unreadable = SettingsError("spark.toml is not valid TOML")
    assert spark("--help", settings=unreadable).exit_code == 0
    assert spark("plugins", settings=unreadable).exit_code == 0
    assert spark("search", "q", settings=unreadable).exit_code == 2
