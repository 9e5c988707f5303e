# Stage 3: the decoder of each variant, tuned to its codebooks; everything else frozen. What the judge teaches starts from
# the codebooks of its twin, so that the two differ in their teacher, and in what the variant says under stage3, alone.


def taught_by_judge(wc):
    return stscq_params.taught_by_judge(BACKBONES[wc.backbone]["variants"][wc.variant])


def codebooks_of(wc):
    """The variant whose stage 2 a stage 3 starts from: its own, or its twin's."""
    return stscq_params.twin(BACKBONES[wc.backbone]["variants"], wc.variant) if taught_by_judge(wc) else wc.variant


def stage3_settings(wc):
    settings = stscq_params.stage_settings(config, wc.backbone, "stage3", wc.variant)
    return {**settings, "taught_by": Path(config["judge"]).name} if taught_by_judge(wc) else settings


rule stage3:
    input:
        store=training_store,
        split=training_index,
        recogniser=lambda wc: verified(config["judge"]) if taught_by_judge(wc) else recogniser_files(wc),
        lpips=lambda wc: lpips_files(stage3_settings(wc)),
        start=lambda wc: checkpoint(f"{MODELS}/{wc.backbone}/stage2/{codebooks_of(wc)}/seed{wc.seed}"),
    output:
        stage_output(f"{MODELS}/{{backbone}}/stage3/{{variant}}/seed{{seed}}", "stage3"),
    params:
        code=code("training.stage3"),
        store=folder_of("store"),
        recogniser=lambda wc, input: config["judge"] if taught_by_judge(wc) else recogniser(wc, input),
        lpips=lpips_option,
        start=folder_of("start"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {
                "seed": int(wc.seed),
                "precision": config["precision"],
                **stage3_settings(wc),
            }
        ),
    threads: threads_of("stage3")
    resources:
        **resources_of("stage3"),
    log:
        f"logs/{PROFILE}/stage3/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{START[stage3]} stscq.training.stage3 --store {params.store} --split {input.split}"
        " --recogniser {params.recogniser:q} {params.lpips} --start {params.start} {params.flags} --out {params.out} &> {log}"
