"""A backend-for-frontend between a website's chat widget and the Open Chat Studio Chat API."""

__version__ = "0.1.0"
