"""
Where what is sent into a run is kept: an input is a stream of the run, under a name that no job's own stream has.

Each value is one chunk, as JSON. Inputs are kept and removed with their run like its other streams, but the run's
`realtimeStreams` does not name them: they are for the job, and not for viewers.
"""

from __future__ import annotations

from typing import Final

from gateway.feeds import MAX_ID_LENGTH, check_stream, check_task

#: What the names of such streams begin with (Trigger.dev realtime protocol, section 7.1; lib/inputs.lua).
INPUT_PREFIX: Final = "$trigger.input:"
MAX_INPUT_LENGTH: Final = MAX_ID_LENGTH - len(INPUT_PREFIX)


def input_stream(key: str) -> str:
    """
    The stream that holds what is sent to a run under *key*.

    Raises:
        BadFeed: When *key* can't be one.
    """
    return check_stream(INPUT_PREFIX + check_task(key, kind="input"))
