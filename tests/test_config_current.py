"""Settings that are read anew: what is taken over, what waits for a restart, and that a mistake changes nothing."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from widget_proxy.config import CurrentSettings, Loaded, Settings, load_settings, read_settings

pytestmark = pytest.mark.anyio

CHATBOT = "4c1a0f0e-8a1e-4c07-9e39-5a6c1c5b2a10"


class Place:
    """A configuration in files, of a key of its own."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "widget-proxy.toml"
        self.key = directory / "key"
        self.secret = directory / "secret"
        self.key.write_text("marker-key-1\n")
        self.secret.write_text("s" * 32)
        self.write()

    def write(self, *sites: str, more: str = "") -> None:
        text = f'secret_key_file = "{self.secret}"\n{more}[upstream]\nurl = "https://ocs.example.com"\n'
        for site in sites or ("shop",):
            text += (
                f'[sites.{site}]\nchatbot_id = "{CHATBOT}"\nembed_key_file = "{self.key}"\n'
                'allowed_origins = ["https://shop.example.com"]\n'
            )
        self.file.write_text(text)

    def read(self) -> Loaded:
        return read_settings({}, self.file)

    def current(self) -> CurrentSettings:
        return CurrentSettings(self.read().settings, self.read)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def key_of(current: CurrentSettings) -> str:
    key = current.settings.sites["shop"].embed_key
    return "" if key is None else key.get_secret_value()


async def test_sites_and_secrets_are_taken_over(place: Place) -> None:
    current = place.current()
    told: list[Settings] = []

    async def take_over(new: Settings) -> None:
        assert list(current.settings.sites) == ["shop"], "asked before they are in force"
        told.append(new)

    current.on_change(take_over)
    place.key.write_text("marker-key-2")
    place.secret.write_text("t" * 32)
    place.write("shop", "other")
    assert await current.reload() is True
    assert (list(current.settings.sites), key_of(current)) == (["shop", "other"], "marker-key-2")
    assert current.settings.secret_key[0].get_secret_value() == "t" * 32
    assert told == [current.settings]


async def test_a_mistake_is_logged_and_changes_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    current = place.current()
    before = current.settings
    place.key.write_text("marker key with spaces")
    place.write("shop", "Bad_Name")
    assert await current.reload() is False
    assert current.settings is before
    assert "refused" in caplog.text
    assert f"sites.Bad_Name ({place.file}:" in caplog.text
    assert "Copy it again" in caplog.text
    assert "marker" not in caplog.text
    place.key.write_text("marker-key-2")
    place.write()
    assert await current.reload() is True


async def test_what_cannot_be_taken_over_fails_and_changes_nothing(place: Place) -> None:
    current = place.current()
    before = current.settings

    async def fail(new: Settings) -> None:
        raise OSError("ordered")

    current.on_change(fail)
    with pytest.raises(OSError, match="ordered"):
        await current.reload()
    assert current.settings is before


async def test_the_rest_waits_for_a_restart_and_the_log_says_so(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    current = place.current()
    place.write(more="server.body_bytes = 20000\n")
    assert await current.reload() is True
    assert current.settings.server.body_bytes == 65_536
    assert "server has changed" in caplog.text
    assert "upstream has changed" not in caplog.text


async def test_settings_of_no_file_are_never_read_anew() -> None:
    site = {
        "slug": "shop",
        "chatbot_id": CHATBOT,
        "embed_key": "k",
        "allowed_origins": ["https://shop.example.com"],
        "upstream_url": "https://ocs.example.com",
    }
    given = Settings.model_validate({"secret_key": "s" * 32, "sites": {"shop": site}})
    current = CurrentSettings(given)
    assert await current.reload() is False
    await current.watch(0.01)
    assert current.settings is given


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 # files tell nobody
            await anyio.sleep(0.005)


async def test_a_changed_file_is_noticed_also_one_that_comes_in_its_place(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    current = place.current()
    async with anyio.create_task_group() as group:
        group.start_soon(current.watch, 0.01)
        place.key.write_text("marker-key-2")
        await until(lambda: key_of(current) == "marker-key-2")
        (place.key.parent / "next").write_text("marker-key-3")
        (place.key.parent / "next").replace(place.key)
        await until(lambda: key_of(current) == "marker-key-3")
        place.key.unlink()
        await until(lambda: "refused" in caplog.text)
        assert key_of(current) == "marker-key-3", "a secret that is gone is a mistake, and the old one stays"
        place.key.write_text("marker-key-4")
        await until(lambda: key_of(current) == "marker-key-4")
        place.write("shop", "other")
        await until(lambda: "other" in current.settings.sites)
        group.cancel_scope.cancel()


async def test_a_changed_schema_of_the_page_context_is_noticed(place: Place) -> None:
    schema = place.file.parent / "page.json"
    schema.write_text('{"title": "first"}')
    place.file.write_text(place.file.read_text() + f'page_context_schema = "{schema}"\n')
    current = place.current()
    async with anyio.create_task_group() as group:
        group.start_soon(current.watch, 0.01)
        schema.write_text('{"title": "second"}')
        await until(lambda: "second" in str(current.settings.sites["shop"].page_context_schema))
        group.cancel_scope.cancel()


# From systemd


def credentials(directory: Path, **files: str) -> dict[str, str]:
    directory.mkdir()
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return {"CREDENTIALS_DIRECTORY": str(directory)}


async def test_secrets_come_from_systemds_credentials_by_their_names(place: Place, tmp_path: Path) -> None:
    environ = credentials(
        tmp_path / "credentials", secret_key="c" * 32, sites__shop__embed_key="marker-key-c\n", tls="of another part"
    )
    place.file.write_text(place.file.read_text().replace('embed_key_file = "', 'embed_key = "from the file'))
    settings = load_settings(environ, place.file)
    key = settings.sites["shop"].embed_key
    assert key is not None
    assert key.get_secret_value() == "marker-key-c"
    assert settings.secret_key[0].get_secret_value() == "c" * 32
