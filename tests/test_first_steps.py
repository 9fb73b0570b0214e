"""A newcomer's way leads to an answer, by the README's own commands. Clone and installation are `scripts/first-steps` alone."""

import sys
from pathlib import Path

import pytest

from tests.first_steps import DidNotWork, Watch, snippet, walk


def test_the_readmes_commands_lead_from_the_settings_to_an_answer(tmp_path: Path) -> None:
    watch = Watch()
    walk(tmp_path, watch, installed=Path(sys.executable).parent)
    assert [name.partition(":")[0] for name, _ in watch.steps] == [
        "five variables and widget-proxy check",
        "widget-proxy serve",
        "the tag on a page, a question and its answer (1 s of it the bot's)",
    ]
    assert watch.total > 1


def test_a_command_that_the_readme_has_no_more_is_named() -> None:
    with pytest.raises(DidNotWork, match="widget-proxy fly"):
        snippet("```sh\nwidget-proxy serve\n```\n", "sh", "widget-proxy fly")
