"""Files in the state folder with which a test or a person takes a part of the network away."""

from dataclasses import dataclass
from pathlib import Path

OPERATOR_DOWN, AQUARIUS_DOWN = "operator-service.down", "aquarius.down"
NO_OPERATOR = "operator-service.unset"
# How long Provider tries before it gives up. Source: recording 96-operator-service-down-status, seconds.
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Switches:
    """What the files in a folder say at this moment."""

    folder: Path

    def operator_patience_s(self) -> float | None:
        """Return how long Provider tries to reach operator-service in vain; None when it is there."""
        try:
            text = (self.folder / OPERATOR_DOWN).read_text().strip()
        except OSError:
            return None
        try:
            return float(text) if text else PATIENCE_S
        except ValueError:
            return PATIENCE_S

    def aquarius_is_down(self) -> bool:
        """Tell whether Aquarius does not answer."""
        return (self.folder / AQUARIUS_DOWN).exists()

    def has_operator(self) -> bool:
        """Tell whether the Provider was set up for compute at all. Source: recording 97."""
        return not (self.folder / NO_OPERATOR).exists()
