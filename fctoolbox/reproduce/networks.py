"""Networks for the pages, reached through the same door as anybody's source, one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from fctoolbox.errors import InputError
from fctoolbox.plugins import find_source, load_source
from fctoolbox.system import RecurrentSystem

SOURCE = "ctrnn"
DECISIONS = "fctoolbox/PerceptualDecisionMaking-v0"
GO_NOGO = "fctoolbox/GoNogo-v0"


@dataclass(frozen=True)
class Networks(Sequence[RecurrentSystem]):
    """An ensemble of networks: trained together when the first is asked for, and from the cache afterwards.

    Each is loaded anew whenever it is asked for: the activity of a hundred would take gigabytes.

    Parameters
    ----------
    task : str
    n : int
    trained : bool
        False gives the same networks before training.
    n_jobs : int
        Threads to train in; they change no number.

    Raises
    ------
    InputError
        If the networks' plugin is not installed, or a network does not solve its task.
    """

    task: str
    n: int
    trained: bool = True
    n_jobs: int = 1

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, which: int) -> RecurrentSystem: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[RecurrentSystem]: ...
    def __getitem__(self, which: int | slice) -> RecurrentSystem | Sequence[RecurrentSystem]:
        if isinstance(which, slice):
            return [self[k] for k in range(self.n)[which]]
        number = range(self.n)[which]
        together = {"networks": self.n, "n_jobs": self.n_jobs} if self.trained else {}
        system = load_source(find_source(SOURCE), task=self.task, network=number, trained=self.trained, **together)
        if system.model is None:
            raise InputError(f"source '{SOURCE}' gave network {number} of task '{self.task}' without its model")
        return system
