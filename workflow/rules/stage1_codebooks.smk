# Stage 1: switchable token-shared codebooks and the router, encoder and decoder frozen. Variants of the same M, K and
# selection share it.


def sizes_of(v):
    """Of a variant: the name of its stage 1, such as 16x8_router."""
    return f"{v['M']}x{v['K']}_{v['training']}"


rule stage1_codebooks:
    input:
        store=training_store,
        split=training_index,
        start=lambda wc: checkpoint(starting_tokenizer(wc)),
        latents=kept_latents,
    output:
        stage_output(f"{MODELS}/{{backbone}}/stage1_codebooks/{{M}}x{{K}}_{{selection}}/seed{{seed}}", "stage1_codebooks"),
    params:
        code=code("training.stage1_codebooks"),
        store=folder_of("store"),
        start=folder_of("start"),
        latents=latents_option,
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {
                "seed": int(wc.seed), "precision": config["precision"],
                "groups": int(wc.M), "entries": int(wc.K), "selection": wc.selection,
                **stscq_params.stage_settings(config, wc.backbone, "stage1_codebooks"),
            }
        ),
    threads: threads_of("stage1_codebooks")
    resources:
        **resources_of("stage1_codebooks"),
    log:
        f"logs/{PROFILE}/stage1_codebooks/{{backbone}}/{{M}}x{{K}}_{{selection}}/seed{{seed}}.log",
    shell:
        "{START[stage1_codebooks]} stscq.training.stage1_codebooks --store {params.store} --split {input.split}"
        " --start {params.start} {params.latents} {params.flags} --out {params.out} &> {log}"
