"""What all media of one request may take together: bytes that are fetched, pixels and points.

Limits on each medium alone would let a request of many media take any amount.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamm_model.conversation import Modality
from lamm_model.formats.errors import MediaTooLargeError
from lamm_model.media import MediaLimits


class MediaBudget:
    """Bytes of all media of one request that do not come in its body."""

    def __init__(self, max_item: int, max_total: int) -> None:
        """Bytes of one medium, and of all together."""
        self.max_item, self.max_total, self.taken = max_item, max_total, 0

    def item(self) -> ItemBudget:
        """The budget of one medium."""
        return ItemBudget(self)


class ItemBudget:
    """Bytes of one medium."""

    def __init__(self, whole: MediaBudget) -> None:
        self._whole, self._taken = whole, 0

    def check(self, more: int) -> None:
        """Raises:
        MediaTooLargeError: the medium, or all of them, would be larger than allowed.
        """
        size, whole = self._taken + more, self._whole
        if size > whole.max_item:
            raise MediaTooLargeError(
                f"the medium has {size} bytes or more; the limit is {whole.max_item}"
            )
        if whole.taken + more > whole.max_total:
            raise MediaTooLargeError(
                f"the media of the request have {whole.taken + more} bytes or more; "
                f"the limit of all together is {whole.max_total}"
            )

    def take(self, more: int) -> None:
        """Counts bytes that are about to be held.

        Raises:
            MediaTooLargeError: as `check`.
        """
        self.check(more)
        self._taken += more
        self._whole.taken += more


@dataclass(frozen=True, slots=True)
class MediaSizeLimits:
    """Pixels of all pictures of a request together, and points of all its clouds.

    `item` are the limits of one medium, which the decoder keeps.
    """

    max_pixels: int
    max_points: int
    item: MediaLimits


class SizeBudget:
    """Pixels and points of all media of one request, as far as they are known."""

    def __init__(self, limits: MediaSizeLimits) -> None:
        self._limits = {Modality.IMAGE: limits.max_pixels, Modality.POINT_CLOUD: limits.max_points}
        self._item_limits = {
            Modality.IMAGE: limits.item.max_pixels, Modality.POINT_CLOUD: limits.item.max_points
        }  # fmt: skip
        self._taken = dict.fromkeys(Modality, 0)

    def item(self, modality: Modality) -> ItemSize:
        """The share of one medium, of which nothing is known yet."""
        return ItemSize(self, modality, self._item_limits[modality])

    def take(self, modality: Modality, more: int) -> None:
        """Counts more pixels or points.

        Raises:
            MediaTooLargeError: all together are more than allowed.
        """
        taken, limit = self._taken[modality] + more, self._limits[modality]
        if taken > limit:
            what = "pixels" if modality is Modality.IMAGE else "points"
            media = "pictures" if modality is Modality.IMAGE else "clouds"
            raise MediaTooLargeError(
                f"the {media} of the request have {taken} {what} or more; "
                f"the limit of all together is {limit}"
            )
        self._taken[modality] = taken


class ItemSize:
    """Pixels or points of one medium: what its header says, then what it turns out to have."""

    def __init__(self, whole: SizeBudget, modality: Modality, limit: int) -> None:
        """`limit` is that of one medium alone."""
        self._whole, self._modality, self._limit = whole, modality, limit
        self._size = 0

    def announced(self, size: int | None) -> None:
        """Its header says so many, or nothing (None).

        Raises:
            MediaTooLargeError: as `SizeBudget.take`.
        """
        # One that is too large by itself is refused for that, by the decoder and before it decodes.
        if size is not None and size <= self._limit:
            self.decoded(size)

    def decoded(self, size: int) -> None:
        """It has so many.

        Raises:
            MediaTooLargeError: as `SizeBudget.take`.
        """
        if size > self._size:
            self._whole.take(self._modality, size - self._size)
            self._size = size
