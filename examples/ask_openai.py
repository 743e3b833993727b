"""Asks a running service with OpenAI's own SDK, and prints the answer as it comes.

    pip install openai
    python examples/ask_openai.py "What is this?" PICTURE [CLOUD]

The service is at $LAMM_URL (http://127.0.0.1:8000 when unset). The SDK knows pictures; a cloud is
one more content part, which it passes on as it is.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

from openai import OpenAI


def data_url(path: Path, kind: str) -> str:
    """A file as a base64 data: URL."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def main() -> int:
    """Streams the answer."""
    question, picture, *clouds = sys.argv[1:]
    parts: list[Any] = [
        {"type": "image_url", "image_url": {"url": data_url(Path(picture), "image/png")}},
        {"type": "text", "text": question},
    ]
    for cloud in map(Path, clouds):
        url = data_url(cloud, "application/octet-stream")
        value = {"url": url, "format": cloud.suffix.lstrip(".")}
        parts.insert(-1, {"type": "point_cloud_url", "point_cloud_url": value})

    base_url = os.environ.get("LAMM_URL", "http://127.0.0.1:8000")
    key = os.environ.get("LAMM_API_KEY", "none")
    with OpenAI(base_url=f"{base_url}/v1", api_key=key) as client:
        model = client.models.list().data[0].id
        stream = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": parts}], stream=True
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
