"""Batches for a GPU, read by other processes while it computes; the draws are the same."""

from collections.abc import Callable, Iterator

from torch.utils.data import DataLoader, Dataset, Sampler

from stscq.parallel import share
from stscq.training.batches import Batches, Draw, Read

READERS, AHEAD = 4, 2
"""Processes, and how many batches each has ready."""
Key = tuple[int, int]
"""Step and part of a batch."""


class Reads(Dataset[Read]):
    """Key -> what lies on disk of it."""

    def __init__(self, batches: Batches):
        self.batches = batches

    def __getitem__(self, key: Key) -> Read:
        return self.batches.read(*key)


class Keys(Sampler[Key]):
    """All keys in the order of training, for ever, from one on; a step has `parts`."""

    def __init__(self, first: Key, parts: int):
        self.first, self.parts = first, parts

    def __iter__(self) -> Iterator[Key]:
        key = self.first
        while True:
            yield key
            key = self.after(key)

    def after(self, key: Key) -> Key:
        step, part = key
        return (step, part + 1) if part + 1 < self.parts else (step + 1, 0)


class ReadAhead:
    """`draw` of Batches, quick if it is asked in the order of training; any other question begins anew from there."""

    def __init__(self, batches: Batches, parts: int, readers: int):
        self.batches, self.parts, self.readers = batches, parts, readers
        self.expected: Key | None = None

    def draw(self, step: int, part: int = 0) -> Draw:
        return self.batches.made_of(self.read(step, part))

    def read(self, step: int, part: int = 0) -> Read:
        keys = Keys((step, part), self.parts)
        if self.expected != (step, part):
            self.reads = iter(
                DataLoader(
                    Reads(self.batches),
                    batch_size=None,
                    sampler=keys,
                    num_workers=self.readers,
                    prefetch_factor=AHEAD,
                    pin_memory=self.batches.device.type == "cuda",
                )
            )
        self.expected = keys.after((step, part))
        return next(self.reads)


def draws_of(batches: Batches, parts: int = 1) -> Callable[[int, int], Draw]:
    """How a stage draws the batch of (step, part). On the CPU nothing is read ahead: it would wait for itself."""
    if batches.device.type == "cpu":
        return batches.draw
    share(batches.size)  # what cannot be shared is told here, in one line, and not by each reader
    return ReadAhead(batches, parts, READERS).draw
