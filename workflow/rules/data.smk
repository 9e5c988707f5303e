# Faces, aligned and stored once; further sets; then for each seed who trains, who is tested, and on which pairs.

SETS = stscq_params.sets_in_use(config)


def source_files(source):
    """Of a source outside, what is tracked: a pack, or the records of a folder; folders of images are not."""
    return [str(path) for path in (Path(source), Path(source, "train.rec")) if path.is_file()]


rule prepare_faces:
    input:
        source_files(config["data"]["source"]),
    output:
        files(FACES, ["images.npy", "index.parquet"]),
    params:
        out=subpath(output[0], parent=True),
        flags=flags({key: config["data"][key] for key in ("source", "size", "most_corrupt")}),
    threads: 1 if config["data"]["source"] == "orl" else workflow.cores
    log:
        f"logs/{PROFILE}/prepare_faces.log",
    shell:
        "{PYTHON} -m stscq.data.prepare {params.flags} --workers {threads} --out {params.out} &> {log}"


rule prepare_set:
    input:
        lambda wc: source_files(config["sets"][wc.set]["source"]),
    output:
        files(f"{DATA}/sets/{{set}}", ["images.npy", "index.parquet", "pairs.parquet"]),
    params:
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({**config["sets"][wc.set], "size": config["data"]["size"]}),
    threads: workflow.cores
    log:
        f"logs/{PROFILE}/prepare_set/{{set}}.log",
    shell:
        "{PYTHON} -m stscq.data.prepare {params.flags} --workers {threads} --out {params.out} &> {log}"


rule prepare_split:
    input:
        store=rules.prepare_faces.output,
    output:
        index=f"{DATA}/splits/seed{{seed}}/index.parquet",
        pairs=f"{DATA}/splits/seed{{seed}}/pairs.parquet",
    params:
        store=FACES,
        out=subpath(output.index, parent=True),
        flags=lambda wc: flags(
            {"seed": int(wc.seed), **{key: config["data"][key] for key in ("test_people", "val_people", "side", "folds")}}
        ),
    log:
        f"logs/{PROFILE}/prepare_split/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.data.split --store {params.store} {params.flags} --out {params.out} &> {log}"


def store_of(name):
    """The two files of a set's image store."""
    return rules.prepare_faces.output if name == "test" else files(f"{DATA}/sets/{name}", ["images.npy", "index.parquet"])


def training_store(wc):
    """What a backbone trains on: the faces, or a set of its own."""
    return store_of(BACKBONES[wc.backbone].get("train_on", "test"))


def training_index(wc):
    """Who trains: the split of the faces, or everybody in a set of its own."""
    own = BACKBONES[wc.backbone].get("train_on")
    return f"{DATA}/sets/{own}/index.parquet" if own else f"{DATA}/splits/seed{wc.seed}/index.parquet"


def pairs_of(wc):
    """The verification pairs of a set; those of the test people change with the seed."""
    return f"{DATA}/splits/seed{wc.seed}/pairs.parquet" if wc.set == "test" else f"{DATA}/sets/{wc.set}/pairs.parquet"


def missing_sources():
    """Data sets that somebody must bring, and has not."""
    named = {"data.source": config["data"]["source"]}
    named |= {f"sets.{name}.source": config["sets"][name]["source"] for name in SETS}
    return [f"{key}: {path}" for key, path in named.items() if path != "orl" and not Path(path).exists()]


onstart:
    if missing_sources():
        raise WorkflowError("missing data sets, see docs/paper-profile.md: " + "; ".join(missing_sources()))
