"""Commands take what the request's model says."""

from __future__ import annotations

import json
import warnings
from typing import Annotated

import pytest
from pydantic import SecretStr, create_model

from spark_core import Effect, Env, Operation


def given(result):
    """What the operation was given by the command line."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["given"]


def test_required_fields_are_arguments_in_their_order(spark):
    words = ("Emma", "novel", "1815", "--authors", "A", "--authors", "B", "--no-signed")
    answer = given(spark("shelf", "add", *words, "--json"))
    assert answer["title"] == "Emma"
    assert answer["kind"] == "novel"
    assert answer["year"] == 1815


def test_required_lists_and_flags_are_required_options(spark):
    assert "'--authors'" in spark("shelf", "add", "Emma", "novel", "1815", "--signed").stderr
    assert "'--signed" in spark("shelf", "add", "Emma", "novel", "1", "--authors", "A").stderr


def test_what_is_not_given_is_left_to_the_model(spark):
    assert given(spark("search", "whales", "--json")) == {"query": "whales"}


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (("--limit", "3"), "limit", 3),
        (("--mode", "dense"), "mode", "dense"),
        (("--exactly",), "exactly", True),
        (("--no-cached",), "cached", False),
        (("--cached",), "cached", True),
        (("--tags", "a", "--tags", "b"), "tags", ["a", "b"]),
        (("--years", "1", "--years", "2"), "years", [1, 2]),
        (("--since", "2024-01-02"), "since", "2024-01-02"),
        (("--weights", '{"title": 2}'), "weights", {"title": 2.0}),
        (("--any-of", "7"), "any_of", 7),
        (("--any-of", "seven"), "any_of", "seven"),
        (("--max-distance", "0.5"), "max_distance", 0.5),
        (("--labels", "year=1999"), "labels", {"year": "1999"}),
        (("--filter", "city=Berlin"), "filter", {"city": "Berlin"}),
        (("--filter", "city=A", "--filter", "city=B"), "filter", {"city": ["A", "B"]}),
        (("--filter", "year=1999"), "filter", {"year": 1999}),
        (("--filter", 'year="1999"'), "filter", {"year": "1999"}),
        (("--filter", "zip=01234"), "filter", {"zip": "01234"}),
        (("--filter", "here=true", "--filter", "gone=null"), "filter", {"here": 1, "gone": None}),
        (("--filter", "a=b=c"), "filter", {"a": "b=c"}),
        (("--filter", "a=[1]"), "filter", {"a": "[1]"}),
        (("--filter", "a=NaN"), "filter", {"a": "NaN"}),
        (("--filter", "a="), "filter", {"a": ""}),
    ],
)
def test_an_option_fills_its_field(spark, words, field, value):
    assert given(spark("search", "q", *words, "--json"))[field] == value


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "'QUERY'"),
        (("q", "--limit", "0"), "'--limit': Input should be greater than or equal to 1"),
        (("q", "--limit", "ten"), "'--limit'"),
        (("q", "--mode", "loud"), "'--mode'"),
        (("q", "--filter", "city"), "'--filter': 'city' is not of the form key=value"),
        (("q", "--weights", "{"), "'--weights': this is not JSON"),
        (("q", "--weights", '{"title": "x"}'), "'--weights': title: "),
        (("q", "--since", "yesterday"), "'--since'"),
        (("q", "--max-distance", "far"), "'--max-distance'"),
        (("q", "--years", "1", "--years", "2", "--years", "3", "--years", "4"), "'--years'"),
        (("q", "--limitt", "3"), "--limit"),
        (("q", "r"), "r"),
        (("\udcff",), "'QUERY'"),
    ],
)
def test_a_wrong_value_is_misuse_and_named(spark, words, named):
    result = spark("search", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert named in result.stderr
    assert result.stderr.splitlines()[-1] == "hint: spark search --help"
    assert not result.stdout


def test_help_shows_descriptions_defaults_and_choices(spark):
    text = spark("search", "--help").stdout
    for part in (
        "What to look for.",
        "[hybrid|dense]",
        "How to look.  [default: hybrid]",
        "[default: 10]",
        "--cached / --no-cached  [default: cached]",
        "May be repeated.",
        "KEY=VALUE",
        "The whole text is searched.",
    ):
        assert part in text
    assert "--no-exactly" not in text
    assert ":raises" not in text
    assert "One of: novel, essay." in spark("shelf", "add", "--help").stdout


@pytest.fixture
def odd(spark, library):
    """Runs an operation with these fields on a command line, and gives what it was given."""

    def run(fields, *words):
        with warnings.catch_warnings():  # BaseModel.json is there for pydantic's past alone
            warnings.simplefilter("ignore")
            request = create_model("Request", **fields)

        async def show(request):
            return library.Echo(given=request.model_dump(mode="json", exclude_unset=True))

        show.__annotations__ = {"request": request, "return": library.Echo}
        plugins = [library.plugin("odd", operations=[Operation("show", show, Effect.READ)])]
        return given(spark("show", *words, "--json", plugins=plugins))

    return run


@pytest.mark.parametrize("name", ["json", "yes", "help", "debug", "config", "version"])
def test_a_field_whose_option_is_taken_has_another(odd, name):
    assert odd({name: (bool, False)}, f"--field-{name}") == {name: True}
    assert odd({name: (str | None, None)}, f"--field-{name}", "x") == {name: "x"}
    assert odd({name: (list[str], [])}, f"--field-{name}", "x") == {name: ["x"]}
    assert odd({name: (bool, True)}, f"--no-field-{name}") == {name: False}


@pytest.mark.parametrize("name", ["json", "yes", "help", "debug", "config", "version"])
def test_a_required_field_of_that_name_is_an_argument(odd, name):
    assert odd({name: (str, ...)}, "x") == {name: "x"}


def test_an_option_is_also_read_from_the_variable_that_its_field_is_marked_with(odd, monkeypatch):
    """So a secret need not stand where every process can read it."""
    fields = {"token": (Annotated[SecretStr | None, Env("A_TOKEN")], None)}
    monkeypatch.setenv("A_TOKEN", "from there")
    assert odd(fields).keys() == {"token"}
    fields = {"name": (Annotated[str | None, Env("A_TOKEN")], None)}
    assert odd(fields) == {"name": "from there"}
    assert odd(fields, "--name", "given") == {"name": "given"}


def test_fields_do_not_take_each_other_s_options(odd):
    flags = {"cache": (bool, True), "no_cache": (bool, False)}
    assert odd(flags, "--no-cache", "--field-no-cache") == {"cache": False, "no_cache": True}
    both = {"field_json": (int, 1), "json": (int, 1)}
    words = ("--field-json", "2", "--field-field-json", "3")
    assert odd(both, *words) == {"field_json": 2, "json": 3}
