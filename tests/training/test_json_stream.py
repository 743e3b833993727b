"""The incremental reader: same values as `json.loads`, faults at their place, bounded memory."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.json_stream import JsonStreamError, iter_json_items

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("indent", [None, 1])
@settings(max_examples=30)
@given(items=st.lists(_JSON, max_size=6), ascii=st.booleans(), block=st.integers(1, 40))
def test_any_list_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory,
    indent: int | None,
    items: list[Any],
    ascii: bool,
    block: int,
) -> None:
    path = tmp_path_factory.mktemp("stream") / "list.json"
    # Lone surrogates can be written as escapes alone.
    ascii = ascii or any("\ud800" <= c <= "\udfff" for c in json.dumps(items, ensure_ascii=False))
    path.write_text(json.dumps(items, indent=indent, ensure_ascii=ascii), encoding="utf8")
    read = list(iter_json_items(path, block_bytes=block))
    assert [item.value for item in read] == items
    assert [item.index for item in read] == list(range(len(items)))


@pytest.mark.parametrize(
    ("text", "items", "index", "message"),
    [
        ('{"a": 1}\n{"b": oops}', 1, 1, "not JSON at line 2: Expecting value: 'oops}'"),
        ('{"a": 1}\n{"b": 2', 1, 1, "the file ends within the item at line 2; is it whole?"),
        ('[\n{"a": 1},\n{"b": 2', 1, 1, "the file ends within the item at line 3; is it whole?"),
        ('[\n{"a": 1},\n{"b": "cut', 1, 1, "the file ends within the item at line 3"),
        ('[{"a": 1}, {"b": 2}\n', 2, 2, "the file ends here; is it whole?"),
        ('[{"a": 1}\n{"b": 2}]', 1, 1, "expected ',' or ']' after item 0 at line 2"),
        ('[{"a": 1},\n{"b": oops}]', 1, 1, "not JSON at line 2: Expecting value: 'oops}]'"),
        ("[1,\n]", 1, 1, "not JSON at line 2"),
        ("[1] 2", 1, 1, "text follows the end of the list at line 1: '2'"),
        (f"[0, {'[' * 200_000}", 1, 1, "cannot be decoded (RecursionError)"),
        (f"[{'9' * 5000}]", 0, 0, "cannot be decoded (ValueError)"),
    ],
)
def test_a_fault_is_named_after_the_items_before_it(
    tmp_path: Path, text: str, items: int, index: int, message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    read: list[Any] = []
    with pytest.raises(JsonStreamError) as error:
        read.extend(iter_json_items(path))
    stream = iter_json_items(path)
    assert len([next(stream) for _ in range(items)]) == items
    assert error.value.index == index
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "place"), [("", "the file ends here"), ('{"a": 1}', "'{\"a\": 1}'")]
)
def test_a_file_that_must_be_a_list(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(text)
    with pytest.raises(JsonStreamError, match=f"does not begin a JSON list at line 1: {place}"):
        next(iter_json_items(path, list_only=True))


def test_a_byte_order_mark_and_bytes_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    path = tmp_path / "bytes.json"
    path.write_bytes(b'\xef\xbb\xbf[{"a": "\xff"}, {"a": "good"}]')
    assert [item.value["a"] for item in iter_json_items(path)] == ["\udcff", "good"]


def test_lines_are_counted_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text(json.dumps([{"n": n} for n in range(50)], indent=2))
    assert [item.line for item in iter_json_items(path, block_bytes=7)] == [
        2 + 3 * n for n in range(50)
    ]


def test_an_item_above_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text('[1, "' + "x" * 3_000_000 + '", 2]')
    read: list[int] = []
    items = iter_json_items(path, max_item_characters=1_000_000, on_bytes=read.append)
    assert next(items).value == 1
    with pytest.raises(JsonStreamError, match="line 1 is longer than 1000000 characters"):
        next(items)
    assert sum(read) < 2_500_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    record = json.dumps({"id": 1, "value": "word " * 200})
    path.write_text("[" + ",\n".join([record] * 8_000) + "]")
    tracemalloc.start()
    count = sum(1 for _ in iter_json_items(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8_000
    assert path.stat().st_size > 8_000_000
    assert peak < 3_000_000


def test_a_file_in_gzip(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    items = [{"n": n, "text": "word " * 50} for n in range(500)]
    path.write_bytes(gzip.compress(json.dumps(items).encode()))
    assert [item.value for item in iter_json_items(path, block_bytes=100)] == items
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + b"\n\n".join([b'{"a": 1}'] * 3)))
    assert [item.line for item in iter_json_items(path)] == [1, 3, 5]


@pytest.mark.parametrize("keep", [20, 600])
def test_a_gzip_file_cut_short(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "records.json"
    noise = random.Random(0)
    items = [{"text": noise.randbytes(100).hex()} for _ in range(50)]
    path.write_bytes(gzip.compress(json.dumps(items).encode())[:keep])
    read: list[Any] = []
    with pytest.raises(JsonStreamError, match="the gzip file is corrupt or truncated") as caught:
        read.extend(item.value for item in iter_json_items(path, block_bytes=64))
    # What came before the cut was yielded.
    assert read == items[: caught.value.index]
    assert bool(read) == (keep == 600)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"PK\x03\x04\x14", "a zip archive"),
        (b"\x28\xb5\x2f\xfd\x04", "compressed by zstd"),
        (b"\xff\xfe[\x00", "text in UTF-16"),
    ],
)
def test_files_of_another_format_are_told(tmp_path: Path, start: bytes, name: str) -> None:
    path = tmp_path / "records.json"
    path.write_bytes(start + b"rest")
    with pytest.raises(JsonStreamError, match=f"is {name}; expected JSON in UTF-8"):
        list(iter_json_items(path))
