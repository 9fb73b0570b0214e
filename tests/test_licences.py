"""What comes along with the proxy may be used as the proxy may."""

import pytest

from tests.licences import READ_BY_US, ROOT, accepted, document, licence_of, locked


def test_the_document_names_each_locked_package_with_its_licence() -> None:
    written = (ROOT / "docs/licences.md").read_text()
    assert written == document(), "renew it: python -m tests.licences > docs/licences.md"


@pytest.mark.parametrize("package", [name for name, _ in locked()])
def test_a_package_has_a_licence_that_is_accepted(package: str) -> None:
    assert accepted(licence_of(package)), f"read the licence of {package}, and write it into tests/licences.py"


def test_a_licence_that_is_read_by_us_is_of_a_package_that_is_there() -> None:
    assert set(READ_BY_US) <= {name for name, _ in locked()}


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("MIT", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("(MIT OR Apache-2.0) AND BSD-3-Clause", "(MIT OR Apache-2.0) AND BSD-3-Clause"),
        ("GPL-3.0-only", ""),
        ("MIT AND GPL-2.0-only", ""),
        ("Copyright, all rights reserved", ""),
        ("", ""),
    ],
)
def test_a_licence_is_accepted_where_all_that_it_names_are(said: str, understood: str) -> None:
    assert accepted(said) == understood
