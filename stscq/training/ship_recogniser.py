"""The distilled recogniser as the package ships it: an ONNX file with float16 weights, and a card.

python -m stscq.training.ship_recogniser --distilled models/pretrain/distilled --measured lfw.json ...
"""

import json
import shutil
from pathlib import Path

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.files import atomically, read_log, sha256_of_file, write_atomically

TEXT = """\
# {name}

A recogniser for the identity and perceptual losses: an IResNet, 112 x 112 pixels in, {model[embedding]} numbers out. It
has learnt to say of a face what a large published recogniser says of it (MobileNet, trained on VGGFace2;
docs/pretraining.md), from {faces:,} faces of UTKFace at {measured[size]} x {measured[size]} pixels ({seen:,} pictures
seen, augmented ones counted anew). Nobody's identity took part, and no picture that looks like somebody tested.
{recipe[validation]} held-out faces are embedded like the large one's principal components with a mean cosine of
{likeness:.3f}. Weights in float16: {megabytes:.1f} MB.

It trains, and judges nothing. On LFW's {measured[pairs]:,} official pairs at {measured[size]} x {measured[size]} pixels
it verifies {measured[accuracy][recogniser]:.2f} %; {measured[by]}, which judges, {measured[accuracy][judge]:.2f} %.

## Limits

- VGGFace2 holds pictures of well-known people, and some of LFW's may be among them: the large recogniser may have seen
  other pictures of somebody who is tested, as the published ArcFace of the paper's identity loss may have. ORL's people
  are not.
- UTKFace's ages, genders and races are uneven, and so is what this network tells apart.
- For research only, as VGGFace2 and UTKFace are.
"""


def main(distilled: Path, measured: Path, faces: Path, leave_out: Path, stem: Path) -> None:
    """Writes STEM.onnx, STEM.json and STEM.md.

    DISTILLED: what stscq.training.distil wrote, with its record; MEASURED: what stscq.evaluation.recogniser found.
    FACES: the store that it learnt from, without those that LEAVE_OUT names.
    """
    path = stem.with_name(f"{stem.name}.onnx")
    with atomically(path) as partial:
        shutil.copyfile(distilled / "recogniser.onnx", partial)
    recipe = json.loads((distilled / "recipe.json").read_text(encoding="utf-8"))
    left_out = len(json.loads(leave_out.read_text(encoding="utf-8"))["leave_out"])
    card = {
        "name": stem.name,
        "model": json.loads(recipe["model"]),
        "recipe": recipe,
        "faces": len(open_store(faces).index) - left_out - recipe["validation"],
        "curve": [line for line in read_log(distilled / "log.jsonl") if "held_out" in line],
        "measured": json.loads(measured.read_text(encoding="utf-8")),
        "bytes": path.stat().st_size,
        "sha256": sha256_of_file(path),
        "record": json.loads((distilled / "distil.run.json").read_text(encoding="utf-8")),
    }
    text = TEXT.format(
        **{name: card[name] for name in ("name", "faces", "model", "recipe", "measured")},
        seen=recipe["steps"] * recipe["batch"],
        likeness=card["curve"][-1]["held_out"],
        megabytes=card["bytes"] / 1e6,
    )
    write_atomically(stem.with_name(f"{stem.name}.json"), json.dumps(card, indent=1) + "\n")
    write_atomically(stem.with_name(f"{stem.name}.md"), text)


if __name__ == "__main__":
    run(main)
