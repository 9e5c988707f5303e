# What better models of the symbols would save: of the variants that stand for published rows, the shared ones and those
# with int8 books.

SYMBOLS = [
    (name, variant)
    for name, b in BACKBONES.items()
    if "evaluate_on" not in b
    for variant, v in b["variants"].items()
    if v["published"] and (v["shared"] or (name, variant) in INT8)
]


rule model_symbols:
    input:
        store=files(FACES, STORE),
        split=rules.prepare_split.output.index,
        original=files(f"{DATA}/evaluation/original/test/seed{{seed}}", ORIGINAL),
        bundle=bundle(f"{MODELS}/{{backbone}}/bundle/{{variant}}/seed{{seed}}"),
    output:
        files(
            f"{DATA}/symbols/{{backbone}}/{{variant}}/test/seed{{seed}}",
            ["metrics.json", "images.parquet", "symbol_models.run.json"],
        ),
    params:
        code=code("evaluation.symbol_models"),
        store=FACES,
        original=folder_of("original"),
        bundle=folder_of("bundle"),
        out=subpath(output[0], parent=True),
    threads: threads_of("model_symbols")
    resources:
        **resources_of("model_symbols"),
    log:
        f"logs/{PROFILE}/model_symbols/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.symbol_models --bundle {params.bundle} --store {params.store} --split {input.split}"
        " --original {params.original} --out {params.out} &> {log}"


def symbol_outputs():
    """Of the test people of the split; a profile without any has none."""
    if "test" not in config["evaluate_on"]:
        return []
    return [
        path
        for name, variant in SYMBOLS
        for path in expand(rules.model_symbols.output, backbone=name, variant=variant, seed=SEEDS)
    ]
