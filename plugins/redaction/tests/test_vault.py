"""The vault: numbers that hold over processes, an end in time, and nothing to read for a thief."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from spark_core_redaction import scopes
from spark_core_redaction.forms import Form, Mention
from spark_core_redaction.keys import KeyRing, Unsealable, opened, sealed
from spark_core_redaction.vault import Vault

from spark_core.declarations import StateSchema
from spark_core.errors import NotFound, SettingsError
from spark_core.state import State
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

DAY = 86400.0


def person(name: str, identity: str = "", part: str = "") -> Mention:
    return Mention("PERSON", identity or name, part, Form(name))


def content(file: Path) -> str:
    return file.read_text()


def lines(file: Path) -> list[str]:
    return content(file).split()


def mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


def put(file: Path, text: str) -> None:
    file.write_text(text)


def remove(file: Path) -> None:
    file.unlink()


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


# ------------------------------------------------------------------------------------ numbering

PROCESS = """
import asyncio, json, sys
from datetime import timedelta
from pathlib import Path
from spark_core.clock import SystemClock
from spark_core.declarations import StateSchema
from spark_core.state import Leases, State
from spark_core_redaction.forms import Form, Mention
from spark_core_redaction.keys import KeyRing
from spark_core_redaction.scopes import Lifetime
from spark_core_redaction.vault import Vault

async def main(folder, scope, first):
    schema = StateSchema("redaction", "spark_core_redaction.migrations")
    async with State.open(folder / "state.db", [schema]) as state:
        clock = SystemClock()
        life = Lifetime(timedelta(days=1), timedelta(days=30))
        vault = Vault(state, clock, Leases(state, clock), KeyRing(None, folder / "vault.key"), life)
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(int(first), int(first) + 12):
            name = f"N{n}"
            _, keys = await vault.replace([Mention("PERSON", name, "", Form(name))], scope)
            print(json.dumps([name, *keys.values()]), flush=True)

asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""


