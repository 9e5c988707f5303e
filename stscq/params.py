"""params.yaml with a profile laid over it: merged and converted; and what follows from it about variants and sets.

The schema (workflow/schemas/params.schema.yaml) says what each key means and which values it may take; what it cannot
say, because several keys are involved, stscq.params_check checks before any job runs.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from stscq.errors import ParamsError

TEST = "test"
"""Among the sets: the test people of the split."""
TOKENIZERS = ("pretrained", "fine_tuned")
"""What is evaluated of a backbone besides its variants: the published tokenizer, and that after stage1_tokenizer."""
PAIRED = ("pack", "rfw")
"""Kinds of sets that come with verification pairs."""
STRANGERS = "utkface"
"""The kind whose faces carry labels of groups of people and no identities: for fairness_on alone."""

TOGETHER = ("stage1_tokenizer", "stage1_codebooks", "stage2", "stage3")
"""Rules whose job is as many processes as it asks for GPUs."""

SCHEMA = Path("workflow", "schemas", "params.schema.yaml")
"""In the folder of the project."""

PROFILE = re.compile(r"[A-Za-z0-9_-]+")
"""Its name is one of folders, too, and a word for the shell."""

# YAML 1.1 reads 1e-3 as a string, and some tools write numbers that way.
FLOAT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396): mappings are merged key by key, null takes a key away, anything else replaces."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def numbers(value: Any) -> Any:
    """Strings such as 1e-3 become numbers, all the way down."""
    return each(value, lambda text: float(text) if FLOAT.fullmatch(text) else text)


def each(value: Any, convert: Callable[[str], Any]) -> Any:
    """The same lists and mappings, with every string in them converted."""
    if isinstance(value, Mapping):
        return {key: each(inner, convert) for key, inner in value.items()}
    if isinstance(value, list):
        return [each(inner, convert) for inner in value]
    return convert(value) if isinstance(value, str) else value


def read_params(folder: Path) -> dict[str, Any]:
    """FOLDER/params.yaml as it is. Raises ParamsError."""
    file = folder / "params.yaml"
    if not file.is_file():
        raise ParamsError(f"{file}: no such file; run this in the project's folder, or name it by --folder")
    found = read_mapping(file)
    if not found:
        raise ParamsError(f"{file}: empty")
    return found


def read_mapping(file: Path) -> dict[str, Any]:
    """Nothing of a file that is empty. Raises ParamsError, in one line, for what is no YAML with keys."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ParamsError(f"{file}: {' '.join(str(problem).split())}") from problem
    if not isinstance(found, dict):
        raise ParamsError(f"{file}: no mapping of keys to values")
    return found


