"""The search itself, to be read from top to bottom: NN and CR, and what happens where rounding leaves a choice.

NN compares groups by their totals (`sweep`: top scores, summed over an image's tokens), picks the largest
(`best_group`) and searches that group for entries (`nearest_in_groups`), as CR does with the given one: a top score
takes far less time to find than its entry. With many channels the products outweigh both, and reading the chosen
groups again would cost more: then entries are found along with the top scores.

Scores are float32. Two that lie closer than rounding can have moved them are ambiguous, and decided in float64: groups
in `best_group`, entries in `resolve`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search import cpu_backend, cuda_backend, torch_backend
from stscq.quantization.search.cpu_backend import CpuBackend
from stscq.quantization.search.cuda_backend import CudaBackend
from stscq.quantization.search.prepared import TINY, PreparedCodebooks
from stscq.quantization.search.reference import Assignment, exact_distance
from stscq.quantization.search.scores import (
    IN_FLOAT64,
    Backend,
    by_codebook,
    by_image,
    error_bound,
    in_float32,
    unambiguous,
)
from stscq.quantization.search.torch_backend import TorchBackend
from stscq.quantization.search.unequal import UnequalCodebooks

EqualCodebooks = Tensor | Sequence[Tensor] | PreparedCodebooks
"""M x S x K x d; or M tensors of S x K x d; or either prepared, which keeps norms from one search to the next. Numbers,
as those of latents, are taken as float32."""
AnyCodebooks = EqualCodebooks | UnequalCodebooks
FUSED_FROM = 64
"""From so many channels on, entries are found along with the top scores of all groups."""
SUMMED_AT_ONCE = 16
"""Tokens whose scores are summed, in whatever order; then the sums are."""
PRODUCTS = 1 << 24
"""Inner products with one group's entries that are held at once where squares follow from them (floats, 64 MiB)."""
LATENTS = 1 << 21
"""Channels of latents (floats, 8 MiB) that are searched together; further images come after."""


class Measured(NamedTuple):
    """An assignment of B images, and how clear it was.

    gaps: B x T, the distance to the second nearest entry less that to the nearest, as float32 has it; infinite if there
    is one entry. errors: B x M, see `group_errors`; None where no groups were compared: CR, or one group.
    """

    assignment: Assignment
    gaps: Tensor
    errors: Tensor | None


def search_nn(z_e: Tensor, codebooks: AnyCodebooks, metric: Metric) -> Assignment:
    """NN: the group with the least total error (the first of equals), and its nearest entries. z_e: B x T x d.

    The error is the distance but for inner products, see `group_errors`.
    """
    return measured_nn(z_e, codebooks, metric).assignment


def search_cr(z_e: Tensor, codebooks: AnyCodebooks, group: Tensor, metric: Metric) -> Assignment:
    """CR: nearest entries inside the group that the router chose for each image (group: B). Reads only those groups."""
    return measured_cr(z_e, codebooks, group, metric).assignment


@in_float32()
def search_group(z_e: Tensor, codebook: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """Nearest entries of one group.

    z_e: B x T x d; codebook: S x K x d. Returns index (B x T, int64) and the distance to it (B x T, float32).
    """
    prepared = PreparedCodebooks(codebook[None], metric)
    group = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)
    index = search_cr(z_e, prepared, group, metric).index
    return index, distances_to(z_e, prepared, group, index).float()


@in_float32()
def measured_nn(z_e: Tensor, codebooks: AnyCodebooks, metric: Metric) -> Measured:
    """`search_nn`, the gaps and the errors, in one search."""
    if isinstance(codebooks, UnequalCodebooks):
        return unequal_nn(z_e, codebooks)
    prepared = prepare(z_e, codebooks, metric)
    if prepared.M == 1:
        return measured_cr(z_e, prepared, torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device), metric)
    if metric == "inner":
        return measured_by_squares(z_e, prepared)
    search = entries_with_totals if prepared.d >= FUSED_FROM else entries_after_totals
    parts = []
    for z in z_e.split(images_at_once(z_e, prepared)):
        group, index, lead, totals = search(z, prepared)
        parts.append((group, index, gaps_of(lead, z, metric), errors_of(totals, z, metric)))
    group, index, gaps, errors = (torch.cat(column) for column in zip(*parts, strict=True))
    return Measured(Assignment(group, index), gaps, errors)


