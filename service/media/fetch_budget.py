"""How many bytes the media of one request may have. Made by `input_processor`, spent by fetching.

Limits on each medium alone would let a request of many media take any amount.
"""

from __future__ import annotations

from lamm_model.formats.errors import MediaTooLargeError


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
