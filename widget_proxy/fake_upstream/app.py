"""The fake upstream as an application."""

from starlette.applications import Starlette

from widget_proxy.fake_upstream.api import ChatApi
from widget_proxy.fake_upstream.control import Control
from widget_proxy.fake_upstream.settings import FakeUpstreamSettings


def create_app(settings: FakeUpstreamSettings | None = None) -> Starlette:
    """A fake Open Chat Studio, empty. `app.state.api` is its inside, for tests in the same process."""
    api = ChatApi(settings or FakeUpstreamSettings())
    app = Starlette(routes=[*Control(api).routes(), *api.routes()])
    app.state.api = api
    return app
