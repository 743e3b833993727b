"""The JSON of glTF: its entries, its extensions, and where its nodes put meshes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lamm_model.formats.errors import MediaDecodeError, MediaFormatError

Matrix = npt.NDArray[np.float64]

# Required extensions that change neither vertices nor faces, by their first words.
_HARMLESS = (
    "EXT_texture_", "KHR_lights_", "KHR_materials_", "KHR_mesh_quantization", "KHR_texture_",
    "KHR_xmp", "MSFT_texture_",
)  # fmt: skip


def entry(document: Mapping[str, Any], kind: str, index: Any, format: str) -> dict[str, Any]:
    """`document[kind][index]`.

    Raises:
        MediaDecodeError: it is not there, or not an object.
    """
    entries = document.get(kind, [])
    if type(index) is int and isinstance(entries, list) and 0 <= index < len(entries):
        found = entries[index]
        if isinstance(found, dict):
            return found
    raise MediaDecodeError(f"the {format} file has no object {kind}[{str(index)[:16]}]")


def unsupported(what: str, format: str) -> MediaFormatError:
    """The error for a file that uses `what`."""
    return MediaFormatError(f"the {format} file has {what}, which is not supported")


def check_extensions(document: Mapping[str, Any], format: str) -> None:
    """Refuses a file that cannot be read without an extension, such as a compressed one.

    Raises:
        MediaFormatError: the message names the extension.
    """
    for name in document.get("extensionsRequired", ()):
        if not str(name).startswith(_HARMLESS):
            raise unsupported(f"the required extension {str(name)[:48]!r}", format)


def placed_meshes(document: Mapping[str, Any], format: str) -> Iterator[tuple[int, Matrix]]:
    """Indices of meshes, with the matrix [4, 4] of each node that has one.

    Raises:
        MediaDecodeError: a node has two parents, or is its own.
        MediaFormatError: a node has a skin or instances.
    """
    waiting = [(root, np.eye(4)) for root in _roots(document, format)]
    seen: set[int] = set()
    while waiting:
        index, above = waiting.pop()
        node = entry(document, "nodes", index, format)
        if index in seen:
            raise MediaDecodeError(f"the {format} node {index} has more than one parent")
        seen.add(index)
        matrix = above @ _local(node)
        if "mesh" in node:
            if "skin" in node:
                raise unsupported(f"a skin (nodes[{index}])", format)
            if "EXT_mesh_gpu_instancing" in node.get("extensions", {}):
                raise unsupported(f"EXT_mesh_gpu_instancing (nodes[{index}])", format)
            yield node["mesh"], matrix
        waiting += [(child, matrix) for child in node.get("children", ())]


def _roots(document: Mapping[str, Any], format: str) -> list[Any]:
    """The nodes of the default scene; without scenes, those that are no node's children."""
    if document.get("scenes"):
        scene = entry(document, "scenes", document.get("scene", 0), format)
        return list(scene.get("nodes", ()))
    nodes = document.get("nodes", ())
    children = {child for node in nodes for child in node.get("children", ())}
    return [index for index in range(len(nodes)) if index not in children]


def _local(node: Mapping[str, Any]) -> Matrix:
    """The node's own matrix [4, 4], of column vectors."""
    if "matrix" in node:
        # In column-major order.
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    matrix[:3, :3] = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ) * np.array(node.get("scale", (1, 1, 1)), np.float64)
    matrix[:3, 3] = np.array(node.get("translation", (0, 0, 0)), np.float64)
    return matrix
