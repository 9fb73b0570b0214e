"""The widget's texts, one file per language: each says all that English says, in the way of its language."""

import gzip
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

Text: TypeAlias = str | list[str] | dict[str, str]

LANGUAGES = Path(__file__).parent.parent / "static/widget/languages"

# CLDR's cardinal categories of whole numbers up to a million. "other" is in each, since it is what a browser with
# rules of another edition falls back to.
PLURALS = {
    "ar": {"zero", "one", "two", "few", "many", "other"},
    "de": {"one", "other"},
    "en": {"one", "other"},
    "es": {"one", "many", "other"},
    "fr": {"one", "many", "other"},
    "hi": {"one", "other"},
    "it": {"one", "many", "other"},
    "ja": {"other"},
    "ko": {"other"},
    "nl": {"one", "other"},
    "pl": {"one", "few", "many", "other"},
    "pt": {"one", "many", "other"},
    "ru": {"one", "few", "many", "other"},
    "sw": {"one", "other"},
    "tr": {"one", "other"},
    "uk": {"one", "few", "many", "other"},
    "zh": {"other"},
}

OFFICIAL = {"ar", "en", "es", "fr", "hi", "it", "pt", "sw", "uk"}
OURS = {"de", "nl", "pl", "tr", "ru", "ja", "ko", "zh"}

# A category of one number alone may be said in words: Arabic has a dual and does not count one and two.
IN_WORDS = {("ar", "zero"), ("ar", "one"), ("ar", "two")}

# Where a language's own word is spelled as in English.
SAME_WORD = {
    ("de", "window.title"): "the everyday word is the loanword",
    ("es", "window.title"): "the everyday word is the loanword",
    ("fr", "window.title"): "the everyday word is the loanword; few say 'clavardage'",
    ("fr", "log.label"): "English took the word from French",
    ("fr", "log.assistant"): "English took the word from French",
    ("it", "window.title"): "the everyday word is the loanword",
    ("nl", "window.title"): "the everyday word is the loanword",
    ("pt", "window.title"): "the everyday word is the loanword",
}

OTHER_SCRIPTS = {"ar", "hi", "ja", "ko", "ru", "uk", "zh"}

# U+2066 to U+2069 isolate, U+202A to U+202E embed and override, the others mark.
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def unrepeated(pairs: list[tuple[str, Text]]) -> dict[str, Text]:
    """A JSON object none of whose keys comes twice."""
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})
    return dict(pairs)


def texts(language: str) -> dict[str, Text]:
    file: dict[str, Text] = json.loads((LANGUAGES / f"{language}.json").read_text(), object_pairs_hook=unrepeated)
    return file


def forms(text: Text) -> dict[str, str]:
    """What a text may come out as, by plural category, or by "" where it has one form."""
    if isinstance(text, dict):
        return text
    return {"": text} if isinstance(text, str) else {str(position): part for position, part in enumerate(text)}


def sentences(language: str) -> Iterator[tuple[str, str, str]]:
    """Each form of each text: its key, its category, itself."""
    for key, text in texts(language).items():
        for category, sentence in forms(text).items():
            yield key, category, sentence


ENGLISH = texts("en")

every_language = pytest.mark.parametrize("language", sorted(PLURALS))
every_translation = pytest.mark.parametrize("language", sorted(PLURALS.keys() - {"en"}))


def test_the_official_languages_and_ours_are_there_and_no_others() -> None:
    assert {path.name for path in LANGUAGES.iterdir()} == {f"{language}.json" for language in OFFICIAL | OURS}
    assert PLURALS.keys() == OFFICIAL | OURS


def test_a_key_that_comes_twice_is_found() -> None:
    with pytest.raises(AssertionError, match="b"):
        json.loads('{"a": "1", "b": "2", "b": "3"}', object_pairs_hook=unrepeated)


@every_language
def test_a_file_has_englishs_keys_in_englishs_order(language: str) -> None:
    assert list(texts(language)) == list(ENGLISH)


