"""A faithful stand-in for the Open Chat Studio Chat API, for the demo and the tests.

Shapes, status codes, headers and oddities are those observed on a real instance. Its bot answers from the page
context it was given. Tests order answers and faults from it, and ask what was spent (`control`).
"""

from widget_proxy.fake_upstream.app import create_app
from widget_proxy.fake_upstream.settings import DEMO_CHATBOT_ID, DEMO_EMBED_KEY, Channel, FakeUpstreamSettings

__all__ = ["DEMO_CHATBOT_ID", "DEMO_EMBED_KEY", "Channel", "FakeUpstreamSettings", "create_app"]
