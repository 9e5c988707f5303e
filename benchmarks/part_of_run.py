"""What a part of a run says, before all of it is there: tables and claims of some variants.

python -m benchmarks.part_of_run --profile lfw --seeds '[1, 2, 3]' --variants '{"ibq": ["global", "token_specific"]}'
    --tables '["claims", "main"]' --out benchmarks/results/lfw_part.md

Reads data/PROFILE and models/PROFILE here, computed or unpacked (`stscq unpack`). Beside the evaluations of these
variants it needs those of the uncompressed images by both judges, and data/PROFILE/cost and measured_cost.
"""

import json
import tempfile
from pathlib import Path

import yaml

from benchmarks.show import show
from stscq.cli_tools import run
from stscq.errors import ParamsError
from stscq.params import TOKENIZERS, with_profile
from stscq.report import summarise
from stscq.report.render import to_markdown
from stscq.report.summary import read_summary
from stscq.report.table import MAKERS

NOTHING = {"peers": [], "int8": [], "symbols": [], "redundancy": [], "trials": {"backbones": [], "seeds": []}}


def main(profile: str, seeds: str, variants: str, tables: str, out: Path | None = None) -> None:
    """Prints the tables, and writes them to OUT. VARIANTS: JSON, backbone -> names; pretrained and fine_tuned are names
    too. SEEDS, TABLES: JSON lists. Raises ParamsError for a variant that the profile has not."""
    params = with_profile(yaml.safe_load(Path("params.yaml").read_text()), Path("config"), {"profile": profile})
    asked = json.loads(variants)
    backbones = {name: params["backbones"][name] for name in asked}
    for name, chosen in asked.items():
        if unknown := set(chosen) - set(backbones[name]["variants"]) - set(TOKENIZERS):
            raise ParamsError(f"{', '.join(sorted(unknown))}: no variants of {name} in profile {profile}")
    kept = {name: {v: one for v, one in b["variants"].items() if v in asked[name]} for name, b in backbones.items()}
    first = {name: {t: b["model"]["K"] for t in TOKENIZERS if t in asked[name]} for name, b in backbones.items()}
    sets = {"faces": params["evaluate_on"], "fairness": [], "strangers": []}
    data, models = Path("data", profile), Path("models", profile)
    with tempfile.TemporaryDirectory() as folder:
        summarise.main(
            data / "evaluation", data / "second_judge", data / "strangers", models, data / "cost",
            data / "measured_cost", profile, params["data"]["size"], seeds, json.dumps(sets), json.dumps(kept),
            json.dumps(first), json.dumps(NOTHING), Path(folder),
        )  # fmt: skip
        summary = read_summary(Path(folder))
        found = ["#" + to_markdown(MAKERS[name](summary)) for name in json.loads(tables)]
    names = "; ".join(f"{name} ({', '.join(asked[name])})" for name in asked)
    head = f"# Part of a run: profile {profile}, seeds {', '.join(map(str, json.loads(seeds)))}\n\n{names}.\n\n"
    show(head + "\n".join(found), out)


if __name__ == "__main__":
    run(main)
