"""Meshes by other writers, their odd and broken files, and the points of a surface."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamm_model.conversation import Modality
from lamm_model.formats.cloud import Array
from lamm_model.formats.errors import MediaDecodeError, MediaFormatError, MediaTooLargeError
from lamm_model.formats.mesh import SURFACE_POINTS
from lamm_model.media import MediaLimits, PointCloud, decode_point_cloud
from service.media.headers import WholeBytes, kind_of_bytes
from tests.lamm_model.formats import mesh_files

FIXTURES = Path(__file__).parent / "fixtures" / "meshes"
FILES = sorted(path for path in FIXTURES.iterdir())
# The parts of the chair in the fixtures: centre and extents.
CHAIR = [
    ((0.0, 0.0, 0.45), (0.45, 0.45, 0.05)), ((0.0, -0.21, 0.75), (0.45, 0.04, 0.55)),
    *(((x, y, 0.21), (0.04, 0.04, 0.42)) for x in (-0.2, 0.2) for y in (-0.2, 0.2)),
]  # fmt: skip
SQUARE = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0.0]])
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])


def chair_moments() -> tuple[Array, Array]:
    """Mean [3] and second moments [3] of the surface of the chair's boxes, exactly."""
    area, first, second = 0.0, np.zeros(3), np.zeros(3)
    for centre, extents in CHAIR:
        middle, size = np.array(centre), np.array(extents)
        for axis in range(3):
            side = float(np.prod(np.delete(size, axis)))
            for sign in (-0.5, 0.5):
                at = middle.copy()
                at[axis] += sign * size[axis]
                spread = size**2 / 12
                spread[axis] = 0.0
                area, first = area + side, first + side * at
                second = second + side * (at**2 + spread)
    return first / area, second / area


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_surface_of_another_writer_s_file(path: Path) -> None:
    # trimesh and Open3D keep the axes they are given, though glb's y points up.
    up = "z" if path.name == "open3d.glb" else None
    cloud = decode_point_cloud(path.read_bytes(), path.suffix[1:], "m", up, sample="surface")
    xyz = cloud.xyz.astype(np.float64)
    if path.name == "pygltflib.glb":  # its node scales by 2, turns z up and moves by (1, 2, 3)
        xyz = (xyz - [1, -3, 2]) / 2
    mean, second = chair_moments()
    assert len(xyz) == SURFACE_POINTS
    assert cloud.surface is not None
    assert (cloud.surface.faces, cloud.surface.dropped) == (72, 0)
    np.testing.assert_allclose(xyz.mean(axis=0), mean, atol=0.004)
    np.testing.assert_allclose((xyz**2).mean(axis=0), second, atol=0.004)
    gaps = [
        np.abs(np.abs(xyz - centre) / (np.array(extents) / 2) - 1).min(axis=1)
        for centre, extents in CHAIR
    ]
    assert np.min(gaps, axis=0).max() < 1e-4, "a point is not on a side of a box"


def test_every_writer_is_there() -> None:
    writers = {"meshio", "numpy-stl", "open3d", "pygltflib", "trimesh"}
    assert {path.stem.split("_")[0] for path in FILES} == writers


def test_colours_of_other_writers() -> None:
    def first(name: str, up: str | None = None) -> list[float]:
        cloud = decode_point_cloud(
            (FIXTURES / name).read_bytes(), name[-3:], up_axis=up, sample="surface"
        )
        assert cloud.rgb is not None
        assert len(np.unique(np.round(cloud.rgb, 3), axis=0)) == 1
        return [round(float(value)) for value in cloud.rgb[0]]

    assert first("open3d.ply") == first("open3d.obj") == first("open3d.off") == [255, 128, 0]
    assert first("open3d.glb") == [255, 188, 0]  # it writes 0.5, which is linear in glTF
    assert first("pygltflib.glb") == [255, 127, 0]  # a material's factor of 0.214


