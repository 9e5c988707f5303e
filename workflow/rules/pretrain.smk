# Pretraining: the small tokenizers that the project ships, from a folder of faces that no test ever sees.
#
#   snakemake --cores 2 pretrained --config profile=pretrain      hours on 2 cores; docs/pretraining.md

PRETRAIN = config["pretrain"]
SHIPPED = "stscq/tokenizers"
SHIPPED_RECOGNISER = "stscq/recognisers/distilled"


def pretrained_decoder(wc):
    """The pretrained MaskGIT-VQGAN that a TiTok paints with."""
    source = BACKBONES[wc.backbone].get("pixel_decoder")
    return checkpoint(f"{MODELS}/tokenizer/{source}") if source else []


def similar_tokenizer(wc):
    """The pretrained tokenizer from which this one takes the tensors that fit."""
    source = stscq_params.stage_settings(config, wc.backbone, "pretrain").get("like")
    return checkpoint(f"{MODELS}/tokenizer/{source}") if source else []


def pretrain_flags(backbone, *stages):
    """What one pretraining is told; numbers of a later stage take the place of an earlier one's."""
    settings = {k: v for stage in stages for k, v in stscq_params.stage_settings(config, backbone, stage).items()}
    return {
        "seed": SEEDS[0], "precision": config["precision"],
        "model": {**BACKBONES[backbone]["model"], "image_size": config["data"]["size"]},
        **{name: value for name, value in settings.items() if name not in ("set", "measure_on", "like")},
    }


# Who is tested shall not be among the training faces: LFW's people, and those of data.source.
rule find_overlap:
    input:
        store=lambda wc: store_of(PRETRAIN["set"]),
        tested=lambda wc: [*store_of(PRETRAIN["measure_on"]), f"{DATA}/sets/{PRETRAIN['measure_on']}/pairs.parquet"],
        faces=files(FACES, STORE),
        judge=verified(config["judge"]),
    output:
        f"{MODELS}/overlap.json",
        f"{MODELS}/overlap.run.json",
    params:
        code=code("evaluation.overlap"),
        store=folder_of("store"),
        flags=lambda wc, input: flags(
            {"against": [str(Path(input[name][0]).parent) for name in ("tested", "faces")], "judge": config["judge"]}
        ),
    threads: threads_of("find_overlap")
    resources:
        **resources_of("find_overlap"),
    log:
        f"logs/{PROFILE}/find_overlap.log",
    shell:
        "{PYTHON} -m stscq.evaluation.overlap --store {params.store} {params.flags} --file {output[0]} &> {log}"


rule pretrain:
    input:
        store=lambda wc: store_of(PRETRAIN["set"]),
        leave_out=rules.find_overlap.output[0],
        pixel_decoder=pretrained_decoder,
        like=similar_tokenizer,
    output:
        stage_output(f"{MODELS}/tokenizer/{{backbone}}", "pretrain"),
    params:
        code=code("training.pretrain"),
        store=folder_of("store"),
        out=subpath(output[0], parent=True),
        pixel_decoder=lambda wc, input: (
            f"--pixel-decoder {Path(input.pixel_decoder[0]).parent}" if input.pixel_decoder else ""
        ),
        like=lambda wc, input: f"--like {Path(input.like[0]).parent}" if input.like else "",
        flags=lambda wc: flags(pretrain_flags(wc.backbone, "pretrain")),
    threads: threads_of("pretrain")
    resources:
        **resources_of("pretrain"),
    log:
        f"logs/{PROFILE}/pretrain/{{backbone}}.log",
    shell:
        "{PYTHON} -m stscq.training.pretrain --store {params.store} --leave-out {input.leave_out} {params.pixel_decoder}"
        " {params.like} {params.flags} --out {params.out} &> {log}"


