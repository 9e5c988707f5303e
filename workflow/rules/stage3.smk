# Stage 3: the decoder of each variant, tuned to its codebooks; everything else frozen.


rule stage3:
    input:
        store=training_store,
        split=training_index,
        recogniser=RECOGNISER,
        start=checkpoint(f"{MODELS}/{{backbone}}/stage2/{{variant}}/seed{{seed}}"),
    output:
        stage_output(f"{MODELS}/{{backbone}}/stage3/{{variant}}/seed{{seed}}", "stage3"),
    params:
        code=code("training.stage3"),
        store=folder_of("store"),
        recogniser=recogniser,
        start=folder_of("start"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {
                "seed": int(wc.seed),
                "precision": config["precision"],
                **stscq_params.stage_settings(config, wc.backbone, "stage3", wc.variant),
            }
        ),
    log:
        f"logs/{PROFILE}/stage3/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.training.stage3 --store {params.store} --split {input.split}"
        " --recogniser {params.recogniser:q} --start {params.start} {params.flags} --out {params.out} &> {log}"
