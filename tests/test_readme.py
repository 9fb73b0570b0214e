"""The README says what the code does, and leads to the rest."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_examples_are_configurations_that_can_be_read(tmp_path: Path) -> None:
    from widget_proxy.config import load_settings

    text = (ROOT / "examples/widget-proxy.toml").read_text()
    for name in ("secret-key", "shop-embed-key", "handbook-embed-key"):
        (tmp_path / name).write_text("x" * 40)
    file = tmp_path / "widget-proxy.toml"
    file.write_text(text.replace("/etc/widget-proxy", str(tmp_path)))
    settings = load_settings({}, file)
    assert set(settings.sites) == {"shop", "handbook"}


def test_the_two_commands_come_first() -> None:
    assert README.index("scripts/demo") < README.index("scripts/test") < README.index("pip install")


def test_nothing_of_the_project_names_a_package_registry() -> None:
    for path in ROOT.glob("requirements*.lock"):
        assert "://" not in path.read_text()


def test_every_example_has_a_page_that_names_its_files() -> None:
    examples = ROOT / "examples"
    listed = (examples / "README.md").read_text()
    for directory in (one for one in sorted(examples.iterdir()) if one.is_dir() and one.name != "__pycache__"):
        assert f"]({directory.name}/README.md)" in listed
        if directory.name != "shop":  # its pages are six of a kind
            readme = (directory / "README.md").read_text()
            files = {one.name for one in directory.iterdir() if one.is_file()} - {"README.md"}
            assert [name for name in sorted(files) if f"]({name})" not in readme] == []
