# A small ArcFace recogniser of the training people: the identity and perceptual loss of all stages.


rule train_recogniser:
    input:
        store=rules.prepare_faces.output,
        split=rules.prepare_split.output.index,
    output:
        files(f"{MODELS}/recogniser/seed{{seed}}", [*CHECKPOINT, "recogniser.onnx"]),
    params:
        store=FACES,
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"seed": int(wc.seed), **config["recogniser"]}),
    log:
        f"logs/{PROFILE}/train_recogniser/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.recognition.train --store {params.store} --split {input.split} {params.flags}"
        " --out {params.out} &> {log}"
