"""What a CPU does slowly the first time, done before the first request.

oneDNN compiles and keeps a kernel for every size of batch: without this the first minutes' steps
stall and the process grows while it serves. Called by the model runner.
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

# Small models are done in a fraction of it; for a large one the frequent sizes are worth a start
# that is a little later, and the rest is not.
_BUDGET_S = 2.0
# More new pictures than that are rare in one step.
_MAX_PICTURES = 8


def warm_up(
    decoder: LlamaDecoder, encoder: MediaEncoder, specs: Seq[CheckpointSpec], config: EngineConfig
) -> None:
    """Runs a medium of each kind, then two seconds of other sizes, most frequent first."""
    # Not of the two seconds: a first call also loads what libraries load late.
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
    # Models of one engine mostly share their encoders, whose sizes are what matters.
    sizes = {(spec.image, spec.points): model for model, spec in enumerate(specs)}
    for count, ((image, points), model) in itertools.product(counts, sizes.items()):
        if image is not None:
            encoder.rehearse(Modality.IMAGE, (3, image.size, image.size), count, model)
            yield
        # The cloud encoder's products have one size a cloud, whatever their number.
        if points is not None and count == 1:
            shape = (points.num_points, 6 if points.use_color else 3)
            encoder.rehearse(Modality.POINT_CLOUD, shape, count, model)
            yield
