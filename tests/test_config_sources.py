"""Settings from a file and the environment: each mistake with its key, its place and its mend."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from widget_proxy.config import ConfigError, Settings, Site, load_settings
from widget_proxy.config.mistakes import line_of_key

SECRET = "marker-secret-" + "s" * 32
KEY = "marker-embed-key"
CHATBOT = "4c1a0f0e-8a1e-4c07-9e39-5a6c1c5b2a10"

ENVIRONMENT = {
    "WIDGET_PROXY_UPSTREAM_URL": "https://ocs.example.com/",
    "WIDGET_PROXY_CHATBOT_ID": CHATBOT,
    "WIDGET_PROXY_EMBED_KEY": KEY,
    "WIDGET_PROXY_ALLOWED_ORIGINS": "https://a.example.com, https://*.b.example.com",
    "WIDGET_PROXY_SECRET_KEY": SECRET,
}

FILE = f"""\
secret_key = "{SECRET}"

[upstream]
url = "https://ocs.example.com"

[sites.my-shop]
chatbot_id = "{CHATBOT}"
embed_key = "{KEY}"
allowed_origins = ["https://shop.example.com"]
title = "From the file"
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that no file of the developer's is read


def problems(environ: dict[str, str], path: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_settings(environ, path)
    told = [str(problem) for problem in error.value.problems]
    assert SECRET not in str(error.value)
    assert KEY not in str(error.value)
    return told


def revealed(value: SecretStr | None) -> str:
    assert value is not None
    return value.get_secret_value()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_five_variables_make_the_site_default() -> None:
    settings = load_settings(ENVIRONMENT)
    site = settings.sites["default"]
    assert str(site.chatbot_id) == CHATBOT
    assert revealed(site.embed_key) == KEY
    assert [pattern.text for pattern in site.allowed_origins] == ["https://a.example.com", "https://*.b.example.com"]
    assert settings.upstream_of(site) == "https://ocs.example.com"


def test_no_secret_is_ever_printed() -> None:
    settings = load_settings(ENVIRONMENT)
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in text
        assert KEY not in text


def test_a_file_in_the_working_directory_is_read_without_being_named(tmp_path: Path) -> None:
    write(tmp_path / "widget-proxy.toml", FILE)
    assert load_settings({}).sites["my-shop"].title == "From the file"


def test_a_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    path = write(tmp_path / "other.toml", FILE)
    assert "my-shop" in load_settings({"WIDGET_PROXY_CONFIG": str(path)}).sites


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", FILE)
    settings = load_settings(
        {
            "WIDGET_PROXY_SITES__MY_SHOP__TITLE": "From the environment",
            "WIDGET_PROXY_SITES__MY_SHOP__LOOK__STARTER_QUESTIONS": "One?, Two?",
            "WIDGET_PROXY_SERVER__PORT": "9000",
        },
        path,
    )
    assert settings.sites["my-shop"].title == "From the environment"
    assert settings.sites["my-shop"].look.starter_questions == ("One?", "Two?")
    assert settings.server.port == 9000


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    key, secret = write(tmp_path / "key", f"{KEY}\n"), write(tmp_path / "secret", f"{SECRET}\n")
    environ = ENVIRONMENT | {"WIDGET_PROXY_EMBED_KEY_FILE": str(key), "WIDGET_PROXY_SECRET_KEY_FILE": str(secret)}
    del environ["WIDGET_PROXY_EMBED_KEY"], environ["WIDGET_PROXY_SECRET_KEY"]
    settings = load_settings(environ)
    assert revealed(settings.sites["default"].embed_key) == KEY
    assert settings.secret_key[0].get_secret_value() == SECRET


REDIS = "rediss://:marker-password@redis.example:6380/1"


@pytest.mark.parametrize(
    "environ",
    [
        {"WIDGET_PROXY_REDIS_URL_FILE": "{directory}/redis.url"},
        {"WIDGET_PROXY_REDIS__URL_FILE": "{directory}/redis.url"},
        {"CREDENTIALS_DIRECTORY": "{directory}"},
    ],
    ids=["short", "long", "systemd"],
)
def test_the_address_of_redis_comes_from_a_file_too(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "redis.url", f"{REDIS}\n")
    named = {name: value.format(directory=tmp_path) for name, value in environ.items()}
    assert revealed(load_settings(ENVIRONMENT | named).redis.url) == REDIS


def test_the_address_of_redis_is_a_file_in_the_settings_too(tmp_path: Path) -> None:
    redis = write(tmp_path / "redis", REDIS)
    path = write(tmp_path / "x.toml", FILE + f'[redis]\nurl_file = "{redis}"\n')
    assert revealed(load_settings({}, path).redis.url) == REDIS
    (told,) = problems({}, write(path, FILE + f'[redis]\nurl = "{REDIS}"\nurl_file = "{redis}"\n'))
    assert told.startswith("redis.url_file (")
    assert "url is set as well" in told


def test_the_token_for_the_figures_can_be_a_credential(tmp_path: Path) -> None:
    write(tmp_path / "server.metrics_token", "marker-metrics-token-1")
    settings = load_settings(ENVIRONMENT | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert revealed(settings.server.metrics_token) == "marker-metrics-token-1"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:marker/word@redis.example:6379/0",
        "redis://:marker#word@redis.example",
        "redis://:marker?word@redis.example",
        "redis://:marker\u2100@redis.example",
        "redis://:marker@[redis.example",
        "redis://:marker@redis.example:99999",
        "http://:marker@redis.example",
        "marker",
    ],
)
def test_an_address_of_redis_that_is_none_is_named_and_not_told(url: str) -> None:
    (told,) = problems(ENVIRONMENT | {"WIDGET_PROXY_REDIS_URL": url})
    assert told.startswith("redis.url (WIDGET_PROXY_REDIS_URL): it is no address of a Redis server")
    assert "marker" not in told


