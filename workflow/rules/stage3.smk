# Stage 3: the decoder of each variant, tuned to its codebooks; everything else frozen.


rule stage3:
    input:
        store=rules.prepare_faces.output,
        split=rules.prepare_split.output.index,
        recogniser=rules.train_recogniser.output,
        start=rules.stage2.output,
    output:
        checkpoint(f"{MODELS}/{{backbone}}/stage3/{{variant}}/seed{{seed}}"),
    params:
        store=FACES,
        recogniser=folder_of("recogniser"),
        start=folder_of("start"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {"seed": int(wc.seed), **stscq_params.stage_settings(config, wc.backbone, "stage3")}
        ),
    log:
        f"logs/{PROFILE}/stage3/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.training.stage3 --store {params.store} --split {input.split}"
        " --recogniser {params.recogniser} --start {params.start} {params.flags} --out {params.out} &> {log}"
