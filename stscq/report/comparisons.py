"""With which other runs a run is compared, and the paired differences: for stscq.report.summarise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stscq.params import method, outside_claims, twin
from stscq.report.collect import IDENTITY, MEASURES, Evaluations, Run
from stscq.report.values import nn_runs

Variant = Mapping[str, Any]


def comparisons(e: Evaluations) -> Iterator[dict[str, Any]]:
    """Paired differences of each run to its references, over all seeds and sets of e."""
    identity = "ids" in e.metrics(e.runs()[0], e.seeds[0], e.sets[0])
    for run in e.runs():
        for name, baseline in references(e, run).items():
            yield from paired_rows(e, run, name, baseline, MEASURES if identity else MEASURES[len(IDENTITY) :])


def second_comparisons(e: Evaluations) -> Iterator[dict[str, Any]]:
    """`comparisons` of the second judge: what is outside all claims, with its twin."""
    for run in nn_runs(e):
        if outside_claims(e.variants[run.backbone][run.variant]):
            yield from paired_rows(e, run, "twin", references(e, run)["twin"], IDENTITY)


def paired_rows(
    e: Evaluations, run: Run, versus: str, baseline: Run, measures: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row a measure: the paired difference of a run to one of its references, which is called `versus`."""
    paired = e.compare_images(run, baseline, [measure for measure in measures if measure != "mean_acc"])
    if "mean_acc" in measures:
        paired = {"mean_acc": e.compare_accuracy(run, baseline), **paired}
    for measure in measures:
        yield {**run._asdict(), "versus": versus, "measure": measure, **paired[measure]._asdict()}


def references(e: Evaluations, run: Run) -> dict[str, Run]:
    """What a run is compared with, each with selection nn.

    global: the compute-matched baseline; where there are several and the run has one group, that of as many entries.
    pretrained: of the fine-tuned tokenizer. nn: of selection by the router, the same codec. nn_trained: the same M
    and K, trained with nn. one_group, most_groups: token-specific, the same K. one_shared: of token-shared groups, one
    shared codebook of the same K. token_shared: the same M, K and training, token-shared. What is outside all
    claims is nobody's reference, and has one: its twin, with the same selection.
    """
    v = e.variants[run.backbone].get(run.variant)
    if v is not None and outside_claims(v):
        other = twin(e.variants[run.backbone], run.variant)
        return {} if other is None else {"twin": run._replace(variant=other)}
    variants = e.claimed().variants[run.backbone]
    names: dict[str, str | None] = {"global": global_baseline(variants, v)}
    if run.selection == "router":
        names["nn"] = run.variant
    elif v is None:
        names["pretrained"] = "pretrained" if "pretrained" in e.tokenizers[run.backbone] else None
    else:
        names |= variants_beside(variants, v)
    found = {name: Run(run.backbone, variant, "nn") for name, variant in names.items() if variant is not None}
    return {name: reference for name, reference in found.items() if reference != run}


def global_baseline(variants: Mapping[str, Variant], v: Variant | None) -> str:
    """The name of the one that a variant (None: a tokenizer without any) is compared with."""
    baselines = [name for name, other in variants.items() if method(other) == "global"]
    alike = [name for name in baselines if v is not None and v["M"] == 1 and variants[name]["K"] == v["K"]]
    return (alike or baselines)[0]


def variants_beside(variants: Mapping[str, Variant], v: Variant) -> dict[str, str | None]:
    """The references of a variant that differ from it in one thing; see `references`."""
    M, K, shared, training = v["M"], v["K"], v["shared"], v["training"]
    names: dict[str, str | None] = {}
    if not shared and training == "router":
        names["nn_trained"] = find_variant(variants, shared=False, M=M, K=K, training="nn")
    if M > 1:
        names["one_shared" if shared else "one_group"] = find_variant(variants, shared=shared, M=1, K=K)
    if M > 1 and not shared:
        names["token_shared"] = find_variant(variants, shared=True, M=M, K=K, training=training)
    if not shared:
        alike = {"shared": False, "K": K, "training": "router"}
        routed = {o["M"]: name for name, o in variants.items() if alike.items() <= o.items()}
        names["most_groups"] = routed[max(routed)] if routed and max(routed) > M else None
    return names


def find_variant(variants: Mapping[str, Variant], **properties: Any) -> str | None:
    """The name of the first variant that has these properties."""
    return next(
        (name for name, v in variants.items() if all(v[key] == value for key, value in properties.items())), None
    )
