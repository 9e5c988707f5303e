# A model bundle of each trained codec: what evaluation, `stscq compress` and `stscq decompress` read.

BUNDLE = [
    "bundle.json",
    *(f"{part}.safetensors" for part in ("encoder", "decoder", "codebooks", "router", "tables", "context")),
]


def bundle(folder):
    """What compressing and decompressing read."""
    return files(folder, BUNDLE)


def bundle_of(wc):
    """What a variant is evaluated with."""
    variant = stscq_params.bundled(BACKBONES[wc.backbone]["variants"], wc.variant)
    return bundle(f"{MODELS}/{wc.backbone}/bundle/{variant}/seed{wc.seed}")


def effort_option(wc):
    """How long its encoder looks."""
    return flags({"effort": BACKBONES[wc.backbone]["variants"].get(wc.variant, {}).get("effort", 0)})


def trained(wc):
    """The checkpoint of a variant, or of the tokenizer without further training."""
    stage = "stage1_tokenizer" if wc.variant in stscq_params.TOKENIZERS else "stage3"
    return checkpoint(f"{MODELS}/{wc.backbone}/{stage}/{wc.variant}/seed{wc.seed}")


rule export_bundle:
    input:
        codec=trained,
        store=training_store,
        split=training_index,
        latents=kept_latents,
    output:
        files(f"{MODELS}/{{backbone}}/bundle/{{variant}}/seed{{seed}}", [*BUNDLE, "card.json", "card.md", "export.run.json"]),
    params:
        code=code("codec.export"),
        codec=folder_of("codec"),
        store=folder_of("store"),
        latents=latents_option,
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"name": f"{wc.backbone}/{wc.variant}/seed{wc.seed}", "profile": PROFILE}),
    threads: threads_of("export_bundle")
    resources:
        **resources_of("export_bundle"),
    log:
        f"logs/{PROFILE}/export_bundle/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.codec.export --codec {params.codec} --store {params.store} --split {input.split}"
        " {params.latents} {params.flags} --out {params.out} &> {log}"
