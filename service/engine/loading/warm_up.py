"""Runs what a CPU does slowly the first time, before the first request.

oneDNN compiles and caches a kernel for every batch size: otherwise steps of the first minutes would
stall and the process would grow while it serves.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from collections.abc import Sequence as Seq

from lamm_model.conversation import Modality
from lamm_model.decoder.llama import LlamaDecoder
from lamm_model.spec import CheckpointSpec
from service.engine.config import EngineConfig
from service.engine.media_encoder import MediaEncoder

_log = logging.getLogger(__name__)

# Small models need a fraction of it; a large one covers the most frequent sizes.
_BUDGET_S = 2.0
# More new pictures are rare in one step.
_MAX_PICTURES = 8


def warm_up(
    decoder: LlamaDecoder, encoder: MediaEncoder, specs: Seq[CheckpointSpec], config: EngineConfig
) -> None:
    """Runs one medium of each modality, then other sizes within a time budget, most frequent
    first.
    """
    # Outside of the budget: the first call also loads libraries.
    for _ in _encode(encoder, specs, range(1, 2)):
        pass
    started = time.monotonic()
    work = itertools.chain(
        decoder.warm_up(config.max_num_batched_tokens, config.max_num_seqs),
        _encode(encoder, specs, range(2, _MAX_PICTURES + 1)),
    )
    for _ in work:
        if time.monotonic() - started > _BUDGET_S:
            break
    _log.debug("warmed up in %.2f s", time.monotonic() - started)


def _encode(encoder: MediaEncoder, specs: Seq[CheckpointSpec], counts: range) -> Iterator[None]:
    # Models of one engine mostly share encoders, and only sizes matter.
    sizes = {(spec.image, spec.points): model for model, spec in enumerate(specs)}
    for count, ((image, points), model) in itertools.product(counts, sizes.items()):
        if image is not None:
            encoder.rehearse(Modality.IMAGE, (3, image.size, image.size), count, model)
            yield
        # The cloud encoder's matrix sizes do not depend on the number of clouds.
        if points is not None and count == 1:
            shape = (points.num_points, 6 if points.use_color else 3)
            encoder.rehearse(Modality.POINT_CLOUD, shape, count, model)
            yield