@every_language
def test_a_file_has_each_key_on_the_line_where_english_has_it(language: str) -> None:
    key = re.compile(r'^  "([^"]+)": ', re.MULTILINE)
    raw, english = ((LANGUAGES / f"{name}.json").read_text() for name in (language, "en"))
    assert key.findall(raw) == list(ENGLISH)
    assert len(raw.splitlines()) == len(english.splitlines())
    assert raw.endswith("}\n")


@every_language
def test_a_text_is_of_the_kind_it_is_in_english(language: str) -> None:
    for key, text in texts(language).items():
        assert type(text) is type(ENGLISH[key]), key
        assert all(type(sentence) is str for sentence in forms(text).values()), key


@every_language
def test_a_plural_has_the_categories_of_its_language(language: str) -> None:
    plurals = {key: text for key, text in texts(language).items() if isinstance(text, dict)}
    assert plurals.keys() == {"launcher.unread", "log.new", "error.tooLong"}
    for key, text in plurals.items():
        assert text.keys() == PLURALS[language], key
        assert list(text)[-1] == "other", key


@every_language
def test_a_number_is_told_where_english_tells_it(language: str) -> None:
    for key, category, sentence in sentences(language):
        expected = ["{n}"] if category and (language, category) not in IN_WORDS else []
        assert re.findall(r"\{.*?\}", sentence) == expected, (key, category)
        assert sentence.count("{") == sentence.count("}") == len(expected), (key, category)


@every_language
def test_what_english_leaves_to_the_site_is_left_and_nothing_else_is(language: str) -> None:
    for key, text in texts(language).items():
        if key.startswith(("branding.", "content.")):
            assert text == ENGLISH[key] == ("" if key.startswith("branding.") else []), key
        else:
            assert all(forms(text).values()), key


@every_language
def test_spaces_are_between_words_only(language: str) -> None:
    for key, _, sentence in sentences(language):
        assert sentence == sentence.strip(), key
        assert not re.search(r"\s\s|[\t\r\n]", sentence), key


@every_language
def test_typography_is_of_print(language: str) -> None:
    for key, _, sentence in sentences(language):
        assert not re.search(r"""['"`]|\.\.|……""", sentence), key
        assert sentence == unicodedata.normalize("NFC", sentence), key
        if "…" in sentence:
            # Where the ellipsis stands for words, German and our English put a space before it.
            assert (" …" in sentence) == (language in {"de", "en"}), key
        if sentence.endswith("?") and language == "fr":
            assert sentence.endswith("\u202f?"), key


@every_translation
def test_an_ellipsis_is_where_english_has_one(language: str) -> None:
    for key, category, sentence in sentences(language):
        english = forms(ENGLISH[key])
        assert ("…" in sentence) == ("…" in english.get(category, english.get("other", ""))), key


@every_translation
def test_no_text_was_left_in_english(language: str) -> None:
    english = {sentence for _, _, sentence in sentences("en")} - {""}
    same = {(language, key) for key, _, sentence in sentences(language) if sentence in english}
    assert same == {(name, key) for name, key in SAME_WORD if name == language}


@pytest.mark.parametrize("language", sorted(OTHER_SCRIPTS))
def test_another_script_is_not_mixed_with_latin(language: str) -> None:
    for key, _, sentence in sentences(language):
        letters = [letter for letter in sentence.replace("{n}", "") if letter.isalpha()]
        assert not [letter for letter in letters if "LATIN" in unicodedata.name(letter)], key


@every_language
def test_direction_is_left_to_the_page(language: str) -> None:
    for key, _, sentence in sentences(language):
        assert not DIRECTIONS.search(sentence), key


def test_arabic_is_written_from_right_to_left() -> None:
    for key, _, sentence in sentences("ar"):
        first = next((letter for letter in sentence.replace("{n}", "") if letter.isalpha()), None)
        assert first is None or unicodedata.bidirectional(first) == "AL", key


@every_language
def test_a_file_is_small(language: str) -> None:
    assert len(gzip.compress((LANGUAGES / f"{language}.json").read_bytes(), 9)) <= 2000
