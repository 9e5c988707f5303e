"""The lfw profile end to end on the demo's faces in LFW's layout: `make paper-tiny`, not among the other tests."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from stscq.data.orl import orl_folder, read_orl
from tests.conftest import ROOT

VARIANTS = yaml.safe_load((ROOT / "config" / "lfw.yaml").read_text())["backbones"]["maskgit_vqgan"]["variants"]
UNEQUAL = [name for name, variant in VARIANTS.items() if variant and "allocation" in variant]
"""A hundred latents a token are too few for them; tests/test_allocation.py goes from an allocation to files."""
DROPPED = ["global_64", "global_16", "token_specific_16"]
FEW = {
    "extends": "lfw",
    "seeds": [1],
    "data": {"source": "lfw_home", "val_people": 2},
    "peers": ["webp"],
    "measure_cost": [],
    "stage1_tokenizer": {"steps": 2},
    "latents": {"copies": 1},
    "stage1_codebooks": {"steps": 2},
    "stage2": {"steps": 2},
    "stage3": {"steps": 2},
    "backbones": {
        **dict.fromkeys(["titok_s", "titok_l", "ibq"]),
        "maskgit_vqgan": {"variants": dict.fromkeys([*DROPPED, *UNEQUAL, "token_shared_16x64", "switchable_16x16"])},
    },
}
TABLES = ("main", "identity_teacher", "peers_ratio", "strangers")
FACE = 114
"""Pixels of the box that holds a face in LFW's pictures of 250 x 250."""


def write_lfw(home):
    """Thirty people with three pictures each, twenty-four of them in ten folds of two pairs."""
    faces = {}
    for face in read_orl(orl_folder(), FACE):
        faces.setdefault(face.row.identity, []).append(face.image)
    names = [f"Person_{i:02}" for i in range(30)]
    for name, images in zip(names, faces.values(), strict=False):
        folder = home / "lfw_funneled" / name
        folder.mkdir(parents=True)
        for number, image in enumerate(images[:3], 1):
            picture = np.full((250, 250, 3), 90, np.uint8)
            edge = (250 - FACE) // 2
            picture[edge : edge + FACE, edge : edge + FACE] = image
            Image.fromarray(picture).save(folder / f"{name}_{number:04}.jpg", quality=95)
    lines = ["10\t1"]
    for fold in range(10):
        first, second = names[2 * fold], names[2 * fold + 1]
        lines += [f"{first}\t1\t2", f"{first}\t3\t{second}\t1"]
    (home / "pairs.txt").write_text("\n".join(lines) + "\n")


def test_lfw(tmp_path):
    for name in ("Snakefile", "workflow", "profiles", "params.yaml", "stscq"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "lfw.yaml").symlink_to(ROOT / "config" / "lfw.yaml")
    (tmp_path / "config" / "paper.yaml").symlink_to(ROOT / "config" / "paper.yaml")
    (tmp_path / "config" / "lfw_tiny.yaml").write_text(yaml.safe_dump(FEW))
    write_lfw(tmp_path / "lfw_home")
    results = tmp_path / "results" / "lfw_tiny"
    wanted = [*(results / "tables" / f"{name}.csv" for name in TABLES), results / "figures" / "rate_peers.png"]
    wanted += [results / "figures" / "portraits_maskgit_vqgan.png", results / "report.html"]
    wanted += [results / "test_people" / "reconstructions_maskgit_vqgan.png"]
    targets = [str(path.relative_to(tmp_path)) for path in wanted]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *targets, "--config", "profile=lfw_tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]

    data = tmp_path / "data" / "lfw_tiny"
    split = pd.read_parquet(data / "splits/seed1/index.parquet")
    tested = {f"Person_{2 * fold + i:02}" for fold in range(5, 10) for i in (0, 1)}
    assert set(split.identity[split.split == "test"]) == tested
    assert not tested & set(split.identity[split.split == "train"])
    metrics = json.loads((data / "evaluation/maskgit_vqgan/token_specific/test/seed1/metrics.json").read_text())
    assert metrics["selections"]["nn"]["bits"] == 64 * 8
    main = pd.read_csv(results / "tables/main.csv").set_index("method")
    assert main.loc[["original", "original_full_size", "global", "token_specific"], "mean_acc"].notna().all()
    taught = pd.read_csv(results / "tables/identity_teacher.csv")
    assert taught.variant.tolist()[-2:] == ["token_specific_64", "token_specific_64_dlib †"]
    assert "utkface_fairness is not here" in (results / "tables/strangers.md").read_text()
    assert not list((results / "figures").glob("reconstructions*"))
    page = (results / "report.html").read_text()
    assert "Portraits: maskgit_vqgan" in page
    assert "reconstructions_" not in page  # pictures of the test people stay here
    again = subprocess.run([*command[:3], "-n", *command[3:]], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in again.stdout + again.stderr
