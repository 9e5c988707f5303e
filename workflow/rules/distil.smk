# The small recogniser of the identity and perceptual losses that the project ships: it learns from a large published one,
# on the faces that the tokenizers learn from. docs/pretraining.md

DISTIL = config["distil"]


rule teacher:
    input:
        store=lambda wc: store_of(PRETRAIN["set"]),
        recogniser=[path for name in ("teacher", "teacher_weights") for path in verified(DISTIL[name])],
    output:
        f"{MODELS}/teacher.npy",
        f"{MODELS}/teacher.run.json",
    params:
        code=code("training.teacher"),
        store=folder_of("store"),
        recogniser=DISTIL["teacher"],
    threads: threads_of("teacher")
    resources:
        **resources_of("teacher"),
    log:
        f"logs/{PROFILE}/teacher.log",
    shell:
        "{PYTHON} -m stscq.training.teacher --store {params.store} --recogniser {params.recogniser}"
        " --file {output[0]} &> {log}"


rule distil:
    input:
        store=lambda wc: store_of(PRETRAIN["set"]),
        leave_out=rules.find_overlap.output[0],
        embeddings=rules.teacher.output[0],
    output:
        stage_output(f"{MODELS}/distilled", "distil"),
        f"{MODELS}/distilled/recogniser.onnx",
    params:
        code=code("training.distil"),
        store=folder_of("store"),
        out=subpath(output[0], parent=True),
        flags=flags(
            {
                "seed": SEEDS[0], "validation": PRETRAIN["validation"], "precision": PRETRAIN["precision"],
                **{name: value for name, value in DISTIL.items() if not name.startswith("teacher")},
            }
        ),
    threads: threads_of("distil")
    resources:
        **resources_of("distil"),
    log:
        f"logs/{PROFILE}/distil.log",
    shell:
        "{PYTHON} -m stscq.training.distil --store {params.store} --leave-out {input.leave_out}"
        " --embeddings {input.embeddings} {params.flags} --out {params.out} &> {log}"


rule measure_recogniser:
    input:
        recogniser=rules.distil.output[-1],
        store=lambda wc: [*store_of(PRETRAIN["measure_on"]), f"{DATA}/sets/{PRETRAIN['measure_on']}/pairs.parquet"],
        judge=verified(config["judge"]),
    output:
        f"{MODELS}/measured_recogniser.json",
        f"{MODELS}/measured_recogniser.run.json",
    params:
        code=code("evaluation.recogniser"),
        store=folder_of("store"),
        judge=config["judge"],
    threads: threads_of("measure_recogniser")
    resources:
        **resources_of("measure_recogniser"),
    log:
        f"logs/{PROFILE}/measure_recogniser.log",
    shell:
        "{PYTHON} -m stscq.evaluation.recogniser --recogniser {input.recogniser} --store {params.store}"
        " --judge {params.judge:q} --file {output[0]} &> {log}"


rule ship_recogniser:
    input:
        distilled=rules.distil.output,
        measured=rules.measure_recogniser.output[0],
        faces=lambda wc: store_of(PRETRAIN["set"]),
        leave_out=rules.find_overlap.output[0],
    output:
        [f"{SHIPPED_RECOGNISER}.{ending}" for ending in ("onnx", "json", "md", "run.json")],
    params:
        code=code("training.ship_recogniser"),
        distilled=folder_of("distilled"),
        faces=folder_of("faces"),
        stem=SHIPPED_RECOGNISER,
    threads: threads_of("ship_recogniser")
    resources:
        **resources_of("ship_recogniser"),
    log:
        f"logs/{PROFILE}/ship_recogniser.log",
    shell:
        "{PYTHON} -m stscq.training.ship_recogniser --distilled {params.distilled} --measured {input.measured}"
        " --faces {params.faces} --leave-out {input.leave_out} --stem {params.stem} &> {log}"
