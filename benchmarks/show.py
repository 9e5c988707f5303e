"""How a benchmark tells what it found."""

from pathlib import Path

from stscq.files import write_atomically


def show(text: str, out: Path | None) -> None:
    """Print it, and write it to the file OUT, where there is one."""
    print(text)
    if out is not None:
        write_atomically(out, text)
