"""Limits for all media of one request together: fetched bytes, pixels and points.

Limits per medium alone would allow any amount in a request with many media.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamm_model.conversation import Modality
from lamm_model.formats.errors import MediaTooLargeError
from lamm_model.media import MediaLimits


class MediaBudget:
    """Bytes of all media of one request that are not in its body."""

    def __init__(self, max_item: int, max_total: int) -> None:
        """Limits in bytes: per medium, and of all together."""
        self.max_item, self.max_total, self.taken = max_item, max_total, 0

    def item(self) -> ItemBudget:
        """The budget of one medium."""
        return ItemBudget(self)


class ItemBudget:
    """Bytes of one medium."""

    def __init__(self, whole: MediaBudget) -> None:
        self._whole, self._taken = whole, 0

    def check(self, more: int) -> None:
        """
        Raises:
            MediaTooLargeError: the medium, or all of them together, would exceed a limit.
        """
        size, whole = self._taken + more, self._whole
        if size > whole.max_item:
            raise MediaTooLargeError(
                f"the medium has at least {size} bytes; the limit is {whole.max_item}"
            )
        if whole.taken + more > whole.max_total:
            raise MediaTooLargeError(
                f"the request's media have at least {whole.taken + more} bytes; "
                f"the limit per request is {whole.max_total}"
            )

    def take(self, more: int) -> None:
        """Counts bytes before they are held; raises as `check`."""
        self.check(more)
        self._taken += more
        self._whole.taken += more


@dataclass(frozen=True, slots=True)
class MediaSizeLimits:
    """Maximum pixels of all pictures of a request, and points of all its clouds.

    `item` are the limits per medium, which the decoder enforces.
    """

    max_pixels: int
    max_points: int
    item: MediaLimits


class SizeBudget:
    """Known pixels and points of all media of one request."""

    def __init__(self, limits: MediaSizeLimits) -> None:
        self._limits = {Modality.IMAGE: limits.max_pixels, Modality.POINT_CLOUD: limits.max_points}
        self._item_limits = {
            Modality.IMAGE: limits.item.max_pixels, Modality.POINT_CLOUD: limits.item.max_points
        }  # fmt: skip
        self._taken = dict.fromkeys(Modality, 0)

    def item(self, modality: Modality) -> ItemSize:
        """The share of one medium, whose size is still unknown."""
        return ItemSize(self, modality, self._item_limits[modality])

    def take(self, modality: Modality, more: int) -> None:
        """Counts more pixels or points.

        Raises:
            MediaTooLargeError: all together exceed the limit.
        """
        taken, limit = self._taken[modality] + more, self._limits[modality]
        if taken > limit:
            what = "pixels" if modality is Modality.IMAGE else "points"
            media = "pictures" if modality is Modality.IMAGE else "clouds"
            raise MediaTooLargeError(
                f"the request's {media} have at least {taken} {what}; the limit per request "
                f"is {limit}"
            )
        self._taken[modality] = taken


class ItemSize:
    """Pixels or points of one medium: as its header announces, then as decoded."""

    def __init__(self, whole: SizeBudget, modality: Modality, limit: int) -> None:
        """`limit` is the limit of one medium."""
        self._whole, self._modality, self._limit = whole, modality, limit
        self._size = 0

    def announced(self, size: int | None) -> None:
        """The size in its header; None if it is unknown; raises as `SizeBudget.take`."""
        # One that exceeds its own limit is refused or thinned by the decoder.
        if size is not None and size <= self._limit:
            self.decoded(size)

    def decoded(self, size: int) -> None:
        """The decoded size; raises as `SizeBudget.take`."""
        if size > self._size:
            self._whole.take(self._modality, size - self._size)
            self._size = size
