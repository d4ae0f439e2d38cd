"""Compares the figures of two versions, and decides whether the newer may become `latest`."""

from typing import NamedTuple

from scn.inference.records import Metrics


class Difference(NamedTuple):
    """How two versions differ on one evaluation set, under the protocol that both were measured with."""

    set_name: str
    present: float
    """PSNR of the present model in dB, without self-ensemble."""
    candidate: float
    """PSNR of the candidate in dB, without self-ensemble."""

    @property
    def gain(self) -> float:
        """PSNR in dB that the candidate is better by."""
        return self.candidate - self.present


def differences(present: Metrics, candidate: Metrics) -> list[Difference]:
    """Returns the differences on all sets that both were measured on in the same way, in the candidate's order.

    The same way is: the same protocol, the same images, and the same precision where both say it.
    """
    one, two = present.provenance, candidate.provenance
    if one.protocol != two.protocol or (one.precision and two.precision and one.precision != two.precision):
        return []

    def same(name: str) -> bool:
        if one.data_sha256 == two.data_sha256:
            return True
        known = one.sets_sha256 or {}
        return name in known and known[name] == (two.sets_sha256 or {}).get(name)

    return [
        Difference(name, present.sets[name].model.psnr, figures.model.psnr)
        for name, figures in candidate.sets.items()
        if name in present.sets and same(name)
    ]


def objection(present: Metrics, candidate: Metrics, may_lose: float) -> str:
    """Returns why the candidate should not take the place of the present version; "" if it may.

    Args:
        may_lose: most PSNR in dB that it may lose on any set.
    """
    found = differences(present, candidate)
    if not found:
        return "they were not measured on the same images under the same protocol and precision"
    worst = min(found, key=lambda difference: difference.gain)
    if round(worst.gain, 6) < -may_lose:
        return (
            f"it loses {-worst.gain:.2f} dB on {worst.set_name} ({worst.candidate:.2f} from {worst.present:.2f}), more "
            f"than registry.latest_may_lose, {may_lose:g}"
        )
    return ""