def test_a_secrets_file_that_is_not_there_is_named() -> None:
    environ = ENVIRONMENT | {"WIDGET_PROXY_EMBED_KEY_FILE": "/nowhere"}
    del environ["WIDGET_PROXY_EMBED_KEY"]
    (told,) = problems(environ)
    assert told.startswith("sites.default.embed_key_file (WIDGET_PROXY_EMBED_KEY_FILE): '/nowhere' cannot be read")


def test_a_secret_that_stands_where_its_file_should_be_named_is_not_told() -> None:
    environ = ENVIRONMENT | {"WIDGET_PROXY_EMBED_KEY_FILE": "marker-embed/key"}
    del environ["WIDGET_PROXY_EMBED_KEY"]
    (told,) = problems(environ)
    assert "what it names cannot be read" in told
    assert "marker" not in told


def test_several_secret_keys_are_a_list_oldest_first() -> None:
    settings = load_settings(ENVIRONMENT | {"WIDGET_PROXY_SECRET_KEY": f"{'o' * 32},{'n' * 32}"})
    assert [key.get_secret_value()[0] for key in settings.secret_key] == ["o", "n"]


def test_nothing_configured_says_what_is_needed() -> None:
    told = problems({})
    assert any("secret_key (not set)" in one and "widget-proxy new-secret" in one for one in told)
    assert any("sites (not set)" in one and "WIDGET_PROXY_CHATBOT_ID" in one for one in told)


