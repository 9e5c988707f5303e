"""Does it help that an encoder with effort shows its recogniser every other picture in a mirror, and nearer?

python -m benchmarks.effort_views --codec models/lfw/maskgit_vqgan/stage3/unequal_64/seed1
    --strangers data/lfw/sets/utkface_fairness --original data/lfw/evaluation/original/utkface_fairness/seed1
    --out benchmarks/results/effort_views.md

All else is as `--effort` has it. The codec is one of one group, with the decoder of its stage 3.
"""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from torch import Tensor

from benchmarks.effort_decoder import pictures
from benchmarks.show import show
from benchmarks.strangers import beside, measured, open_strangers
from stscq.cli_tools import run
from stscq.codec import effort as of_effort
from stscq.device import own_device
from stscq.quantization.trained_codec import load_codec
from stscq.recognition.frozen import load_frozen

VIEWS: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "as it is": lambda images, mirrored: images,
    "in a mirror by turns": lambda images, mirrored: images.flip(-1) if mirrored else images,
    "in a mirror and nearer by turns": of_effort.seen,
}


def main(
    codec: Path, strangers: Path, original: Path, out: Path | None = None,
    people: int = 300, first: int = 9, effort: int = 5, judge: str = "dlib",
) -> None:  # fmt: skip
    """Prints a table, and writes it to OUT; PEOPLE beginning with the row FIRST of STRANGERS."""
    faces = open_strangers(strangers, original, people, first, judge)
    frozen = load_frozen(of_effort.RECOGNISER, own_device())
    trained = load_codec(codec, own_device())[0]
    found = {"nearest entries": measured(faces, pictures(trained, faces.images, frozen, 0, "nearest entries"))}
    for name, view in VIEWS.items():
        with patch.object(of_effort, "seen", view):
            found[name] = measured(faces, pictures(trained, faces.images, frozen, effort, name))
    rows = [({"the recogniser sees the picture": name}, own, found["as it is"]) for name, own in found.items()]
    of = f"{'/'.join(codec.parts[-4:])}, effort {effort}; {people} pictures of strangers. more: than as it is."
    show(f"# What an encoder with effort looks at\n\n{of}\n\n{beside(rows)}\n", out)


if __name__ == "__main__":
    run(main)
