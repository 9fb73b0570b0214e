"""How much of the same is logged."""

import logging

from widget_proxy.sparing import SAME_LINES, SAME_SECONDS, Sparing


def warning(
    text: str, *values: object, level: int = logging.WARNING, name: str = "uvicorn.error"
) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, text, values, None)


def test_a_flood_of_one_kind_is_a_few_lines_and_a_number() -> None:
    now = 0.0
    sparing = Sparing(lambda: now)
    told = [bool(sparing.filter(warning("garbage from %s", number))) for number in range(100)]
    assert told == [True] * SAME_LINES + [False] * (100 - SAME_LINES)
    now += SAME_SECONDS
    late, later = warning("garbage from %s", "x"), warning("garbage from %s", "y")
    assert sparing.filter(late)
    assert sparing.filter(later)
    assert late.getMessage() == f"garbage from x (and {100 - SAME_LINES} like it before, not told)"
    assert later.getMessage() == "garbage from y"


def test_other_kinds_and_errors_are_told_all_the_same() -> None:
    sparing = Sparing(lambda: 0.0)
    for _ in range(100):
        sparing.filter(warning("garbage"))
    assert sparing.filter(warning("something else"))
    assert sparing.filter(warning("garbage", name="widget_proxy.hub"))
    assert all(sparing.filter(warning("a fault", level=logging.ERROR)) for _ in range(100))


def test_kinds_are_not_kept_for_ever() -> None:
    sparing = Sparing(lambda: 0.0)
    for number in range(5000):
        assert sparing.filter(warning(f"a text of its own {number}"))
    assert len(sparing._kinds) <= 1000
