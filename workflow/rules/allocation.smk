# How many entries each token's codebook gets, for the variants with `allocation`: bits where the identity is.

UNEQUAL = {
    name: [variant for variant, v in b["variants"].items() if "allocation" in v and "effort" not in v]
    for name, b in BACKBONES.items()
}


rule allocate:
    input:
        store=training_store,
        split=training_index,
        start=lambda wc: checkpoint(starting_tokenizer(wc)),
        latents=kept_latents,
        recogniser=recogniser_files,
    output:
        files(f"{MODELS}/{{backbone}}/allocation/{{variant}}/seed{{seed}}", ["allocation.json", "allocation.run.json"]),
    params:
        code=code("training.allocation"),
        store=folder_of("store"),
        start=folder_of("start"),
        recogniser=recogniser,
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {
                "seed": int(wc.seed),
                "entries": BACKBONES[wc.backbone]["variants"][wc.variant]["K"],
                "power": float(BACKBONES[wc.backbone]["variants"][wc.variant]["allocation"]["power"]),
            }
        ),
    log:
        f"logs/{PROFILE}/allocate/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.training.allocation --store {params.store} --split {input.split} --start {params.start}"
        " --latents {input.latents} --recogniser {params.recogniser:q} {params.flags} --out {params.out} &> {log}"


def allocation_of(wc):
    """The allocation of a variant; nothing where its codebooks are of equal size."""
    unequal = wc.variant in UNEQUAL[wc.backbone]
    return [f"{MODELS}/{wc.backbone}/allocation/{wc.variant}/seed{wc.seed}/allocation.json"] if unequal else []


def allocations():
    """Of all variants and seeds."""
    return [
        path
        for name, variants in UNEQUAL.items()
        for path in expand(rules.allocate.output, backbone=name, variant=variants, seed=SEEDS)
    ]
