# A model bundle of each trained codec: what evaluation, `stscq compress` and `stscq decompress` read.

BUNDLE = [
    "bundle.json",
    *(f"{part}.safetensors" for part in ("encoder", "decoder", "codebooks", "router", "tables", "context")),
]


def bundle(folder):
    """What compressing and decompressing read."""
    return files(folder, BUNDLE)


def trained(wc):
    """The checkpoint of a variant; `stage1` is the tokenizer without further training."""
    folder = f"stage1/seed{wc.seed}" if wc.variant == "stage1" else f"stage3/{wc.variant}/seed{wc.seed}"
    return checkpoint(f"{MODELS}/{wc.backbone}/{folder}")


rule export_bundle:
    input:
        codec=trained,
        store=training_store,
        split=training_index,
    output:
        files(f"{MODELS}/{{backbone}}/bundle/{{variant}}/seed{{seed}}", [*BUNDLE, "card.json", "card.md", "export.run.json"]),
    params:
        code=code("codec.export"),
        codec=folder_of("codec"),
        store=folder_of("store"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"name": f"{wc.backbone}/{wc.variant}/seed{wc.seed}", "profile": PROFILE}),
    log:
        f"logs/{PROFILE}/export_bundle/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.codec.export --codec {params.codec} --store {params.store} --split {input.split}"
        " {params.flags} --out {params.out} &> {log}"
