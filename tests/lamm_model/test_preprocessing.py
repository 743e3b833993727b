"""Arrays for the encoders: shapes, values, determinism, digests."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lamm_model.conversation import Modality
from lamm_model.media import MediaLimits, MediaTooLargeError, PointCloud
from lamm_model.preprocessing import (
    COLOUR_MEAN,
    prepare_image,
    prepare_point_cloud,
    sample_indices,
)
from lamm_model.spec import ImageSpec, PointSpec

SPEC = ImageSpec(16, 4, "lamm-squash", (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
CLIP = ImageSpec(
    224,
    256,
    "lamm-squash",
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
CROP = dataclasses.replace(CLIP, preset="upstream-bench-centercrop")
POINTS = PointSpec(num_points=32, num_tokens=4, use_color=False, seed=7)
COLOURED = PointSpec(num_points=32, num_tokens=4, use_color=True, seed=7)


def cloud(points: int, colour: bool = False) -> PointCloud:
    generator = np.random.default_rng(points)
    xyz = generator.normal(size=(points, 3)).astype(np.float32)
    rgb = generator.integers(0, 255, (points, 3)).astype(np.float32) if colour else None
    return PointCloud(xyz, rgb)


def test_a_picture_is_squashed_scaled_and_normalised() -> None:
    media = prepare_image(Image.new("RGB", (40, 10), (255, 0, 51)), SPEC)
    assert media.modality is Modality.IMAGE
    assert media.array.shape == (3, 16, 16)
    assert media.array.dtype == np.float32
    assert media.array.flags.c_contiguous
    expected = (np.array([1.0, 0.0, 0.2]) - SPEC.mean) / SPEC.std
    np.testing.assert_allclose(media.array[:, 3, 5], expected, rtol=1e-5)
    assert media.info["transform"] == {"kind": "squash", "size": [16, 16], "scale": [0.4, 1.6]}
    assert (media.info["width"], media.info["height"]) == (40, 10)


def photo(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def normalised(picture: Image.Image) -> np.ndarray:
    values = np.asarray(picture, dtype=np.float64) / 255
    return ((values - CLIP.mean) / CLIP.std).transpose(2, 0, 1)


SIZES = [(640, 480), (480, 640), (224, 224), (301, 225), (225, 301), (100, 37), (13, 900), (1, 9)]


@pytest.mark.parametrize("size", SIZES)
def test_lamm_squash_equals_pillow_s_resize(size: tuple[int, int]) -> None:
    picture = photo(*size)
    expected = normalised(picture.resize((224, 224), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(prepare_image(picture, CLIP).array, expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_centercrop_equals_shortest_side_and_middle(size: tuple[int, int]) -> None:
    width, height = size
    if width <= height:
        wide, high = 224, int(224 * height / width)
    else:
        wide, high = int(224 * width / height), 224
    left, top = round((wide - 224) / 2.0), round((high - 224) / 2.0)
    whole = photo(*size).resize((wide, high), Image.Resampling.BICUBIC)
    pixels = np.asarray(whole)[top : top + 224, left : left + 224]
    media = prepare_image(photo(*size), CROP)
    np.testing.assert_allclose(media.array, normalised(Image.fromarray(pixels)), atol=1e-5)
    assert media.array.shape == (3, 224, 224)
    assert media.info["transform"] == {
        "kind": "centercrop",
        "size": [224, 224],
        "scale": [wide / width, high / height],
        "offset": [left, top],
    }


def test_the_presets_differ_but_for_squares() -> None:
    wide, square = photo(40, 20), photo(30, 30)
    squashed, cropped = prepare_image(wide, CLIP), prepare_image(wide, CROP)
    assert squashed.digest != cropped.digest
    assert not np.allclose(squashed.array, cropped.array, atol=0.1)
    np.testing.assert_array_equal(
        prepare_image(square, CLIP).array, prepare_image(square, CROP).array
    )


def test_a_line_is_not_blown_up_before_it_is_cropped() -> None:
    with pytest.raises(MediaTooLargeError, match=r"5000 x 1 .*1120000 x 224 .* 1000000 pixels"):
        prepare_image(Image.new("RGB", (5000, 1)), CROP, MediaLimits(max_pixels=1_000_000))


def test_bytes_and_picture_give_the_same() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    one, two = prepare_image(picture, SPEC), prepare_image(stream.getvalue(), SPEC)
    assert one.digest == two.digest
    np.testing.assert_array_equal(one.array, two.array)


def test_the_digest_knows_content_shape_and_preset() -> None:
    black = prepare_image(Image.new("RGB", (4, 8)), SPEC).digest
    other = ImageSpec(32, 4, "lamm-squash", SPEC.mean, SPEC.std)
    digests = {
        black,
        prepare_image(Image.new("RGB", (8, 4)), SPEC).digest,
        prepare_image(Image.new("RGB", (4, 8), "white"), SPEC).digest,
        prepare_image(Image.new("RGB", (4, 8)), other).digest,
    }
    assert len(digests) == 4
    assert prepare_image(Image.new("RGB", (4, 8)), SPEC).digest == black


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match="'crop'"):
        prepare_image(Image.new("RGB", (4, 4)), ImageSpec(16, 4, "crop", SPEC.mean, SPEC.std))


@given(points=st.integers(1, 200), wanted=st.integers(1, 100), seed=st.integers(0, 1000))
def test_samples_are_deterministic_and_complete(points: int, wanted: int, seed: int) -> None:
    chosen = sample_indices(points, wanted, seed)
    assert len(chosen) == wanted
    np.testing.assert_array_equal(chosen, sample_indices(points, wanted, seed))
    assert len(set(chosen.tolist())) == min(points, wanted)
    assert 0 <= chosen.min() <= chosen.max() < points


def test_a_cloud_is_sampled_in_metres_as_given() -> None:
    source = cloud(100)
    media = prepare_point_cloud(source, POINTS)
    assert media.modality is Modality.POINT_CLOUD
    assert media.array.shape == (32, 3)
    np.testing.assert_array_equal(media.array, source.xyz[sample_indices(100, 32, 7)])
    assert media.digest == prepare_point_cloud(source, POINTS).digest
    info = media.info
    assert (info["points_in"], info["points_kept"], info["seed"]) == (100, 32, 7)
    np.testing.assert_allclose(info["bounds"][0], source.xyz.min(axis=0), atol=1e-5)
    np.testing.assert_allclose(info["center"], source.xyz.mean(axis=0), atol=1e-5)


def test_a_cloud_farther_away_than_the_training_data_is_moved() -> None:
    spec = dataclasses.replace(POINTS, max_offset=(1.0, 1.0, 0.1))
    near = PointCloud(np.array([[-1, -1, 0], [2, 1, 2], [0, 0, 1]], np.float32))
    media = prepare_point_cloud(near, spec)
    np.testing.assert_array_equal(media.array, prepare_point_cloud(near, POINTS).array)
    assert media.info["shift"] == [0.0, 0.0, 0.0]
    # The middle is at x = 0.5; only the axes that are too far away are moved.
    for offset, shift in (
        ((3, 0, 0), [-3.5, 0.0, 0.0]),
        ((0, -2, 0), [0.0, 2.0, 0.0]),
        ((0.25, 0.25, 3), [0.0, 0.0, -3.0]),
        ((-4, 9, -1), [3.5, -9.0, 1.0]),
    ):
        moved = prepare_point_cloud(PointCloud(near.xyz + np.array(offset, np.float32)), spec)
        assert moved.info["shift"] == shift
        expected = near.xyz + offset + shift
        np.testing.assert_allclose(np.unique(moved.array, axis=0), np.unique(expected, axis=0))
        assert moved.info["bounds"][0] == [-1 + offset[0], -1 + offset[1], offset[2]]
    assert media.digest != prepare_point_cloud(near, POINTS).digest


def test_the_shift_counts_the_cloud_s_own_origin() -> None:
    spec = dataclasses.replace(POINTS, max_offset=(1.0, 1.0, 0.1))
    xyz = np.array([[2, 0, 0], [4, 0, 2]], np.float32)
    far = PointCloud(xyz, origin=(600_000.0, 200_000.0, 450.0))
    info = prepare_point_cloud(far, spec).info
    assert info["shift"] == [-600_003.0, -200_000.0, -450.0]
    assert info["bounds"] == [[600_002.0, 200_000.0, 450.0], [600_004.0, 200_000.0, 452.0]]
    assert info["center"] == [600_003.0, 200_000.0, 451.0]
    assert prepare_point_cloud(far, POINTS).info["shift"] == [-600_000.0, -200_000.0, -450.0]


def test_a_small_cloud_keeps_every_point() -> None:
    source = cloud(5)
    media = prepare_point_cloud(source, POINTS)
    np.testing.assert_array_equal(np.unique(media.array, axis=0), np.unique(source.xyz, axis=0))
    assert media.info["points_kept"] == 5


def test_colours_are_normalised() -> None:
    source = cloud(40, colour=True)
    media = prepare_point_cloud(source, COLOURED)
    assert source.rgb is not None
    expected = (source.rgb[sample_indices(40, 32, 7)] - COLOUR_MEAN) / 256
    np.testing.assert_allclose(media.array[:, 3:], expected, atol=1e-6)
    assert media.array.dtype == np.float32


def test_a_cloud_without_colours_has_the_mean_colour() -> None:
    media = prepare_point_cloud(cloud(40), COLOURED)
    assert media.array.shape == (32, 6)
    assert not media.array[:, 3:].any()


def test_digests_of_clouds_know_their_preset() -> None:
    source = cloud(40)
    assert (
        prepare_point_cloud(source, POINTS).digest != prepare_point_cloud(source, COLOURED).digest
    )
    assert (
        prepare_point_cloud(source, POINTS).digest != prepare_point_cloud(cloud(41), POINTS).digest
    )


def test_an_empty_cloud_is_refused() -> None:
    with pytest.raises(ValueError, match="0 points"):
        prepare_point_cloud(PointCloud(np.zeros((0, 3), np.float32)), POINTS)
