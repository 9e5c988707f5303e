"""Numbers of params.yaml that cannot be: by the schema, and together, which a schema cannot say.

Each of the other functions yields a line a problem, which names the key and what is wrong; the first ends a run before
any job.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from stscq.bits import bits_of
from stscq.errors import ParamsError, StscqError
from stscq.params import (
    PAIRED,
    STRANGERS,
    TEST,
    TOGETHER,
    asked,
    needed_sets,
    stage_settings,
    strangers,
    taught_by_judge,
    twin,
)


def check_schema(params: Mapping[str, Any], schema: Path) -> None:
    """Checks that one key decides. Raises ParamsError, a line that names the key, where SCHEMA (a JSON schema, as YAML)
    refuses it. Snakemake's own `validate` prints the whole schema and all parameters besides."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # here: who compresses does not need it
    from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

    found = best_match(Draft202012Validator(yaml.safe_load(schema.read_text(encoding="utf-8"))).iter_errors(params))
    if found is not None:
        key = ".".join(str(part) for part in found.absolute_path)
        raise ParamsError(f"{key}: {found.message}".removeprefix(": "))


def check(params: Mapping[str, Any]) -> None:
    """Checks that involve several keys, of what `check_schema` let pass. Raises ParamsError with the first problem."""
    for problem in problems(params):
        raise ParamsError(problem)


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All the way down: keys as stage2.lr, and what is neither a mapping nor a list."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, key)
    else:
        yield key, value


def leaf_problems(params: Mapping[str, Any]) -> Iterator[str]:
    for key, value in leaves(params):
        if isinstance(value, float) and not math.isfinite(value):  # .nan, which every limit of a schema lets pass
            yield f"{key}: not a finite number"
        if isinstance(value, str) and set("{}") & set(value):
            yield f"{key}: Snakemake reads braces as wildcards; rename {value}, or link to it"


def consent_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """A run exports model bundles; whoever starts it has agreed to what they are for."""
    if params.get("accept_responsible_use") is not True:
        yield "accept_responsible_use: not true, and this exports model bundles; read RESPONSIBLE_USE.md, then say so"


def problems(params: Mapping[str, Any]) -> Iterator[str]:
    yield from consent_problems(params)
    yield from leaf_problems(params)
    yield from set_problems(params)
    yield from teacher_problems(params)
    yield from allocation_problems(params)
    yield from effort_problems(params)
    yield from trial_problems(params)
    trainer = params["recogniser"].get("published_weights")
    if trainer == params["judge"]:
        yield f"judge: {trainer} also trains (recogniser.published_weights); the judge must be another recogniser"
    for name, backbone in params["backbones"].items():
        family = backbone["model"]["family"]
        source = backbone.get("pixel_decoder")
        published = "published_weights" in backbone  # a published titok brings its pixel decoder with it
        if (family == "titok" and not published) != (source is not None):
            yield (
                f"backbones.{name}.pixel_decoder: name a maskgit_vqgan backbone for a titok without published_weights, "
                "and for nothing else"
            )
        if source is not None:
            other = params["backbones"].get(source, {}).get("model", {})
            if other.get("family") != "maskgit_vqgan":
                yield f"backbones.{name}.pixel_decoder: {source!r} is no maskgit_vqgan among the backbones"
            elif backbone["model"]["patch"] != other.get("stem", 1) * 2 ** (len(other["multipliers"]) - 1):
                yield f"backbones.{name}.model.patch: must be stem x 2^(levels - 1) of {source}, which paints its grid"
        stage1 = stage_settings(params, name, "stage1_tokenizer")
        key = f"backbones.{name}.stage1_tokenizer"
        if published and stage1["continuous_steps"]:
            yield f"{key}.continuous_steps: must be 0 with published_weights, whose codebook is kept"
        if not published and not stage1["steps"]:
            yield f"{key}.steps: 0 hands published_weights on, and there are none"
        if stage1["continuous_steps"] > stage1["steps"]:
            yield f"{key}.continuous_steps is more than its steps"
        yield from variant_problems(name, backbone)
        yield from lpips_problems(params, name)
    yield from likeness_problems(params)
    yield from share_problems(params)


