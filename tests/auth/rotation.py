"""Keys that were replaced, and the time around that."""

from hypothesis import strategies as st

from auth import (
    EnvironmentId,
    EnvironmentKeys,
    Keyring,
    SigningKey,
)
from tests.auth.helpers import (
    NOW,
    SECRET,
)

DAY = 86_400
#: NOW as errors show it.
NOW_TEXT = "2025-10-09T08:53:20Z"
OLD_SECRET = "tr_dev_an_older_secret_of_the_environment"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def rotated_keyring() -> Keyring:
    """One environment whose previous key was retired NOW."""
    return Keyring(
        [
            EnvironmentKeys(
                environment=EnvironmentId("env_1"),
                current=SigningKey(SECRET),
                previous=(SigningKey(OLD_SECRET, retired_at=NOW),),
            )
        ]
    )
