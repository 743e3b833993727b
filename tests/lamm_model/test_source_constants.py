"""Constants are read from a file's text; nothing in it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamm_model.source_constants import (
    MAX_SOURCE_BYTES,
    SourceConstantError,
    SourceConstants,
)


def read(folder: Path, text: str) -> SourceConstants:
    path = folder / "prompts.py"
    path.write_text(text, encoding="utf8")
    return SourceConstants(path)


def test_strings_joined_in_every_plain_way(tmp_path: Path) -> None:
    constants = read(
        tmp_path,
        'A = "one"\n'
        'B: str = "two " "three"\n'
        'C = A + ", " + B\n'
        'D = f"<{C}>"\n'
        'E = """\nlines\n"""\n'
        "N = 3\n",
    )
    assert constants.text("C") == "one, two three"
    assert constants.text("D") == "<one, two three>"
    assert constants.text("E") == "\nlines\n"
    assert list(constants.texts) == ["A", "B", "C", "D", "E"]
    assert constants.assigned == ("A", "B", "C", "D", "E", "N")


def test_tables_may_name_earlier_constants(tmp_path: Path) -> None:
    constants = read(tmp_path, 'A = "text"\ntable = {"a": A, "b": "x" + A, A: ("y" "z")}\n')
    assert constants.table("table") == {"a": "text", "b": "xtext", "text": "yz"}


def test_the_last_assignment_counts(tmp_path: Path) -> None:
    constants = read(tmp_path, 'A = open("f")\nA = "text"\nB = "text"\nB = len(A)\n')
    assert constants.text("A") == "text"
    with pytest.raises(SourceConstantError, match="line 4: B is not constant"):
        constants.text("B")


def test_nothing_is_run(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    text = f"import os\nopen({str(witness)!r}, 'w')\nA = 'a'\nif True:\n    B = 'b'\n"
    constants = read(tmp_path, text)
    assert constants.texts == {"A": "a"}
    assert not witness.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("dict(a='b')", "Call is not a string, dict or list"),
        ("{'a': os.environ}", "Attribute is not a string, dict or list"),
        ("{**other}", "dict unpacking is not supported"),
        ("{'a': [x for x in 'abc']}", "ListComp is not a string, dict or list"),
        ("{'a': 'b' * 9}", "BinOp is not a string, dict or list"),
        ("{'a': 'b' + ['c']}", "only strings can be joined"),
        ("{'a': f'{name!r}'}", "format specifications in f-strings"),
        ("{'a': f'{name:>9}'}", "format specifications in f-strings"),
        ("{'a': missing}", "Name is not a string, dict or list"),
        ("{'a': 3}", "Constant is not a string, dict or list"),
        ("{'a': b'bytes'}", "Constant is not a string, dict or list"),
        ("(lambda: 1)", "Lambda is not a string, dict or list"),
    ],
)
def test_more_than_constants_is_refused_with_its_line(
    tmp_path: Path, value: str, message: str
) -> None:
    constants = read(tmp_path, f"name = 'n'\n\ntable = {value}\n")
    assert constants.text("name") == "n"
    with pytest.raises(SourceConstantError, match=rf"prompts\.py, line 3: table .*{message}"):
        constants.table("table")


def test_a_table_holds_texts(tmp_path: Path) -> None:
    constants = read(tmp_path, "a = 'x'\nt = {'k': ['v']}\n")
    with pytest.raises(SourceConstantError, match="a is not a dict"):
        constants.table("a")
    with pytest.raises(SourceConstantError, match=r"t\['k'\] is not a string"):
        constants.table("t")
    with pytest.raises(SourceConstantError, match="t is not a string"):
        constants.text("t")
    with pytest.raises(SourceConstantError, match="u is not assigned at module level in its 3"):
        constants.table("u")


def test_texts_that_double_without_end_are_refused(tmp_path: Path) -> None:
    doubling = "".join(f"a{n + 1} = a{n} + a{n}\n" for n in range(60))
    constants = read(tmp_path, f'a0 = "0123456789"\n{doubling}')
    with pytest.raises(SourceConstantError, match="the limit is 1000000"):
        constants.text("a17")
    assert len(constants.text("a16")) == 655_360


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = (\n", r"prompts\.py, line 1: not valid Python"),
        ("a = '\0'\n", "not valid Python"),
        ("a = " + "(" * 5000 + ")" * 5000, "not valid Python"),
        ("x = 'y'\n" * (MAX_SOURCE_BYTES // 8 + 1), "limit of 2097152 bytes"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceConstantError, match=message):
        read(tmp_path, text)


def test_deep_nesting_is_a_problem_of_its_name_alone(tmp_path: Path) -> None:
    constants = read(tmp_path, "a = 'x'\nb = " + " + ".join(["a"] * 800) + "\n")
    assert constants.text("a") == "x"
    with pytest.raises(SourceConstantError, match="line 2: b is nested too deeply"):
        constants.text("b")


def test_other_bytes_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.py"
    path.write_bytes(b"a = '\xff'\n")
    with pytest.raises(SourceConstantError, match="not UTF-8 at byte 5"):
        SourceConstants(path)
    with pytest.raises(SourceConstantError, match="No such file"):
        SourceConstants(tmp_path / "missing.py")
