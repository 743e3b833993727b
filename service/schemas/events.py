"""Server-sent events (WHATWG HTML), with OpenAI's `[DONE]`."""

from __future__ import annotations

import json
from typing import Any

EVENT_STREAM = "text/event-stream"
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def event(body: dict[str, Any]) -> bytes:
    """One event whose data is JSON."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


def typed_event(body: dict[str, Any]) -> bytes:
    """One event that is named after its `type`."""
    return f"event: {body['type']}\n".encode() + event(body)
