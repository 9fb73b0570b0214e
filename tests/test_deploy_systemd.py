"""The units of `deploy/systemd`: systemd's own check of them, and whether they fit the proxy."""

import subprocess
from pathlib import Path

import pytest

from widget_proxy.config import ServerSettings, load_settings

UNITS = Path(__file__).parent.parent / "deploy/systemd"
INSTALLED = "/opt/widget-proxy/bin/widget-proxy"


def told(unit: str) -> dict[str, list[str]]:
    """Each directive with its values, in their order."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


SERVICE, SOCKET = told("widget-proxy.service"), told("widget-proxy.socket")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units for a program that is installed here: systemd asks whether there is one."""
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, "/bin/true"))
    return tmp_path / "widget-proxy.service"


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_has_nothing_to_say_against_the_units(units: Path) -> None:
    outcome = analyze("verify", "--man=no", units)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_systemd_would_say_if_a_directive_were_unknown(units: Path) -> None:
    units.write_text(units.read_text().replace("KillMode=", "KilMode="))
    assert "KilMode" in analyze("verify", "--man=no", units).stderr


def test_a_break_in_could_do_little(units: Path) -> None:
    """systemd's exposure goes from 0 to 10 (here 0 to 100); a service without these directives has 9.6."""
    outcome = analyze("security", "--offline=true", "--threshold=15", "--no-pager", units)
    assert outcome.returncode == 0, outcome.stdout


def test_the_socket_is_where_the_front_servers_look() -> None:
    server = ServerSettings()
    address = f"{server.host}:{server.port}"
    assert SOCKET["ListenStream"] == [address]
    assert "Accept" not in SOCKET, "one process accepts all connections"
    for front in ("nginx/widget-proxy.conf", "caddy/Caddyfile"):
        assert f" {address}" in (UNITS.parent / front).read_text()


def test_systemd_waits_longer_than_the_proxy_takes_to_end() -> None:
    assert int(SERVICE["TimeoutStopSec"][0]) > ServerSettings().drain_seconds + 5
    assert SERVICE["KillMode"] == ["mixed"], "workers are told by the first process"


def test_a_proxy_that_ended_itself_comes_back_and_a_wrong_configuration_does_not() -> None:
    assert SERVICE["Restart"] == ["always"], "it ends itself by SIGTERM, which is a clean end to systemd"
    assert SERVICE["RestartPreventExitStatus"] == ["2"]


def test_a_reload_is_the_signal_that_the_proxy_reads_its_settings_on() -> None:
    assert SERVICE["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_there_are_files_for_all_the_streams_that_are_allowed() -> None:
    assert int(SERVICE["LimitNOFILE"][0]) * 4 // 5 >= ServerSettings().streams


def test_the_secrets_come_from_credentials_and_nothing_in_the_unit_is_one(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for line in SERVICE["LoadCredential"]:
        name, _, file = line.partition(":")
        assert file.startswith("/etc/widget-proxy/")
        (credentials / name).write_text(f"marker-{name}-0123456789-0123456789-0123456789\n")
    assert "Environment" not in SERVICE
    (tmp_path / "widget-proxy.toml").write_text(
        """
        [upstream]
        url = "https://openchatstudio.com"
        [sites.default]
        chatbot_id = "00000000-0000-4000-8000-000000000000"
        allowed_origins = ["https://shop.example.com"]
        """
    )
    settings = load_settings({"CREDENTIALS_DIRECTORY": str(credentials)}, tmp_path / "widget-proxy.toml")
    assert settings.secret_key[0].get_secret_value().startswith("marker-secret_key-")
    key = settings.sites["default"].embed_key
    assert key is not None
    assert key.get_secret_value().startswith("marker-sites.default.embed_key-")
