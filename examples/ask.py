"""Asks a running service about pictures and point clouds, with httpx alone.

    python examples/ask.py "What is this?" PICTURE_OR_CLOUD...

The service is at $LAMM_URL (http://127.0.0.1:8000 when unset); $LAMM_API_KEY is sent if it is set.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import httpx

CLOUDS = (
    "asc", "bin", "csv", "e57", "glb", "gltf", "las", "laz", "npy", "npz", "obj", "off", "pcd",
    "ply", "pts", "stl", "txt", "xyz", "xyzn", "xyzrgb",
)  # fmt: skip


def content_part(path: Path) -> dict[str, Any]:
    """A file as a content part: a cloud by its suffix, else a picture."""
    suffix = path.suffix.lower().lstrip(".")
    data = base64.b64encode(path.read_bytes()).decode()
    if suffix in CLOUDS:
        url = f"data:application/octet-stream;base64,{data}"
        return {"type": "point_cloud_url", "point_cloud_url": {"url": url, "format": suffix}}
    return {"type": "image_url", "image_url": {"url": f"data:image/{suffix};base64,{data}"}}


def main() -> int:
    """Prints the answer."""
    question, *files = sys.argv[1:]
    parts = [content_part(Path(name)) for name in files]
    headers = {}
    if key := os.environ.get("LAMM_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    base_url = os.environ.get("LAMM_URL", "http://127.0.0.1:8000")
    with httpx.Client(base_url=base_url, headers=headers, timeout=60) as client:
        model = client.get("/v1/models").raise_for_status().json()["data"][0]["id"]
        message = {"role": "user", "content": [*parts, {"type": "text", "text": question}]}
        body = {"model": model, "messages": [message]}
        response = client.post("/v1/chat/completions", json=body)
    if response.is_error:
        print(response.json()["error"]["message"], file=sys.stderr)
        return 1
    print(response.json()["choices"][0]["message"]["content"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
