"""``spark`` as a process of its own: signals, pipes and terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

LIBRARY = [sys.executable, str(Path(__file__).with_name("library.py"))]
REAL = [sys.executable, "-m", "spark_core_cli"]


def interruptible():
    # A test run in the background ignores SIGINT, and so would its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(command, *words, cwd, **more):
    return subprocess.run(
        [*command, *words], capture_output=True, text=True, cwd=cwd, timeout=60, **more
    )


def on_terminal(command, *words, cwd, prompt="[y/N]: ", answer="", **streams):
    """Run on a terminal of its own and answer what it asks.

    Returns all that was drawn on it, and the exit code.
    """
    ours, theirs = pty.openpty()
    at = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **streams}
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        [*command, *words], cwd=cwd, env=environ, preexec_fn=lambda: control(theirs), **at
    ) as process:
        os.close(theirs)
        drawn, answered = b"", False
        while (some := read(ours)) != b"":
            drawn += some or b""
            # A key that is pressed after the prompt but before the reading begins can be missed.
            if prompt.encode() in drawn and (some is None or not answered):
                os.write(ours, answer.encode())
                answered = True
    os.close(ours)
    return drawn.decode(), process.returncode


def control(terminal):
    """Let *terminal* control this process, so that Ctrl-C on it is a signal."""
    interruptible()
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def read(terminal):
    """What was drawn; None if that was nothing for a while, and nothing at the end."""
    if not select.select([terminal], [], [], 5)[0]:
        return None
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux's way to say that nobody has the other end any more
        return b""


def test_help_loads_nothing_heavy(tmp_path):
    result = run(
        [sys.executable, "-X", "importtime", "-m", "spark_core_cli"], "--help", cwd=tmp_path
    )
    assert result.returncode == 0
    assert "config" in result.stdout
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    heavy = {"rich", "httpx", "sqlalchemy", "falcon", "numpy", "qdrant_client", "fastembed"}
    assert not loaded & heavy


def test_the_installed_command_finds_installed_plugins(tmp_path):
    result = run(REAL, "plugins", "--json", cwd=tmp_path)
    names = [plugin["name"] for plugin in json.loads(result.stdout)["plugins"]]
    assert {"core", "cli"} <= set(names)


def test_a_settings_file_that_is_missing_is_misuse(tmp_path):
    result = run(REAL, "--config", "none.toml", "audit", "list", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: there is no settings file none.toml\n"
    assert run(REAL, "--config", "none.toml", "--help", cwd=tmp_path).returncode == 0


def test_broken_toml_is_misuse_but_help_still_helps(tmp_path):
    (tmp_path / "spark.toml").write_text("[core\n")
    assert run(REAL, "audit", "list", cwd=tmp_path).returncode == 2
    assert run(REAL, "--help", cwd=tmp_path).returncode == 0
    result = run(REAL, "config", "check", cwd=tmp_path)
    assert result.returncode == 2
    assert "spark.toml is not valid TOML" in result.stdout


def test_a_shell_completes_commands_and_options(tmp_path):
    def complete(words):
        asked = {"_SPARK_COMPLETE": "bash_complete", "COMP_WORDS": words}
        environ = {**os.environ, **asked, "COMP_CWORD": str(words.count(" "))}
        return run(LIBRARY, cwd=tmp_path, env=environ).stdout.split()

    assert complete("spark sh") == ["plain,shelf"]
    assert complete("spark shelf co") == ["plain,copy-books"]
    assert complete("spark search --li") == ["plain,--limit"]
    assert complete("spark search --mode d") == ["plain,dense"]


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("operation", ["wait", "wait-plainly"])
def test_an_interrupted_operation_is_cancelled_and_awaited(tmp_path, kill, operation):
    with subprocess.Popen(
        [*LIBRARY, operation],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=interruptible,
    ) as process:
        # What is no event is printed beside the results.
        output = process.stdout if operation == "wait" else process.stderr
        assert "ready" in output.readline()
        process.send_signal(kill)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "interrupted"
    assert (tmp_path / "cancelled").exists()


def test_a_closed_pipe_is_no_error_to_speak_of(tmp_path):
    with subprocess.Popen(
        [*LIBRARY, "read", "--lines", "100000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == b""


@pytest.mark.parametrize("words", [("shelf", "show"), ("shelf", "copy-books"), ("--help",), ("x",)])
def test_a_pipe_gets_no_escape_codes_and_no_boxes(tmp_path, words):
    result = run(LIBRARY, *words, cwd=tmp_path)
    for text in (result.stdout, result.stderr):
        assert "\x1b" not in text
        assert not set(text) & set("─━│╭")


def test_a_terminal_gets_a_table_cut_to_its_width(tmp_path):
    drawn, code = on_terminal(LIBRARY, "shelf", "show", cwd=tmp_path)
    assert code == 0
    assert "─" in drawn
    assert "…" in drawn
    assert "[bold]" in drawn
    assert "\x07" not in drawn


def test_a_terminal_gets_a_progress_bar_beside_the_result(tmp_path):
    with (tmp_path / "out").open("w+") as out:
        words = ("shelf", "copy-books", "--json")
        drawn, code = on_terminal(LIBRARY, *words, cwd=tmp_path, stdout=out)
        out.seek(0)
        assert json.load(out) == {"done": True}
    assert code == 0
    assert "━" in drawn
    assert "copying" in drawn
    assert "3/3 books" in drawn


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\x03", 130), ("\x04", 130)])
def test_a_terminal_is_asked_before_the_cluster_is_touched(tmp_path, answer, code):
    drawn, ended = on_terminal(LIBRARY, "shelf", "burn", cwd=tmp_path, answer=answer)
    assert "shelf.burn touches the cluster" in drawn
    assert ended == code
    assert ("done: true" in drawn) == (code == 0)


def test_ctrl_c_ends_the_bar_too(tmp_path):
    """The cursor, which a bar hides, is shown again."""
    more = {"prompt": "waiting", "answer": "\x03"}
    drawn, code = on_terminal(LIBRARY, "wait-plainly", cwd=tmp_path, **more)
    assert code == 130
    assert (tmp_path / "cancelled").exists()
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")
    assert drawn.rstrip().endswith("interrupted")


@pytest.mark.parametrize(("words", "code"), [(("audit", "list"), 2), (("plugins",), 0)])
def test_a_working_directory_that_is_gone_is_one_sentence(tmp_path, words, code):
    """What needs no settings still works there."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", gone, *REAL]
    result = run(command, *words, cwd=tmp_path)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    if code:
        assert result.stderr.splitlines() == [
            "error: the working directory does not exist any more",
            "hint: change to one that does",
        ]