# It goes on with what a recogniser sees in a face, as stages 1 and 3 do.
rule refine:
    input:
        store=lambda wc: store_of(PRETRAIN["set"]),
        leave_out=rules.find_overlap.output[0],
        start=checkpoint(f"{MODELS}/tokenizer/{{backbone}}"),
        recogniser=f"{SHIPPED_RECOGNISER}.onnx",
    output:
        stage_output(f"{MODELS}/refined/{{backbone}}", "pretrain"),
    params:
        code=code("training.pretrain"),
        store=folder_of("store"),
        out=subpath(output[0], parent=True),
        start=folder_of("start"),
        flags=lambda wc: flags(pretrain_flags(wc.backbone, "pretrain", "refine")),
    threads: threads_of("refine")
    resources:
        **resources_of("refine"),
    log:
        f"logs/{PROFILE}/refine/{{backbone}}.log",
    shell:
        "{PYTHON} -m stscq.training.pretrain --store {params.store} --leave-out {input.leave_out} --start {params.start}"
        " --recogniser {input.recogniser} {params.flags} --out {params.out} &> {log}"


rule measure_tokenizer:
    input:
        tokenizer=checkpoint(f"{MODELS}/refined/{{backbone}}"),
        store=lambda wc: [*store_of(PRETRAIN["measure_on"]), f"{DATA}/sets/{PRETRAIN['measure_on']}/pairs.parquet"],
        judge=verified(config["judge"]),
    output:
        f"{MODELS}/measured/{{backbone}}.json",
        f"{MODELS}/measured/{{backbone}}.run.json",
    params:
        code=code("evaluation.tokenizer"),
        tokenizer=folder_of("tokenizer"),
        store=folder_of("store"),
        judge=config["judge"],
    threads: threads_of("measure_tokenizer")
    resources:
        **resources_of("measure_tokenizer"),
    log:
        f"logs/{PROFILE}/measure_tokenizer/{{backbone}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.tokenizer --tokenizer {params.tokenizer} --store {params.store}"
        " --judge {params.judge:q} --file {output[0]} &> {log}"


rule ship_tokenizer:
    input:
        tokenizer=checkpoint(f"{MODELS}/refined/{{backbone}}"),
        before=checkpoint(f"{MODELS}/tokenizer/{{backbone}}"),
        measured=rules.measure_tokenizer.output[0],
        store=lambda wc: store_of(PRETRAIN["set"]),
        leave_out=rules.find_overlap.output[0],
    output:
        [f"{SHIPPED}/{{backbone}}.{ending}" for ending in ("safetensors", "json", "md", "run.json")],
    params:
        code=code("training.ship"),
        tokenizer=folder_of("tokenizer"),
        before=folder_of("before"),
        store=folder_of("store"),
        stem=lambda wc: f"{SHIPPED}/{wc.backbone}",
    threads: threads_of("ship_tokenizer")
    resources:
        **resources_of("ship_tokenizer"),
    log:
        f"logs/{PROFILE}/ship_tokenizer/{{backbone}}.log",
    shell:
        "{PYTHON} -m stscq.training.ship --tokenizer {params.tokenizer} --before {params.before}"
        " --measured {input.measured} --store {params.store} --leave-out {input.leave_out} --stem {params.stem} &> {log}"


rule learning_curves:
    input:
        expand(f"{SHIPPED}/{{backbone}}.json", backbone=BACKBONES),
    output:
        multiext(f"{RESULTS}/learning_curves", ".png", ".svg"),
    params:
        code=code("report.learning_curves"),
        stem=f"{RESULTS}/learning_curves",
    threads: threads_of("learning_curves")
    resources:
        **resources_of("learning_curves"),
    log:
        f"logs/{PROFILE}/learning_curves.log",
    shell:
        "{PYTHON} -m stscq.report.learning_curves --cards {SHIPPED} --stem {params.stem} &> {log}"


rule pretrained:
    input:
        f"{SHIPPED_RECOGNISER}.md",
        rules.learning_curves.output,
        expand(rules.ship_tokenizer.output, backbone=BACKBONES),
