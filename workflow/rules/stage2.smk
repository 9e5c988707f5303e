# Stage 2: token-specific codebooks of each variant and its router (token-shared ones go on for as long).


rule stage2:
    input:
        store=training_store,
        split=training_index,
        start=lambda wc: checkpoint(
            f"{MODELS}/{wc.backbone}/stage1_codebooks/{sizes_of(BACKBONES[wc.backbone]['variants'][wc.variant])}"
            f"/seed{wc.seed}"
        ),
        latents=kept_latents,
        sensitivity=sensitivity_of,
    output:
        stage_output(f"{MODELS}/{{backbone}}/stage2/{{variant}}/seed{{seed}}", "stage2"),
    params:
        code=code("training.stage2"),
        store=folder_of("store"),
        start=folder_of("start"),
        latents=latents_option,
        allocation=allocation_option,
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {
                "seed": int(wc.seed), "precision": config["precision"],
                "shared": BACKBONES[wc.backbone]["variants"][wc.variant]["shared"],
                **stscq_params.stage_settings(config, wc.backbone, "stage2", wc.variant),
            }
        ),
    threads: threads_of("stage2")
    resources:
        **resources_of("stage2"),
    log:
        f"logs/{PROFILE}/stage2/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{START[stage2]} stscq.training.stage2 --store {params.store} --split {input.split}"
        " --start {params.start} {params.latents} {params.allocation} {params.flags} --out {params.out} &> {log}"
