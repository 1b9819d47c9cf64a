"""The catalog: models.yaml, its overrides, and what is wrong in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from spark_core.entries import LARGEST
from spark_core.errors import Conflict, NotFound, SettingsError
from spark_core.swaps.catalog import Catalog, CatalogModel
from spark_core.swaps.settings import SwapSettings

BASE = """\
models:
  small:
    repo: example/small
    served_name: example-small
    aliases: [small-chat, fast]
    args: [--max-model-len, 32768, --gpu-memory-utilization, 0.90]
    memory_gib: 20
  tuned:
    local_path: /srv/models/tuned
    on_demand: wait
"""

Load = Callable[..., Catalog]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The catalog of the files that a test writes."""

    def load(base: str = BASE, overrides: str | None = None, **settings: object) -> Catalog:
        (tmp_path / "models.yaml").write_text(base)
        if overrides is not None:
            (tmp_path / "overrides.yaml").write_text(overrides)
        section = SwapSettings.model_validate(
            {"catalog": tmp_path / "models.yaml", **settings}, context={"directory": tmp_path}
        )
        return Catalog(section, tmp_path / "overrides.yaml")

    return load


def test_a_model_is_found_by_each_of_its_names(load: Load) -> None:
    """Its own, the served one, and every alias."""
    catalog = load()
    names = ("small", "example-small", "small-chat", "fast")
    assert {catalog.find(name).name for name in names} == {"small"}


def test_an_unknown_model_is_told_with_those_that_are_known(load: Load) -> None:
    with pytest.raises(NotFound, match=r"'smal'.*did you mean 'small'.*small, tuned"):
        load().find("smal")


def test_no_catalog_is_an_empty_one(tmp_path: Path) -> None:
    """A host without models works, and every model is unknown."""
    section = SwapSettings.model_validate({}, context={"directory": tmp_path})
    catalog = Catalog(section, tmp_path / "none.yaml")
    assert not catalog.models
    assert not catalog.warnings
    with pytest.raises(NotFound, match="known models: none"):
        catalog.find("small")


def test_a_catalog_that_was_named_and_is_not_there_is_told(tmp_path: Path) -> None:
    catalog = Catalog(SwapSettings(catalog=tmp_path / "gone.yaml"), tmp_path / "none.yaml")
    assert "gone.yaml" in catalog.warnings[0]


def test_values_are_text_as_they_are_written(load: Load) -> None:
    """YAML would make 0.9 of 0.90, 750 of 12:30, and false of no."""
    args = load("models: {a: {repo: x/y, args: [0.90, 12:30, no, 007, 1e3, 1_000]}}").find("a").args
    assert args == ("0.90", "12:30", "no", "007", "1e3", "1_000")


def test_a_launch_says_all_the_names_and_each_argument(load: Load) -> None:
    launch = load().find("fast").to_launch("7")
    assert launch.arguments == (
        *("--max-model-len", "32768", "--gpu-memory-utilization", "0.90"),
        *("--served-model-name", "example-small", "small-chat", "fast"),
    )
    assert (launch.id, launch.name, launch.model) == ("7", "small", "example/small")
    assert (launch.served_name, launch.is_local, launch.nodes) == ("example-small", False, 1)


def test_a_local_model_is_launched_from_its_folder(load: Load) -> None:
    launch = load().find("tuned").to_launch("7")
    assert (launch.model, launch.is_local) == ("/srv/models/tuned", True)


def test_items_9_a_bad_override_is_skipped_with_a_warning(load: Load) -> None:
    """The entry that it would have replaced is used, and the rest survives."""
    catalog = load(overrides="models:\n  small: {repo: a/b, local_path: /x}\n  more: {repo: c/d}\n")
    assert catalog.find("small").repo == "example/small"
    assert list(catalog.models) == ["small", "tuned", "more"]
    (warning,) = catalog.warnings
    assert "overrides.yaml line 2" in warning
    assert "'small'" in warning
    assert "exactly one of repo and local_path" in warning


