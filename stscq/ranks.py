"""Which of several processes that train one model this one is, as Accelerate's launcher tells each; without torch."""

import os

TOGETHER = "STSCQ_TOGETHER"
"""Set by stscq.training.launch. WORLD_SIZE alone says nothing: some clusters set it for every job."""


def count() -> int:
    """Processes that train one model together; 1 for a program that was started by itself."""
    return int(os.environ["WORLD_SIZE"]) if TOGETHER in os.environ else 1


def rank() -> int:
    """The number of this one, from 0 on."""
    return int(os.environ["RANK"]) if TOGETHER in os.environ else 0


def is_main() -> bool:
    """The one process that writes files and tells what happens."""
    return rank() == 0
