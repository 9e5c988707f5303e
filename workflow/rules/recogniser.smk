# ArcFace for the identity and perceptual loss of all stages: a small one of the training people, or a published one.


rule train_recogniser:
    input:
        store=files(FACES, STORE),
        split=rules.prepare_split.output.index,
    output:
        stage_output(f"{MODELS}/recogniser/seed{{seed}}", "recogniser"),
        f"{MODELS}/recogniser/seed{{seed}}/recogniser.onnx",
    params:
        code=code("training.recogniser"),
        store=FACES,
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {"seed": int(wc.seed), **{k: v for k, v in config["recogniser"].items() if k != "published_weights"}}
        ),
    threads: threads_of("train_recogniser")
    resources:
        **resources_of("train_recogniser"),
    log:
        f"logs/{PROFILE}/train_recogniser/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.training.recogniser --store {params.store} --split {input.split} {params.flags}"
        " --out {params.out} &> {log}"


PUBLISHED_RECOGNISER = config["recogniser"].get("published_weights")
RECOGNISER = verified(PUBLISHED_RECOGNISER) or checkpoint(f"{MODELS}/recogniser/seed{{seed}}")


def recogniser_files(wc):
    """RECOGNISER of one seed."""
    return [path.format(seed=wc.seed) for path in RECOGNISER]


def recogniser(wc, input):
    """What stages take: the folder of a trained recogniser, or a published .onnx file."""
    return PUBLISHED_RECOGNISER or str(Path(input.recogniser[0]).parent)


def lpips_files(settings):
    """The weights of LPIPS, checked, of a stage that learns by it; nothing for the others."""
    if settings["perceptual_by"] != "lpips":
        return []
    return [path for name in ("alexnet", "lpips_alex") for path in verified(config["metrics"][name])]


def lpips_option(wc, input):
    if not input.lpips:
        return ""
    return shlex.join(["--alexnet", config["metrics"]["alexnet"], "--lpips-alex", config["metrics"]["lpips_alex"]])
