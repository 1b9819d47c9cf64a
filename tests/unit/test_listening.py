"""Where a host listens is settled before anything else, and told."""

from __future__ import annotations

import socket

import pytest

from spark_core.errors import SparkError
from spark_core.listening import listen, url_of


def test_port_0_takes_a_free_one_and_says_which() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_address_of_ipv6_is_in_brackets() -> None:
    try:
        listener = listen("::1", 0)
    except SparkError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert url_of(listener).startswith("http://[::1]:")


def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(SparkError, match="in use") as failed:
        listen("127.0.0.1", taken.getsockname()[1])
    assert failed.value.hint == "--port takes another"


def test_an_address_that_is_another_machines_is_said() -> None:
    with pytest.raises(SparkError, match=r"cannot listen at 192\.0\.2\.1 port 0: .*assign"):
        listen("192.0.2.1", 0)


def test_what_connects_is_accepted() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        listener.accept()[0].close()
