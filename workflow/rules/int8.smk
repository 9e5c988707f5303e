# int8 codebooks: of the token-specific and the routed variant of each backbone that stand for published rows of faces.

INT8 = [
    (name, variant)
    for name, b in BACKBONES.items()
    if "evaluate_on" not in b
    for variant, v in b["variants"].items()
    if variant.startswith("token_specific") or (variant.startswith("switchable") and v["training"] == "router")
    if v["published"]
]


rule evaluate_int8:
    input:
        store=lambda wc: store_of(wc.set),
        original=original,
        bundle=bundle(f"{MODELS}/{{backbone}}/bundle/{{variant}}/seed{{seed}}"),
        judge=verified(config["judge"]),
    output:
        files(
            f"{DATA}/int8/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}",
            ["metrics.json", "images.parquet", "pairs.parquet", "int8.run.json"],
        ),
    params:
        code=code("evaluation.int8"),
        store=folder_of("store"),
        original=folder_of("original"),
        bundle=folder_of("bundle"),
        out=subpath(output[0], parent=True),
        flags=flags({"judge": config["judge"]}),
    threads: threads_of("evaluate_int8")
    resources:
        **resources_of("evaluate_int8"),
    log:
        f"logs/{PROFILE}/evaluate_int8/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.int8 --store {params.store} --original {params.original} --bundle {params.bundle}"
        " {params.flags} --out {params.out} &> {log}"


def int8_outputs():
    return [
        path
        for name, variant in INT8
        for path in expand(
            rules.evaluate_int8.output, backbone=name, variant=variant, set=config["evaluate_on"], seed=SEEDS
        )
    ]
