"""InternVL: `<ref>label</ref><box>[[x1, y1, x2, y2], ...]</box>` in thousandths.

https://internvl.readthedocs.io/en/latest/get_started/chat_data_format.html
"""

from __future__ import annotations

import re

from lamm_model.tasks.dialects.base import Dialect, Frame
from lamm_model.tasks.dialects.brackets import lists_of
from lamm_model.tasks.dialects.marked_text import Marked

_RUN = re.compile(r"<box>[^<]{0,4000}</box>")
_LABEL = re.compile(r"<ref>([^<]*)</ref>")

DIALECTS = (
    Dialect(
        "internvl",
        "InternVL 1.5 and later",
        "<ref>the cat</ref><box>[[139, 768, 315, 954]]</box>",
        Marked(_RUN, lists_of, label=_LABEL).read,
        Frame.PER_MILLE,
        marks=("<box>",),
    ),
)
