# Are the groups of a codec copies of each other? Of the switchable variants of each backbone on faces.

SWITCHABLE = [
    (name, variant)
    for name, b in BACKBONES.items()
    if "evaluate_on" not in b
    for variant, v in b["variants"].items()
    if v["M"] > 1 and v["published"]
]


rule redundancy:
    input:
        store=lambda wc: store_of(wc.set),
        original=original,
        bundle=bundle(f"{MODELS}/{{backbone}}/bundle/{{variant}}/seed{{seed}}"),
        judge=verified(config["judge"]),
    output:
        files(
            f"{DATA}/redundancy/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}", ["metrics.json", "redundancy.run.json"]
        ),
    params:
        code=code("evaluation.redundancy"),
        store=folder_of("store"),
        original=folder_of("original"),
        bundle=folder_of("bundle"),
        out=subpath(output[0], parent=True),
        flags=flags({"judge": config["judge"]}),
    threads: threads_of("redundancy")
    resources:
        **resources_of("redundancy"),
    log:
        f"logs/{PROFILE}/redundancy/{{backbone}}/{{variant}}/{{set}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.redundancy --store {params.store} --original {params.original}"
        " --bundle {params.bundle} {params.flags} --out {params.out} &> {log}"


def redundancy_outputs():
    """On the first set that is evaluated."""
    return [
        path
        for name, variant in SWITCHABLE
        for path in expand(rules.redundancy.output, backbone=name, variant=variant, set=config["evaluate_on"][:1], seed=SEEDS)
    ]
