"""Prepared media are counted while anyone holds them, and bound who is let in."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from service.exceptions import OverloadedError
from service.media.pool import HeldMedia


def medium(size: int = 1000) -> PreparedMedia:
    return PreparedMedia(Modality.IMAGE, "digest", np.zeros(size // 4, np.float32), {})


def test_what_is_let_go_of_makes_room() -> None:
    held = HeldMedia(1500)
    first, second = medium(), medium()
    held.add(first)
    held.check()
    held.add(second)
    assert held.nbytes == 2000
    with pytest.raises(OverloadedError, match="take 2000 bytes; the limit is 1500") as caught:
        held.check()
    assert (caught.value.reason, caught.value.code) == ("media_full", "queue_full")
    kept = second.array
    del first, second
    gc.collect()
    assert held.nbytes == 1000
    held.check()
    del kept
    assert held.nbytes == 0


def test_threads_that_let_go_lose_no_count() -> None:
    held = HeldMedia(1)
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(300):
            held.add(medium(400))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held.nbytes == 0