@in_float32()
def measured_cr(z_e: Tensor, codebooks: AnyCodebooks, group: Tensor, metric: Metric) -> Measured:
    """`search_cr`, and the gaps."""
    if isinstance(codebooks, UnequalCodebooks):
        return unequal_cr(z_e, codebooks, group)
    prepared = prepare(z_e, codebooks, metric)
    check_group(group, len(z_e), prepared.M)
    step = images_at_once(z_e, prepared)
    parts = []
    for z, g in zip(z_e.split(step), group.split(step), strict=True):
        index, lead = nearest_in_groups(z, prepared, g)
        parts.append((index, gaps_of(lead, z, metric)))
    index, gaps = (torch.cat(column) for column in zip(*parts, strict=True))
    return Measured(Assignment(group, index), gaps, None)


@in_float32()
def group_errors(z_e: Tensor, codebooks: AnyCodebooks, metric: Metric) -> Tensor:
    """Mean distance a token to the nearest entry, for every group: B x M, float32.

    For inner products the mean squared distance to the entry of the largest one: among groups the largest product would
    only tell which has the longest entries.
    """
    if isinstance(codebooks, UnequalCodebooks):
        return unequal_errors(z_e, codebooks)
    prepared = prepare(z_e, codebooks, metric)
    if metric == "inner":
        step = max(1, PRODUCTS // (z_e.shape[1] * prepared.K))
        return torch.cat([squares_in_float32(z, prepared) for z in z_e.split(step)]) / z_e.shape[1]
    parts = z_e.split(images_at_once(z_e, prepared))
    return torch.cat([errors_of(totals_of(sweep(z, prepared, False))[0].T, z, metric) for z in parts])


def unequal_cr(z_e: Tensor, codebooks: UnequalCodebooks, group: Tensor) -> Measured:
    """`measured_cr` where tokens have K_j entries: size by size."""
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    gaps = torch.empty(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    for tokens, part in codebooks.parts:
        (_, index[:, tokens]), gaps[:, tokens], _ = measured_cr(z_e[:, tokens], part, group, codebooks.metric)
    return Measured(Assignment(group, index), gaps, None)


def unequal_nn(z_e: Tensor, codebooks: UnequalCodebooks) -> Measured:
    """`measured_nn` where tokens have K_j entries."""
    if codebooks.M == 1:
        return unequal_cr(z_e, codebooks, torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device))
    if codebooks.metric == "inner":
        squares = unequal_squares(z_e, codebooks)
        return unequal_cr(z_e, codebooks, squares.argmin(0))._replace(errors=(squares.T / z_e.shape[1]).float())
    totals, bound = unequal_totals(z_e, codebooks)
    measured = unequal_cr(z_e, codebooks, best_group(totals, bound, z_e, codebooks))
    return measured._replace(errors=errors_of(totals.T, z_e, codebooks.metric))


def unequal_errors(z_e: Tensor, codebooks: UnequalCodebooks) -> Tensor:
    """`group_errors` where tokens have K_j entries."""
    if codebooks.metric == "inner":
        return (unequal_squares(z_e, codebooks).T / z_e.shape[1]).float()
    totals, _ = unequal_totals(z_e, codebooks)
    return errors_of(totals.T, z_e, codebooks.metric)


def unequal_squares(z_e: Tensor, codebooks: UnequalCodebooks) -> Tensor:
    """Squared distances to the entries of the largest inner products, summed over tokens: M x B, float64."""
    total = torch.zeros((codebooks.M, len(z_e)), dtype=torch.float64, device=z_e.device)
    for tokens, part in codebooks.parts:
        total += torch.stack([squares for *_, squares in entries_and_squares(z_e[:, tokens], part)])
    return total


def unequal_totals(z_e: Tensor, codebooks: UnequalCodebooks) -> tuple[Tensor, Tensor]:
    """Totals of all groups and their bounds, M x B each in float64, where tokens have K_j entries."""
    totals = torch.zeros((codebooks.M, len(z_e)), dtype=torch.float64, device=z_e.device)
    bound = torch.zeros_like(totals)
    for tokens, part in codebooks.parts:
        z_part = z_e[:, tokens]
        prepare(z_part, part, codebooks.metric)
        step = images_at_once(z_part, part)
        for images, z in zip(range(0, len(z_part), step), z_part.split(step), strict=True):
            some, its_bound = totals_of(sweep(z, part, with_entry=False))
            totals[:, images : images + step] += some
            bound[:, images : images + step] += its_bound
    return totals, bound


def measured_by_squares(z_e: Tensor, codebooks: PreparedCodebooks) -> Measured:
    """`measured_nn` for inner products: the group of the least squared error, group by group."""
    least = torch.full((len(z_e),), torch.inf, dtype=torch.float64, device=z_e.device)
    group = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)
    index = torch.zeros(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    lead = torch.zeros(z_e.shape[:2], device=z_e.device)
    errors = []
    for g, (entries, leads, error) in enumerate(entries_and_squares(z_e, codebooks)):
        better = error < least
        least, group = torch.where(better, error, least), group.masked_fill(better, g)
        index, lead = torch.where(better[:, None], entries, index), torch.where(better[:, None], leads, lead)
        errors.append((error / z_e.shape[1]).float())
    return Measured(Assignment(group, index), lead, torch.stack(errors, 1))


def squares_in_float32(z_e: Tensor, codebooks: PreparedCodebooks) -> Tensor:
    """The sums of `entries_and_squares` for training, which may confuse entries that are as good: B x M."""
    B, T, d = z_e.shape
    z = by_codebook(z_e.float(), codebooks.S)  # S x N x d
    squares = []
    for g in range(codebooks.M):
        entries = codebooks.entries(range(g, g + 1), slice(None))  # S x K x d
        index = (z @ entries.mT).argmax(-1)
        chosen = entries.gather(1, index[..., None].expand(-1, -1, d))
        squares.append(by_image((z - chosen).square().sum(-1), B, T).sum(1))
    return torch.stack(squares, 1)


def entries_and_squares(z_e: Tensor, codebooks: PreparedCodebooks) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of each group: index and lead (B x T), and the squared distances of its entries, summed (B, float64)."""
    step = images_at_once(z_e, codebooks)
    for g in range(codebooks.M):
        parts = []
        for z in z_e.split(step):
            group = torch.full((len(z),), g, dtype=torch.int64, device=z.device)
            index, lead = nearest_in_groups(z, codebooks, group)
            parts.append((index, lead, distances_to(z, codebooks, group, index, "euclidean").sum(1)))
        index, lead, squares = (torch.cat(column) for column in zip(*parts, strict=True))
        yield index, lead, squares


def entries_after_totals(z_e: Tensor, codebooks: PreparedCodebooks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best groups, then their entries: group (B), index and lead (B x T), totals (B x M).

    The lead of an entry is the amount by which its score is larger than the next.
    """
    totals, bound = totals_of(sweep(z_e, codebooks, with_entry=False))
    group = best_group(totals, bound, z_e, codebooks)
    return group, *nearest_in_groups(z_e, codebooks, group), totals.T


def entries_with_totals(z_e: Tensor, codebooks: PreparedCodebooks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same; entries are found in every group, and those of the best group so far kept."""
    index = torch.full(z_e.shape[:2], -1, dtype=torch.int64, device=z_e.device)
    lead = torch.zeros(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    best = torch.full_like(lead[:, 0], -torch.inf)
    kept = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)  # the group whose entries are kept
    parts = []
    for part in sweep(z_e, codebooks, with_entry=True):
        assert part.index is not None
        assert part.lead is not None
        for g, total, entries, leads in zip(part.groups, part.totals, part.index, part.lead, strict=True):
            better = total > best
            best, kept = torch.where(better, total, best), torch.where(better, g, kept)
            index, lead = torch.where(better[:, None], entries, index), torch.where(better[:, None], leads, lead)
        parts.append(part._replace(index=None, lead=None))
    totals, bound = totals_of(parts)
    group = best_group(totals, bound, z_e, codebooks)
    moved = group != kept
    if moved.any():
        index[moved], lead[moved] = nearest_in_groups(z_e[moved], codebooks, group[moved])
    return group, *resolve(index, lead, z_e, codebooks, group), totals.T


class GroupScores(NamedTuple):
    """The top scores of G groups. totals: summed over an image's tokens (cosines for cosine), G x B; bound: how far
    rounding can have moved the totals, G x B.

    index: the entries, G x B x T, where they were asked for; -1 where rounding leaves a choice. lead: by how much each
    top score is larger than the next.
    """

    groups: range
    totals: Tensor
    bound: Tensor
    index: Tensor | None  # type: ignore[assignment]  # shadows tuple.index, as in Assignment
    lead: Tensor | None


def sweep(z_e: Tensor, codebooks: PreparedCodebooks, with_entry: bool) -> Iterator[GroupScores]:
    """The top scores of every latent in all groups, some groups at a time. z_e: B x T x d."""
    (B, T, d), metric = z_e.shape, codebooks.metric
    z = by_codebook(z_e, codebooks.S)
    length = torch.linalg.vector_norm(z, dim=-1)
    shrink = length.clamp(min=TINY).reciprocal() if metric == "cosine" else None
    backend = backend_for(z, codebooks, with_entry)
    for groups, found in backend.all_top_scores():
        reach = codebooks.reach[groups.start : groups.stop]
        index, lead = None, None
        if with_entry:
            bound = error_bound(length * reach[..., None], reach.square()[..., None], backend.roundings, d, metric)
            index, lead = (by_image(each, B, T) for each in unambiguous(found, bound))
        top = found.top if shrink is None else found.top.mul_(shrink)
        bound = totals_bound(length, reach, backend.roundings, T, codebooks)
        yield GroupScores(groups, sum_over_tokens(top, T), bound, index, lead)


def backend_for(z: Tensor, codebooks: PreparedCodebooks, with_entry: bool) -> Backend:
    """The fastest there is for these latents (S x N x d) on this device."""
    if cpu_backend.usable(z, codebooks):
        return CpuBackend(z, codebooks, with_entry)
    if not with_entry and cuda_backend.usable(z):
        return CudaBackend(z, codebooks)
    return TorchBackend(z, codebooks, with_entry)


def sum_over_tokens(top: Tensor, T: int) -> Tensor:
    """G x S x N -> G x B: over tokens, a few of them at a time."""
    tokens = top.unflatten(2, (-1, T)).squeeze(1).mT if top.shape[1] == 1 else top
    return torch.stack([some.sum(1) for some in tokens.split(SUMMED_AT_ONCE, 1)]).sum(0)


def totals_bound(length: Tensor, reach: Tensor, roundings: float, T: int, codebooks: PreparedCodebooks) -> Tensor:
    """G x B: how far rounding can have moved sums of scores over T tokens. length: S x N, of latents; reach: G x S."""
    roundings += SUMMED_AT_ONCE + T / SUMMED_AT_ONCE
    if codebooks.metric == "cosine":  # scores over lengths, whose squares are sums of d as well
        length, roundings = torch.ones_like(length), roundings + codebooks.d / 2
    if codebooks.S == 1:
        length = length.view(1, -1, T).sum(2)
    squares = reach.square().sum(1, keepdim=True) * (T / codebooks.S)
    return error_bound(reach @ length, squares, roundings, codebooks.d, codebooks.metric)


def totals_of(parts: Iterable[GroupScores]) -> tuple[Tensor, Tensor]:
    """Totals of all groups and their bounds: M x B each."""
    totals, bound = zip(*((part.totals, part.bound) for part in parts), strict=True)
    return torch.cat(totals), torch.cat(bound)


def best_group(totals: Tensor, bound: Tensor, z_e: Tensor, codebooks: PreparedCodebooks | UnequalCodebooks) -> Tensor:
    """B: the group of the largest total; by float64 distances where rounding leaves a choice. totals, bound: M x B."""
    group = totals.argmax(0)
    g, b = ambiguous_groups(totals, bound).nonzero(as_tuple=True)
    if not len(g):
        return group
    exact = torch.full_like(totals, torch.inf, dtype=torch.float64)
    step = images_at_once(z_e, codebooks)
    for some, images in zip(g.split(step), b.split(step), strict=True):
        exact[some, images] = exact_totals(z_e[images], codebooks, some)
    group[b] = exact.argmin(0)[b]
    return group


def exact_totals(z_e: Tensor, codebooks: PreparedCodebooks | UnequalCodebooks, group: Tensor) -> Tensor:
    """B: the float64 distances of an image's tokens to their nearest entries in the given group (B), summed."""
    if isinstance(codebooks, UnequalCodebooks):
        total = torch.zeros(len(z_e), dtype=torch.float64, device=z_e.device)
        for (
            tokens,
            part,
        ) in codebooks.parts:  # one after the other: torch's sums add in an order that hangs on the place
            total += exact_totals(z_e[:, tokens], part, group)
        return total
    index, _ = nearest_in_groups(z_e, codebooks, group)
    return distances_to(z_e, codebooks, group, index).sum(1)


def ambiguous_groups(totals: Tensor, bound: Tensor) -> Tensor:
    """M x B: the groups that may be the best of an image, where there is more than one."""
    possible = ~(totals + bound < (totals - bound).amax(0))  # so that what overflowed is possible too
    return possible & (possible.sum(0) > 1)


def nearest_in_groups(z_e: Tensor, codebooks: PreparedCodebooks, group: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest entries in the group of each image (group: B), and by how much their scores lead: B x T each.

    Groups that are tensors of their own are searched one after another: they may have to be read from a file.
    """
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    lead = torch.empty(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    by_kernel = cpu_backend.usable(z_e, codebooks) and codebooks.in_place and len(z_e) > 0
    for here in [slice(None)] if codebooks.one_tensor else [group == g for g in group.unique()]:
        z, groups = z_e[here], group[here]
        if by_kernel:
            found = resolve(*cpu_backend.nearest_in_groups(z, codebooks, groups), z, codebooks, groups)
        else:
            found = torch_backend.nearest_in_groups(z, codebooks, groups)
        index[here], lead[here] = found
    return index, lead


def resolve(
    index: Tensor, lead: Tensor, z_e: Tensor, codebooks: PreparedCodebooks, group: Tensor
) -> tuple[Tensor, Tensor]:
    """Finds the entries of ambiguous tokens (-1) in float64. index, lead: B x T; group: B.

    Re-search the whole image when more than 1/8 of its tokens are ambiguous (codebooks with copies), else only those.
    """
    many = (index < 0).sum(1) > index.shape[1] // 8
    if many.any():
        index[many], lead[many] = torch_backend.nearest_in_groups(z_e[many], codebooks, group[many])
    image, token = (index < 0).nonzero(as_tuple=True)
    if len(image):
        z = z_e[image, token].float()
        index[image, token] = torch_backend.nearest_of_tokens(z, codebooks, group[image], token % codebooks.S)
    return index, lead


def distances_to(
    z_e: Tensor, codebooks: PreparedCodebooks, group: Tensor, index: Tensor, metric: Metric | None = None
) -> Tensor:
    """B x T, float64: from B x T latents to the given entries (B x T) of their groups (B). metric: if another."""
    codebook = torch.arange(index.shape[1], device=index.device) % codebooks.S
    step = max(1, IN_FLOAT64 // (index.shape[1] * codebooks.d))
    parts = zip(z_e.split(step), group.split(step), index.split(step), strict=True)
    metric = metric or codebooks.metric
    return torch.cat([exact_distance(z, codebooks.gather(g[:, None], codebook, i), metric) for z, g, i in parts])


def errors_of(totals: Tensor, z_e: Tensor, metric: Metric) -> Tensor:
    """Mean distances a token from the totals of scores, B x M each; not for inner products. z_e: B x T x d."""
    mean = totals.double() / z_e.shape[1]
    if metric == "cosine":
        return (2 - 2 * mean).clamp(min=0).float()
    length = torch.linalg.vector_norm(z_e.flatten(1), dim=1, dtype=torch.float64)
    square = length.square() / z_e.shape[1]
    return (square[:, None] - 2 * mean).clamp(min=0).float()


def gaps_of(lead: Tensor, z_e: Tensor, metric: Metric) -> Tensor:
    """Differences of distances from those of scores, B x T each."""
    if metric == "inner":
        return lead
    if metric == "cosine":
        lead = lead / torch.linalg.vector_norm(z_e.float(), dim=-1).clamp(min=TINY)
    return 2 * lead


def prepare(z_e: Tensor, codebooks: EqualCodebooks, metric: Metric) -> PreparedCodebooks:
    """Raises ValueError when codebooks, distance and latents do not fit each other, or latents are no numbers."""
    prepared = codebooks if isinstance(codebooks, PreparedCodebooks) else PreparedCodebooks(codebooks, metric)
    S, K, d = prepared.S, prepared.K, prepared.d
    if prepared.metric != metric:
        raise ValueError(f"codebooks prepared for {prepared.metric} distances cannot be searched by {metric} ones")
    if z_e.ndim != 3 or z_e.shape[2] != d or S not in (1, z_e.shape[1]):
        raise ValueError(f"latents of shape {tuple(z_e.shape)} do not fit groups of {S} x {K} x {d}")
    if not torch.linalg.vector_norm(z_e.float(), dim=-1).isfinite().all():
        raise ValueError("latents that are no finite numbers, or longer than 1e19, cannot be searched")
    return prepared


def check_group(group: Tensor, B: int, M: int) -> None:
    if group.shape != (B,) or (B and not 0 <= group.min() <= group.max() < M):
        raise ValueError(f"group must hold a number from 0 to {M - 1} for each of {B} images")


def images_at_once(z_e: Tensor, codebooks: PreparedCodebooks | UnequalCodebooks) -> int:
    """So many that latents and sums have a bounded size."""
    return max(1, LATENTS // max(z_e.shape[1] * codebooks.d, 4 * codebooks.M))