def test_what_was_killed_while_it_wrote_has_left_a_trace(tmp_path):
    """An audited effect has an entry before it begins."""
    assert run(LIBRARY, "die", cwd=tmp_path).returncode == -signal.SIGKILL
    [entry] = json.loads(run(LIBRARY, "audit", "list", "--json", cwd=tmp_path).stdout)["entries"]
    assert (entry["action"], entry["outcome"]) == ("die", "started")


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (("chatter", "--json"), '{\n  "done": true\n}\n'),
        (("chatter",), "done: true\n"),
        (("chatter-on", "--json"), '{"number":0,"text":"event"}\n{"number":1,"text":"event"}\n'),
    ],
)
def test_only_the_result_reaches_standard_output(tmp_path, words, printed):
    result = run(LIBRARY, *words, cwd=tmp_path)
    assert result.stdout == printed
    times = 2 if "chatter-on" in words else 1
    said = ["said by python", "said in C", "said by a child"] * times
    assert sorted(result.stderr.splitlines()) == sorted(said)


@pytest.mark.parametrize(
    ("closed", "printed"), [(">&-", ""), ("2>&-", "* One\n"), (">&- 2>&-", "")]
)
def test_closed_streams_are_no_error(tmp_path, closed, printed):
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", *LIBRARY, "shelf", "titles"]
    result = run(words, cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout == printed


def test_what_a_plugin_prints_at_its_import_is_no_result(tmp_path):
    (tmp_path / "loud-1.dist-info").mkdir()
    (tmp_path / "loud-1.dist-info" / "METADATA").write_text("Name: loud\nVersion: 1\n")
    (tmp_path / "loud-1.dist-info" / "entry_points.txt").write_text("[spark_core]\nloud = loud\n")
    (tmp_path / "loud.py").write_text("print('here I am')\n")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    result = run(REAL, "plugins", "--json", cwd=tmp_path, env=environ)
    assert "loud" in [plugin["name"] for plugin in json.loads(result.stdout)["plugins"]]
    assert "here I am" in result.stderr
