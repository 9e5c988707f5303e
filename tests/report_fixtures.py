"""A run made up for tests of the report: six people, three seeds, one backbone, differences known in advance."""

import json

import numpy as np
import pandas as pd

from stscq.data.sensitivity import Sensitivity, write_sensitivity
from stscq.data.store import Face, Row, write_store
from stscq.evaluation.strangers import main as measure_strangers
from stscq.report import summarise
from stscq.report.summary import read_summary
from stscq.report.tables import redundancy

VARIANTS = {
    "titok_s": {
        "global": {"shared": True, "M": 1, "K": 8, "training": "nn", "published": [1, 4096]},
        "token_specific": {"shared": False, "M": 1, "K": 8, "training": "nn", "published": [1, 4096]},
        "token_shared": {"shared": True, "M": 4, "K": 4, "training": "router", "published": None},
        "switchable": {"shared": False, "M": 4, "K": 4, "training": "router", "published": [256, 256]},
        "by_nn": {"shared": False, "M": 4, "K": 4, "training": "nn", "published": [16, 1024]},
        "groups_1x4": {"shared": False, "M": 1, "K": 4, "training": "nn", "published": None},
        "groups_2x4": {"shared": False, "M": 2, "K": 4, "training": "router", "published": None},
    }
}
TAUGHT = {"shared": False, "M": 1, "K": 8, "training": "nn", "published": None, "stage3": {"taught_by": "judge"}}
"""A twin of token_specific whose decoder the judge taught; not among VARIANTS, for nothing may change when it is."""
UNEQUAL = {"shared": False, "M": 1, "K": 8, "training": "nn", "published": None, "allocation": {"power": 1.5}}
"""A twin of it with codebooks of unequal size; the same holds."""
EFFORT = {"shared": False, "M": 1, "K": 8, "training": "nn", "published": None, "effort": 5}
"""The same codec, encoded with effort; the same holds."""
TOKENIZERS = {"titok_s": {"pretrained": 8, "fine_tuned": 8}}
GAIN = {"pretrained": -0.2, "fine_tuned": -0.1, "global": 0.0, "token_specific": 0.1, "token_shared": 0.0,
        "switchable": 0.05, "by_nn": 0.0, "groups_1x4": 0.0, "groups_2x4": 0.2, "taught": 0.3,
        "unequal": 0.2, "searched": 0.25}  # fmt: skip
"""Of IDS on every image, against the compute-matched baseline."""
SEEDS = [1, 2, 3]
PROTOCOLS = ("random_impostors", "hardest_impostors", "largest_change")
T = 6
COMPARED = {"peers": ["webp"], "int8": [], "symbols": [], "redundancy": [["titok_s", "switchable"]],
            "trials": {"backbones": [], "seeds": []}}  # fmt: skip