MISTAKES: dict[str, tuple[dict[str, str], str, str]] = {
    "a variable nobody knows": ({"WIDGET_PROXY_EMBED_KY": "x"}, "WIDGET_PROXY_EMBED_KY (environment)", "WIDGET_PROXY_EMBED_KEY?"),
    "a short secret": ({"WIDGET_PROXY_SECRET_KEY": "short"}, "(WIDGET_PROXY_SECRET_KEY)", "new-secret"),
    "an empty embed key": ({"WIDGET_PROXY_EMBED_KEY": ""}, "embed_key (WIDGET_PROXY_EMBED_KEY)", "empty"),
    "a chatbot id that is none": ({"WIDGET_PROXY_CHATBOT_ID": "abc"}, "chatbot_id (WIDGET_PROXY_CHATBOT_ID)", "not a UUID"),
    "any origin": ({"WIDGET_PROXY_ALLOWED_ORIGINS": "*"}, "allowed_origins (WIDGET_PROXY_ALLOWED_ORIGINS)", "any website"),
    "no origin": ({"WIDGET_PROXY_ALLOWED_ORIGINS": " , "}, "allowed_origins (WIDGET_PROXY_ALLOWED_ORIGINS)", "no origin is allowed"),
    "plain http": ({"WIDGET_PROXY_UPSTREAM_URL": "http://ocs.example.com"}, "upstream.url (WIDGET_PROXY_UPSTREAM_URL)", "Use https"),
    "no address": ({"WIDGET_PROXY_UPSTREAM_URL": "ocs.example.com"}, "upstream.url (WIDGET_PROXY_UPSTREAM_URL)", "https://"),
    "a password in the address": ({"WIDGET_PROXY_UPSTREAM_URL": "https://u:p@x.example"}, "upstream.url", "Leave it out"),
    "polls too often": ({"WIDGET_PROXY_PACING__MESSAGE_POLL_SECONDS": "5"}, "pacing.message_poll_seconds (WIDGET_PROXY_PACING__", "30 or more"),
    "a port that is none": ({"WIDGET_PROXY_SERVER__PORT": "http"}, "server.port (WIDGET_PROXY_SERVER__PORT)", "integer"),
    "an unknown setting": ({"WIDGET_PROXY_SERVER__PROT": "1"}, "server.prot (WIDGET_PROXY_SERVER__PROT)", "Did you mean port?"),
    "a secret in two places": ({"WIDGET_PROXY_EMBED_KEY_FILE": "/nowhere"}, "embed_key_file (WIDGET_PROXY_EMBED_KEY_FILE)", "Keep one"),
    "a space in the key": ({"WIDGET_PROXY_EMBED_KEY": "marker key"}, "embed_key (WIDGET_PROXY_EMBED_KEY)", "Copy it again"),
    "a settings file that is not there": ({"WIDGET_PROXY_CONFIG": "/nowhere.toml"}, "/nowhere.toml (file)", "no such file"),
    "a colour that is none": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__ACCENT": "blue"}, "sites.default.look.accent (WIDGET_PROXY_SITES__DEFAULT__LOOK__ACCENT)", "'blue' is no colour. Write it as #rrggbb"),
    "a theme that is none": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__THEME": "blue"}, "sites.default.look.theme (WIDGET_PROXY_SITES__DEFAULT__LOOK__THEME)", "'auto', 'light' or 'dark' (it is 'blue')"),
    "a language that is none": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__LANGUAGE": "tlh"}, "sites.default.look.language (WIDGET_PROXY_SITES__DEFAULT__LOOK__LANGUAGE)", "'uk' or 'zh' (it is 'tlh')"),
    "neither on nor off": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__FEEDBACK": "maybe"}, "sites.default.look.feedback (WIDGET_PROXY_SITES__DEFAULT__LOOK__FEEDBACK)", "neither true nor false (it is 'maybe')"),
    "a team's call without its key": ({"WIDGET_PROXY_SITES__DEFAULT__FEEDBACK_AS_TAGS": "true"}, "sites.default.feedback_as_tags", "Set sites.default.api_key or api_key_file"),
    "the page as state without a key": ({"WIDGET_PROXY_SITES__DEFAULT__PAGE_AS_STATE": "true"}, "sites.default.page_as_state", "or page_as_state to false"),
    "an end without a key": ({"WIDGET_PROXY_SITES__DEFAULT__END_BY_VISITORS": "true"}, "sites.default.end_by_visitors", "neither an API key nor an OAuth application"),
    "texts without TLS": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__TRANSLATIONS_URL": "http://x.example"}, "sites.default.look.translations_url (WIDGET_PROXY_SITES__DEFAULT__LOOK__TRANSLATIONS_URL)", "'http://x.example' is not an https address"),
    "an attribute for the tag alone": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__BUTTON_TEXT": "x"}, "sites.default.look.button_text (WIDGET_PROXY_SITES__DEFAULT__LOOK__BUTTON_TEXT)", "Write it into the page's tag, as data-button-text"),
    "a misspelt attribute": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__BANNER_MESAGE": "x"}, "sites.default.look.banner_mesage (WIDGET_PROXY_SITES__DEFAULT__LOOK__BANNER_MESAGE)", "Did you mean banner_message?"),
    "a title among the looks": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__TITLE": "x"}, "sites.default.look.title (WIDGET_PROXY_SITES__DEFAULT__LOOK__TITLE)", "Did you mean sites.default.title?"),
    "a long text": ({"WIDGET_PROXY_SITES__DEFAULT__LOOK__BANNER_MESSAGE": "xXxX" * 76}, "sites.default.look.banner_message (WIDGET_PROXY_SITES__DEFAULT__LOOK__BANNER_MESSAGE)", "at most 300 characters (it is 'xXxX"),
    "a look in another table": ({"WIDGET_PROXY_SITES__DEFAULT__TEXTS__WELCOME_MESSAGES": "x"}, "sites.default.texts.welcome_messages", "Did you mean sites.default.look.welcome_messages?"),
    "an address for a host of images": ({"WIDGET_PROXY_SITES__DEFAULT__IMAGE_HOSTS": "a.example, https://b.example/x"}, "sites.default.image_hosts (WIDGET_PROXY_SITES__DEFAULT__IMAGE_HOSTS)", "'https://b.example/x' is not a host's name"),
    "images from anywhere": ({"WIDGET_PROXY_SITES__DEFAULT__IMAGE_HOSTS": "*"}, "image_hosts", "anybody's servers"),
    "waits in the wrong order": (
        {"WIDGET_PROXY_PACING__ANSWER_POLL_SHORTEST": "9", "WIDGET_PROXY_PACING__ANSWER_POLL_LONGEST": "3"},
        "pacing",
        "Swap them",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "place", "mend"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_place_and_its_mend(changes: dict[str, str], place: str, mend: str) -> None:
    told = problems(ENVIRONMENT | changes)
    assert [one for one in told if place in one and mend in one], told


def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", FILE.replace(CHATBOT, "abc").replace("title", "titel"))
    told = problems({}, path)
    assert any(one.startswith(f"sites.my-shop.chatbot_id ({path}:7)") for one in told)
    assert any(one.startswith(f"sites.my-shop.titel ({path}:10)") and "title?" in one for one in told)


def test_a_broken_file_says_where_it_is_broken(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", "[upstream\nurl = 1")
    assert any("not valid TOML" in one and "line 1" in one for one in problems({}, path))


def test_a_secret_given_twice_is_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", FILE + f'embed_key_file = "{tmp_path / "x.toml"}"\n')
    assert any("embed_key is set as well" in one for one in problems({}, path))


def test_a_sites_name_is_plain(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", FILE.replace("[sites.my-shop]", '[sites."My Shop!"]'))
    assert any("lower-case letters" in one for one in problems({}, path))


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("[x]\na = 1\n[y]\na = 2", ("y", "a"), 4),
        ("[x.y]\nz = 1", ("x", "y", "z"), 2),
        ("x.y = 1", ("x", "y"), 1),
        ('["x y"]\nz = 1', ("x y", "z"), 2),
        ("[x]\na = 1", ("x", "missing"), 1),
        ("a = 1", ("b",), None),
        ("# a = 1\n  a = 2 # here", ("a",), 2),
        ("[[x]]\na = 1", ("x",), 1),
        ("[[x.y]] # here\na = 1", ("x", "y"), 1),
    ],
)
def test_a_key_is_found_in_its_line(text: str, key: tuple[str, ...], line: int | None) -> None:
    assert line_of_key(text, key) == line


def test_every_setting_says_what_it_is() -> None:
    for name, section in Settings.model_fields.items():
        model = section.annotation
        for field, info in getattr(model, "model_fields", {}).items():
            assert info.description, f"{name}.{field}"


MISPLACED = {
    "an array of tables for the sites": (f'[[sites]]\nembed_key = "{KEY}"', "sites ({path}:5)", "[sites.my-shop]"),
    "an array of tables for a site": (f'[[sites.my-shop]]\nembed_key = "{KEY}"', "sites.my-shop ({path}:5)", "[sites.my-shop]"),
    "a text for a site": (f'[sites]\nmy-shop = "{KEY}"', "sites.my-shop ({path}:6)", "no table"),
    "a table for a text": (f'[sites.my-shop]\ntitle = {{ embed_key = "{KEY}" }}', "sites.my-shop.title ({path}:6)", "string"),
    "a list for a table": (f'[sites.my-shop]\nlook = ["{KEY}"]', "sites.my-shop.look ({path}:6)", "no table"),
    "a table for a key": (f'[sites.my-shop]\nembed_key = {{ is = "{KEY}" }}', "sites.my-shop.embed_key ({path}:6)", "string"),
    "a list for a key": (f'[sites.my-shop]\nembed_key = ["{KEY}"]', "sites.my-shop.embed_key ({path}:6)", "string"),
    "a misspelt key": (f'[sites.my-shop]\nembed_ky = "{KEY}"', "sites.my-shop.embed_ky ({path}:6)", "embed_key?"),
    "a key of the wrong table": (f'[server]\nembed_key = "{KEY}"', "server.embed_key ({path}:6)", "no such setting"),
    "a key instead of the id": (f'[sites.my-shop]\nchatbot_id = "{KEY}"', "sites.my-shop.chatbot_id ({path}:6)", "not a UUID"),
    "a key in the address": (f'[sites.my-shop]\nupstream_url = "ftp://u:{KEY}@x.example"', "sites.my-shop.upstream_url ({path}:6)", "Leave it out"),
    "a text for a list": ('[sites.my-shop]\nlanguages = "en, de"', "sites.my-shop.languages ({path}:6)", "no list"),
    "a slug beside the table's name": ('[sites.my-shop]\nslug = "x"', "sites.my-shop.slug ({path}:6)", "The table's name"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "place", "mend"), MISPLACED.values(), ids=MISPLACED)
def test_what_is_misplaced_is_named_and_a_secret_in_it_is_not_printed(
    tmp_path: Path, text: str, place: str, mend: str
) -> None:
    path = write(tmp_path / "x.toml", f'secret_key = "{SECRET}"\n[upstream]\nurl = "https://x.example"\n\n{text}\n')
    told = problems({}, path)
    assert [one for one in told if one.startswith(place.format(path=path)) and mend in one], told


def all_keys(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, info in model.model_fields.items():
        yield (*at, name)
        if name == "sites":
            yield from all_keys(Site, (*at, name, "my-shop"))
        elif isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from all_keys(info.annotation, (*at, name))


@pytest.mark.parametrize("key", [".".join(key) for key in all_keys(Settings) if key[-1] != "slug"])
@pytest.mark.parametrize("value", [f'[{{ embed_key = "{KEY}" }}]', f'{{ x = "{KEY}" }}', f'[["{KEY}"]]'])
def test_a_secret_in_any_wrong_place_is_never_printed(tmp_path: Path, key: str, value: str) -> None:
    problems({}, write(tmp_path / "x.toml", f"{key} = {value}\n"))
    problems({"WIDGET_PROXY_SITES__MY_SHOP__TITLE": "x"}, write(tmp_path / "x.toml", f"{key} = {value}\n"))


def test_a_table_that_the_file_has_as_a_value_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", "server = 1\n")
    assert any("'server' is no table" in one for one in problems({"WIDGET_PROXY_SERVER__PORT": "1"}, path))


@pytest.mark.parametrize("text", ["sites = 3", 'sites = "x"', "[[sites]]\nx = 1"])
def test_sites_that_are_no_table_are_named_beside_variables_for_one(tmp_path: Path, text: str) -> None:
    told = problems({"WIDGET_PROXY_SITES__MY_SHOP__TITLE": "x"}, write(tmp_path / "x.toml", text))
    assert any("'sites' is no table" in one for one in told)


@pytest.mark.parametrize("name", ["a\\u0000b", "", "/", "/nowhere/x"])
def test_a_secrets_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "x.toml", FILE.replace(f'embed_key = "{KEY}"', f'embed_key_file = "{name}"'))
    (told,) = problems({}, path)
    assert told.startswith(f"sites.my-shop.embed_key_file ({path}:8)")
    assert "cannot be read" in told


@pytest.mark.parametrize(
    ("content", "mend"),
    [(b"", "empty"), (b"\n", "empty"), (b"\xff\xfe", "cannot be read"), (b"k" * 70_000, "64 KiB")],
)
def test_a_secrets_file_without_a_secret_is_named(tmp_path: Path, content: bytes, mend: str) -> None:
    (tmp_path / "key").write_bytes(content)
    environ = ENVIRONMENT | {"WIDGET_PROXY_EMBED_KEY_FILE": str(tmp_path / "key")}
    del environ["WIDGET_PROXY_EMBED_KEY"]
    (told,) = problems(environ)
    assert "WIDGET_PROXY_EMBED_KEY_FILE" in told
    assert mend in told


def test_a_secrets_file_of_the_environment_wins_over_the_files_secret(tmp_path: Path) -> None:
    path, key = write(tmp_path / "x.toml", FILE), write(tmp_path / "key", "from-the-environment\n")
    settings = load_settings({"WIDGET_PROXY_SITES__MY_SHOP__EMBED_KEY_FILE": str(key)}, path)
    assert revealed(settings.sites["my-shop"].embed_key) == "from-the-environment"


def test_the_short_variables_win_over_the_files_site_default(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", FILE.replace("my-shop", "default"))
    settings = load_settings({"WIDGET_PROXY_EMBED_KEY": "from-the-environment"}, path)
    assert revealed(settings.sites["default"].embed_key) == "from-the-environment"
    assert settings.sites["default"].title == "From the file"


def test_a_named_file_that_is_a_directory_or_no_text_is_a_mistake(tmp_path: Path) -> None:
    assert any("cannot be read" in one for one in problems(ENVIRONMENT, tmp_path))
    (tmp_path / "x.toml").write_bytes(b"\xff")
    assert any("UTF-8" in one for one in problems(ENVIRONMENT, tmp_path / "x.toml"))


def test_every_mistake_is_told_at_once() -> None:
    changes = {"WIDGET_PROXY_CHATBOT_ID": "x", "WIDGET_PROXY_EMBED_KEY": "", "WIDGET_PROXY_SERVER__PORT": "y"}
    assert len(problems(ENVIRONMENT | changes)) == 3


VISITORS = "marker-visitor-secret-" + "v" * 32


def test_a_visitor_secret_comes_as_other_secrets_do(tmp_path: Path) -> None:
    secret = write(tmp_path / "visitors", f"{VISITORS}\n")
    by_table = write(tmp_path / "a.toml", FILE + f'visitor_secret = ["{"o" * 32}", "{VISITORS}"]\n')
    by_file = write(tmp_path / "b.toml", FILE + f'visitor_secret_file = "{secret}"\n')
    variables = {"WIDGET_PROXY_SITES__MY_SHOP__VISITOR_SECRET_FILE": str(secret)}
    for environ, path in (({}, by_table), ({}, by_file), (variables, write(tmp_path / "c.toml", FILE))):
        settings = load_settings(environ, path)
        site = settings.sites["my-shop"]
        assert site.visitor_secret[-1].get_secret_value() == VISITORS
        assert site.takes_tokens == "optional"
        assert VISITORS not in repr(settings) + settings.model_dump_json()
    short = {"WIDGET_PROXY_VISITOR_SECRET": VISITORS, "WIDGET_PROXY_SITES__DEFAULT__VISITOR_TOKEN": "required"}
    assert load_settings(ENVIRONMENT | short).sites["default"].takes_tokens == "required"
    assert load_settings(ENVIRONMENT).sites["default"].takes_tokens == "off"


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ('visitor_token = "required"', "visitor_token ({place}): it is required, and there is no secret to check"),
        ('visitor_token = "optional"', "visitor_token ({place}): it is optional, and there is no secret to check"),
        ('visitor_token = "always"', "visitor_token ({place}): input should be 'off', 'optional' or 'required'"),
        ('signed_only = ["price"]', "signed_only ({place}): this site takes no visitor tokens"),
        ('visitor_secret = "marker-short"', "visitor_secret[0] ({place}): it is shorter than 32 characters"),
        ('visitor_secrets = "marker"', "visitor_secrets ({place}): there is no such setting. Did you mean visitor_secret?"),
        ('visitor_secret_file = "/nowhere"', "visitor_secret_file ({place}): '/nowhere' cannot be read"),
        ("visitor_secret = 7", "visitor_secret ({place}): "),
    ],
)  # fmt: skip
def test_a_mistake_about_visitor_tokens_is_named_with_its_mend(tmp_path: Path, line: str, mend: str) -> None:
    file = write(tmp_path / "x.toml", FILE + line + "\n")
    (told,) = problems({}, file)
    assert told.startswith("sites.my-shop." + mend.format(place=f"{file}:11"))
    assert "marker" not in told


def test_the_official_widget_is_not_let_in_where_everybody_needs_a_token(tmp_path: Path) -> None:
    lines = f'visitor_secret = "{VISITORS}"\nvisitor_token = "required"\ndrop_in = true\n'
    (told,) = problems({}, write(tmp_path / "x.toml", FILE + lines))
    assert told.startswith("sites.my-shop.drop_in (")
    assert "Set sites.my-shop.visitor_token to optional, or drop_in to false" in told


def test_a_credential_of_a_secret_that_does_not_exist_is_named(tmp_path: Path) -> None:
    write(tmp_path / "sites.default.embed_kee", KEY)
    (told,) = problems(ENVIRONMENT | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert told.startswith("sites.default.embed_kee (credential): there is no such secret. A site has api_key")
    (told,) = problems(ENVIRONMENT | {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")})
    assert told.startswith("CREDENTIALS_DIRECTORY (environment): the directory cannot be read")


def test_a_secret_of_the_environment_and_of_a_credential_is_one_too_many(tmp_path: Path) -> None:
    write(tmp_path / "sites.default.embed_key", "marker-other")
    (told,) = problems(ENVIRONMENT | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "(credential sites.default.embed_key): embed_key is set as well. Keep one of the two" in told