def test_points_are_even_by_area_and_the_same_every_time() -> None:
    # A quarter of the area is in one small triangle pair, the rest in a large one.
    xyz = np.vstack([SQUARE, SQUARE * np.sqrt(3) + [10, 0, 0]])
    polygons = [[0, 1, 2, 3], [4, 5, 6, 7]]
    data = mesh_files.obj(xyz, polygons)
    cloud = decode_point_cloud(data, "obj")
    share = float((cloud.xyz[:, 0] < 5).mean())
    assert share == pytest.approx(0.25, abs=0.01)
    small = cloud.xyz[cloud.xyz[:, 0] < 5]
    cells, _, _ = np.histogram2d(small[:, 0], small[:, 1], bins=4, range=[[0, 2], [0, 2]])
    np.testing.assert_allclose(cells / len(small), 1 / 16, atol=0.008)
    np.testing.assert_array_equal(decode_point_cloud(data, "obj").xyz, cloud.xyz)


def test_a_limit_below_the_usual_number_of_points_is_kept() -> None:
    cloud = decode_point_cloud(
        mesh_files.stl(SQUARE, TRIANGLES), "stl", limits=MediaLimits(max_points=50)
    )
    assert len(cloud.xyz) == 50


def test_defaults_tell_vertices_from_surfaces() -> None:
    polygons = [[0, 1, 2, 3]]
    ply = mesh_files.ply_mesh(SQUARE, polygons, None, "ascii")
    assert len(decode_point_cloud(ply, "ply").xyz) == 4
    assert len(decode_point_cloud(ply, "ply", sample="surface").xyz) == SURFACE_POINTS
    obj = mesh_files.obj(SQUARE, polygons)
    assert len(decode_point_cloud(obj, "obj").xyz) == SURFACE_POINTS
    assert len(decode_point_cloud(obj, "obj", sample="vertices").xyz) == 4
    points = decode_point_cloud(mesh_files.obj(SQUARE, []), "obj")
    assert (len(points.xyz), points.surface) == (4, None)
    with pytest.raises(MediaFormatError, match=r"`sample` is only for the format glb, gltf, obj"):
        decode_point_cloud(b"0 0 0", "xyz", sample="surface")


def test_glb_s_own_y_axis_points_up() -> None:
    document, binary = mesh_files.gltf_parts(SQUARE, TRIANGLES)
    data = mesh_files.glb(document, binary)
    assert decode_point_cloud(data, "glb").xyz[:, 2].max() == pytest.approx(2, abs=0.02)
    assert decode_point_cloud(data, "glb").up_axis == "y"
    assert decode_point_cloud(data, "glb", up_axis="z").xyz[:, 2].max() == 0


def test_bad_faces_and_vertices_are_left_out_and_counted() -> None:
    nan = float("nan")
    xyz = np.vstack([SQUARE, np.array([[nan, 0, 0], [1, 1, 1]])])
    polygons = [[0, 1, 2, 3], [0, 0, 1], [4, 0, 1], [0, 1]]
    for data, format in (
        (mesh_files.obj(xyz, polygons), "obj"),
        (mesh_files.off(xyz, polygons), "off"),
        (mesh_files.ply_mesh(xyz, polygons, None, "binary_big_endian"), "ply"),
    ):
        cloud = decode_point_cloud(data, format, sample="surface")
        assert cloud.surface is not None
        assert (cloud.surface.faces, cloud.surface.dropped) == (5, 3), format
        assert cloud.xyz.max() <= 2
        vertices = decode_point_cloud(data, format, sample="vertices")
        assert (len(vertices.xyz), vertices.dropped) == (5, 1)


def test_negative_indices_count_back_from_the_vertices_so_far() -> None:
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 5 0 9\nv 6 0 9\nv 5 1 9\nf -3 -2 -1\n"
    z = decode_point_cloud(text, "obj").xyz[:, 2]
    assert {*np.unique(z).tolist()} == {0.0, 9.0}


