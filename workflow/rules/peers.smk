# Classic codecs on the same faces: operating points by people who are tested in no seed, then the same evaluation.

PEERS = config["peers"]
PEER_POINTS = ["points.json", "candidates.parquet"]
PEER = ["metrics.json", "images.parquet", "pairs.parquet"]


def originals_of(wc):
    """The evaluations of the uncompressed images of a set, of all seeds."""
    return [path for seed in SEEDS for path in files(f"{DATA}/evaluation/original/{wc.set}/seed{seed}", ORIGINAL)]


rule calibrate_peer:
    input:
        store=files(FACES, STORE),
        splits=expand(rules.prepare_split.output.index, seed=SEEDS),
        judge=verified(config["judge"]),
    output:
        files(f"{DATA}/peers/{{codec}}/calibration", [*PEER_POINTS, "calibrate.run.json"]),
    params:
        code=code("evaluation.peers.calibrate"),
        store=FACES,
        splits=f"{DATA}/splits",
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"seeds": SEEDS, "judge": config["judge"], "codec": wc.codec}),
    threads: threads_of("calibrate_peer")
    resources:
        **resources_of("calibrate_peer"),
    log:
        f"logs/{PROFILE}/calibrate_peer/{{codec}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.peers.calibrate --store {params.store} --splits {params.splits} {params.flags}"
        " --out {params.out} &> {log}"


rule evaluate_peer:
    input:
        store=lambda wc: store_of(wc.set),
        originals=originals_of,
        points=files(f"{DATA}/peers/{{codec}}/calibration", PEER_POINTS),
        judge=verified(config["judge"]),
    output:
        files(f"{DATA}/peers/{{codec}}/{{set}}", [*PEER, "peer.run.json"]),
    params:
        code=code("evaluation.peer"),
        store=folder_of("store"),
        originals=lambda wc: f"{DATA}/evaluation/original/{wc.set}",
        points=folder_of("points"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"seeds": SEEDS, "judge": config["judge"], "codec": wc.codec}),
    threads: threads_of("evaluate_peer")
    resources:
        **resources_of("evaluate_peer"),
    log:
        f"logs/{PROFILE}/evaluate_peer/{{codec}}/{{set}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.peer --store {params.store} --originals {params.originals}"
        " {params.flags} --points {params.points} --out {params.out} &> {log}"


def peer_outputs():
    """Every evaluation of every classic codec, and what its operating points were chosen by."""
    return [
        *expand(rules.calibrate_peer.output, codec=PEERS),
        *expand(rules.evaluate_peer.output, codec=PEERS, set=config["evaluate_on"]),
    ]
