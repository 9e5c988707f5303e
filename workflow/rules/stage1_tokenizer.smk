# Stage 1, first half: each backbone with one codebook, fine-tuned on the training people; or handed on as published.


def pixel_decoder(wc):
    """The MaskGIT-VQGAN of the same seed that a TiTok without published weights starts its pixel decoder from."""
    source = BACKBONES[wc.backbone].get("pixel_decoder")
    return checkpoint(f"{MODELS}/{source}/stage1_tokenizer/fine_tuned/seed{wc.seed}") if source else []


def tokenizer_settings(wc):
    """`pretrained` is the same without a step."""
    settings = stscq_params.stage_settings(config, wc.backbone, "stage1_tokenizer")
    return {**settings, "steps": 0} if wc.tokenizer == "pretrained" else settings


rule stage1_tokenizer:
    input:
        store=training_store,
        split=training_index,
        recogniser=RECOGNISER,
        lpips=lambda wc: lpips_files(tokenizer_settings(wc)),
        pixel_decoder=pixel_decoder,
        published=lambda wc: verified(BACKBONES[wc.backbone].get("published_weights")),
    output:
        stage_output(f"{MODELS}/{{backbone}}/stage1_tokenizer/{{tokenizer}}/seed{{seed}}", "stage1_tokenizer"),
    params:
        code=code("training.stage1_tokenizer"),
        store=folder_of("store"),
        recogniser=recogniser,
        lpips=lpips_option,
        out=subpath(output[0], parent=True),
        pixel_decoder=lambda wc, input: (
            f"--pixel-decoder {Path(input.pixel_decoder[0]).parent}" if input.pixel_decoder else ""
        ),
        published=lambda wc, input: f"--published {shlex.quote(str(input.published[0]))}" if input.published else "",
        flags=lambda wc: flags(
            {
                "seed": int(wc.seed), "precision": config["precision"],
                "model": {**BACKBONES[wc.backbone]["model"], "image_size": config["data"]["size"]},
                **tokenizer_settings(wc),
            }
        ),
    threads: threads_of("stage1_tokenizer")
    resources:
        **resources_of("stage1_tokenizer"),
    log:
        f"logs/{PROFILE}/stage1_tokenizer/{{backbone}}/{{tokenizer}}/seed{{seed}}.log",
    shell:
        "{START[stage1_tokenizer]} stscq.training.stage1_tokenizer --store {params.store} --split {input.split}"
        " --recogniser {params.recogniser:q} {params.lpips} {params.pixel_decoder} {params.published} {params.flags}"
        " --out {params.out} &> {log}"
