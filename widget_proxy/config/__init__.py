"""Sites and settings: what they are (`settings`, `rates`, `site`, and the `values` they are made of), where they
come from (`sources`), what of them is read anew while it runs (`current`), who may embed (`origins`), whose images
are shown (`hosts`)."""

from widget_proxy.config.current import CurrentSettings
from widget_proxy.config.hosts import HostPattern
from widget_proxy.config.mistakes import Problem
from widget_proxy.config.origins import OriginPattern
from widget_proxy.config.rates import RatesSettings
from widget_proxy.config.settings import (
    PacingSettings,
    PagesSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)
from widget_proxy.config.site import (
    Limits,
    Look,
    Site,
    Texts,
)
from widget_proxy.config.sources import ConfigError, Loaded, load_settings, read_settings

__all__ = [
    "ConfigError",
    "CurrentSettings",
    "HostPattern",
    "Limits",
    "Loaded",
    "Look",
    "OriginPattern",
    "PacingSettings",
    "PagesSettings",
    "Problem",
    "RatesSettings",
    "RedisSettings",
    "ServerSettings",
    "Settings",
    "Site",
    "Texts",
    "UpstreamSettings",
    "load_settings",
    "read_settings",
]
