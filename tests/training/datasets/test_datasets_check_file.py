"""`lamm data check FILE`: what it finds decides the status, and no option is silently ignored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.datasets.check_cli import check

TALK = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A chair."}]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(b"looked for, not into")
    path = tmp_path / "records.json"
    path.write_text(json.dumps([{"id": "1", "image": "a.png", "conversations": TALK}]))
    return path


def test_good_and_bad_records(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check([str(records)]) == 0
    good = json.loads(records.read_text())
    records.write_text(json.dumps([*good, {"id": "2", "image": "b.png", "conversations": TALK}]))
    out = records.with_name("good.json")
    assert check([str(records), "--out", str(out)]) == 1
    assert "1 good records, 1 bad" in capsys.readouterr().out
    assert json.loads(out.read_text()) == good


def test_complaints_are_counted_by_kind_and_the_first_are_shown(
    records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = json.loads(records.read_text())
    bad = [{"id": f"b{n}", "image": "none.png", "conversations": TALK} for n in range(5)]
    other = {"id": "v", "video": "a.mp4", "conversations": TALK}
    asks = [{"from": "human", "value": "<image>\nWhat?"}, TALK[1]]
    text = {"id": None, "conversations": TALK}
    rows = [*good, *bad, other, {"id": "p", "conversations": asks}, text, *good]
    records.write_text("\n".join(map(json.dumps, rows)))
    assert check([str(records), "--show", "2"]) == 1
    said = capsys.readouterr().out
    assert "missing_media: 5 (error) - " in said
    assert f"  {records}: record 1 (id 'b0'): at line 2: media file" in said
    assert "record 3 (id 'b2')" not in said
    assert "  ... and 3 more" in said
    assert "unknown_media: 1 (error) - " in said
    assert "placeholder: 1 (error) - " in said
    assert "record_id: 1 (warning) - " in said
    assert f"{records}: record 0 (id '1'): the id occurs 2 times in the file" in said
    assert said.endswith("3 good records, 7 bad (of the good: 1 text only, 2 with pictures)\n")


def test_ids_that_repeat_or_miss_are_no_error(
    records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = json.loads(records.read_text())
    records.write_text(json.dumps([*good, {"conversations": TALK}, *good, {"conversations": TALK}]))
    assert check([str(records)]) == 0
    assert "(id '1'): the id occurs 2 times in the file" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[]", "", " \n", "[ ]"])
def test_nothing_to_check_is_status_2(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.json"
    path.write_text(text)
    assert check([str(path)]) == 2
    assert f"{path} has no records" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.json"
    assert check([str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.err == f"lamm data check: {path}: No such file or directory\n"
    assert printed.out == ""


def test_a_base_that_is_none_is_status_2(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check([str(records), "--base", str(records.with_name("nowhere"))]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_where_nothing_can_be_written_is_said_before_checking(
    records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, path in (("--out", records), ("--json", records.parent)):
        for target in (records.parent, records.parent / "none" / "report.json"):
            with pytest.raises(SystemExit):
                check([str(path), option, str(target)])
            printed = capsys.readouterr()
            assert f"{option} {target}: expected a file in an existing folder" in printed.err
            assert printed.out == ""


@pytest.mark.parametrize("content", [b"[{]", b'[{"id": 1}', b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.json"
    path.write_bytes(content)
    assert check([str(path)]) == 1
    assert "0 good records" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option",
    [
        ["--tokenizer", "x"], ["--limit-length", "5"], ["--json", "x"], ["--fail-on", "any"],
        ["--jobs", "2"],
    ],
)  # fmt: skip
def test_options_for_a_root_are_refused(
    records: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        check([str(records), *option])
    assert ended.value.code == 2
    assert f"{option[0]} needs a ROOT, but {records} is a file" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--base", "--media-root", "--out"])
def test_options_for_a_file_are_refused(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        check([str(tmp_path), option, "x"])
    assert ended.value.code == 2
    assert f"{option} needs a FILE, but {tmp_path} is a folder" in capsys.readouterr().err
