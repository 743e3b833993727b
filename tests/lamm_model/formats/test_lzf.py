"""LZF decompression against a byte-by-byte expansion of the same operations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.formats.errors import MediaDecodeError
from lamm_model.formats.lzf import MAX_RATIO, lzf_decompress

Operation = bytes | tuple[int, int]  # a literal run, or a match as (distance, length)
OPERATIONS = st.lists(
    st.binary(min_size=1, max_size=32) | st.tuples(st.integers(1, 8192), st.integers(3, 264))
)


def encoded(operations: list[Operation]) -> tuple[bytes, bytes]:
    """The stream and its expansion; matches that reach too far back become shorter."""
    stream, plain = bytearray(), bytearray()
    for operation in [b"\x01", *operations]:
        if isinstance(operation, bytes):
            stream += bytes([len(operation) - 1]) + operation
            plain += operation
            continue
        distance, length = min(operation[0], len(plain)), operation[1]
        high, low = divmod(distance - 1, 256)
        if length < 9:
            stream += bytes([(length - 2) << 5 | high, low])
        else:
            stream += bytes([7 << 5 | high, length - 9, low])
        for _ in range(length):
            plain.append(plain[-distance])
    return bytes(stream), bytes(plain)


@given(OPERATIONS)
def test_matches_and_literals_expand(operations: list[Operation]) -> None:
    stream, plain = encoded(operations)
    assert lzf_decompress(stream, len(plain)) == plain
    for size in (len(plain) - 1, len(plain) + 1):
        with pytest.raises(MediaDecodeError, match="does not hold"):
            lzf_decompress(stream, size)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_expand_or_are_refused(stream: bytes, size: int) -> None:
    try:
        assert len(lzf_decompress(stream, size)) == size
    except MediaDecodeError as error:
        assert "LZF" in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("stream", [b"\x00a\x20", b"\x00a\xe0", b"\x00a\xe0\x01"])
def test_a_truncated_match_is_refused(stream: bytes) -> None:
    with pytest.raises(MediaDecodeError, match="truncated"):
        lzf_decompress(stream, 100)


def test_a_match_before_the_beginning_is_refused() -> None:
    with pytest.raises(MediaDecodeError, match="before its beginning"):
        lzf_decompress(b"\x00a\x20\x01", 4)


def test_the_ratio_is_that_of_the_longest_match() -> None:
    stream, plain = encoded([(1, 264)] * 1000)
    assert len(plain) < MAX_RATIO * len(stream) < len(plain) * 1.01
