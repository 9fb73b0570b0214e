"""The wheel, installed into an empty environment, serves."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import httpx2
import pytest
from packaging.requirements import Requirement

from tests.servers import HOST, free_port
from tests.test_cli import demo, one_site, wait_for_port

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout by the back end that is installed already."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


def locked_packages() -> list[str]:
    """What an operator's `pip install --require-hashes -r requirements.lock` installs here."""
    lines = re.findall(r"^[A-Za-z0-9._-]+==[^\\\n]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    locked = [Requirement(line.strip()) for line in lines]
    found = [one.name for one in locked if one.marker is None or one.marker.evaluate()]
    assert "starlette" in found
    return found


def borrow(packages: list[str], python: Path) -> None:
    """Make exactly these packages of this environment importable in another, without installing them again."""
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    there = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    for package in packages:
        here = distribution(package)
        for top in {path.parts[0] for path in here.files or () if path.parts[0] not in ("..", "__pycache__")}:
            (there / top).symlink_to(str(here.locate_file(top)))


def test_the_wheel_carries_what_it_serves(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for top, inside in (("static", "static"), ("templates", "templates"), ("examples/shop", "examples/shop")):
        for path in (ROOT / top).rglob("*"):
            if path.is_file():
                assert f"widget_proxy/{inside}/{path.relative_to(ROOT / top).as_posix()}" in names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


def test_the_wheel_serves_from_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    borrow(locked_packages(), python)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    port = free_port()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WIDGET_PROXY_")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(environment / "bin" / "widget-proxy"), "serve", "--port", str(port)],
            env=variables | one_site("http://127.0.0.1:9"),
            stdout=log,
            stderr=log,
            cwd=tmp_path,
        )
    try:
        wait_for_port(port, process)
        with httpx2.Client(base_url=f"http://{HOST}:{port}") as client:
            assert client.get("/healthz").status_code == 200
            assert "chat-widget" in client.get("/widget.js").text
            assert client.get("/widget/panel.js").status_code == 200
            assert "widget-proxy is running" in client.get("/").text
    finally:
        process.terminate()
        process.wait(10)
    with demo([str(environment / "bin" / "widget-proxy")], cwd=tmp_path) as addresses:
        shop, proxy, _ = addresses
        assert f'src="{proxy}/widget.js"' in httpx2.get(f"{shop}/strand-vase.html").text