def share_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """Several GPUs share each batch of a stage evenly."""
    for stage in TOGETHER:
        processes = max(1, asked(params, stage)["gpu"])
        for name, backbone in params["backbones"].items():
            for variant in (None, *(backbone["variants"] if stage in ("stage2", "stage3") else ())):
                batch = stage_settings(params, name, stage, variant)["batch"]
                if batch % processes:
                    yield f"resources.{stage}.gpu: {processes} cannot share {name}'s {stage}.batch of {batch} evenly"


def lpips_problems(params: Mapping[str, Any], name: str) -> Iterator[str]:
    """A backbone that learns by LPIPS needs its weights."""
    absent = [f"metrics.{file}" for file in ("alexnet", "lpips_alex") if file not in params["metrics"]]
    for stage, variants in (("stage1_tokenizer", [None]), ("stage3", list(params["backbones"][name]["variants"]))):
        by_lpips = any(stage_settings(params, name, stage, v)["perceptual_by"] == "lpips" for v in variants)
        if by_lpips and absent:
            yield f"backbones.{name}, {stage}.perceptual_by: lpips needs {' and '.join(absent)}"


def likeness_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """Whose tensors a pretraining starts from (like): of another backbone's, which starts from nothing in the end."""
    backbones = params["backbones"]
    places = {"pretrain": params.get("pretrain", {}), "refine": params.get("refine", {})}
    places |= {f"backbones.{name}.refine": backbone.get("refine", {}) for name, backbone in backbones.items()}
    yield from (f"{key}.like: only under backbones.NAME.pretrain" for key, place in places.items() if "like" in place)
    like = {name: backbone.get("pretrain", {}).get("like") for name, backbone in backbones.items()}
    for name, other in like.items():
        seen = [name]
        while other in backbones and other not in seen:
            seen.append(other)
            other = like[other]
        if other is not None:
            yield f"backbones.{name}.pretrain.like: {other!r} is no other backbone, or needs this one first"


def set_problems(params: Mapping[str, Any]) -> Iterator[str]:
    data, sets = params["data"], params["sets"]
    official = data["test_people"] == "official"
    if official == isinstance(data["val_people"], list):
        yield "data.val_people: a number with test_people: official, else a list of names"
        return
    kept = data["val_people"] if official else len(data["val_people"])
    people = kept if data["side"] == "val" else None if official else data["test_people"]
    if TEST in params["evaluate_on"] and people is not None and people < 2 * data["folds"]:
        yield (
            f"data.{data['side']}_people: {people} people leave no impostor pairs in some of {data['folds']} folds; "
            f"take {2 * data['folds']} or lower data.folds"
        )
    if not params["evaluate_on"]:
        yield "evaluate_on: name at least one set, or `test`"
    for key, kinds in (("evaluate_on", PAIRED), ("fairness_on", (*PAIRED, STRANGERS))):
        for name in params[key]:
            if name != TEST and sets.get(name, {}).get("kind") not in kinds:
                yield f"{key}: {name!r} is no set with verification pairs (kind {' or '.join(kinds)})"
    yield from optional_set_problems(params)
    for name, one in sets.items():
        if (one["kind"] == "rfw") != ("group" in one):
            yield f"sets.{name}.group: name the folder of one group for kind rfw, and for nothing else"
    for name, backbone in params["backbones"].items():
        yield from own_set_problems(name, backbone, sets)


def optional_set_problems(params: Mapping[str, Any]) -> Iterator[str]:
    if len(strangers(params)) > 1:
        yield f"fairness_on: {', '.join(strangers(params))} are all of kind {STRANGERS}; name one"
    for name, one in params["sets"].items():
        if one.get("optional") and name in needed_sets(params):
            yield f"sets.{name}.optional: more than fairness_on needs it, so it cannot be; take `optional` away"


def own_set_problems(name: str, backbone: Mapping[str, Any], sets: Mapping[str, Any]) -> Iterator[str]:
    """Of a backbone that is no face codec, and trains and is evaluated on pictures of its own."""
    if ("train_on" in backbone) != ("evaluate_on" in backbone):
        yield f"backbones.{name}: train_on and evaluate_on go together"
    for used in (*backbone.get("evaluate_on", ()), *filter(None, [backbone.get("train_on")])):
        if sets.get(used, {}).get("kind") != "images":
            yield f"backbones.{name}: {used!r} is none of the sets of kind images"