def pairs_frame():
    """Twelve images of six people: a genuine pair each, and impostor pairs inside both groups of people."""
    genuine = pd.DataFrame({"a": range(0, 12, 2), "b": range(1, 12, 2), "same": True})
    impostors = pd.DataFrame(
        [(a, b) for a in range(12) for b in range(a + 1, 12) if a // 2 != b // 2], columns=["a", "b"]
    )
    return pd.concat([genuine, impostors.assign(same=False)], ignore_index=True)


def label(row):
    return "eyeglasses" if row < 6 else "no_eyeglasses"


def judged(gain, seed):
    """Pairs of all protocols; impostors of the harder ones are nearer. Everybody's genuine pair is right in one seed of
    three at a gain of 0, in two at 0.05 and 0.1, in all at 0.2. In seed 3 more impostors are mistaken."""
    random = np.random.default_rng(seed)
    pairs = pairs_frame()
    noise = random.uniform(0, 0.3, len(pairs))
    frames = []
    for hard, protocol in enumerate(PROTOCOLS):
        genuine = 0.501 + gain + (pairs.a // 2 + seed) % 3 / 10 - 0.002 * (gain == 0)
        alike = np.where(pairs.same, genuine, 0.3 + 0.15 * hard + 0.05 * (seed == 3) + noise)
        frames.append(
            pairs.assign(
                fold=pairs.a % 2,
                protocol=protocol,
                similarity=alike,
                threshold=0.6,
                correct=(alike > 0.6) == pairs.same,
            )
        )
    return pd.concat(frames, ignore_index=True)


def inside(gain, seed):
    found = judged(gain, seed)
    found = found[(found.protocol == PROTOCOLS[0]) & (found.a.map(label) == found.b.map(label))]
    return found[["a", "b", "same", "similarity"]].assign(group=found.a.map(label))


def measures(gain, seed, M, K):
    pairs = judged(gain, seed)
    accuracy = {p: 100 * part.correct.mean() for p, part in pairs.groupby("protocol")}
    used = 0.9 if gain else 0.5
    return {
        "mean_acc": accuracy[PROTOCOLS[0]], "ids": 0.65 + gain + seed / 1000, "ids_centred": 0.5 + gain,
        "protocols": {p: {"mean_acc": a, "ids": 0.6 + gain, "ids_centred": 0.5, "pairs": 66, "images": 12}
                      for p, a in accuracy.items()},
        "psnr": 20.0 + seed, "ssim": 0.6, "bits": 96, "bpp": 0.0234, "groups_used": used,
        "fixed_bytes": 12.0, "coded_bytes": 9.0, "file_bytes": 17.0,
        "fixed_bpp": 0.375, "coded_bpp": 0.28, "file_bpp": 0.53,
        "utilisation_per_token": [used * (j + 1) / T for j in range(T)], "utilisation_per_group": [used] * M,
        "utilisation_token_mean": used, "utilisation_all_entries": used, "utilisation_merged": used + seed / 100,
        "utilisation_bound": min(1.0, 12 / (M * K)),
    }  # fmt: skip


def write_evaluation(folder, variant, v, seed, gain=None):
    folder.mkdir(parents=True)
    gain, M = GAIN[variant] if gain is None else gain, v["M"]
    selections = ["nn", "router"] if v["training"] == "router" else ["nn"]
    base = np.random.default_rng(seed).uniform(0.6, 0.7, 12)
    images = pd.DataFrame({"row": range(12), "identity": [f"p{i // 2}" for i in range(12)], "ids": base + gain})
    images = images.assign(ids_centred=2 * images.ids, psnr=20 + images.ids, ssim=images.ids, group=images.row % M)
    for name, frame in (("images", images), ("pairs", judged(gain, seed)), ("group_pairs", inside(gain, seed))):
        pd.concat([frame.assign(selection=s) for s in selections]).to_parquet(folder / f"{name}.parquet")
    everything = {"missing": {"lpips": "no weights", "fid": "no weights"},
                  "selections": {s: measures(gain, seed, M, v["K"]) for s in selections}}  # fmt: skip
    everything["batch_1_and_64"] = {
        "images": 12,
        "tokens": 1,
        "groups": 0,
        "kept": 0,
        "largest_gap": 1e-7,
        "near_ties": 0.25,
    }
    if len(selections) == 2:
        everything["nn_router_agreement"] = 0.75
    (folder / "metrics.json").write_text(json.dumps(everything))
    np.save(folder / "sheet.npy", np.full((6, 16, 16, 3), len(variant), np.uint8))


def write_original(folder, seed):
    folder.mkdir(parents=True)
    protocols = {p: {"mean_acc": 99.0 - i} for i, p in enumerate(PROTOCOLS)}
    metrics = {"mean_acc": 99.0, "protocols": protocols, "mean_face": {"ids": 0.5, "ids_centred": 0.0}}
    metrics |= {"images": 12, "people": 6, "pairs": 66}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    judged(0.3, seed).to_parquet(folder / "pairs.parquet")
    inside(0.3, seed).to_parquet(folder / "group_pairs.parquet")


def write_costs(folder):
    for name in ("cost", "measured"):
        (folder / name).mkdir()
    (folder / "cost" / "cost.csv").write_text(
        "backbone,method,groups_x_entries,storage_mib\ntitok_s,nn,256 x 256,482.5\n"
    )
    (folder / "measured" / "measured.csv").write_text(
        "backbone,method,groups_x_entries,seconds_per_image,device,threads,torch\n"
        "titok_s,nn,256 x 256,0.5,a CPU,1,2.13.0\n"
    )


def write_peer(folder):
    """WebP at three rates in grey: its accuracy passes that of token_specific between 100 and 400 bytes; in colour it
    does so between 200 and 800."""
    points = []
    for seed in SEEDS:
        ours = measures(GAIN["token_specific"], seed, 1, 8)["mean_acc"]
        points += [
            {"seed": seed, "name": f"{colour}/16/{quality}", "colour": colour, "side": 16, "quality": quality,
             "file_bytes": size * times, "bpp": 1.0, "mean_acc": ours + gain, "ids": 0.8, "ids_centred": 0.1,
             "psnr": 20.0}
            for colour, times in (("grey", 1), ("colour", 2))
            for quality, size, gain in ((5, 50.0, -20), (10, 100.0, -10), (50, 400.0, 10))
        ]  # fmt: skip
    where = folder / "peers" / "webp" / "test"
    where.mkdir(parents=True)
    found = {"codec": "webp", "encoder": "x", "smallest_bytes": 40, "smallest_bytes_full_size": 45, "points": points}
    (where / "metrics.json").write_text(json.dumps(found))


def write_full_size(folder):
    (folder / "full_size").mkdir()
    by_seed = {str(seed): {"mean_acc": 99.5, "pairs": 66} for seed in SEEDS}
    metrics = {"pixels": 150, "images": 12, "seeds": by_seed}
    (folder / "full_size" / "metrics.json").write_text(json.dumps(metrics))


def stages_of(variant, v):
    """Folders of what it was trained by."""
    if variant in TOKENIZERS["titok_s"]:
        return [f"stage1_tokenizer/{variant}"]
    if "stage3" in v:
        return [f"stage3/{variant}"]  # its codebooks are its twin's
    sizes = f"{v['M']}x{v['K']}_{v['training']}"
    return [f"stage1_codebooks/{sizes}", f"stage2/{variant}", f"stage3/{variant}"]


STRANGERS = [f"{ethnic} {gender}" for ethnic in ("White", "Black", "Asian", "Indian") for gender in ("man", "woman")]
"""Labels of faces without identities: five pictures each."""


def stranger_embeddings(seed, noise):
    """40 x 8, of length 1: pictures of one label lie around one direction; Black women's are the most alike."""
    random = np.random.default_rng(seed)
    centres = np.repeat(np.eye(8), 5, axis=0)
    width = np.where(np.repeat(STRANGERS, 5) == "Black woman", 0.1, noise)[:, None]
    found = centres + width * random.standard_normal((40, 8))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def write_strangers(folder):
    """The set `utkface`: evaluations of the uncompressed pictures and of the variants that stand for published rows."""
    label = np.repeat(STRANGERS, 5)
    for seed in SEEDS:
        original = folder / "original" / "utkface" / f"seed{seed}"
        original.mkdir(parents=True)
        np.save(original / "embeddings.npy", stranger_embeddings(0, 0.3))
        (original / "metrics.json").write_text(
            json.dumps({"images": 40, "protocols": {}, "mean_face": {"ids": 0.5, "ids_centred": 0.0}})
        )
        for variant, v in VARIANTS["titok_s"].items():
            if v["published"]:
                out = folder / "titok_s" / variant / "utkface" / f"seed{seed}"
                write_evaluation(out, variant, v, seed)
                metrics = json.loads((out / "metrics.json").read_text())
                for measures in metrics["selections"].values():
                    measures.update(protocols={})
                    del measures["mean_acc"]
                (out / "metrics.json").write_text(json.dumps(metrics))
                # White men gain as much IDS as everybody does in the set `test`; women's is lower by 0.1. Each group of
                # codebooks serves one ethnic group.
                images = pd.DataFrame({"row": range(40), "identity": [str(i) for i in range(40)], "label": label})
                ids = 0.8 - 0.1 * images.label.str.endswith("woman") + GAIN[variant] * (images.label == "White man")
                images = images.assign(ids=ids, group=np.arange(40) // 10 % v["M"])
                images["embedding"] = list(stranger_embeddings(seed, 0.2))
                selections = metrics["selections"]
                pd.concat([images.assign(selection=s) for s in selections]).to_parquet(out / "images.parquet")
                measure_strangers(out, original, folder.parent / "strangers" / "titok_s" / variant / f"seed{seed}")


def write_second_judge(folder, further, seed):
    """By another recogniser what is outside all claims gains 0.1 over its twin, instead of 0.2 (taught) and 0.1."""
    write_original(folder / "original" / "test" / f"seed{seed}", seed)
    for variant, gain in (("token_specific", 0.0), *((name, 0.1) for name in further)) if further else ():
        where = folder / "titok_s" / variant / "test" / f"seed{seed}"
        write_evaluation(where, variant, VARIANTS["titok_s"]["token_specific"], seed, gain)


def write_portraits(folder, variants):
    """Three people through every codec, each codec's in a grey of its own."""
    where = folder / "coded_portraits" / "titok_s"
    where.mkdir(parents=True)
    coded = [name for name in variants if "effort" not in variants[name]]
    for number, name in enumerate([*TOKENIZERS["titok_s"], *coded]):
        original, decoded = (np.full((3, 16, 16, 3), 10 * grey, np.uint8) for grey in (0, number + 1))
        np.savez(where / f"{name}.npz", original=original, decoded=decoded)


def make_summary(folder, strangers=False, absent="{}", taught=False, unequal=False, effort=False):
    """Write evaluations, logs and a store below `folder`, and summarise them.

    taught, unequal, effort: with TAUGHT, with UNEQUAL, with EFFORT, as the first.
    """
    added = (("taught", TAUGHT, taught), ("unequal", UNEQUAL, unequal), ("searched", EFFORT, effort))
    further = {name: variant for name, variant, there in added if there}
    variants = {"titok_s": {**further, **VARIANTS["titok_s"]}}
    random = np.random.default_rng(0)
    faces = [Face(Row(f"{i}", f"p{i // 2}", "made up", label(i)), random.integers(0, 255, (16, 16, 3)).astype(np.uint8))
             for i in range(12)]  # fmt: skip
    write_store(iter(faces), folder / "faces")
    tokenizer = {"M": 1, "K": 8, "training": "nn"}
    for seed in SEEDS:
        write_original(folder / "evaluation" / "original" / "test" / f"seed{seed}", seed)
        for variant, v in {**dict.fromkeys(TOKENIZERS["titok_s"], tokenizer), **variants["titok_s"]}.items():
            write_evaluation(folder / "evaluation" / "titok_s" / variant / "test" / f"seed{seed}", variant, v, seed)
            for stage in stages_of(variant, v):
                log = folder / "models" / "titok_s" / stage / f"seed{seed}" / "log.jsonl"
                log.parent.mkdir(parents=True, exist_ok=True)  # variants of one size share stage 1
                lines = [{"step": n, "loss": 1 / (n + 1), "codebook": 0.5 / (n + 1)} for n in range(0, 60, 20)]
                rate = {"images_per_second": 100.0}
                log.write_text("".join(json.dumps({**line, **rate}) + "\n" for line in lines))
                name = stage.split("/")[0]
                record = {
                    "module": f"stscq.training.{name}", "seconds": 36.0, "machine": {"cpu": "a CPU"},
                    "arguments": {"steps": 10, "batch": 4, "out": str(log.parent.relative_to(folder))},
                }  # fmt: skip
                record["arguments"]["taught_by"] = "dlib" if variant == "taught" else "own"
                (log.parent / f"{name}.run.json").write_text(json.dumps(record))
        write_second_judge(folder / "second_judge", further, seed)
        if unequal:
            measured = Sensitivity([1.0, 0.5, 0.25, 2.25], {2**bits: [4.0**-bits] * 4 for bits in range(6)})
            write_sensitivity(measured, folder / "models" / "titok_s" / "sensitivity" / f"seed{seed}")
        found = {name: float(number + seed) for number, name in enumerate(redundancy.MEASURES)}
        place = folder / "redundancy" / "titok_s" / "switchable" / "test" / f"seed{seed}"
        place.mkdir(parents=True)
        (place / "metrics.json").write_text(json.dumps(found))
    write_costs(folder)
    write_peer(folder)
    sets = {"faces": ["test"], "fairness": ["test"], "strangers": ["utkface"] if strangers else []}
    write_full_size(folder)
    write_portraits(folder, variants["titok_s"])
    if strangers:
        write_strangers(folder / "evaluation")
    summarise.main(
        folder / "evaluation", folder / "second_judge", folder / "strangers", folder / "models", folder / "cost",
        folder / "measured", "demo", 16, json.dumps(SEEDS), json.dumps(sets), json.dumps(variants),
        json.dumps(TOKENIZERS), json.dumps(COMPARED), folder / "summary", folder / "peers", absent=absent,
        redundancy=folder / "redundancy", full_size=folder / "full_size", coded_portraits=folder / "coded_portraits",
    )  # fmt: skip
    return read_summary(folder / "summary")
