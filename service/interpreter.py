"""How this process's interpreter is set for serving. Called by `cli` once the engines are loaded.

Both settings are the whole process's, so no app sets them: only the command that owns the process.
"""

from __future__ import annotations

import gc
import sys

# The engine's thread, the event loop and the threads that parse large bodies share one lock; who
# wants it waits for so long before its holder is asked to let go. Python's own five milliseconds
# add up: a probe needs the lock a few times, and so does every operation of a step.
_SWITCH_INTERVAL_S = 0.001


def settle_interpreter() -> None:
    """Hands the lock over sooner, and takes what was loaded out of the garbage collector's rounds.

    Libraries and weights are hundreds of thousands of objects that stay. A full collection would
    look at each of them, with every thread standing still meanwhile.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
