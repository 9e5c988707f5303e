"""The paper profile end to end on sets made of the demo's faces: `make paper-tiny`, minutes, not among the other tests.

1. TiTok-S at published size and 256 x 256, K = 4096, then M = 256 groups of K = 256, an IResNet-50 for the losses: two
   steps of every stage.
2. Every kind of set and of published weights through the whole DAG, at a small size.
Weights are random ones in the published formats; the files of sets are in the formats in which people have them.
"""

import json
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from stscq.backbones import build
from stscq.data.orl import orl_folder, read_orl
from stscq.recognition.export import export_onnx
from stscq.recognition.iresnet import IResNet
from tests.conftest import ROOT
from tests.test_backbones import PARITY, weight
from tests.test_onnx_torch import lively
from tests.test_recordio import write_training_set
from tests.test_rfw import TEMPLATE

NOT_HERE = dict.fromkeys(["alexnet", "lpips_alex", "fid_inception"])
SETS = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())["sets"]
TITOK_S = {
    "extends": "paper",
    "seeds": [1],
    "data": {"source": "sets/casia", "most_corrupt": 0},
    "sets": {**dict.fromkeys(SETS), "lfw": {"kind": "pack", "source": "sets/lfw.bin"}},
    "evaluate_on": ["lfw"],
    "fairness_on": [],
    "judge": "dlib",
    "metrics": NOT_HERE,
    "measure_cost": [],
    "precision": "fp32",
    "recogniser": {"published_weights": "made/r50.onnx"},
    "stage1_tokenizer": {"steps": 2, "batch": 1, "accumulate": 2},
    "stage1_codebooks": {"steps": 2, "batch": 2},
    "stage2": {"steps": 2, "batch": 2},
    "stage3": {"steps": 2, "batch": 1, "accumulate": 2, "perceptual_by": "recogniser"},
    "backbones": {
        **dict.fromkeys(["maskgit_vqgan", "titok_l", "ibq", "titok_s_imagenet"]),
        "titok_s": {
            "published_weights": "made/titok_s128.safetensors",
            "variants": dict.fromkeys(
                ["token_specific", "token_shared_16x1024", "switchable_16x1024", "switchable_16x1024_nn"]
                + [f"groups_{M}x256" for M in (1, 4, 16, 64)]
            ),
        },
    },
}
SMALL = {"family": "maskgit_vqgan", "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "d": 8, "K": 32}
VARIANTS = {
    "global": {"shared": True, "M": 1, "K": 32, "training": "nn", "published": [1, 4096]},
    "token_specific": {"shared": False, "M": 1, "K": 32, "training": "nn", "published": [1, 4096]},
}
EVERY_KIND = {
    **TITOK_S,
    "data": {"source": "sets/casia", "size": 32, "most_corrupt": 0},
    "sets": {
        **dict.fromkeys(SETS),
        **{name: {"kind": "pack", "source": f"sets/{name}.bin"} for name in ("lfw", "cfp_fp")},
        **{f"rfw_{g.lower()}": {"kind": "rfw", "source": "sets/RFW", "group": g} for g in ("African", "Asian")},
        "imagenet_train": {"kind": "images", "source": "sets/imagenet/train", "most_corrupt": 1},
        "imagenet_val": {"kind": "images", "source": "sets/imagenet/val"},
    },
    "evaluate_on": ["lfw", "cfp_fp"],
    "fairness_on": ["rfw_african", "rfw_asian"],
    "recogniser": {"published_weights": "made/small.onnx"},
    "stage1_tokenizer": {"steps": 3, "batch": 2, "accumulate": 2},
    "backbones": {
        **dict.fromkeys(["titok_s", "titok_l", "ibq", "titok_s_imagenet"]),
        "maskgit_vqgan": {
            "model": SMALL,
            "published_weights": "made/maskgit.bin",  # 16 entries, to be grown to 32
            "variants": {
                **VARIANTS,
                "switchable_16x1024": None,
                "token_shared_4x8": {"shared": True, "M": 4, "K": 8, "training": "router", "published": None},
                "switchable_4x8": {"shared": False, "M": 4, "K": 8, "training": "router", "published": [16, 1024]},
            },
        },
        "pictures_imagenet": {
            "model": SMALL,
            "published_weights": "made/maskgit.bin",
            "train_on": "imagenet_train",
            "evaluate_on": ["imagenet_val"],
            "stage1_tokenizer": {"identity": 0.0, "perceptual": 0.0},
            "stage3": {"identity": 0.0, "perceptual": 0.0},
            "variants": VARIANTS,
        },
    },
}


def project(folder, profile, overlay):
    """A checkout whose config/ has one more profile."""
    for name in ("Snakefile", "workflow", "profiles", "params.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "config").mkdir()
    (folder / "config" / "paper.yaml").symlink_to(ROOT / "config" / "paper.yaml")
    (folder / "config" / f"{profile}.yaml").write_text(yaml.safe_dump(overlay))
    (folder / "made").mkdir()


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)
    return path.read_bytes()


@pytest.fixture(scope="module")
def faces():
    """Person -> ten faces of 112 x 112."""
    found = {}
    for face in read_orl(orl_folder(), 112):
        found.setdefault(face.row.identity, []).append(face.image)
    return [found[f"s{i}"] for i in range(1, 41)]


def write_pack(path, people, scratch):
    """20 images of ten pairs, every other one genuine."""
    images, same = [], []
    for pair in range(10):
        genuine = pair % 2 == 0
        first, second = people[pair % len(people)], people[(pair + (not genuine)) % len(people)]
        images += [save(first[0], scratch / "a.jpg"), save(second[pair % 9 + 1], scratch / "b.jpg")]
        same.append(genuine)
    path.write_bytes(pickle.dumps((images, same), protocol=2))


def write_rfw(root, group, people):
    """Two photos each of three people, whose landmarks lie on ArcFace's template; ten folds of two pairs."""
    texts, landmarks = root / "test" / "txts" / group, []
    texts.mkdir(parents=True)
    names = [f"m.0{group[:2]}{i}" for i in range(3)]
    points = "\t".join(f"{value:.4f}" for value in TEMPLATE.ravel())
    for name, person in zip(names, people, strict=False):
        for number in (1, 2):
            save(person[number], root / "test" / "data" / group / name / f"{name}_{number:04d}.jpg")
            landmarks.append(f"/test/data/{group}/{name}/{name}_{number:04d}.jpg\t0\t{points}\n")
    (texts / f"{group}_lmk.txt").write_text("".join(landmarks))
    pairs = [f"{names[k % 3]}\t1\t2\n{names[k % 3]}\t1\t{names[(k + 1) % 3]}\t2\n" for k in range(10)]
    (texts / f"{group}_pairs.txt").write_text("".join(pairs))


def watch(process, seen):
    """The largest sum of resident memory of a process and all its children."""
    while process.poll() is None:
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
        total = 0
        for member in family:
            try:
                total += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        seen["peak"] = max(seen.get("peak", 0), total)
        time.sleep(0.5)


def run(folder, profile):
    """snakemake all; peak memory in GiB, minutes. Prints the end of what it said when it fails."""
    began, seen = time.monotonic(), {}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", "all", "--config", f"profile={profile}"],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        watcher = threading.Thread(target=watch, args=(process, seen))
        watcher.start()
        process.wait()
        watcher.join()
    assert process.returncode == 0, (folder / "log").read_text()[-5000:]
    return seen["peak"] / 2**30, (time.monotonic() - began) / 60


def test_titok_s_at_published_size(tmp_path, faces, capsys):
    project(tmp_path, "titok_s", TITOK_S)
    encoded = [[save(face, tmp_path / "face.jpg") for face in person] for person in faces[:4]]
    (tmp_path / "sets").mkdir()
    write_training_set(tmp_path / "sets" / "casia", encoded)
    write_pack(tmp_path / "sets" / "lfw.bin", faces[4:7], tmp_path)
    keys = json.loads((PARITY / "titok_s128.keys.json").read_text())
    tensors = {name: torch.from_numpy(np.asarray(weight(name, tuple(shape)))) for name, shape in keys.items()}
    save_file(tensors, tmp_path / "made" / "titok_s128.safetensors")
    torch.manual_seed(0)
    network = lively(IResNet([64, 128, 256, 512], [3, 4, 14, 3], stem_stride=1, embedding=512))
    export_onnx(network, tmp_path / "made" / "r50.onnx")

    peak, minutes = run(tmp_path, "titok_s")
    with capsys.disabled():
        print(f"\npaper-tiny: {minutes:.1f} minutes on {psutil.cpu_count()} cores, {peak:.1f} GiB at most")
    assert peak < 24
    metrics = json.loads(
        (tmp_path / "data/titok_s/evaluation/titok_s/switchable_256x256/lfw/seed1/metrics.json").read_text()
    )
    assert metrics["images"] == 20
    assert {s: m["bits"] for s, m in metrics["selections"].items()} == {"nn": 128 * 8 + 8, "router": 128 * 8 + 8}
    assert metrics["selections"]["nn"]["bpp"] == pytest.approx(0.0157, abs=5e-5)
    table = pd.read_csv(tmp_path / "results/titok_s/tables/main.csv").set_index("method")
    assert table.loc["global", "published_mean_acc"] == 87.56


def test_every_kind_of_set(tmp_path, faces):
    project(tmp_path, "kinds", EVERY_KIND)
    encoded = [[save(face, tmp_path / "face.jpg") for face in person] for person in faces[:4]]
    (tmp_path / "sets").mkdir()
    write_training_set(tmp_path / "sets" / "casia", encoded)
    write_pack(tmp_path / "sets" / "lfw.bin", faces[4:7], tmp_path)
    write_pack(tmp_path / "sets" / "cfp_fp.bin", faces[7:11], tmp_path)
    write_rfw(tmp_path / "sets" / "RFW", "African", faces[11:14])
    write_rfw(tmp_path / "sets" / "RFW", "Asian", faces[14:17])
    for side, people in (("train", faces[17:22]), ("val", faces[22:25])):
        for number, person in enumerate(people):
            for i, face in enumerate(person[:4]):
                save(face[:, : 100 + i], tmp_path / "sets" / "imagenet" / side / f"n{number}" / f"{i}.JPEG")
    (tmp_path / "sets" / "imagenet" / "train" / "n0" / "0.JPEG").write_bytes(b"damaged")
    torch.manual_seed(0)
    torch.save(build(**{**SMALL, "K": 16, "image_size": 32}).state_dict(), tmp_path / "made" / "maskgit.bin")
    export_onnx(lively(IResNet([8, 8, 8, 8], [1, 1, 1, 1], 2, 16)), tmp_path / "made" / "small.onnx")

    run(tmp_path, "kinds")
    tables = tmp_path / "results" / "kinds" / "tables"
    by_set = pd.read_csv(tables / "per_dataset_accuracy.csv")
    assert np.allclose(by_set["mean"], (by_set.lfw + by_set.cfp_fp) / 2)
    main = pd.read_csv(tables / "main.csv").set_index("method")
    assert np.isclose(main.loc["token_specific", "mean_acc"], by_set.set_index("method")["mean"]["token_specific"])
    fairness = pd.read_csv(tables / "fairness.csv")
    assert fairness[["african_mean_acc", "asian_fmr", "spread", "spread_low"]].notna().all().all()
    assert pd.read_csv(tables / "imagenet.csv").psnr.notna().all()
    text = (tables / "imagenet.md").read_text()
    assert "fid: empty, because params.yaml names no published weights for it (metrics.fid_inception)." in text
    assert "lpips: empty" in (tables / "image_quality.md").read_text()
    weights = json.loads((tmp_path / "models/kinds/maskgit_vqgan/stage2/global/seed1/recipe.json").read_text())
    assert json.loads(weights["model"])["K"] == 32
    log = (tmp_path / "logs/kinds/prepare_set/imagenet_train.log").read_text()
    assert "1 unusable images were left out" in log
    again = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "all", "--config", "profile=kinds"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Nothing to be done" in again.stdout + again.stderr
