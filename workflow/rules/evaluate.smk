# Every codec on the test people of its seed; the uncompressed images first, as the ceiling.

EVALUATIONS = stscq_params.evaluations(config)


def trained(wc):
    """The checkpoint of a variant; `stage1` is the plain baseline, without further training."""
    folder = f"stage1/seed{wc.seed}" if wc.variant == "stage1" else f"stage3/{wc.variant}/seed{wc.seed}"
    return checkpoint(f"{MODELS}/{wc.backbone}/{folder}")


rule evaluate_original:
    input:
        store=rules.prepare_faces.output,
        split=rules.prepare_split.output.index,
        pairs=rules.prepare_split.output.pairs,
    output:
        files(
            f"{DATA}/evaluation/original/seed{{seed}}", ["metrics.json", "embeddings.npy", "centre.npy", "pairs.parquet"]
        ),
    params:
        store=FACES,
        out=subpath(output[0], parent=True),
        judge=config["judge"],
    log:
        f"logs/{PROFILE}/evaluate_original/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.original --store {params.store} --split {input.split} --pairs {input.pairs}"
        " --judge {params.judge} --out {params.out} &> {log}"


rule evaluate:
    input:
        store=rules.prepare_faces.output,
        pairs=rules.prepare_split.output.pairs,
        original=rules.evaluate_original.output,
        codec=trained,
    output:
        files(
            f"{DATA}/evaluation/{{backbone}}/{{variant}}/seed{{seed}}",
            ["metrics.json", "images.parquet", "pairs.parquet", "reconstructions.npy"],
        ),
    params:
        store=FACES,
        original=folder_of("original"),
        codec=folder_of("codec"),
        out=subpath(output[0], parent=True),
        judge=config["judge"],
    log:
        f"logs/{PROFILE}/evaluate/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.evaluate --store {params.store} --pairs {input.pairs}"
        " --original {params.original} --codec {params.codec} --judge {params.judge} --out {params.out} &> {log}"
