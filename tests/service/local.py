"""The address of an app under test: a name that `AllowedSites` accepts without keys."""

from __future__ import annotations

BASE_URL = "http://localhost"