@pytest.mark.parametrize("head", [b"solid made by a program", b"solid facet", b"BM", b"ply\n"])
def test_a_binary_stl_may_begin_with_anything(head: bytes) -> None:
    data = mesh_files.stl(SQUARE, TRIANGLES, head=head)
    assert len(decode_point_cloud(data, "stl").xyz) == SURFACE_POINTS
    assert len(decode_point_cloud(data, "stl", sample="vertices").xyz) == 4
    assert kind_of_bytes(WholeBytes(data), "stl") is None


def test_files_without_a_suffix_are_known_by_their_first_bytes() -> None:
    cloud = Modality.POINT_CLOUD
    for data, format in (
        (mesh_files.off(SQUARE, [[0, 1, 2]]), "off"),
        (mesh_files.off(SQUARE, [[0, 1, 2]], np.zeros((4, 3), int)), "off"),
        (mesh_files.stl(SQUARE, TRIANGLES, text=True), "stl"),
        (mesh_files.glb(*mesh_files.gltf_parts(SQUARE, TRIANGLES)), "glb"),
    ):
        assert kind_of_bytes(WholeBytes(data), "") == (cloud, format)


def refuses(data: bytes, format: str, words: str, kind: type[Exception] = MediaDecodeError) -> None:
    with pytest.raises(kind, match=words):
        decode_point_cloud(data, format, sample="surface")


def test_text_that_is_no_mesh_is_refused_with_its_line() -> None:
    refuses(b"v 0 0\n", "obj", r"line 1 of the obj file is 'v 0 0'; expected numbers x y z")
    refuses(b"v 0 0 a\n", "obj", "line 1")
    triangle = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
    refuses(triangle + b"f 1 2 0\n", "obj", r"line 4 .* expected vertex indices")
    refuses(triangle + b"f -4 1 2\n", "obj", "line 4")
    refuses(triangle + b"f 1 2 9\n", "obj", r"refers to vertex 8 \(from 0\) of 3")
    refuses(triangle + b"v 0 0 0 1 1 1\n", "obj", "line 4 .* colour, unlike")
    refuses(triangle, "obj", "0 faces")
    refuses(b"hello\n", "obj", "0 vertices")
    refuses(b"OFF\n3 1 0\n0 0 0\n1 0 0\n", "off", "declares 3 vertices; 2 follow")
    refuses(b"OFF\n1 1 0\n0 0 0\n3 0 0\n", "off", "line 4 of the off file")
    refuses(b"OFF\n1 2 0\n0 0 0\n3 0 0 0\n", "off", "declares 2 faces; 1 follow")
    refuses(b"OFF BINARY\n", "off", "begins with 'OFF BINARY'")
    refuses(b"4OFF\n", "off", "begins with '4OFF'")
    refuses(b"COFF\n1 0 0\n0 0 0\n", "off", "too few for the colours")
    text = mesh_files.stl(SQUARE, TRIANGLES, text=True)
    refuses(text.replace(b"endsolid", b""), "stl", "ends before `endsolid`")
    refuses(text.replace(b"    vertex 2.0 2.0 0.0\n", b"", 1), "stl", "2 loops and 5 vertices")
    refuses(text.replace(b"vertex 2.0", b"vertex two", 1), "stl", "'two' is not a number")
    refuses(mesh_files.stl(SQUARE, TRIANGLES, head=b"x")[:-1], "stl", "2 faces, which take 184")
    ply = mesh_files.ply_mesh(SQUARE, [[0, 1, 2]], None, "ascii")
    refuses(ply.replace(b"7 3 0 1 2", b"7 3 0 1"), "ply", "expected a face")
    refuses(ply.replace(b"vertex_indices", b"other"), "ply", "expected a list of whole numbers")
    refuses(ply.replace(b"element face", b"element side"), "ply", "no element face")


