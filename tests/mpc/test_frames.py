"""Frames: what is written is read back, and nothing else is accepted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import FrameRefused, ProtocolError
from mpc.frames import (
    DTYPES,
    HEADER_BYTES,
    MAX_PAYLOAD,
    Due,
    Header,
    decode_header,
    dtype_of,
    encode_header,
    form_of,
)

headers = st.builds(
    Header,
    session=st.binary(min_size=32, max_size=32),
    epoch=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**64 - 1),
    name=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=32),
    dtype=st.sampled_from(sorted(DTYPES)),
    shape=st.lists(st.integers(0, 40), max_size=4).map(tuple),
)


@given(headers)
def test_headers_survive(header):
    """Every header that can be written is read back equal."""
    assert decode_header(encode_header(header)) == header


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_noise_is_refused(content):
    """Random bytes are no header."""
    with pytest.raises(ProtocolError):
        decode_header(content)


@given(headers, st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(header, place, change):
    """A header with any byte changed is refused, or differs from the one expected."""
    content = bytearray(encode_header(header))
    content[place] ^= change
    with pytest.raises(ProtocolError):
        decode_header(bytes(content)).check(header)


@given(st.binary(max_size=2 * HEADER_BYTES).filter(lambda content: len(content) != HEADER_BYTES))
def test_a_header_has_one_length(content):
    """Too few or too many bytes are refused."""
    with pytest.raises(ProtocolError, match="bytes"):
        decode_header(content)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("epoch", 2),
        ("sequence", 8),
        ("name", "b"),
        ("dtype", "i4"),
        ("shape", (3,)),
    ],
)
def test_each_field_is_compared_and_named(field, other):
    """Every field of a frame is checked against what is expected next."""
    expected = Header(bytes(32), 1, 7, "a", "i8", (2,))
    found = expected._replace(**{field: other})
    with pytest.raises(ProtocolError, match=field):
        found.check(expected)


def test_another_session_is_refused_without_showing_it():
    """A frame of another session is refused; the digest is not printed."""
    expected = Header(bytes(32), 1, 7, "a", "i8", (2,))
    with pytest.raises(ProtocolError, match="another session"):
        Header(b"\1" * 32, 1, 7, "a", "i8", (2,)).check(expected)


@pytest.mark.parametrize(
    "header",
    [
        Header(bytes(32), 1, 0, "x" * 33, "i8", (1,)),
        Header(bytes(32), 1, 0, "x", "i8", (1, 1, 1, 1, 1)),
        Header(bytes(32), 1, 0, "x", "i8", (MAX_PAYLOAD // 8 + 1,)),
    ],
)
def test_what_does_not_fit_is_not_written(header):
    """Names, shapes and payloads beyond the format's limits are refused by the sender."""
    with pytest.raises(ProtocolError):
        encode_header(header)


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<u8", "<i2", "O", "?"])
def test_only_a_closed_set_of_types_travels(dtype):
    """Floating point, objects and other integers are refused."""
    with pytest.raises(ProtocolError):
        dtype_of(np.zeros(2, dtype))


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_arrays_survive(dtype):
    """Words are little-endian bytes, whatever their order in memory."""
    array = np.arange(6, dtype=dtype).reshape(2, 3).T
    form = form_of(bytes(32), 1, "a", dtype_of(array), array.shape)
    frame, due = form.frame(7, array), Due(form.header(7), form)
    due.check(frame[:HEADER_BYTES])
    assert (due.array(frame[HEADER_BYTES:]) == array).all()
    assert (due.array(frame, HEADER_BYTES) == array).all()
    assert len(frame) == HEADER_BYTES + form.length


def test_the_next_frame_alone_is_taken():
    """What is due is compared with the whole header; what differs is named."""
    form = form_of(bytes(32), 1, "a", "i8", (2,))
    with pytest.raises(FrameRefused, match="sequence is 8 where 7"):
        Due(form.header(7), form).check(form.header(8))
