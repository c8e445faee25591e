"""Whether two clocks agree, as far as that matters here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.doctor.findings import error, ok, warning

if TYPE_CHECKING:
    from gateway.doctor.findings import Finding

#: Below the first nobody would notice; above the second tokens of a few minutes lose a good part of their life.
_SKEW_SECONDS, _BAD_SKEW_SECONDS = 1.0, 30.0


def compare_clocks(check: str, whose: str, ahead: float, *, precision: float) -> Finding:
    """What it means that a clock is *ahead* of ours (seconds), known to *precision* only."""
    if abs(ahead) <= _SKEW_SECONDS + precision:
        return ok(check, f"{whose} agrees with ours")
    says = f"{whose} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    why = (
        "tokens end by the gateway's clock, the times of runs come from the workers' and their lifetimes from Redis's: "
        "tokens end early or late, and durations are wrong"
    )
    found = error if abs(ahead) > _BAD_SKEW_SECONDS + precision else warning
    return found(check, says, why, "timedatectl set-ntp true  # on the machine whose clock is wrong")