def test_claims_of_size_are_refused_before_memory_is_taken() -> None:
    many = 10**9
    large = MediaTooLargeError
    refuses(f"OFF\n3 {many} 0\n".encode(), "off", f"{many} faces; the limit", large)
    refuses(f"OFF\n{many} 1 0\n".encode(), "off", f"{many} vertices; the limit", large)
    head = b"x" * 80 + struct.pack("<I", many)
    refuses(head, "stl", f"{many} faces; the limit", large)
    ply = mesh_files.ply_mesh(SQUARE, [[0, 1, 2]], None, "binary_little_endian")
    refuses(ply.replace(b"face 1\n", f"face {many}\n".encode()), "ply", f"{many} faces", large)
    document, binary = mesh_files.gltf_parts(SQUARE, TRIANGLES)
    for index, words in ((0, "indices"), (1, "vertices")):
        accessors = [dict(one) for one in document["accessors"]]
        accessors[index]["count"] = many
        data = mesh_files.glb({**document, "accessors": accessors}, binary)
        refuses(data, "glb", f"{many} {words}; the limit", large)
    # A thousand nodes each show the same mesh.
    grid = np.random.default_rng(0).random((3000, 3))
    document, binary = mesh_files.gltf_parts(grid, np.arange(3000).reshape(-1, 3))
    nodes = {"nodes": [{"mesh": 0}] * 1000, "scenes": [{"nodes": list(range(1000))}]}
    refuses(mesh_files.glb(document | nodes, binary), "glb", "vertices; the limit", large)
    primitive = document["meshes"][0]["primitives"][0]
    meshes = {"meshes": [{"primitives": [primitive] * 3000}]}
    refuses(mesh_files.glb(document | meshes, binary), "glb", "faces; the limit", large)


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]),
         MediaFormatError, "KHR_draco_mesh_compression"),
        (lambda d: d["bufferViews"][1].update(extensions={"EXT_meshopt_compression": {}}),
         MediaFormatError, "EXT_meshopt_compression"),
        (lambda d: d["buffers"][0].update(uri="chair.bin"), MediaFormatError, "'chair.bin'"),
        (lambda d: d["buffers"][0].update(uri="file:///etc/passwd"), MediaFormatError, "passwd"),
        (lambda d: d["buffers"][0].update(uri="https://a.b/c"), MediaFormatError, "external file"),
        (lambda d: d["accessors"][1].update(sparse={}), MediaFormatError, "sparse"),
        (lambda d: d["nodes"][0].update(skin=0), MediaFormatError, "skin"),
        (lambda d: d["nodes"][0].update(children=[0]), MediaDecodeError, "more than one parent"),
        (lambda d: d["nodes"][0].update(mesh=7), MediaDecodeError, r"no object meshes\[7\]"),
        (lambda d: d["nodes"][0].update(mesh=-1), MediaDecodeError, r"no object meshes\[-1\]"),
        (lambda d: d["accessors"][1].update(count=9), MediaDecodeError, "more than its buffer"),
        (lambda d: d["accessors"][1].update(byteOffset=-4), MediaDecodeError, "'-4'"),
        (lambda d: d["accessors"][0].update(count=5), MediaDecodeError, "5 corners"),
        (lambda d: d["bufferViews"][1].update(byteLength=10**9), MediaDecodeError, "its buffer"),
        (lambda d: d["asset"].update(version="1.0"), MediaDecodeError, "'1.0'"),
        (lambda d: d.pop("meshes"), MediaDecodeError, "no object meshes"),
        (lambda d: d.pop("nodes"), MediaDecodeError, "no object nodes"),
        (lambda d: d["meshes"][0]["primitives"][0].pop("attributes"), MediaDecodeError, "corrupt"),
    ],
)  # fmt: skip
def test_gltf_that_cannot_be_read_is_refused_by_name(
    change: Change, kind: type[Exception], words: str
) -> None:
    document, binary = mesh_files.gltf_parts(SQUARE, TRIANGLES)
    copy = json.loads(json.dumps(document))
    change(copy)
    refuses(mesh_files.glb(copy, binary), "glb", words, kind)


