# Every codec on every set; the uncompressed images first, as the ceiling.

EVALUATIONS = stscq_params.evaluations(config)
ORIGINAL = ["metrics.json", "embeddings.npy", "centre.npy", "pairs.parquet", "group_pairs.parquet"]
EVALUATION = ["metrics.json", "images.parquet", "files.parquet", "pairs.parquet", "group_pairs.parquet", "sheet.npy"]
STRANGERS = stscq_params.strangers(config)
FACE_SETS = list(dict.fromkeys([*config["evaluate_on"], *config["fairness_on"]]))


rule evaluate_original:
    input:
        store=lambda wc: store_of(wc.set),
        pairs=pairs_of,
        faces=files(FACES, STORE),
        split=rules.prepare_split.output.index,
        judge=verified(config["judge"]),
    output:
        files(f"{DATA}/evaluation/original/{{set}}/seed{{seed}}", [*ORIGINAL, "original.run.json"]),
    params:
        code=code("evaluation.original"),
        store=folder_of("store"),
        faces=FACES,
        out=subpath(output[0], parent=True),
        judge=config["judge"],
        own=lambda wc: flags({"own": wc.set == "test" and not OFFICIAL_PAIRS}),  # no further pairs beside a set's own
    threads: threads_of("evaluate_original")
    resources:
        **resources_of("evaluate_original"),
    log:
        f"logs/{PROFILE}/evaluate_original/{{set}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.original --store {params.store} --pairs {input.pairs} --faces {params.faces}"
        " --split {input.split} --judge {params.judge:q} {params.own} --out {params.out} &> {log}"


def original(wc):
    """The evaluation of the uncompressed images; none for pictures that are no faces."""
    return files(f"{DATA}/evaluation/original/{wc.set}/seed{wc.seed}", ORIGINAL) if wc.set in FACE_SETS else []


rule evaluate_full_size:
    input:
        source(config["data"]["source"]),
        store=store_of("test"),
        originals=expand(files(f"{DATA}/evaluation/original/test/seed{{seed}}", ORIGINAL), seed=SEEDS),
        judge=verified(config["judge"]),
    output:
        files(f"{DATA}/full_size", ["metrics.json", "full_size.run.json"]),
    params:
        code=code("evaluation.full_size"),
        source=config["data"]["source"],
        store=folder_of("store"),
        originals=f"{DATA}/evaluation/original/test",
        out=subpath(output[0], parent=True),
        flags=flags({"seeds": SEEDS, "judge": config["judge"]}),
    threads: threads_of("evaluate_full_size")
    resources:
        **resources_of("evaluate_full_size"),
    log:
        f"logs/{PROFILE}/evaluate_full_size.log",
    shell:
        "{PYTHON} -m stscq.evaluation.full_size --source {params.source:q} --store {params.store}"
        " --originals {params.originals} {params.flags} --out {params.out} &> {log}"


def full_size_outputs():
    """The uncompressed pictures at full size: of LFW, which has pairs and larger pictures (a pack has none)."""
    larger = OFFICIAL_PAIRS and not config["data"]["source"].endswith(".bin")
    return rules.evaluate_full_size.output if larger and "test" in FACE_SETS else []


rule evaluate:
    input:
        store=lambda wc: store_of(wc.set),
        original=original,
        bundle=bundle_of,
        weights=[path for file in config["metrics"].values() for path in verified(file)],
        judge=verified(config["judge"]),
    output:
        files(f"{DATA}/evaluation/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}", [*EVALUATION, "evaluate.run.json"]),
    params:
        code=code("evaluation.evaluate"),
        store=folder_of("store"),
        original=lambda wc, input: f"--original {Path(input.original[0]).parent}" if input.original else "",
        bundle=folder_of("bundle"),
        out=subpath(output[0], parent=True),
        flags=flags({"judge": config["judge"], "metrics": config["metrics"]}),
        effort=effort_option,
    threads: threads_of("evaluate")
    resources:
        **resources_of("evaluate"),
    log:
        f"logs/{PROFILE}/evaluate/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.evaluate --store {params.store} {params.original}"
        " --bundle {params.bundle} {params.flags} {params.effort} --out {params.out} &> {log}"


PUBLISHED_SIZES = {
    "models": {name: backbone["model"] for name, backbone in PUBLISHED["backbones"].items()},
    "image_size": PUBLISHED["data"]["size"],
    "rank": PUBLISHED["stage1_codebooks"]["rank"],
}


rule count_cost:
    output:
        files(f"{DATA}/cost", ["cost.csv", "count_cost.run.json"]),
    params:
        code=code("evaluation.count_cost"),
        out=subpath(output[0], parent=True),
        flags=flags(PUBLISHED_SIZES),
    threads: threads_of("count_cost")
    resources:
        **resources_of("count_cost"),
    log:
        f"logs/{PROFILE}/count_cost.log",
    shell:
        "{PYTHON} -m stscq.evaluation.count_cost {params.flags} --out {params.out} &> {log}"


# Alone on the machine, so that times are the job's own; one row holds codebooks of 4 GiB.
rule measure_cost:
    output:
        files(f"{DATA}/measured_cost", ["measured.csv", "measure_cost.run.json"]),
    params:
        code=code("evaluation.measure_cost"),
        out=subpath(output[0], parent=True),
        flags=flags({"backbones": config["measure_cost"], **PUBLISHED_SIZES}),
    threads: threads_of("measure_cost")
    resources:
        **resources_of("measure_cost"),
    log:
        f"logs/{PROFILE}/measure_cost.log",
    shell:
        "{PYTHON} -m stscq.evaluation.measure_cost {params.flags} --out {params.out} &> {log}"