def test_an_override_takes_the_place_of_the_whole_entry(load: Load) -> None:
    catalog = load(overrides="models: {small: {repo: example/newer}, tuned: }")
    assert list(catalog.models) == ["small"]
    assert catalog.find("small").args == ()
    assert catalog.find("small").repo == "example/newer"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{}", "exactly one of repo and local_path"),
        ("{repo: a/b, local_path: /m}", "exactly one of repo and local_path"),
        ("{repo: a/b, memory: 3}", r"memory is not one of its fields; did you mean 'memory_gib'\?"),
        ("{repo: a/b, nodes: 3}", "nodes: "),
        ("{repo: ../../etc}", "repo: must be like owner/name"),
        ("{repo: a--b/c}", "repo: must be like owner/name"),
        ("{local_path: models/tuned}", "must be absolute"),
        ("{local_path: /srv/../etc}", "no part that is empty, . or .."),
        ("{local_path: /srv/my models}", "must be absolute, of letters"),
        ("{local_path: '/srv/$(id)'}", "must be absolute, of letters"),
        ("{local_path: '/srv/a:b'}", "must be absolute, of letters"),
        ("{local_path: /}", "must be absolute"),
        ("{local_path: /m, args: [--chat-template, /etc/x.jinja]}", "inside local_path"),
        ("{local_path: /m, args: [--chat-template=/m/../x]}", "no part that is empty, . or .."),
        ("{repo: a/b, served_name: 'two words'}", "served_name: "),
        ("{repo: a/b, aliases: [-x]}", "aliases.0: "),
        ("{repo: a/b, aliases: [z, z]}", "stands twice among served_name and aliases"),
        ("{repo: a/b, env: {'A B': c}}", "env.A B"),
        ('{repo: a/b, env: {A: "b\\nC=d"}}', "env.A: must be one line"),
        ("{repo: a/b, args: [--served_model_name=x]}", "say served_name and aliases"),
        ("{repo: a/b, args: [--api-key, x]}", "set VLLM_API_KEY in env"),
        ("{repo: a/b, repo: c/d}", "repo stands there twice"),
        ("{repo: a/b, name: other}", "its name is the key"),
        ("a/b", "must be a mapping"),
        ("!!python/name:os.system x", "could not determine a constructor"),
        ("{repo: a/b, aliases: [tuned]}", "'tuned' is a name of the model 'tuned' already"),
    ],
)
def test_a_bad_entry_is_left_out_and_the_rest_survives(
    load: Load, entry: str, message: str
) -> None:
    """The warning says which file, which entry, and what is wrong."""
    catalog = load(f"models:\n  tuned: {{local_path: /t}}\n  bad: {entry}\n  last: {{repo: y/z}}\n")
    assert list(catalog.models) == ["tuned", "last"]
    (warning,) = catalog.warnings
    assert "models.yaml line 3: models 'bad' is left out: " in warning
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(warning)


def test_a_name_of_two_models_is_the_earlier_ones(load: Load) -> None:
    """Aliases and served names are one space of names with those of the entries."""
    catalog = load("models: {a: {repo: x/y, aliases: [b]}, b: {repo: x/z}, c: {repo: x/w}}")
    assert list(catalog.models) == ["a", "c"]


def test_no_warning_tells_a_value(load: Load) -> None:
    """Those of env may be secret."""
    catalog = load("models: {a: {repo: x/y, env: {TOKEN: [hush-hush]}, nodes: hush-hush}}")
    assert catalog.warnings
    assert "hush" not in "".join(catalog.warnings)


@pytest.mark.parametrize("text", ["models: [", "\x00", "models: {a: *b}", "- a", "x" * LARGEST])
def test_a_file_that_cannot_be_read_is_left_out(load: Load, text: str) -> None:
    """The other one is used."""
    catalog = load(overrides=text + " ")
    assert list(catalog.models) == ["small", "tuned"]
    assert "overrides.yaml is left out: " in catalog.warnings[0]


def test_a_key_that_means_nothing_is_told(load: Load) -> None:
    catalog = load("modles: {}\n")
    assert "'modles' means nothing; did you mean 'models'?" in catalog.warnings[0]


