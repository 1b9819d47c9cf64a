"""``spark config``: what holds, whether it is right, and what may be said."""

from __future__ import annotations

import json
import tomllib

import pytest
from jsonschema import Draft202012Validator

from spark_core import Provider
from spark_core.errors import SettingsError
from spark_core.testing.plugins import plugin

TOML = {
    "plugins": {
        "library": {
            "height": 7,
            "token": "s3cret-token",
            "url": "http://ada:s3cret-word/s3cret@127.0.0.1:1/?api-key=s3cret&token=s3cret",
            "rooms": ['the "old" one', "https://h/?s3cret"],
            "kinds": {"a b": {"table": "t", "none": [1, 2.0, {"x": "y"}], "deep": {"er": True}}},
        }
    }
}


def test_show_is_toml_with_where_each_value_comes_from(spark, source):
    settings = source(TOML, SPARK_PLUGINS_LIBRARY_SHELF="pine")
    text = spark("config", "show", settings=settings).stdout
    shown = tomllib.loads(text)["plugins"]["library"]
    assert shown["kinds"] == TOML["plugins"]["library"]["kinds"]
    assert shown["height"] == 7
    assert shown["rooms"] == ['the "old" one', "https://h/?***"]
    assert shown["url"] == "http://***@127.0.0.1:1/?***"
    lines = text.splitlines()
    assert 'shelf = "pine"  # environment SPARK_PLUGINS_LIBRARY_SHELF' in lines
    assert "ratio = 0.5  # default" in lines
    assert any(line.startswith("height = 7  # ") and "spark.toml" in line for line in lines)
    assert "# embedder =  # default" in lines


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_show_masks_secrets(spark, source, words):
    text = spark("config", "show", *words, settings=source(TOML)).stdout
    assert "s3cret" not in text
    assert "***" in text


def test_show_gives_values_and_origins_as_json(spark, source):
    shown = json.loads(spark("config", "show", "--json", settings=source(TOML)).stdout)
    assert shown["plugins.library"]["ratio"] == {"value": 0.5, "from": "default"}


def test_check_says_ok(spark, source):
    result = spark("config", "check", settings=source(TOML))
    assert (result.exit_code, result.stdout) == (0, "ok\n")


def test_check_prints_every_problem(spark, source):
    wrong = source({"core": {"plugin_errors": "x"}, "plugins": {"library": {"heigth": 3}}})
    result = spark("config", "check", settings=wrong)
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 2
    answer = spark("config", "check", "--json", settings=wrong)
    assert answer.exit_code == 2
    assert json.loads(answer.stdout)["problems"] == result.stdout.splitlines()


def test_check_names_a_provider_that_is_not_installed(spark, source, library):
    embedders = {"spark_register_embedders": lambda: [Provider("inline", lambda: None)]}
    plugins = [library.library(), plugin("maker", **embedders)]
    wrong = source({"providers": {"embedder": "inlin", "reranker": "nope"}})
    result = spark("config", "check", settings=wrong, plugins=plugins)
    assert result.exit_code == 2
    embedder, reranker = result.stdout.splitlines()
    assert "spark.toml: [providers] embedder = 'inlin'" in embedder
    assert "did you mean 'inline'?" in embedder
    assert "[providers] reranker = 'nope' is not installed" in reranker


def test_check_takes_a_provider_that_is_installed(spark, source, library):
    embedders = {"spark_register_embedders": lambda: [Provider("inline", lambda: None)]}
    plugins = [library.library(), plugin("maker", **embedders)]
    right = source({"providers": {"embedder": "inline"}})
    assert spark("config", "check", settings=right, plugins=plugins).exit_code == 0


def test_check_warns_of_what_nothing_reads(spark, source):
    result = spark("config", "check", settings=source({"liberry": {}}))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "ok"
    assert "liberry" in result.stdout


def test_check_works_where_settings_cannot_be_read(spark):
    result = spark("config", "check", settings=SettingsError("spark.toml is not valid TOML"))
    assert (result.exit_code, result.stdout) == (2, "spark.toml is not valid TOML\n")


def test_show_needs_right_settings(spark, source):
    assert spark("config", "show", settings=source({"core": {"x": 1}})).exit_code == 2


def test_schema_accepts_what_check_accepts(spark, source):
    schema = json.loads(spark("config", "schema").stdout)
    validator = Draft202012Validator(schema)
    Draft202012Validator.check_schema(schema)
    assert validator.is_valid({**TOML, "core": {"plugin_errors": "contain"}})
    assert validator.is_valid({"plugins": {"library": {"enabled": False}}})
    assert not validator.is_valid({"plugins": {"library": {"heigth": 3}}})
    assert not validator.is_valid({"core": {"plugin_errors": "x"}})
