# Stage 1: each backbone with one global codebook, (fine-)tuned on the training people.


def pixel_decoder(wc):
    """The MaskGIT-VQGAN of the same seed that a TiTok starts its pixel decoder from."""
    source = BACKBONES[wc.backbone].get("pixel_decoder")
    return checkpoint(f"{MODELS}/{source}/stage1/seed{wc.seed}") if source else []


rule stage1:
    input:
        store=training_store,
        split=training_index,
        recogniser=RECOGNISER,
        pixel_decoder=pixel_decoder,
        published=lambda wc: verified(BACKBONES[wc.backbone].get("published_weights")),
    output:
        stage_output(f"{MODELS}/{{backbone}}/stage1/seed{{seed}}", "stage1"),
    params:
        code=code("training.stage1"),
        store=folder_of("store"),
        recogniser=recogniser,
        out=subpath(output[0], parent=True),
        pixel_decoder=lambda wc, input: (
            f"--pixel-decoder {Path(input.pixel_decoder[0]).parent}" if input.pixel_decoder else ""
        ),
        published=lambda wc, input: f"--published {shlex.quote(str(input.published[0]))}" if input.published else "",
        flags=lambda wc: flags(
            {
                "seed": int(wc.seed), "precision": config["precision"],
                "model": {**BACKBONES[wc.backbone]["model"], "image_size": config["data"]["size"]},
                **stscq_params.stage_settings(config, wc.backbone, "stage1"),
            }
        ),
    log:
        f"logs/{PROFILE}/stage1/{{backbone}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.training.stage1 --store {params.store} --split {input.split}"
        " --recogniser {params.recogniser:q} {params.pixel_decoder} {params.published} {params.flags}"
        " --out {params.out} &> {log}"
