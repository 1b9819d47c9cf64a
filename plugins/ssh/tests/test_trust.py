"""Who is trusted: one key of ours, and hosts that are listed."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager

import pytest
from spark_core_ssh.opening import open_machines

from spark_core.contracts.machines import HasPublicKey
from spark_core.errors import NotConfigured, Unavailable

pytestmark = pytest.mark.anyio


def keygen(file, *options):
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-f", str(file)]
    subprocess.run([*words, *(options or ("-N", ""))], check=True)
    return file


def shell(command):
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)


@contextmanager
def agent(socket, key):
    """An agent that holds *key*."""
    words = ["ssh-agent", "-D", "-a", str(socket)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as running:
        try:
            while not socket.exists():
                time.sleep(0.005)
            shell(f"SSH_AUTH_SOCK={socket} ssh-add -q {key}")
            yield
        finally:
            running.terminate()


async def echo(settings):
    async with open_machines(settings) as machines:
        return (await machines.run("spark1", ["echo", "in"])).stdout


async def test_items_26_every_call_uses_the_key_and_never_an_agent(
    settings, spark, tmp_path, monkeypatch
):
    """Item 26: the right key in an agent, in ~/.ssh and in a user's config does not help."""
    (tmp_path / ".ssh").mkdir()
    default = tmp_path / ".ssh" / "id_ed25519"
    default.write_bytes(spark.key.read_bytes())
    default.chmod(0o600)
    touched = tmp_path / "touched"
    (tmp_path / ".ssh" / "config").write_text(
        f"Host *\n  IdentityFile {spark.key}\n  ProxyCommand touch {touched}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    with agent(tmp_path / "agent", default):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        with pytest.raises(Unavailable, match="does not let") as caught:
            await echo(settings(key=keygen(tmp_path / "other")))
    assert "authorized_keys" in (caught.value.hint or "")
    assert not touched.exists()


async def test_items_26_a_missing_key_is_said_clearly(settings, tmp_path):
    with pytest.raises(NotConfigured, match="nowhere"):
        await echo(settings(key=tmp_path / "nowhere"))
    with pytest.raises(NotConfigured, match="SSH_KEY_PATH"):
        await echo(settings(key=None))


async def test_items_26_a_key_with_a_passphrase_is_never_asked_for_it(settings, tmp_path):
    with pytest.raises(NotConfigured, match="passphrase"):
        await echo(settings(key=keygen(tmp_path / "locked", "-N", "a secret")))


async def test_what_is_no_key(settings, spark, tmp_path):
    (tmp_path / "text").write_text("not a key")
    with pytest.raises(NotConfigured, match="not a private"):
        await echo(settings(key=tmp_path / "text"))


async def test_an_unknown_host_is_refused_and_told_how_to_add(settings, tmp_path):
    """Nothing is written: there is no trust on first use."""
    (tmp_path / "known").write_text("")
    with pytest.raises(Unavailable, match=r"SHA256:\S+ is not listed") as caught:
        await echo(settings(known_hosts=tmp_path / "known"))
    assert "ssh-keyscan -p" in (caught.value.hint or "")
    assert (tmp_path / "known").read_text() == ""


async def test_what_the_hint_says_lets_it_in(settings, tmp_path):
    (tmp_path / "known").write_text("")
    with pytest.raises(Unavailable) as caught:
        await echo(settings(known_hosts=tmp_path / "known"))
    command = str(caught.value.hint).rpartition("add it: ")[2]
    shell(command)
    assert await echo(settings(known_hosts=tmp_path / "known")) == "in\n"


async def test_a_changed_host_key_is_refused(settings, spark, tmp_path):
    other = keygen(tmp_path / "other").with_suffix(".pub").read_text()
    (tmp_path / "known").write_text(f"[{spark.host}]:{spark.port} {other}")
    with pytest.raises(Unavailable, match="not the one that") as caught:
        await echo(settings(known_hosts=tmp_path / "known"))
    assert "somebody else" in (caught.value.hint or "")


async def test_hashed_known_hosts_are_read(settings, spark, tmp_path):
    """As OpenSSH writes them with HashKnownHosts."""
    known = tmp_path / "known"
    known.write_bytes(spark.known_hosts.read_bytes())
    shell(f"ssh-keygen -q -H -f {known}")
    assert spark.host not in known.read_text()
    assert await echo(settings(known_hosts=known)) == "in\n"


async def test_known_hosts_that_are_not_there(settings, tmp_path):
    with pytest.raises(NotConfigured, match="cannot be read"):
        await echo(settings(known_hosts=tmp_path / "nowhere"))
    with pytest.raises(NotConfigured, match="SSH_KNOWN_HOSTS"):
        await echo(settings(known_hosts=None))


async def test_known_hosts_lie_in_the_directory(settings, spark, tmp_path):
    (tmp_path / "known_hosts").write_bytes(spark.known_hosts.read_bytes())
    assert await echo(settings(known_hosts=None, directory=tmp_path)) == "in\n"


async def test_the_public_half_of_the_key_is_told(machines, settings, tmp_path):
    """In one line, as it is added to authorized_keys; and why not, where there is none."""
    assert isinstance(machines, HasPublicKey)
    kind, data, *_ = (settings().key.parent / "key.pub").read_text().split()
    assert (await machines.public_key()).split()[:2] == [kind, data]
    async with open_machines(settings(key=tmp_path / "none")) as without:
        with pytest.raises(NotConfigured, match="cannot be read"):
            await without.public_key()


async def test_the_public_half_is_what_lets_it_in(settings, spark):
    async with open_machines(settings()) as machines:
        known = spark.key.with_suffix(".pub").read_text().split()[:2]
        assert (await machines.public_key()).split()[:2] == known