def test_processes_that_scrub_at_once_agree(tmp_path: Path) -> None:
    """Real ones, that first saw neither the database nor its key."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), "case", str(first)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for first in (0, 6)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [tuple(json.loads(n)) for p in started for n in p.communicate()[0].splitlines()]
    assert len(said) == 24
    assert len(set(said)) == len({key for _, key in said}) == 18


async def test_two_processes_never_give_one_placeholder_to_two(
    state_url: str, schema: StateSchema, make_vault: Callable[..., Vault]
) -> None:
    """Two processes, as far as the database can tell: each has connections of its own."""
    async with State.open(state_url, [schema]) as one, State.open(state_url, [schema]) as other:
        vaults = [make_vault(one), make_vault(other)]
        handle, _ = await vaults[0].replace([])
        some = [[person(f"N{(n + m) % 12}") for m in range(4)] for n in range(16)]
        given = await asyncio.gather(
            *(vaults[n % 2].replace(each, handle) for n, each in enumerate(some))
        )
        seen = {(m, key) for _, each in given for m, key in each.items()}
        assert len(seen) == len({m for m, _ in seen}) == len({key for _, key in seen}) == 12
        forms = await vaults[1].forms(handle)
        assert all(forms[key] == mention.form for mention, key in seen)


async def test_a_name_begins_one_scope_however_many_come_first(
    each_state: State, make_vault: Callable[..., Vault]
) -> None:
    vaults = [make_vault(each_state) for _ in range(6)]
    given = await asyncio.gather(
        *(vault.replace([person(f"N{n}")], "case") for n, vault in enumerate(vaults))
    )
    assert len({key for _, each in given for key in each.values()}) == 6


async def test_thousands_are_numbered_in_one_call(vault: Vault) -> None:
    mentions = [person(f"N{n}") for n in range(1500)]
    handle, given = await vault.replace(mentions)
    assert given[mentions[-1]] == "PERSON_1500"
    assert await vault.replace(mentions, handle) == (handle, given)


# ------------------------------------------------------------------------------------- lifetime


async def test_a_scope_ends_when_it_was_not_used_for_a_day(
    each_state: State, make_vault: Callable[..., Vault], spark_clock: ManualClock
) -> None:
    """Whoever has the handle is then told what everybody is told, and it cannot begin again."""
    vault = make_vault(each_state)
    handle, _ = await vault.replace([person("Ada")])
    spark_clock.advance(DAY - 1)
    await vault.replace([], handle)
    spark_clock.advance(DAY - 1)
    assert await vault.forms(handle)
    spark_clock.advance(1)
    for late in (vault.forms(handle), vault.replace([], handle)):
        with pytest.raises(NotFound) as caught:
            await late
        with pytest.raises(NotFound) as unknown:
            await vault.forms("scope_" + "x" * 43)
        assert str(caught.value) == str(unknown.value)


async def test_a_scope_ends_after_thirty_days_however_much_it_is_used(
    vault: Vault, spark_clock: ManualClock
) -> None:
    handle, _ = await vault.replace([])
    for _ in range(50):
        spark_clock.advance(DAY * 0.75 - 1)
        try:
            await vault.replace([], handle)
        except NotFound:
            break
    assert 30 * DAY <= (spark_clock.now() - ManualClock().now()).total_seconds() < 31 * DAY


async def test_what_expired_is_removed(
    each_state: State, make_vault: Callable[..., Vault], spark_clock: ManualClock
) -> None:
    """With its values and its handles; by the sweep, or by whoever begins a scope."""
    vault = make_vault(each_state)
    await vault.replace([person("Ada")])
    await vault.replace([person("Ben")], "case")
    spark_clock.advance(DAY)
    assert await vault.sweep() == 2
    for table in ("scopes", "handles", "forms"):
        query = f"SELECT count(*) FROM redaction_{table}"
        assert await each_state.read(lambda c, q=query: c.exec_driver_sql(q).scalar()) == 0


# ----------------------------------------------------------------------------------------- keys


def test_a_key_file_is_its_owners_alone_and_made_once(tmp_path: Path) -> None:
    """By whichever of many processes is first: all have the same key."""
    file = tmp_path / "deep" / "vault.key"
    code = (
        "import sys; from pathlib import Path; from spark_core_redaction.keys import KeyRing; "
        "print([k.id for k in KeyRing(None, Path(sys.argv[1])).all()])"
    )
    command = [sys.executable, "-c", code, str(file)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in started}) == 1
    assert [process.returncode for process in started] == [0] * 4
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_a_key_that_others_may_read_is_refused(key_file: Path) -> None:
    KeyRing(None, key_file).all()
    key_file.chmod(0o640)
    with pytest.raises(SettingsError, match="others than its owner"):
        KeyRing(None, key_file).all()


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"\xff\xfe", b"k" * 43 + b"\nk\n"])
def test_a_key_that_is_not_whole_is_refused(key_file: Path, content: bytes) -> None:
    """Such as one that a full disk cut off: anybody could guess it."""
    key_file.write_bytes(content)
    key_file.chmod(0o600)
    with pytest.raises(SettingsError, match="is not whole"):
        KeyRing(None, key_file).all()


def test_a_configured_key_needs_no_file(key_file: Path) -> None:
    assert len(KeyRing("k" * 32 + ", " + "l" * 32, key_file).all()) == 2
    assert not key_file.exists()


def test_what_is_sealed_is_opened_in_its_place_and_unchanged_only() -> None:
    key, place = b"k" * 32, b"here"
    box = sealed(key, b"value", place)
    assert opened(key, box, place) == b"value"
    assert sealed(key, b"value", place) != box
    for wrong in (
        (b"l" * 32, box, place),
        (key, box, b"there"),
        (key, box[:-1], place),
        (key, b"", place),
    ):
        with pytest.raises(Unsealable):
            opened(*wrong)


# -------------------------------------------------------------------------------------- at rest

VALUES = ["Ada Example", "ada@example.org", "Graz 17", "客户张伟", "entity:4711"]


def everything(folder: Path) -> bytes:
    """Every byte of the database, and of what SQLite keeps beside it."""
    return b"".join(file.read_bytes() for file in sorted(folder.glob("state.db*")))


async def test_the_vault_at_rest_holds_nothing_readable(vault: Vault, tmp_path: Path) -> None:
    """No value, identity, name of a scope or handle, in any common encoding; nor a digest of one
    that could be made without the key."""
    mentions = [Mention("PERSON", VALUES[-1], "", Form(value)) for value in VALUES[:-1]]
    handle, _ = await vault.replace(mentions, "case of Ada")
    stored = everything(tmp_path)
    assert b"redaction_forms" in stored
    assert [name for name in names(tmp_path) if name.endswith("-wal")]
    for value in [*VALUES, "case of Ada", handle]:
        for raw in (value.encode(), value.encode("utf-16-le"), value.casefold().encode()):
            looks = [raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")[:-1]]
            assert [look for look in looks if look in stored] == []
            if value != handle:  # of 256 random bits a digest gives nothing away
                plain = [hashlib.new(name, raw).digest() for name in ("md5", "sha1", "sha256")]
                assert [d for d in plain if d in stored or d.hex().encode() in stored] == []


async def test_a_stolen_database_without_its_key_opens_nothing(
    state: State, vault: Vault, make_vault: Callable[..., Vault], key_file: Path
) -> None:
    """Also for a thief who has the handle; the thief is told what everybody is told."""
    handle, _ = await vault.replace([person("Ada Example")], "case")
    remove(key_file)
    for thief in (make_vault(state), make_vault(state, "k" * 32)):
        with pytest.raises(NotFound, match="no such scope"):
            await thief.forms(handle)
        _, numbered = await thief.replace([person("Ben")], "case")
        assert list(numbered.values()) == ["PERSON_1"]  # it is another scope


# ------------------------------------------------------------------------------------- rotation


async def test_after_rotation_the_former_key_opens_nothing(
    each_state: State, make_vault: Callable[..., Vault], key_file: Path
) -> None:
    """And everything is there: handles, names and numbers."""
    vault = make_vault(each_state)
    handle, _ = await vault.replace([person("Ada")])
    _, named = await vault.replace([person("Ben")], "case")
    former = content(key_file)
    assert await vault.rotate() == (2, 0)
    assert len(lines(key_file)) == 1
    assert content(key_file) != former
    assert mode(key_file) == 0o600
    assert (await make_vault(each_state).forms(handle))["PERSON_1"] == Form("Ada")
    assert (await vault.replace([person("Ben")], "case"))[1] == named
    put(key_file, former)
    with pytest.raises(NotFound):
        await make_vault(each_state).forms(handle)


async def test_a_rotation_that_was_killed_is_ended_by_the_next(
    state: State, make_vault: Callable[..., Vault], key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it was killed; meanwhile everything can be opened and begun."""
    vault = make_vault(state)
    handles = [(await vault.replace([person(f"N{n}")]))[0] for n in range(5)]
    monkeypatch.setattr("spark_core_redaction.vault._BATCH", 2)

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    async def all_open() -> bool:
        forms = [await make_vault(state).forms(handle) for handle in handles]
        return [each["PERSON_1"].text for each in forms] == [f"N{n}" for n in range(len(forms))]

    resealed = iter([True, True, False])
    reseal = scopes.reseal

    def until_killed(*arguments: object) -> tuple[int, int]:
        if not next(resealed):
            raise Killed
        return reseal(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(scopes, "reseal", until_killed)
        with pytest.raises(Killed):
            await vault.rotate()
    begun = lines(key_file)
    assert len(begun) == 2
    assert await all_open()
    handles.append((await vault.replace([person("N5")]))[0])
    with monkeypatch.context() as patch:
        patch.setattr(KeyRing, "end", killed)
        with pytest.raises(Killed):
            await vault.rotate()
    assert lines(key_file) == begun
    assert await all_open()
    assert await vault.rotate() == (0, 0)
    assert lines(key_file) == begun[:1]
    assert await all_open()


ROTATE = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from spark_core.clock import SystemClock
from spark_core.state import Leases, State
from spark_core_redaction import scopes, vault
from spark_core_redaction.keys import KeyRing

vault._BATCH = 10
reseal = scopes.reseal

def told(*arguments):
    print("batch", flush=True)
    sys.stdin.readline()
    return reseal(*arguments)

scopes.reseal = told

async def main(folder):
    async with State.open(folder / "state.db") as state:
        clock, life = SystemClock(), scopes.Lifetime(timedelta(days=1), timedelta(days=30))
        ring = KeyRing(None, folder / "vault.key")
        await vault.Vault(state, clock, Leases(state, clock), ring, life).rotate()

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_process_that_is_killed_while_it_rotates_loses_nothing(
    state: State, vault: Vault, tmp_path: Path, key_file: Path
) -> None:
    """In the middle of a transaction, with some scopes sealed anew, some not, and one begun."""
    handles = [(await vault.replace([person(f"N{n}")]))[0] for n in range(25)]

    def killed_in_the_second_batch() -> None:
        command = [sys.executable, "-c", ROTATE, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"batch\n"
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"batch\n"
            process.kill()

    await asyncio.to_thread(killed_in_the_second_batch)
    assert len(lines(key_file)) == 2
    handles.append((await vault.replace([person("N25")]))[0])
    for n, handle in enumerate(handles):
        assert (await vault.forms(handle))["PERSON_1"] == Form(f"N{n}")
    # The clock of these tests is years ahead: what the killed process held has expired.
    assert await vault.rotate() == (15, 0)
    assert len(lines(key_file)) == 1
    for n, handle in enumerate(handles):
        assert (await vault.forms(handle))["PERSON_1"] == Form(f"N{n}")


async def test_a_configured_key_takes_the_place_of_a_former_one(
    state: State, make_vault: Callable[..., Vault], key_file: Path
) -> None:
    """From the vault's own to one that is configured, and on to another."""
    own, first, second = make_vault(state), "1" * 32, "2" * 32
    handle, _ = await own.replace([person("Ada")])
    assert await make_vault(state, first).rotate() == (1, 0)
    remove(key_file)
    assert await make_vault(state, f"{second},{first}").rotate() == (1, 0)
    assert (await make_vault(state, second).forms(handle))["PERSON_1"] == Form("Ada")
    assert await make_vault(state, "3" * 32).rotate() == (0, 1)


async def test_nobody_seals_with_a_key_that_is_just_taken_out_of_use(
    each_state: State, make_vault: Callable[..., Vault]
) -> None:
    """Scopes that are begun while the key rotates, in other processes, can be opened."""
    vaults = [make_vault(each_state) for _ in range(3)]

    async def begin(vault: Vault) -> list[str]:
        return [(await vault.replace([person("Ada")]))[0] for _ in range(5)]

    *begun, _ = await asyncio.gather(*map(begin, vaults), make_vault(each_state).rotate())
    for handle in [handle for each in begun for handle in each]:
        assert (await vaults[0].forms(handle))["PERSON_1"] == Form("Ada")
