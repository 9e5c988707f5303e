# What the recogniser of training verifies of people whom it never saw; and how it judges the codecs outside all claims
# (decoders that the judge taught, codebooks of unequal size, encoders with effort) beside their twins.

MARKED = [
    (name, variant)
    for name, b in BACKBONES.items()
    for variant, v in b["variants"].items()
    if stscq_params.outside_claims(v)
]
JUDGED_TWICE = list(
    dict.fromkeys(
        (name, variant)
        for name, taught in MARKED
        for variant in (stscq_params.twin(BACKBONES[name]["variants"], taught), taught)
    )
)
SECOND = ["metrics.json", "images.parquet", "pairs.parquet"]


def second_judge_files(wc):
    return verified(PUBLISHED_RECOGNISER) or [f"{MODELS}/recogniser/seed{wc.seed}/recogniser.onnx"]


def second_judge(wc, input):
    return PUBLISHED_RECOGNISER or str(input.recogniser[0])


rule second_judge_original:
    input:
        store=lambda wc: store_of(wc.set),
        pairs=pairs_of,
        faces=files(FACES, STORE),
        split=rules.prepare_split.output.index,
        recogniser=second_judge_files,
    output:
        files(f"{DATA}/second_judge/original/{{set}}/seed{{seed}}", [*ORIGINAL, "original.run.json"]),
    params:
        code=code("evaluation.original"),
        store=folder_of("store"),
        faces=FACES,
        out=subpath(output[0], parent=True),
        judge=second_judge,
        own=lambda wc: flags({"own": wc.set == "test" and not OFFICIAL_PAIRS}),
    threads: threads_of("second_judge_original")
    resources:
        **resources_of("second_judge_original"),
    log:
        f"logs/{PROFILE}/second_judge_original/{{set}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.original --store {params.store} --pairs {input.pairs} --faces {params.faces}"
        " --split {input.split} --judge {params.judge:q} {params.own} --out {params.out} &> {log}"


rule second_judge:
    input:
        store=lambda wc: store_of(wc.set),
        original=files(f"{DATA}/second_judge/original/{{set}}/seed{{seed}}", ORIGINAL),
        evaluated=files(f"{DATA}/evaluation/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}", ["files.parquet"]),
        bundle=bundle_of,
        recogniser=second_judge_files,
    output:
        files(f"{DATA}/second_judge/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}", [*SECOND, "second_judge.run.json"]),
    params:
        code=code("evaluation.second_judge"),
        store=folder_of("store"),
        original=folder_of("original"),
        bundle=folder_of("bundle"),
        evaluated=folder_of("evaluated"),
        out=subpath(output[0], parent=True),
        judge=second_judge,
    threads: threads_of("second_judge")
    resources:
        **resources_of("second_judge"),
    log:
        f"logs/{PROFILE}/second_judge/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.second_judge --store {params.store} --original {params.original}"
        " --bundle {params.bundle} --evaluated {params.evaluated} --judge {params.judge:q} --out {params.out} &> {log}"


def second_judge_outputs():
    """The uncompressed images always; codecs where some variant is outside all claims."""
    runs = dict(set=config["evaluate_on"], seed=SEEDS)
    found = expand(rules.second_judge_original.output, **runs)
    for name, variant in JUDGED_TWICE:
        found += expand(rules.second_judge.output, backbone=name, variant=variant, **runs)
    return found
