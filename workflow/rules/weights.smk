# Published weights: downloaded where they are missing, and checked by SHA-256 before anything is computed with them.

MANIFEST = {weight.path: weight for weight in needed(config)}


rule download_weights:
    output:
        "weights/{name}",
    threads: threads_of("download_weights")
    resources:
        **resources_of("download_weights"),
    log:
        "logs/weights/download/{name}.log",
    shell:
        "{PYTHON} -m stscq.cli weights get {wildcards.name} &> {log}"


rule verify_weights:
    input:
        "weights/{name}",
    output:
        touch(f"{DATA}/verified_weights/{{name}}"),
    threads: threads_of("verify_weights")
    resources:
        **resources_of("verify_weights"),
    log:
        "logs/weights/verify/{name}.log",
    shell:
        "{PYTHON} -m stscq.cli weights verify {wildcards.name} &> {log}"


def verified(file):
    """As an input: the file first, and the mark that it was checked if it is a known one; nothing for dlib."""
    if file is None or file == "dlib":
        return []
    return [file, f"{DATA}/verified_weights/{MANIFEST[file].name}"] if file in MANIFEST else [file]
