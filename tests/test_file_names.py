"""Names of files: whatever a sender calls one, what comes out is a name and nothing else."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from widget_proxy.config.file_types import CONTENT_TYPES
from widget_proxy.file_names import LONGEST, clean_name, content_type_of, extension_of


@pytest.mark.parametrize(
    ("claimed", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("Über uns – 東京.PDF", "Über uns – 東京.PDF"),
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\Users\\Maya\\scan.png", "scan.png"),
        ("/etc/", "file"),
        ("", "file"),
        ("...", "file"),
        (".pdf", "file.pdf"),
        ("..pdf", "file.pdf"),
        ("a.pdf.", "a.pdf"),
        ("a.pdf ", "a.pdf"),
        ("a.b.c.txt", "a.b.c.txt"),
        ("no ending", "no ending"),
        ("odd.end ing", "odd.end ing"),
        ("  a \t b \n.txt", "a b.txt"),
        ("a\0.exe\0.txt", "a.exe.txt"),
        ("a%22; filename=%22b.txt", "a__ filename=_b.txt"),
        ("a%0D%0AX-Evil: 1.txt", "a__X-Evil_ 1.txt"),
        ('a"b;c.txt', "a_b_c.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\u200b.t\u200bxt", "a.txt"),
        ("e\u0301.txt", "é.txt"),
    ],
)
def test_a_name_is_made_plain(claimed: str, name: str) -> None:
    assert clean_name(claimed.encode()) == name


def test_a_name_that_is_no_utf_8_is_still_a_name() -> None:
    assert clean_name("Größe.txt".encode("latin-1")) == "Gr__e.txt"
    assert clean_name(b"\xff\xfe\x00") == "__"


def test_a_long_name_keeps_its_ending() -> None:
    for claimed in ("x" * 5000 + ".pdf", "ä" * 5000 + ".pdf", "😀" * 5000 + ".pdf"):
        name = clean_name(claimed.encode())
        assert LONGEST - 4 < len(name.encode()) <= LONGEST
        assert name.endswith(".pdf")


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b".")
@example(b"%" * 400)
def test_no_name_is_anything_but_one(claimed: bytes) -> None:
    name = clean_name(claimed)
    assert 0 < len(name.encode()) <= LONGEST
    assert not set(name) & set('/\\"<>|:*?;\ufffd')
    assert name not in {".", ".."}
    assert not name.startswith((".", " "))
    assert not any(unicodedata.category(one).startswith("C") for one in name)
    assert clean_name(name.encode()) == name, "what is plain stays as it is"


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a.PDF", ".pdf"), ("a.tar.gz", ".gz"), ("a", ""), ("a.", ""), ("a.b c", ""), ("a.ü", ""), (".c", ".c")],
)
def test_the_ending_is_the_last(name: str, extension: str) -> None:
    assert extension_of(name) == extension


def test_what_a_file_is_follows_from_its_ending() -> None:
    assert content_type_of("photo.JPG") == "image/jpeg"
    assert content_type_of("photo.jpg.exe") == content_type_of("photo") == "application/octet-stream"
    for extension, content_type in CONTENT_TYPES.items():
        assert extension == extension.lower()
        assert content_type.isascii()