def with_profile(params: Mapping[str, Any], config_folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """params.yaml, then config/PROFILE.yaml (none for demo), then what was `given` on the command line.

    A profile may lie over another one, which its key `extends` names. Raises ParamsError when there is no such profile.
    """
    profile = given.get("profile", params.get("profile"))
    merged: dict[str, Any] = dict(params)
    for overlay in overlays(profile, config_folder):
        merged = merge(merged, overlay)
    # Of --config 'stage2={"lr": 0.1}' and seeds=[1], Snakemake hands on strings: read here as those of a file would be.
    converted: dict[str, Any] = numbers(merge(merged, each(given, yaml.safe_load)))
    return converted


def overlays(profile: Any, config_folder: Path) -> list[dict[str, Any]]:
    """What lies over params.yaml for a profile, the lowest first. Raises ParamsError when a file is missing."""
    found: list[dict[str, Any]] = []
    seen = []
    while profile != "demo":
        file = config_folder / f"{profile}.yaml"
        if profile in seen or not file.is_file() or not PROFILE.fullmatch(str(profile)):
            known = ", ".join(
                ["demo", *sorted(p.stem for p in config_folder.glob("*.yaml") if PROFILE.fullmatch(p.stem))]
            )
            allowed = "" if PROFILE.fullmatch(str(profile)) else "; a name has letters, digits, - and _"
            raise ParamsError(f"profile: {profile!r} is none of {known}; see {config_folder}/{allowed}")
        seen.append(profile)
        overlay = read_mapping(file)
        profile = overlay.pop("extends", "demo")
        found.insert(0, overlay)
    return found


def stage_settings(params: Mapping[str, Any], backbone: str, stage: str, variant: str | None = None) -> dict[str, Any]:
    """The numbers of one stage: the common ones, then the backbone's own, then the variant's own."""
    own = params["backbones"][backbone]
    settings = merge(params[stage], own.get(stage, {}))
    return settings if variant is None else merge(settings, own["variants"][variant].get(stage, {}))


def asked(params: Mapping[str, Any], rule: str) -> dict[str, Any]:
    """What a job of this rule takes: threads, mem_mb, runtime in minutes, and gpu."""
    return {**params["resources"]["default"], **params["resources"].get(rule, {})}


def taught_by_judge(variant: Mapping[str, Any]) -> bool:
    """Is a variant's decoder taught by the recogniser that judges it?"""
    return "taught_by" in variant.get("stage3", {})


def method(variant: Mapping[str, Any]) -> str:
    """What the paper's tables call it: whether tokens share codebooks, of one group or several."""
    if variant["shared"]:
        return "global" if variant["M"] == 1 else "token_shared"
    return "token_specific" if variant["M"] == 1 else "switchable"


def outside_claims(variant: Mapping[str, Any]) -> bool:
    """Has a variant no place among the paper's claims? What the judge taught, codebooks of unequal size, and effort."""
    return taught_by_judge(variant) or "allocation" in variant or "effort" in variant


def twin(variants: Mapping[str, Mapping[str, Any]], name: str) -> str | None:
    """Of a variant outside all claims, the one to compare it with: of the same shared, M, K and training; of one that
    encodes with effort, that which is the same without."""
    if "effort" in variants[name]:
        alone = [{key: value for key, value in v.items() if key != "published"} for v in variants.values()]
        plain = {key: value for key, value in variants[name].items() if key not in ("effort", "published")}
        return next((other for other, v in zip(variants, alone, strict=True) if v == plain), None)
    same = [{key: v[key] for key in ("shared", "M", "K", "training")} for v in variants.values()]
    mine = same[list(variants).index(name)]
    alike = [other for other, sizes in zip(variants, same, strict=True) if sizes == mine]
    return next((other for other in alike if not outside_claims(variants[other])), None)


def bundled(variants: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """The variant whose bundle a variant is evaluated with: its own, or, where it only adds effort, its twin's."""
    return (twin(variants, name) if "effort" in variants.get(name, {}) else None) or name


def evaluations(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every (backbone, variant) that is evaluated: the tokenizers first, without further training."""
    return [
        (name, variant)
        for name, b in params["backbones"].items()
        for variant in (*tokenizers(params, name), *b["variants"])
    ]


def tokenizers(params: Mapping[str, Any], backbone: str) -> list[str]:
    """Those of TOKENIZERS that a backbone has: published weights may be missing, or no step changes them."""
    published = "published_weights" in params["backbones"][backbone]
    tuned = stage_settings(params, backbone, "stage1_tokenizer")["steps"] > 0
    return [name for name, there in zip(TOKENIZERS, (published, tuned), strict=True) if there]


def tested_on(params: Mapping[str, Any], backbone: str, variant: str) -> list[str]:
    """The sets on which a variant or tokenizer is evaluated: its backbone's own, or those of all.

    Those of fairness_on alone only for variants that stand for published rows: no table of groups of people has others.
    """
    own = params["backbones"][backbone]
    if "evaluate_on" in own:
        return list(own["evaluate_on"])
    further = params["fairness_on"] if own["variants"].get(variant, {}).get("published") else []
    return list(dict.fromkeys([*params["evaluate_on"], *further]))


def sets_in_use(params: Mapping[str, Any]) -> list[str]:
    """Names of the sets that some backbone trains or is evaluated on, in the order of params.yaml."""
    used = {one for name, variant in evaluations(params) for one in tested_on(params, name, variant)}
    used |= {backbone["train_on"] for backbone in params["backbones"].values() if "train_on" in backbone}
    return [name for name in params["sets"] if name in used]


def needed_sets(params: Mapping[str, Any]) -> set[str]:
    """Names of the sets without which a profile cannot run."""
    backbones = params["backbones"].values()
    own = [name for b in backbones for name in (*b.get("evaluate_on", ()), b.get("train_on"))]
    pretrain = params.get("pretrain", {})
    return {*params["evaluate_on"], *own, pretrain.get("set"), pretrain.get("measure_on")} - {None}


def strangers(params: Mapping[str, Any]) -> list[str]:
    """The sets of fairness_on whose faces have no identities."""
    return [name for name in params["fairness_on"] if params["sets"].get(name, {}).get("kind") == STRANGERS]


def absent(params: Mapping[str, Any], made: Path) -> dict[str, str]:
    """The optional sets that are not here, and their sources.

    Not here: neither is the source on this machine, nor what was made of it elsewhere (a store in MADE/sets/NAME, or
    evaluations of its uncompressed images).
    """

    def here(name: str) -> bool:
        store, evaluated = made / "sets" / name, made / "evaluation" / "original" / name
        source = Path(params["sets"][name]["source"])
        stored = all((store / file).exists() for file in ("images.npy", "index.parquet"))
        return source.exists() or stored or evaluated.exists()

    optional = [name for name in params["fairness_on"] if params["sets"].get(name, {}).get("optional")]
    return {name: params["sets"][name]["source"] for name in optional if not here(name)}
