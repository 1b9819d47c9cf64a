"""Settings: three layers, one model per section, one clear line for each mistake."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from spark_core.declarations import SettingsSection
from spark_core.errors import NotConfigured, PluginError, SettingsError
from spark_core.settings import (
    ConfigPath,
    Env,
    Section,
    Settings,
    Source,
    StateSettings,
)
from spark_core.spark import compose
from spark_core.testing.plugins import installed, plugin


class Backend(BaseModel):
    url: str = ""
    key: SecretStr | None = None


class Fruit(Section):
    url: Annotated[str | None, Env("FRUIT_URL"), Env("OLD_FRUIT_URL")] = None
    port: int = Field(default=9999, ge=1, le=65535)
    kind: Literal["apple", "pear"] = "apple"
    key: SecretStr | None = None
    file: ConfigPath | None = None
    basket: ConfigPath = Path("basket")
    ripe: bool = True
    color: Literal["red", "green"] | None = None
    backends: dict[str, Backend] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    depth: dict[str, dict[str, int]] = Field(default_factory=dict)

    @field_validator("tags")
    @classmethod
    def no_worms(cls, tags: list[str]) -> list[str]:
        if "worm" in tags:
            raise ValueError("no worms here")
        return tags


FRUIT = SettingsSection("plugins.fruit", Fruit)

PLUGIN = plugin("fruit", spark_register_settings=lambda: [FRUIT])


def source(toml: str = "", dotenv: str = "", environ: Mapping[str, str] | None = None) -> Source:
    """What is read where `spark.toml` and `.env` of the working directory hold this."""
    Path("spark.toml").write_text(toml, "utf-8")
    Path(".env").write_text(dotenv, "utf-8")
    return Source.read(environ=environ or {})


def fruit(toml: str = "", dotenv: str = "", environ: Mapping[str, str] | None = None) -> Fruit:
    return Settings.check(source(toml, dotenv, environ), [FRUIT]).section(Fruit)


def lines(toml: str = "", dotenv: str = "", environ: Mapping[str, str] | None = None) -> list[str]:
    """The lines of the error that these settings are."""
    with pytest.raises(SettingsError) as caught:
        fruit(toml, dotenv, environ)
    assert caught.value.__cause__ is None
    return str(caught.value).splitlines()


pytestmark = pytest.mark.usefixtures("spark_home")


# -------------------------------------------------------------------------------------- layers


def test_nothing_needs_to_be_configured() -> None:
    """Without any file every setting has its default, and data lies in the working directory."""
    read = Source.read(environ={})
    assert read.file is None
    settings = Settings.check(read, [FRUIT])
    assert settings.section(Fruit) == Fruit()
    assert settings.data_directory.path == Path.cwd() / ".spark"
    assert settings.warnings == []


@pytest.mark.parametrize(
    ("dotenv", "environ", "url"),
    [
        ("", {}, "toml"),
        ("FRUIT_URL=dotenv", {}, "dotenv"),
        ("FRUIT_URL=dotenv", {"FRUIT_URL": "environment"}, "environment"),
        ("", {"FRUIT_URL": "environment"}, "environment"),
        ("SPARK_PLUGINS_FRUIT_URL=dotenv", {"FRUIT_URL": "environment"}, "environment"),
        ("", {"FRUIT_URL": "own", "SPARK_PLUGINS_FRUIT_URL": "general"}, "general"),
        ("", {"OLD_FRUIT_URL": "second"}, "second"),
    ],
)
def test_the_last_layer_wins(dotenv: str, environ: dict[str, str], url: str) -> None:
    """The file, then `.env`, then the environment; in each the general name wins."""
    assert fruit('[plugins.fruit]\nurl = "toml"', dotenv, environ).url == url


def test_layers_are_merged_key_by_key() -> None:
    """A key that a later layer does not set stays as it was."""
    read = fruit('[plugins.fruit]\nurl = "toml"\nport = 1', "", {"SPARK_PLUGINS_FRUIT_PORT": "2"})
    assert (read.url, read.port) == ("toml", 2)


@pytest.mark.parametrize(
    ("value", "reason"),
    [('""', "is empty"), ('" "', "is empty"), ("5", "must be a path, in quotes")],
)
def test_what_is_no_path_is_told_in_plain_words(value: str, reason: str) -> None:
    """An empty one is not the folder of spark.toml, and Python's types are nobody's business."""
    (line,) = lines(f"[plugins.fruit]\nfile = {value}")[-1:]
    assert "[plugins.fruit] file" in line
    assert reason in line
    assert "pathlib" not in line


def test_every_section_has_environment_names() -> None:
    """`SPARK_<SECTION>_<KEY>`, with dots and dashes as underscores."""
    section = SettingsSection("plugins.fruit-bowl", Fruit)
    read = source("", "", {"SPARK_PLUGINS_FRUIT_BOWL_PORT": "7"})
    assert Settings.check(read, [section]).section(Fruit).port == 7


@given(value=st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers())))
def test_tables_come_from_the_environment_as_json(value: dict[str, dict[str, int]]) -> None:
    """Any table that JSON can hold arrives as it was."""
    read = Source(None, Path.cwd(), {}, {}, {"SPARK_PLUGINS_FRUIT_DEPTH": json.dumps(value)})
    assert Settings.check(read, [FRUIT]).section(Fruit).depth == value


@given(text=st.text())
def test_text_comes_from_the_environment_as_it_is(text: str) -> None:
    """What is text is never taken for JSON, however much it looks like it."""
    names = ("SPARK_PLUGINS_FRUIT_URL", "SPARK_PLUGINS_FRUIT_KEY")
    for value in (text, json.dumps([text]), json.dumps({"key": text})):
        read = Source(None, Path.cwd(), {}, {}, dict.fromkeys(names, value))
        section = Settings.check(read, [FRUIT]).section(Fruit)
        assert section.url == value
        assert section.key == SecretStr(value)


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("key", ["port", "kind", "file", "backends", "tags", "ripe", "color"])
def test_a_blank_variable_sets_nothing_but_text(key: str, blank: str) -> None:
    """As compose files unset a variable; a layer below it still counts."""
    read = source("[plugins.fruit]\nport = 1", "", {f"SPARK_PLUGINS_FRUIT_{key.upper()}": blank})
    settings = Settings.check(read, [FRUIT])
    assert settings.section(Fruit) == fruit("[plugins.fruit]\nport = 1")
    assert not any("SPARK_PLUGINS_FRUIT" in where for where in settings.origins.values())


@pytest.mark.parametrize(("key", "value"), [("url", ""), ("key", SecretStr(""))])
def test_a_blank_text_is_set(key: str, value: object) -> None:
    """Set but empty is not the same as unset, where the setting is text."""
    read = source("", "", {f"SPARK_PLUGINS_FRUIT_{key.upper()}": ""})
    settings = Settings.check(read, [FRUIT])
    assert getattr(settings.section(Fruit), key) == value
    assert settings.origins["plugins.fruit", key].startswith("environment ")


# --------------------------------------------------------------------------------------- files


def test_a_named_file_wins_over_the_environment(tmp_path: Path) -> None:
    """`--config` goes before `SPARK_CONFIG`, and that before the working directory."""
    for name in ("a.toml", "b.toml", "spark.toml"):
        (tmp_path / name).write_text(f'[plugins.fruit]\nurl = "{name}"')
    environ = {"SPARK_CONFIG": "b.toml"}
    for read, name in (
        (Source.read("a.toml", environ), "a.toml"),
        (Source.read(None, environ), "b.toml"),
        (Source.read(None, {}), "spark.toml"),
    ):
        assert Settings.check(read, [FRUIT]).section(Fruit).url == name


@pytest.mark.parametrize(
    ("config", "environ"), [("missing.toml", {}), (None, {"SPARK_CONFIG": "missing.toml"})]
)
def test_a_named_file_must_exist(config: str | None, environ: dict[str, str]) -> None:
    """Only the default file may be absent."""
    with pytest.raises(SettingsError, match=r"there is no settings file missing\.toml"):
        Source.read(config, environ)


def test_the_environment_given_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that gives an environment is not affected by its own."""
    monkeypatch.setenv("FRUIT_URL", "from the process")
    assert fruit(environ={}).url is None
    read = Source.read(environ=None)
    assert read.environ == dict(os.environ)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[plugins.fruit\n", "spark.toml is not valid TOML: .*line 1"),
        (b"a = 1\na = 2\n", "spark.toml is not valid TOML"),
        (b'url = "caf\xe9"\n', "spark.toml is not valid TOML: 'utf-8'"),
        (b"plugins = 3", r"spark.toml: \[plugins\] must be a table"),
        (b"[plugins]\nfruit = 3", r"spark.toml: \[plugins.fruit\] must be a table"),
        (b"state = 3", r"spark.toml: \[state\] must be a table"),
        (b"[[plugins.fruit]]\nport = 1", r"spark.toml: \[plugins.fruit\] must be a table"),
    ],
)
def test_a_broken_file_is_named(content: bytes, reason: str) -> None:
    """What cannot be read is one line with the file and what is wrong."""
    Path("spark.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=reason) as caught:
        compose(Source.read(environ={}), plugins=installed(PLUGIN))
    assert len(str(caught.value).splitlines()) == 1


def test_a_dotenv_that_is_not_utf8_is_named() -> None:
    """`.env` is read as UTF-8, and nothing of its content is shown."""
    Path(".env").write_bytes(b"KEY=sesame\xff\n")
    with pytest.raises(SettingsError, match=r"\.env is not valid UTF-8") as caught:
        Source.read(environ={})
    assert "sesame" not in str(caught.value)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """`.env`, paths and the data directory lie beside `spark.toml`, wherever one stands."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "spark.toml").write_text('[plugins.fruit]\nfile = "crm.db"')
    (folder / ".env").write_text("FRUIT_URL=beside")
    settings = Settings.check(Source.read(folder / "spark.toml", {}), [FRUIT])
    assert settings.section(Fruit).file == folder / "crm.db"
    assert settings.section(Fruit).url == "beside"
    assert settings.data_directory.path == folder / ".spark"


def test_a_default_path_is_relative_to_the_file_too(tmp_path: Path) -> None:
    """A plugin's own default lies where a setting of the same text would."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "spark.toml").touch()
    settings = Settings.check(Source.read("elsewhere/spark.toml", {}), [FRUIT])
    assert settings.section(Fruit).basket == tmp_path / "elsewhere" / "basket"


@pytest.mark.parametrize(
    ("url", "anchored"),
    [
        ("sqlite:///state.db", "sqlite:///{}/state.db"),
        ("sqlite:///data/state.db?timeout=3", "sqlite:///{}/data/state.db?timeout=3"),
        ("sqlite+pysqlite:///state.db", "sqlite+pysqlite:///{}/state.db"),
        ("sqlite:///file:state.db?uri=true", "sqlite:///file:{}/state.db?uri=true"),
        ("sqlite:////srv/state.db", "sqlite:////srv/state.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file::memory:?uri=true", "sqlite:///file::memory:?uri=true"),
        ("postgresql+psycopg://ada@h/state", "postgresql+psycopg://ada@h/state"),
    ],
)
@pytest.mark.parametrize("from_file", [True, False])
def test_a_file_of_the_state_is_relative_to_spark_toml(
    tmp_path: Path, url: str, anchored: str, from_file: bool
) -> None:
    """Wherever one stands, and whichever layer names it: else each folder has another state."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "spark.toml").write_text(f'[state]\nurl = "{url}"' if from_file else "")
    environ = {} if from_file else {"SPARK_STATE_URL": url}
    section = Settings.check(Source.read("elsewhere/spark.toml", environ), []).section(
        StateSettings
    )
    assert section.url is not None
    assert section.url.get_secret_value() == anchored.format(folder)


def test_without_a_file_the_state_is_relative_to_the_working_directory() -> None:
    """As every other path is then."""
    read = Source.read(environ={"SPARK_STATE_URL": "sqlite:///state.db"})
    url = Settings.check(read, []).section(StateSettings).url
    assert url == SecretStr(f"sqlite:///{Path.cwd()}/state.db")


def test_a_folder_that_no_url_can_name_is_said(tmp_path: Path) -> None:
    """A question mark would begin the URL's options, and another file would be used."""
    (tmp_path / "what?").mkdir()
    (tmp_path / "what?" / "spark.toml").write_text('[state]\nurl = "sqlite:///state.db"')
    with pytest.raises(SettingsError, match=r"\[state\] url: .*question mark"):
        Settings.check(Source.read("what?/spark.toml", {}), [])


def test_a_working_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    """Only what is named with its whole path can be read from nowhere."""
    (tmp_path / "spark.toml").touch()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    for config in (None, "spark.toml"):
        with pytest.raises(SettingsError, match="the working directory does not exist any more"):
            Source.read(config, {})
    assert Source.read(tmp_path / "spark.toml", {}).directory == tmp_path


def test_absolute_paths_stay_and_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only relative paths move."""
    monkeypatch.setenv("HOME", "/home/ada")
    assert fruit('[plugins.fruit]\nfile = "/srv/crm.db"').file == Path("/srv/crm.db")
    assert fruit('[plugins.fruit]\nfile = "~/crm.db"').file == Path("/home/ada/crm.db")


def test_the_data_directory_can_be_chosen() -> None:
    """`[core] data_directory` is a path like any other."""
    settings = Settings.check(source('[core]\ndata_directory = "data"'), [])
    assert settings.data_directory.path == Path.cwd() / "data"


# ------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("toml", "environ", "line"),
    [
        (
            "[plugins.fruit]\nprot = 1",
            {},
            "spark.toml: [plugins.fruit] prot is not a setting; did you mean 'port'?",
        ),
        ("[plugins.fruit]\nzzzz = 1", {}, "spark.toml: [plugins.fruit] zzzz is not a setting"),
        (
            '[plugins.fruit]\nkind = "nut"',
            {},
            "spark.toml: [plugins.fruit] kind = 'nut': Input should be 'apple' or 'pear'",
        ),
        (
            "[plugins.fruit]\nport = 70000",
            {},
            "spark.toml: [plugins.fruit] port = '70000': "
            "Input should be less than or equal to 65535",
        ),
        (
            "",
            {"SPARK_PLUGINS_FRUIT_PORT": "many"},
            "environment SPARK_PLUGINS_FRUIT_PORT: [plugins.fruit] port = 'many': "
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        (
            '[plugins.fruit]\ntags = ["worm"]',
            {},
            "spark.toml: [plugins.fruit] tags: no worms here",
        ),
        (
            "[plugins.fruit.depth.a]\nb = 'c'",
            {},
            "spark.toml: [plugins.fruit] depth.a.b = 'c': "
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        ("[http]\nport = 1", {}, None),
    ],
)
def test_a_mistake_is_one_clear_line(toml: str, environ: dict[str, str], line: str | None) -> None:
    """Where it was found, which key, what was found and what is allowed."""
    if line is None:
        assert fruit(toml, "", environ) == Fruit()
    else:
        assert lines(toml, "", environ) == [line]


def test_every_mistake_is_told_at_once() -> None:
    """Nobody has to start again for each of them."""
    found = lines("[state]\nulr = 'x'\n[plugins.fruit]\nport = 0", "SPARK_PLUGINS_FRUIT_KIND=nut\n")
    assert len(found) == 3
    assert found[0].startswith("spark.toml: [state] ulr is not a setting; did you mean 'url'?")
    assert any(line.startswith(".env SPARK_PLUGINS_FRUIT_KIND: ") for line in found)


def test_what_is_missing_is_said_without_a_file() -> None:
    """A required setting is missing from the file that would hold it."""

    class Needy(Section):
        url: str

    Path("spark.toml").unlink(missing_ok=True)
    settings = Settings.check(Source.read(environ={}), [SettingsSection("needy", Needy)])
    with pytest.raises(NotConfigured) as caught:
        settings.section(Needy)
    assert str(caught.value) == "spark.toml: [needy] url is missing"


def test_a_home_of_nobody_is_a_wrong_value() -> None:
    """`~somebody` who does not exist is a mistake like any other."""
    [line] = lines('[plugins.fruit]\nfile = "~nobody-of-that-name/x"')
    assert line.startswith("spark.toml: [plugins.fruit] file = ")


@pytest.mark.parametrize(
    ("toml", "environ"),
    [
        ("[plugins.fruit]\nkey = 314159", {}),
        ('[plugins.fruit]\nkey = ["314159"]', {}),
        ("[plugins.fruit.backends.a]\nkey = 314159", {}),
        ('[plugins.fruit.backends]\na = "314159"', {}),
        ('[plugins.fruit]\nbackends = [{key = "314159"}]', {}),
        ("", {"SPARK_PLUGINS_FRUIT_BACKENDS": '{"a": {"key": 314159}}'}),
        ("", {"SPARK_PLUGINS_FRUIT_BACKENDS": '{"a": "314159"'}),
        ("[state]\nurl = 314159", {}),
    ],
)
def test_errors_never_show_a_secret(toml: str, environ: dict[str, str]) -> None:
    """A wrong value is not shown where a secret belongs, however deep."""
    assert "314159" not in "\n".join(lines(toml, "", environ))


def test_a_wrong_url_is_shown_without_its_secrets() -> None:
    """Also in the line that says what is wrong with it."""

    class Strict(Section):
        url: Annotated[str, Field(pattern="^https://")] = ""

    with pytest.raises(SettingsError) as caught:
        Settings.check(
            source('[strict]\nurl = "http://h/?key=sesame"'), [SettingsSection("strict", Strict)]
        )
    assert "sesame" not in str(caught.value)


def test_secrets_are_not_printed() -> None:
    """Neither a section nor all settings show a secret that was read from a file."""
    settings = Settings.check(source('[state]\nurl = "sqlite:///sesame"'), [FRUIT])
    section = settings.section(StateSettings)
    assert section.url == SecretStr(f"sqlite:///{Path.cwd()}/sesame")
    assert "sesame" not in f"{section!r} {section}"


def test_a_mistake_of_the_whole_section_names_it() -> None:
    """What concerns several keys at once has no key to name."""

    class Pair(Section):
        low: int = 0
        high: int = 0

        @model_validator(mode="after")
        def ordered(self) -> Any:
            if self.low > self.high:
                raise ValueError("low must not be above high")
            return self

    with pytest.raises(SettingsError) as caught:
        Settings.check(source("[pair]\nlow = 2"), [SettingsSection("pair", Pair)])
    assert str(caught.value) == "spark.toml: [pair]: low must not be above high"


# ------------------------------------------------------------------------------------ sections


def test_sections_that_nothing_reads_are_warned_of() -> None:
    """A typo in a section's name is not an error, for the plugin may be absent; it is shown."""
    read = source("[plugins.friut]\nport = 1\n[sate]\n[plugins.fruit]\nport = 1")
    assert Settings.check(read, [FRUIT]).warnings == [
        "spark.toml: [sate] is read by nothing that is installed; did you mean 'state'?",
        "spark.toml: [plugins.friut] is read by nothing that is installed; "
        "did you mean 'plugins.fruit'?",
    ]


@pytest.mark.parametrize(
    "section", [SettingsSection("state", Fruit), SettingsSection("plugins.other", Fruit)]
)
def test_sections_must_not_clash(section: SettingsSection) -> None:
    """A path is read once; a model names one section, for that is how it is asked for."""
    with pytest.raises(PluginError, match=r"\[(state|plugins.other)\]"):
        Settings.check(source(), [FRUIT, section])


class Stone(Section):
    size: int = 1


def test_a_section_may_lie_within_another() -> None:
    """What is the inner one's is no key of the outer one, in the file and in the environment."""
    inner = SettingsSection("plugins.fruit.stone", Stone)
    source = Source(
        None,
        Path(),
        {"plugins": {"fruit": {"port": 1, "stone": {"size": 2}}}},
        {},
        {"SPARK_PLUGINS_FRUIT_KIND": "pear"},
    )
    for order in ([FRUIT, inner], [inner, FRUIT]):
        settings = Settings.check(source, order)
        assert settings.section(Fruit).port == 1
        assert settings.section(Stone).size == 2


def test_a_key_with_the_name_of_another_section_is_a_key() -> None:
    source = Source(None, Path(), {"plugins": {"fruit": {"core": 1}}}, {}, {})
    with pytest.raises(SettingsError, match="core is not a setting"):
        Settings.check(source, [FRUIT])
