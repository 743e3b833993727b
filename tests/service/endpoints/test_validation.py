"""Values and places of any size become short messages, and cost no more than that."""

from __future__ import annotations

import pytest

from service.schemas.validation import describe_validation, place


class Unspelled(str):
    """A text so long that spelling it out would hold everyone up."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise AssertionError("the whole text was spelled out")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Unspelled("y" * 1000), "it is 'yyy"),
        (10**5000, "it is a number with too many digits"),
        (-(10**40), "it is -1000"),
        (1.5, "it is 1.5"),
    ],
    ids=["text", "endless integer", "long integer", "float"],
)
def test_only_the_beginning_of_a_value_is_spelled_out(value: object, shown: str) -> None:
    error = {"type": "less_than_equal", "loc": ("body", "n"), "input": value, "ctx": {"le": 8}}
    message, param = describe_validation([error])
    assert param == "n"
    assert message.startswith(f"n must be at most 8; {shown}")
    assert len(message) < 120


def test_only_the_beginning_of_a_key_is_named() -> None:
    assert place(("body", "logit_bias", "k" * 10_000)) == ("logit_bias." + "k" * 10_000)[:128]
