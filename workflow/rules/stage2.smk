# Stage 2: codebooks and router of each variant; encoder and decoder frozen.


def variant_flags(wc):
    v = BACKBONES[wc.backbone]["variants"][wc.variant]
    return {"shared": v["shared"], "groups": v["M"], "entries": v["K"], "selection": v["training"]}


rule stage2:
    input:
        store=training_store,
        split=training_index,
        recogniser=RECOGNISER,
        start=checkpoint(f"{MODELS}/{{backbone}}/stage1/seed{{seed}}"),
    output:
        stage_output(f"{MODELS}/{{backbone}}/stage2/{{variant}}/seed{{seed}}", "stage2"),
    params:
        code=code("training.stage2"),
        store=folder_of("store"),
        recogniser=recogniser,
        start=folder_of("start"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {
                "seed": int(wc.seed), "precision": config["precision"],
                **variant_flags(wc),
                **stscq_params.stage_settings(config, wc.backbone, "stage2", wc.variant),
            }
        ),
    log:
        f"logs/{PROFILE}/stage2/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.training.stage2 --store {params.store} --split {input.split}"
        " --recogniser {params.recogniser:q} --start {params.start} {params.flags} --out {params.out} &> {log}"
