# Faces, aligned and stored once; further sets; then for each seed who trains, who is tested, and on which pairs.

SETS = stscq_params.sets_in_use(config)
STORE = ["images.npy", "index.parquet"]
OFFICIAL_PAIRS = ["pairs.parquet"] if config["data"]["test_people"] == "official" else []


def source(place):
    """A data set outside as the input of a rule: a file, or all files of a folder.

    Ancient: their contents count, which stscq.provenance.notes compares, and not their times. Nothing where it is not on
    this machine: what was made of it elsewhere may be used here.
    """
    return [ancient(place)] if place != "orl" and Path(place).exists() else []


rule prepare_faces:
    input:
        source(config["data"]["source"]),
    output:
        files(FACES, [*STORE, *OFFICIAL_PAIRS, "prepare.run.json"]),
    params:
        code=code("data.prepare"),
        out=subpath(output[0], parent=True),
        flags=flags({key: config["data"][key] for key in ("source", "size", "most_corrupt")}),
    threads: 1 if config["data"]["source"] == "orl" else threads_of("prepare_faces")
    resources:
        **resources_of("prepare_faces"),
    log:
        f"logs/{PROFILE}/prepare_faces.log",
    shell:
        "{PYTHON} -m stscq.data.prepare {params.flags} --workers {threads} --out {params.out} &> {log}"


def prepare_settings(name):
    """What making the store of a set hangs on; not whether a profile could do without it."""
    settings = {key: value for key, value in config["sets"][name].items() if key != "optional"}
    return {**settings, "size": config["data"]["size"]}


rule prepare_set:
    input:
        lambda wc: source(config["sets"][wc.set]["source"]),
    output:
        files(f"{DATA}/sets/{{set}}", [*STORE, "pairs.parquet", "prepare.run.json"]),
    params:
        code=code("data.prepare"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(prepare_settings(wc.set)),
    threads: threads_of("prepare_set")
    resources:
        **resources_of("prepare_set"),
    log:
        f"logs/{PROFILE}/prepare_set/{{set}}.log",
    shell:
        "{PYTHON} -m stscq.data.prepare {params.flags} --workers {threads} --out {params.out} &> {log}"


rule prepare_split:
    input:
        store=files(FACES, [*STORE, *OFFICIAL_PAIRS]),
    output:
        index=f"{DATA}/splits/seed{{seed}}/index.parquet",
        pairs=f"{DATA}/splits/seed{{seed}}/pairs.parquet",
        record=f"{DATA}/splits/seed{{seed}}/split.run.json",
    params:
        code=code("data.split"),
        store=FACES,
        out=subpath(output.index, parent=True),
        flags=lambda wc: flags(
            {"seed": int(wc.seed), **{key: config["data"][key] for key in ("test_people", "val_people", "side", "folds")}}
        ),
    threads: threads_of("prepare_split")
    resources:
        **resources_of("prepare_split"),
    log:
        f"logs/{PROFILE}/prepare_split/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.data.split --store {params.store} {params.flags} --out {params.out} &> {log}"


def store_of(name):
    """The two files of a set's image store."""
    return files(FACES if name == "test" else f"{DATA}/sets/{name}", STORE)


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
    """Data sets that a job of this run reads, and that nobody has brought.

    No job reads them again where what was made of them elsewhere is here; if one did, it would first delete that.
    """
    readers = {"data.source": (config["data"]["source"], [*rules.prepare_faces.output, *full_size_outputs()])}
    readers |= {
        f"sets.{name}.source": (config["sets"][name]["source"], expand(rules.prepare_set.output, set=name))
        for name in SETS
    }
    made = {str(path) for job in workflow.dag.needrun_jobs() for path in job.output}
    return [
        f"{key}: {path}"
        for key, (path, outputs) in readers.items()
        if path != "orl" and not Path(path).exists() and made & set(outputs)
    ]


onstart:
    if missing_sources():
        raise WorkflowError(
            "missing data sets, see docs/paper-profile.md (LFW: stscq fetch lfw): " + "; ".join(missing_sources())
        )
