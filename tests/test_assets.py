"""The widget's files as they are served."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from widget_proxy.assets import Asset, asset_directory, widget_routes


@pytest.mark.parametrize("name", ["static", "templates", "examples/shop"])
def test_what_is_served_is_found(name: str) -> None:
    assert asset_directory(name).is_dir()


def test_every_file_of_the_widget_has_a_route_and_nothing_else_has() -> None:
    paths = {route.path for route in widget_routes()}
    assert {"/widget.js", "/widget/panel.js", "/widget/panel.css", "/pages/pages.css"} <= paths
    assert all(path.endswith((".js", ".css", ".svg", ".json")) for path in paths)


def test_an_etag_changes_with_the_content(tmp_path: Path) -> None:
    file = tmp_path / "x.js"
    file.write_text("a")
    first = Asset.read(file)
    file.write_text("b")
    assert Asset.read(file).etag != first.etag
    assert first.media_type == "text/javascript; charset=utf-8"


def test_a_language_may_be_read_by_any_page() -> None:
    client = TestClient(Starlette(routes=[*widget_routes()]))
    response = client.get("/widget/languages/de.json", headers={"Origin": "https://shop.example.com"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert response.json()["launcher.open"] == "Chat öffnen"
    again = client.get("/widget/languages/de.json", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304
