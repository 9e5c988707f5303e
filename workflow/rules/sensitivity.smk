# What an error in each token does to identity, and how large it is: for backbones with variants that have `allocation`.

UNEQUAL = {
    name: [variant for variant, v in b["variants"].items() if "allocation" in v and "effort" not in v]
    for name, b in BACKBONES.items()
}


rule sensitivity:
    input:
        store=training_store,
        split=training_index,
        start=lambda wc: checkpoint(starting_tokenizer(wc)),
        latents=kept_latents,
        recogniser=recogniser_files,
    output:
        files(f"{MODELS}/{{backbone}}/sensitivity/seed{{seed}}", ["sensitivity.json", "sensitivity.run.json"]),
    params:
        code=code("training.sensitivity"),
        store=folder_of("store"),
        start=folder_of("start"),
        recogniser=recogniser,
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"seed": int(wc.seed)}),
    threads: threads_of("sensitivity")
    resources:
        **resources_of("sensitivity"),
    log:
        f"logs/{PROFILE}/sensitivity/{{backbone}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.training.sensitivity --store {params.store} --split {input.split} --start {params.start}"
        " --latents {input.latents} --recogniser {params.recogniser:q} {params.flags} --out {params.out} &> {log}"


def sensitivity_of(wc):
    """What a variant's entries are allocated by; nothing where its codebooks are of equal size."""
    return [f"{MODELS}/{wc.backbone}/sensitivity/seed{wc.seed}/sensitivity.json"] if wc.variant in UNEQUAL[wc.backbone] else []


def allocation_option(wc, input):
    if not input.sensitivity:
        return ""
    allocation = BACKBONES[wc.backbone]["variants"][wc.variant]["allocation"]
    return f"--sensitivity {input.sensitivity} {flags({**allocation, 'power': float(allocation['power'])})}"


def sensitivities():
    """Of all backbones and seeds."""
    return expand(rules.sensitivity.output, backbone=[name for name, variants in UNEQUAL.items() if variants], seed=SEEDS)
