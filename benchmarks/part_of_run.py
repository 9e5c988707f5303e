"""What a part of a run says, before all of it is there: tables and claims of some variants.

python -m benchmarks.part_of_run --profile lfw --seeds '[1, 2, 3]' --variants '{"ibq": ["global", "token_specific"]}'
    --tables '["claims", "main"]' --out benchmarks/results/lfw_part.md

Reads data/PROFILE and models/PROFILE here, computed or unpacked (`stscq unpack`). Beside the evaluations of these
variants it needs those of the uncompressed images by both judges, and data/PROFILE/cost and measured_cost; with
--strangers '["utkface_fairness"]' the evaluations of published variants on that set too, and data/PROFILE/strangers.
The uncompressed images at full size (data/PROFILE/full_size) are in the tables if they were evaluated.
"""

import json
import tempfile
from pathlib import Path

import yaml

from benchmarks.show import show
from stscq.cli_tools import run
from stscq.errors import ParamsError
from stscq.params import TOKENIZERS, with_profile
from stscq.report import summarise, table
from stscq.report.render import to_markdown
from stscq.report.summary import read_summary
from stscq.report.table import MAKERS

NOTHING = {"peers": [], "int8": [], "symbols": [], "redundancy": [], "trials": {"backbones": [], "seeds": []}}


def main(
    profile: str,
    seeds: str,
    variants: str,
    tables: str,
    out: Path | None = None,
    folder: Path | None = None,
    strangers: str = "[]",
) -> None:
    """Prints the tables, and writes them to OUT; to FOLDER as a whole run's are, in three forms each. VARIANTS: JSON,
    backbone -> names; pretrained and fine_tuned are names too. SEEDS, TABLES, STRANGERS (of fairness_on): JSON lists.
    Raises ParamsError for a variant that the profile has not."""
    params = with_profile(yaml.safe_load(Path("params.yaml").read_text()), Path("config"), {"profile": profile})
    asked = json.loads(variants)
    backbones = {name: params["backbones"][name] for name in asked}
    for name, chosen in asked.items():
        if unknown := set(chosen) - set(backbones[name]["variants"]) - set(TOKENIZERS):
            raise ParamsError(f"{', '.join(sorted(unknown))}: no variants of {name} in profile {profile}")
    kept = {name: {v: one for v, one in b["variants"].items() if v in asked[name]} for name, b in backbones.items()}
    first = {name: {t: b["model"]["K"] for t in TOKENIZERS if t in asked[name]} for name, b in backbones.items()}
    sets = {"faces": params["evaluate_on"], "fairness": [], "strangers": json.loads(strangers)}
    data, models = Path("data", profile), Path("models", profile)
    full_size = data / "full_size" if (data / "full_size").exists() else None
    with tempfile.TemporaryDirectory() as summary_folder:
        summarise.main(
            data / "evaluation", data / "second_judge", data / "strangers", models, data / "cost",
            data / "measured_cost", profile, params["data"]["size"], seeds, json.dumps(sets), json.dumps(kept),
            json.dumps(first), json.dumps(NOTHING), Path(summary_folder), full_size=full_size,
        )  # fmt: skip
        summary = read_summary(Path(summary_folder))
        found = ["#" + to_markdown(MAKERS[name](summary)) for name in json.loads(tables)]
        for name in json.loads(tables) if folder is not None else ():
            table.main(Path(summary_folder), name, folder / name)
    names = "; ".join(f"{name} ({', '.join(asked[name])})" for name in asked)
    head = f"# Part of a run: profile {profile}, seeds {', '.join(map(str, json.loads(seeds)))}\n\n{names}.\n\n"
    show(head + "\n".join(found), out)


if __name__ == "__main__":
    run(main)
