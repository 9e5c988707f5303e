"""Answer one question of the reviewers by its trials (docs/reviewers.md).

python -m stscq.evaluation.trials.answer --question quantisers --store data/lfw/faces --groups 16 --entries 64
    --split data/lfw/splits/seed1/index.parquet --start models/lfw/maskgit_vqgan/stage1_tokenizer/fine_tuned/seed1 ...
"""

import json
from pathlib import Path

import pandas as pd

from stscq.cli_tools import run
from stscq.evaluation.judging import open_image_set
from stscq.evaluation.trials.measure import measure
from stscq.evaluation.trials.questions import Question, trials_of
from stscq.evaluation.trials.setting import latents_of, open_setting
from stscq.files import write_atomically


def main(
    question: Question,
    store: Path,
    split: Path,
    original: Path,
    tested_store: Path,
    start: Path,
    latents: Path,
    judge: str,
    groups: int,
    entries: int,
    seed: int,
    stage1_codebooks: str,
    stage2: str,
    out: Path,
) -> None:
    """Writes OUT/metrics.json (a list: name, versus, numbers of each trial), images.parquet, pairs.parquet (both with a
    column `trial`) and curve.parquet (choices of router and NN while codebooks trained).

    STORE, SPLIT: the training faces, whose LATENTS by the tokenizer START are kept (stscq.training.latents).
    TESTED_STORE, ORIGINAL: the images that are judged, and the evaluation of them uncompressed. STAGE1_CODEBOOKS and
    STAGE2 are JSON, the numbers of params.yaml.
    """
    numbers = (json.loads(stage1_codebooks), json.loads(stage2))
    setting = open_setting(store, split, start, latents, *numbers, seed)
    faces = open_image_set(tested_store, original, judge)
    z_e = latents_of(setting.tokenizer, faces.images, faces.rows)
    rows, images, pairs, curve = [], [], [], []
    for trial in trials_of(question, groups, entries, len(setting.faces)):
        fitted = trial.fit(setting, z_e)
        found, judged = measure(fitted.quantiser, setting, faces, z_e)
        rows.append({"trial": trial.name, "versus": trial.versus, **trial.about, **found, **fitted.numbers})
        images.append(judged.images.assign(trial=trial.name))
        pairs.append(judged.pairs.assign(trial=trial.name))
        curve += [{"trial": trial.name, **line} for line in fitted.curve]
        print(f"{trial.name}: {found}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    pd.concat(images, ignore_index=True).to_parquet(out / "images.parquet")
    pd.concat(pairs, ignore_index=True).to_parquet(out / "pairs.parquet")
    pd.DataFrame(curve, columns=None if curve else ["trial", "step"]).to_parquet(out / "curve.parquet")
    write_atomically(out / "metrics.json", json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
