"""How the terminal's commands reach a service: their flags, the client, and errors in words."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import httpx

from lamm_model.media import SAMPLES
from service.terminal.attachments import CloudOptions, read_camera


def add_connection(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Adds the flags that name the service and the model.

    Args:
        parser: of the command, or of a sub-command.
        again: for a sub-command of one that has the flags: what was given before its name stays.
    """
    url = os.environ.get("LAMM_URL", "http://127.0.0.1:8000")
    key = os.environ.get("LAMM_API_KEY")
    for flag, default, kind, words in (
        ("--url", url, str, f"URL of the service, also LAMM_URL (default: {url})"),
        ("--api-key", key, str, "API key, also LAMM_API_KEY"),
        ("--model", None, str, "model name (default: the first one)"),
        ("--timeout", 120.0, float, "seconds to wait for more of an answer (default: 120)"),
    ):
        given = argparse.SUPPRESS if again else default
        parser.add_argument(flag, default=given, type=kind, help=words)


def add_cloud_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how cloud files are to be read."""
    add = parser.add_argument
    add(
        "--units",
        choices=("m", "cm", "mm"),
        default="m",
        help="unit of the clouds' coordinates (default: m)",
    )
    add(
        "--up-axis",
        choices=("z", "y"),
        help="axis that points up in the clouds (default: y in glb and gltf files, z in others)",
    )
    add("--columns", type=int, choices=(3, 4, 5, 6), help="values per point in bin files")
    add(
        "--sample",
        choices=SAMPLES,
        help="what of a mesh becomes points (default: vertices of ply files, surface of others)",
    )
    add(
        "--camera",
        metavar="FILE",
        help="JSON with fx, fy, cx, cy (see docs/media.md): png clouds are its depth pictures",
    )


def cloud_options(options: argparse.Namespace) -> CloudOptions:
    """The values of those flags.

    Raises:
        ChatError: the camera's file cannot be read.
    """
    camera = None if options.camera is None else read_camera(Path(options.camera))
    return CloudOptions(options.units, options.up_axis, options.columns, options.sample, camera)


def connect(options: argparse.Namespace) -> httpx.Client:
    """A client for the service that the flags name."""
    headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    return httpx.Client(base_url=options.url, headers=headers, timeout=options.timeout)


def reason_of(error: Exception, url: object) -> str:
    """A failure in words for a person."""
    if isinstance(error, httpx.ConnectError):
        return f"no server answers at {url} ({error}); is `lamm serve` running? (--url)"
    if isinstance(error, httpx.TimeoutException):
        return f"{url} did not answer within --timeout"
    return str(error) or type(error).__name__


def error_text(status: int, body: str) -> str:
    """The message of an error response."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {status}"