def test_files_that_changed_are_read_again(load: Load, tmp_path: Path) -> None:
    catalog = load()
    assert "new" not in catalog.models
    (tmp_path / "models.yaml").write_text(BASE + "  new: {repo: x/new}\n")
    assert "new" in catalog.models


def test_on_demand_is_what_settings_say_unless_an_entry_does(load: Load) -> None:
    models = load(on_demand="reject").models
    assert (models["small"].on_demand, models["tuned"].on_demand) == ("reject", "wait")


@pytest.mark.parametrize(
    ("head", "setting", "expected"),
    [("", None, None), ("default: fast\n", None, "small"), ("default: fast\n", "tuned", "tuned")],
)
def test_the_default_is_that_of_settings_else_of_the_file(
    load: Load, head: str, setting: str | None, expected: str | None
) -> None:
    catalog = load(head + BASE, default=setting)
    assert catalog.default == expected


def test_a_default_that_is_not_known_is_told(load: Load) -> None:
    catalog = load(default="smoll")
    assert catalog.default is None
    assert "'smoll' is not known; did you mean 'small'?" in catalog.warnings[0]


def test_what_is_put_is_found_again(load: Load, tmp_path: Path) -> None:
    """In the overrides, which only their owner may read: an environment may be secret."""
    catalog = load()
    model = CatalogModel(
        name="new", repo="x/new", args=("007", "no", "~"), env={"TOKEN": SecretStr("hush")}
    )
    catalog.files.put("new", model)
    assert catalog.find("new").to_launch("1").environment == {"TOKEN": "hush"}
    assert catalog.find("new").args == ("007", "no", "~")
    assert (tmp_path / "overrides.yaml").stat().st_mode & 0o777 == 0o600


def test_what_is_put_takes_nobodys_place_unasked(load: Load) -> None:
    catalog = load()
    newer = CatalogModel(name="small", repo="x/newer")
    with pytest.raises(Conflict, match="there is"):
        catalog.files.put("small", newer)
    catalog.files.put("small", newer, replace=True)
    assert catalog.find("small").repo == "x/newer"


def test_what_is_put_takes_nobodys_name(load: Load) -> None:
    with pytest.raises(Conflict, match="'fast' is a name of the model 'small' already"):
        load().files.put("new", CatalogModel(name="new", repo="x/y", aliases=("fast",)))


def test_what_is_removed_is_gone_from_whatever_file_it_was_in(load: Load) -> None:
    catalog = load(overrides="models: {mine: {repo: x/y}}\ndefault: tuned\n")
    catalog.files.remove("mine")
    catalog.files.remove("small")
    assert list(catalog.models) == ["tuned"]
    assert catalog.default == "tuned"


def test_broken_overrides_are_never_written_over(load: Load, tmp_path: Path) -> None:
    """What a person wrote there is worth more than what is to be added."""
    catalog = load(overrides="models: [")
    with pytest.raises(SettingsError, match="repair it first"):
        catalog.files.put("new", CatalogModel(name="new", repo="x/y"))
    assert (tmp_path / "overrides.yaml").read_text() == "models: ["


def test_a_bad_entry_of_the_overrides_outlives_a_change(load: Load, tmp_path: Path) -> None:
    catalog = load(overrides="models: {odd: {repo: 1 2}}\n")
    catalog.files.put("new", CatalogModel(name="new", repo="x/y"))
    assert "odd" in (tmp_path / "overrides.yaml").read_text()


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@given(args=st.lists(TEXT), value=TEXT)
def test_whatever_is_put_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, args: list[str], value: str
) -> None:
    """Arguments and values of any text, line ends and control characters among it."""
    folder = tmp_path_factory.mktemp("catalog")
    try:
        model = CatalogModel(name="m", repo="x/y", args=tuple(args), env={"X": SecretStr(value)})
    except ValidationError:
        return  # a reserved argument, or contradicting ones
    catalog = Catalog(SwapSettings(catalog=folder / "none.yaml"), folder / "overrides.yaml")
    catalog.files.put("m", model)
    found = catalog.find("m")
    assert found.args == model.args
    assert found.env == model.env
