"""A mesh answers the same however it is written: as its vertices and triangles in NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.formats.cloud import Array, CloudOptions, Sample
from lamm_model.formats.mesh import Mesh, mesh_cloud, triangles
from lamm_model.media import PointCloud, decode_point_cloud
from lamm_model.preprocessing import prepare_point_cloud
from lamm_model.spec import PointSpec
from tests.lamm_model.formats import mesh_files
from tests.lamm_model.formats.point_files import PLY_ENCODINGS

SPEC = PointSpec(256, 4, use_color=True, seed=3)
# Multiples of 1/128 m are exact in float32, and so are areas in float64.
STEP = 128
POLYGON_WRITERS = [
    *(("obj", style) for style in ("v", "v/vt", "v//vn", "v/vt/vn", "negative")),
    ("off", ""), ("off", "glitch"), ("off", "normals"),
    *(("ply", encoding) for encoding in PLY_ENCODINGS),
    *(("ply", f"{encoding} first") for encoding in PLY_ENCODINGS),
]  # fmt: skip
TRIANGLE_WRITERS = [
    ("stl", "binary"), ("stl", "text"), ("glb", "apart"), ("glb", "interleaved"), ("gltf", "apart")
]  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A mesh and how it is written."""

    format: str
    style: str
    xyz: Array
    polygons: list[list[int]]
    rgb: Array | None
    sample: Sample


@st.composite
def writings(draw: st.DrawFn) -> Written:
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    format, style = draw(st.sampled_from(POLYGON_WRITERS + TRIANGLE_WRITERS))
    vertices = draw(st.integers(4, 12))
    xyz = random.integers(-100, 100, (vertices, 3)) / STEP
    most = 3 if (format, style) in TRIANGLE_WRITERS else draw(st.sampled_from([3, 4, 5]))
    least = 3 if draw(st.booleans()) else most
    polygons = [
        random.permutation(vertices)[: random.integers(least, most + 1)].tolist()
        for _ in range(draw(st.integers(1, 9)))
    ]
    has_rgb = format != "stl" and draw(st.booleans())
    # 0 and 255 are the same in linear and in sRGB colours.
    rgb = random.choice([0, 255], (vertices, 3)) if has_rgb else None
    return Written(
        format, style, xyz, polygons, rgb, draw(st.sampled_from(["surface", "vertices"]))
    )


def written(how: Written) -> bytes:
    xyz, polygons, rgb, style = how.xyz, how.polygons, how.rgb, how.style
    if how.format == "obj":
        return mesh_files.obj(xyz, polygons, rgb, style=style)
    if how.format == "off":
        return mesh_files.off(
            xyz, polygons, rgb, glitch=style == "glitch", normals=style == "normals"
        )
    if how.format == "ply":
        encoding, _, first = style.partition(" ")
        return mesh_files.ply_mesh(xyz, polygons, rgb, encoding, first=bool(first))
    if how.format == "stl":
        return mesh_files.stl(xyz, np.array(polygons), text=style == "text")
    document, binary = mesh_files.gltf_parts(
        xyz, np.array(polygons), rgb, interleaved=style == "interleaved"
    )
    return (mesh_files.glb if how.format == "glb" else mesh_files.gltf)(document, binary)


def twin(how: Written) -> PointCloud:
    corners = np.array([index for polygon in how.polygons for index in polygon])
    sizes = np.array([len(polygon) for polygon in how.polygons])
    faces, _ = triangles(corners, sizes, "twin", 1000)
    rgb = None if how.rgb is None else how.rgb.astype(np.float32)
    options = CloudOptions(2_000_000, sample=how.sample)
    raw = mesh_cloud(Mesh(how.xyz, faces, rgb), "twin", options, "surface")
    return PointCloud(raw.xyz.astype(np.float32), raw.rgb, surface=raw.surface)


def rows(cloud: PointCloud) -> Array:
    """The points with their colours, without order and repetition."""
    rgb = np.zeros_like(cloud.xyz) if cloud.rgb is None else cloud.rgb
    return np.unique(np.hstack([cloud.xyz, rgb]), axis=0)


@given(writings())
def test_a_file_and_its_arrays_are_the_same_to_the_encoder(how: Written) -> None:
    cloud = decode_point_cloud(written(how), how.format, "m", "z", sample=how.sample)
    truth = twin(how)
    assert cloud.surface == truth.surface
    assert (cloud.rgb is None) == (how.rgb is None)
    if how.sample == "vertices" and how.format in ("stl", "glb", "gltf"):
        # These have no vertices but those of faces.
        used = np.unique([index for polygon in how.polygons for index in polygon])
        rgb = None if truth.rgb is None else truth.rgb[used]
        np.testing.assert_array_equal(rows(cloud), rows(PointCloud(truth.xyz[used], rgb)))
        return
    seen, expected = (prepare_point_cloud(one, SPEC) for one in (cloud, truth))
    np.testing.assert_array_equal(seen.array, expected.array)
    assert seen.info == expected.info
