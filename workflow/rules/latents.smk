# Latents of all training faces, kept once a backbone and seed: stage 1, stage 2 and the statistics of bundles need them, and
# the encoder is frozen. Without copies (sets too large to keep) each encodes its own.

KEPT = config["latents"]["copies"] > 0


rule keep_latents:
    input:
        store=training_store,
        split=training_index,
        start=lambda wc: checkpoint(starting_tokenizer(wc)),
    output:
        files(f"{MODELS}/{{backbone}}/latents/seed{{seed}}", ["latents.npy", "latents.run.json"]),
    params:
        code=code("training.latents"),
        store=folder_of("store"),
        start=folder_of("start"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"seed": int(wc.seed), "copies": config["latents"]["copies"]}),
    threads: threads_of("keep_latents")
    resources:
        **resources_of("keep_latents"),
    log:
        f"logs/{PROFILE}/keep_latents/{{backbone}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.training.latents --store {params.store} --split {input.split}"
        " --start {params.start} {params.flags} --out {params.out} &> {log}"


def starting_tokenizer(wc):
    """The folder of the tokenizer that a backbone's codebooks are trained for: fine-tuned, where it is."""
    last = stscq_params.tokenizers(config, wc.backbone)[-1]
    return f"{MODELS}/{wc.backbone}/stage1_tokenizer/{last}/seed{wc.seed}"


def kept_latents(wc):
    """The file of latents of a backbone and seed; nothing where they are not kept, or are another tokenizer's."""
    other = getattr(wc, "variant", None) in stscq_params.TOKENIZERS[:-1]
    return [f"{MODELS}/{wc.backbone}/latents/seed{wc.seed}/latents.npy"] if KEPT and not other else []


def latents_option(wc, input):
    return f"--latents {input.latents}" if input.latents else ""
