"""A daemon's one port: callers of a live session reach its process, everybody else is sent away without a word."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from parties.errors import LifecycleError
from parties.process.links import MAX_GREETING_BYTES, Greeting
from parties.service.door import MAX_CALLERS, Door
from tests.parties.doors import opened
from tests.parties.wires import DEADLINE_S

SESSION, OTHER = "ab" * 32, "cd" * 32
LINE = Greeting(SESSION, 1, "clinic-b").encode()


@pytest.fixture
def door():
    with opened() as made:
        yield made


def call(door, line: bytes = LINE) -> socket.socket:
    raw = socket.create_connection(door.address, DEADLINE_S)
    raw.sendall(line)
    return raw


def taken(inbox: socket.socket) -> tuple[bytes, socket.socket]:
    """The next call in an inbox: its line, and the connection."""
    inbox.settimeout(DEADLINE_S)
    line, descriptors, _, _ = socket.recv_fds(inbox, MAX_GREETING_BYTES, 1)
    raw = socket.socket(fileno=descriptors[0])
    raw.settimeout(DEADLINE_S)
    return line, raw


def hung_up(raw: socket.socket) -> bool:
    """Whether the other side ends the connection without having said anything."""
    with raw, contextlib.suppress(ConnectionResetError):
        return raw.recv(1) == b""
    return True


def test_a_caller_reaches_the_process_of_its_session(door):
    """The process gets the line and the connection itself, over which both then speak."""
    with door.inbox(SESSION) as inbox, door.inbox(OTHER), call(door) as caller:
        line, raw = taken(inbox)
        with raw:
            assert line == LINE
            raw.setblocking(True)
            raw.sendall(b"+")
            assert caller.recv(1) == b"+"
            caller.sendall(b"hello")
            assert raw.recv(5, socket.MSG_WAITALL) == b"hello"


def test_a_line_may_come_in_pieces(door):
    """A greeting is read to its end, however the network cuts it."""
    with door.inbox(SESSION) as inbox, call(door, b"") as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(LINE)):
            caller.sendall(LINE[place : place + 1])
        line, raw = taken(inbox)
        raw.close()
        assert line == LINE


STRANGERS = {
    "another session": Greeting(OTHER, 1, "clinic-b").encode(),
    "a browser": b"GET / HTTP/1.1\n",
    "TLS at once": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    "a line without end": b"x" * (2 * MAX_GREETING_BYTES),
    "two lines": LINE * 2,
    "nothing": b"\n",
}


@pytest.mark.parametrize("line", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_is_sent_away_without_a_word(door, line):
    """Whoever does not name a live session is told nothing, and reaches no process."""
    with door.inbox(SESSION) as inbox:
        assert hung_up(call(door, line))
        with call(door):
            found, raw = taken(inbox)  # the first that the process hears of
            raw.close()
            assert found == LINE


def test_a_caller_that_says_nothing_is_sent_away(door):
    """A line has five seconds."""
    assert hung_up(call(door, b"privity1 "))


def test_a_session_that_ended_takes_no_more_callers(door):
    """Once it is shut its process sees the end of its inbox, and callers are sent away."""
    with door.inbox(SESSION) as inbox:
        door.shut(SESSION)
        inbox.settimeout(DEADLINE_S)
        assert socket.recv_fds(inbox, MAX_GREETING_BYTES, 1)[:2] == (b"", [])
        assert hung_up(call(door))
    door.shut(SESSION)  # and may be shut twice


def test_a_process_that_takes_nobody_in_holds_up_no_other(door):
    """Callers of a session whose process does not read are sent away at last; other sessions' get through."""
    with door.inbox(SESSION), door.inbox(OTHER) as inbox, contextlib.ExitStack() as stack:
        for _ in range(2 * MAX_CALLERS):
            stack.enter_context(call(door))
        with call(door, Greeting(OTHER, 1, "clinic-b").encode()):
            line, raw = taken(inbox)
            raw.close()
            assert line.split()[1] == OTHER.encode()


def test_callers_that_say_nothing_are_bounded(door):
    """A crowd that names no session takes no more than its share: who comes next is sent away, and may come again."""
    with door.inbox(SESSION) as inbox:
        with contextlib.ExitStack() as stack:
            for _ in range(MAX_CALLERS):
                stack.enter_context(call(door, b""))
            assert hung_up(call(door))
        for _ in range(100):  # until the crowd's ends are noticed
            with call(door):
                inbox.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    line, descriptors, _, _ = socket.recv_fds(inbox, MAX_GREETING_BYTES, 1)
                    socket.socket(fileno=descriptors[0]).close()
                    assert line == LINE
                    return
        pytest.fail("nobody got through any more")


def test_where_it_is_found():
    """Others dial the address that the operator advertises; else the one it listens on, with its real port."""

    async def ask() -> None:
        plain, advertised = Door("127.0.0.1:0", ""), Door("127.0.0.1:0", "dealer.example.org:8490")
        with pytest.raises(LifecycleError, match="not open yet"):
            plain.endpoint  # noqa: B018 - a property that raises
        await plain.open()
        await advertised.open()
        try:
            host, port = plain.endpoint.split(":")
            assert host == "127.0.0.1"
            assert int(port) > 0
            assert advertised.endpoint == "dealer.example.org:8490"
        finally:
            plain.close()
            advertised.close()
        await asyncio.sleep(0)

    asyncio.run(ask())