def test_gltf_modes_and_nodes() -> None:
    def shown(**part: Any) -> PointCloud:
        document, binary = mesh_files.gltf_parts(SQUARE, np.array([0, 1, 3, 2]), None)
        document["meshes"][0]["primitives"][0] |= part
        child = {"mesh": 0, "scale": [1, 1, 3], "rotation": [0, 0, 1, 0]}
        document["nodes"] = [{"children": [1], "translation": [10, 0, 0]}, child]
        return decode_point_cloud(mesh_files.glb(document, binary), "glb", up_axis="z")

    strip = shown(mode=5)
    assert strip.surface is not None
    assert strip.surface.faces == 2
    # Turned by 180 degrees about z, then moved.
    low, high = strip.xyz.min(axis=0), strip.xyz.max(axis=0)
    np.testing.assert_allclose([low, high], [[8, -2, 0], [10, 0, 0]], atol=0.02)
    fan = shown(mode=6)
    assert fan.surface is not None
    assert fan.surface.faces == 2
    points = shown(mode=0)
    assert (len(points.xyz), points.surface) == (4, None)
    with pytest.raises(MediaDecodeError, match="0 vertices"):
        shown(mode=1)


def test_gltf_nodes_turn_as_quaternions_do() -> None:
    axis, w = np.array([0.3, -0.5, 0.7]), float(np.sqrt(1 - 0.83))
    xyz = np.random.default_rng(0).random((3, 3))
    document, binary = mesh_files.gltf_parts(xyz, np.array([[0, 1, 2]]))
    document["nodes"][0] |= {"rotation": [*axis.tolist(), w]}
    data = mesh_files.glb(document, binary)
    cloud = decode_point_cloud(data, "glb", up_axis="z", sample="vertices")
    turned = xyz + 2 * np.cross(axis, np.cross(axis, xyz) + w * xyz)
    np.testing.assert_allclose(cloud.xyz, turned, atol=1e-6)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.cross(axis, np.eye(3)), [1, 2, 3]
    document["nodes"][0] = {"mesh": 0, "matrix": matrix.T.ravel().tolist()}
    cloud = decode_point_cloud(
        mesh_files.glb(document, binary), "glb", up_axis="z", sample="vertices"
    )
    np.testing.assert_allclose(cloud.xyz, xyz @ matrix[:3, :3].T + [1, 2, 3], atol=1e-6)


def samples() -> dict[str, list[bytes]]:
    grid = np.random.default_rng(0).random((300, 3))  # most of the file, so that some can be read
    document, binary = mesh_files.gltf_parts(grid, np.arange(300).reshape(-1, 3), grid * 255)
    polygons = [[0, 1, 2, 3]]
    return {
        "obj": [mesh_files.obj(SQUARE, polygons)],
        "off": [mesh_files.off(SQUARE, polygons, np.zeros((4, 3), int))],
        "stl": [mesh_files.stl(SQUARE, TRIANGLES), mesh_files.stl(SQUARE, TRIANGLES, text=True)],
        "ply": [mesh_files.ply_mesh(SQUARE, polygons, None, "binary_little_endian")],
        "glb": [mesh_files.glb(document, binary)],
        "gltf": [mesh_files.gltf(document, binary)],
    }


@pytest.mark.parametrize("format", samples())
def test_damaged_files_are_read_or_refused(format: str) -> None:
    random = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for round_ in range(300):
        files = samples()[format]
        data = bytearray(files[round_ % len(files)])
        for _ in range(random.integers(1, 4)):
            data[random.integers(len(data))] = random.integers(256)
        if round_ % 3 == 0:
            del data[random.integers(len(data)) :]
        try:
            cloud = decode_point_cloud(bytes(data), format, sample="surface")
        except (MediaDecodeError, MediaFormatError, MediaTooLargeError):
            outcomes["refused"] += 1
        else:
            assert np.isfinite(cloud.xyz).all()
            outcomes["read"] += 1
    assert min(outcomes.values()) >= 10, outcomes
