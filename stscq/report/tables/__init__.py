"""Tables of a run beside the published numbers: name of the file -> what makes it.

A name that is a block of published.yaml is that table of the paper; the others are ours.
"""

from collections.abc import Callable
from functools import partial

from stscq.report.render import Table
from stscq.report.summary import RunSummary
from stscq.report.tables import (
    ablation,
    beyond,
    codebooks,
    costs,
    identity,
    people,
    pictures,
    rates,
    redundancy,
    trials,
)

TABLES: dict[str, Callable[[RunSummary], Table]] = {
    "headline": identity.headline,
    "main": identity.main,
    "per_dataset_accuracy": partial(
        identity.per_dataset,
        name="per_dataset_accuracy",
        measure="mean_acc",
        title="Verification accuracy (%) on each set",
    ),
    "per_dataset_ids": partial(identity.per_dataset, name="per_dataset_ids", measure="ids", title="IDS on each set"),
    "seeds": identity.seeds,
    "selection_at_inference": codebooks.selection_at_inference,
    "selection_in_training": codebooks.selection_in_training,
    "stages": ablation.stages,
    "ablation": ablation.ablation,
    "rate_gain": ablation.rate_gain,
    "groups_sweep": codebooks.groups_sweep,
    "token_utilisation": codebooks.token_utilisation,
    "dataset_utilisation": codebooks.dataset_utilisation,
    "redundancy": redundancy.redundancy,
    "quantisers": trials.quantisers,
    "router_losses": trials.router_losses,
    "router_training": trials.router_training,
    "entries": trials.entries,
    "group_use": codebooks.group_use,
    "fairness": people.fairness,
    "strangers": people.strangers,
    "served": people.served,
    "served_counts": people.served_counts,
    "ibq": identity.ibq,
    "image_quality": pictures.image_quality,
    "imagenet": pictures.imagenet,
    "rates": rates.rates,
    "symbols": rates.symbols,
    "int8": rates.int8,
    "peers": rates.peers,
    "peers_ratio": rates.peers_ratio,
    "other_face_codecs": identity.other_face_codecs,
    "cost": costs.cost,
    "training_cost": costs.training_cost,
    "variants": identity.variants,
    "identity_teacher": identity.identity_teacher,
    "allocation": beyond.allocation,
    "effort": beyond.effort,
}
