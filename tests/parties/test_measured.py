"""What the kernel says of a connection."""

import socket

from parties.process.measured import measured

SENT = 1 << 15


def test_a_connection_says_how_long_it_is():
    """Of one on this machine: less than a second, and it names the other end."""
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()) as one:
        other, _ = door.accept()
        with other:
            one.sendall(bytes(SENT))
            while len(other.recv(SENT, socket.MSG_PEEK)) < SENT:
                pass
            found = measured("clinic-b", one)
    assert found is not None
    assert found.name == "clinic-b"
    assert 0 < found.round_trip_us < 1_000_000
    assert found.bytes_a_second is None or found.bytes_a_second > 0


def test_what_is_closed_or_no_tcp_says_nothing():
    """It costs a session nothing that the kernel doesn't know."""
    one, other = socket.socketpair()
    assert measured("clinic-b", one) is None
    one.close()
    other.close()
    assert measured("clinic-b", one) is None
