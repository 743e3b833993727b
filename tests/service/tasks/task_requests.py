"""Bodies of task requests that the service's tests send."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.service.chat_requests import cloud, image, npy, png

URL = "/v1/tasks"


def picture(width: int = 200, height: int = 100, **inputs: Any) -> dict[str, Any]:
    return {"image_url": image(png(width, height))["image_url"], "inputs": inputs}


def points(offset: tuple[float, ...] = (0, 0, 0), **how: Any) -> dict[str, Any]:
    """Three points, and one that is not finite if there is an `offset`."""
    array = np.array([[0, 0, 0], [400, 300, 200], [200, 150, 100]], np.float32)
    if any(offset):
        array = np.vstack([array + np.array(offset), np.full((1, 3), np.nan)])
    return {"point_cloud_url": cloud(npy(array), **how)["point_cloud_url"]}