def variant_problems(name: str, backbone: Mapping[str, Any]) -> Iterator[str]:
    largest = backbone["model"]["K"]
    for variant, v in backbone["variants"].items():
        key = f"backbones.{name}.variants.{variant}"
        for size in ("M", "K"):
            try:
                bits_of(v[size], size)
            except StscqError as problem:
                yield f"{key}.{size}: {problem}"
        if v["K"] > largest:
            yield f"{key}.K: {v['K']} is more than the tokenizer's codebook has (model.K = {largest})"


def teacher_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """`taught_by: judge` marks one variant; it is refused where it would mark more, or stand for a published row."""
    for name, backbone in params["backbones"].items():
        for key, stage in (("stage3", params["stage3"]), (f"backbones.{name}.stage3", backbone.get("stage3", {}))):
            if "taught_by" in stage:
                yield f"{key}.taught_by: of single variants only (backbones.{name}.variants.VARIANT.stage3)"
        for variant, v in backbone["variants"].items():
            key = f"backbones.{name}.variants.{variant}"
            if taught_by_judge(v):
                if v["published"] is not None:
                    yield f"{key}.published: must be null with taught_by: the paper has no codec that its judge taught"
                if "stage2" in v:
                    yield f"{key}.stage2: must not be there with taught_by: the codebooks are those of its twin"
                if "train_on" in backbone:
                    yield f"{key}.stage3.taught_by: backbones.{name} trains on pictures that are no faces"
                if twin(backbone["variants"], variant) is None:
                    yield f"{key}.stage3.taught_by: name a variant of the same shared, M, K and training without it"


def allocation_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """`allocation` is for token-specific codebooks, beside a twin of equal sizes."""
    for key, backbone, variant, v in variants_with(params, "allocation"):
        if v["shared"] or taught_by_judge(v):
            yield f"{key}.allocation: of variants with shared: false and no taught_by alone"
        elif v["published"] is not None:
            yield f"{key}.published: must be null with allocation: the paper has codebooks of equal size alone"
        elif "effort" not in v and twin(backbone["variants"], variant) is None:
            yield f"{key}.allocation: name a variant of the same M, K and training without it, to compare with"
        elif params["latents"]["copies"] == 0 or "train_on" in backbone:
            yield f"{key}.allocation: needs the latents of faces (latents.copies of 1 or more, no train_on)"


def variants_with(
    params: Mapping[str, Any], property_: str
) -> Iterator[tuple[str, Mapping[str, Any], str, Mapping[str, Any]]]:
    """Key in params, backbone, name and content of each variant that has this property."""
    for name, backbone in params["backbones"].items():
        for variant, v in backbone["variants"].items():
            if property_ in v:
                yield f"backbones.{name}.variants.{variant}", backbone, variant, v


def effort_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """`effort` is for variants that are another one's otherwise, and of faces."""
    for key, backbone, variant, v in variants_with(params, "effort"):
        if v["published"] is not None:
            yield f"{key}.published: must be null with effort: the paper's encoder takes the nearest entries"
        elif twin(backbone["variants"], variant) is None:
            yield f"{key}.effort: name a variant that is the same without it"
        elif "train_on" in backbone:
            yield f"{key}.effort: its backbone trains on pictures that are no faces"


def trial_problems(params: Mapping[str, Any]) -> Iterator[str]:
    """Trials need kept latents of faces."""
    for name in params["trials"]["backbones"]:
        if name not in params["backbones"]:
            yield f"trials.backbones: {name!r} is none of the backbones"
        elif params["latents"]["copies"] == 0 or "train_on" in params["backbones"][name]:
            yield f"trials.backbones: {name} needs the latents of faces (latents.copies of 1 or more, no train_on)"
    groups = params["trials"]["groups"]
    if groups & (groups - 1):
        yield f"trials.groups: {groups} is no power of two"
