"""Measures and statistics, with numbers worked by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from stscq.data.pairs import make_pairs
from stscq.data.store import open_store
from stscq.evaluation import original
from stscq.evaluation.judging import centred_cosine, cosine
from stscq.evaluation.protocols import CHANGED, HARD, OWN, coarse_change, group_pairs, own_protocols
from stscq.evaluation.quality import psnr, ssim
from stscq.evaluation.statistics import low_high_p, paired_bootstrap, summarise, weighted_means
from stscq.evaluation.utilisation import utilisation
from stscq.evaluation.verification import accuracy, best_threshold, verify
from stscq.quantization.search import Assignment
from stscq.recognition.base import unit
from stscq.recognition.load import load_recogniser


def test_threshold_separates():
    similarity = np.array([0.1, 0.8, 0.3, 0.9])
    same = np.array([False, True, False, True])
    assert 0.3 < best_threshold(similarity, same) < 0.8
    # One impostor above one genuine pair: three of four is the best there is.
    t = best_threshold(np.array([0.1, 0.5, 0.4, 0.9]), np.array([False, False, True, True]))
    assert ((np.array([0.1, 0.5, 0.4, 0.9]) > t) == np.array([False, False, True, True])).sum() == 3


@pytest.mark.parametrize("seed", range(20))
def test_threshold_is_the_best_of_all(seed):
    random = np.random.default_rng(seed)
    similarity, same = random.normal(size=30).round(1), random.random(30) < 0.5
    best = max(((similarity > t) == same).mean() for t in np.r_[-9, np.unique(similarity)])
    assert ((similarity > best_threshold(similarity, same)) == same).mean() >= best - 1e-9


def test_a_fold_is_judged_by_the_others():
    # Fold 0 alone would choose a threshold near 0.5; folds 1 and 2 put it near 0.05, so fold 0's impostor is accepted.
    embeddings = np.array([[np.cos(a), np.sin(a)] for a in np.arccos([1.0, 0.9, 0.2, 0.1, 0.0])])
    rows = [(0, 1, True, 0), (0, 2, False, 0)]
    rows += 2 * [(0, 3, True, 1), (0, 4, False, 1)] + 2 * [(0, 3, True, 2), (0, 4, False, 2)]
    judged = verify(embeddings, pd.DataFrame(rows, columns=["a", "b", "same", "fold"]))
    assert judged.correct.tolist() == [True, False] + 8 * [True]
    assert accuracy(judged) == pytest.approx((0.5 + 1 + 1) / 3)


def test_quality_worked_by_hand():
    a = np.full((1, 16, 16, 3), 100, np.uint8)
    assert psnr(a, a + 5)[0] == pytest.approx(10 * np.log10(255**2 / 25))
    assert psnr(a, a)[0] == np.inf
    other = np.random.default_rng(1).integers(0, 256, a.shape).astype(np.uint8)
    assert psnr(a, other)[0] == peak_signal_noise_ratio(a[0], other[0], data_range=255)  # the library's own, to the bit
    assert ssim(a, a)[0] == pytest.approx(1)
    noise = np.random.default_rng(0).integers(0, 255, a.shape).astype(np.uint8)
    assert ssim(a, noise)[0] < 0.2
    assert ssim(a[:0], noise[:0]).shape == (0,)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("S", [11, 64])
def test_ssim_is_scikit_images(S, device):
    random = np.random.default_rng(2)
    smooth = np.linspace(0, 255, S)[:, None, None] * np.ones((S, S, 3))
    a = np.stack([smooth, np.full((S, S, 3), 255), np.zeros((S, S, 3)), random.integers(0, 256, (S, S, 3))]).astype(
        np.uint8
    )
    b = np.clip(a + random.normal(0, 1, a.shape) * np.array([1, 2, 30, 60])[:, None, None, None], 0, 255).astype(
        np.uint8
    )
    expected = [
        structural_similarity(
            x, y, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for x, y in zip(a, b, strict=True)
    ]
    found = ssim(a, b, device)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    many = ssim(np.tile(a, (40, 1, 1, 1)), np.tile(b, (40, 1, 1, 1)), device)
    np.testing.assert_allclose(many, np.tile(found, 40), rtol=0, atol=0 if device == "cpu" else 1e-6)


def test_three_kinds_of_utilisation():
    # M = 2, T = 2, K = 4; three images, two of them alike.
    used = utilisation(Assignment(torch.tensor([0, 0, 1]), torch.tensor([[0, 1], [0, 1], [0, 0]])), M=2, K=4)
    assert used.per_token.tolist() == [2 / 8, 2 / 8]
    assert used.all_entries == 4 / 16
    assert used.merged == 3 / 8  # entries 0 and 1 of group 0, entry 0 of group 1
    assert used.bound_all_entries == 3 / 8
    assert used.groups == 1.0
    # Of two tokens with 4 and 1 entries three images reach 3 and 2 of 8 and 2.
    unequal = utilisation(Assignment(torch.tensor([0, 0, 1]), torch.tensor([[0, 0], [1, 0], [0, 0]])), 2, 4, [4, 1])
    assert unequal.bound_all_entries == 5 / 10
    assert unequal.all_entries == 5 / 10


def test_a_threshold_of_weighted_pairs_lies_between_scores_that_differ():
    """Two pairs of one score are on one side of it, whatever they weigh."""
    scores, same = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    assert best_threshold(scores, same, np.array([1.0, 1.0, 9.0, 1.0])) == pytest.approx(0.65)
    assert best_threshold(scores, same, np.array([1.0, 9.0, 1.0, 1.0])) == pytest.approx(0.25)


def test_summary_over_seeds():
    s = summarise(np.array([1.0, 2.0, 3.0]))
    assert (s.mean, s.std, s.n) == (2.0, 1.0, 3)
    assert s.high - s.mean == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)  # t of 97.5 % at 2 degrees of freedom
    assert np.isnan(summarise(np.array([1.0])).low)


def test_interval_and_p_of_draws_worked_by_hand():
    low, high, p = low_high_p(np.arange(-3.0, 96.0))  # 99 draws, -3 .. 95, of which 4 are not above 0
    assert (low, high) == pytest.approx((-3 + 0.025 * 98, -3 + 0.975 * 98))
    assert p == pytest.approx(2 * (4 + 1) / 100)
    assert low_high_p(np.array([-1.0, np.nan, 1.0]))[2] == 1.0
    assert np.isnan(low_high_p(np.array([np.nan]))).all()


def test_draws_without_a_value_do_not_make_a_difference_surer():
    draws = np.linspace(-1, 20, 500)
    assert low_high_p(np.concatenate([draws, np.full(500, np.nan)])) == low_high_p(draws)


def test_bootstrap_resamples_people():
    # 100 images of one person cannot stand in for many people: the interval stays wide.
    people = pd.DataFrame({"value": np.repeat([1.0, -1.0, 1.0, -1.0], 100), "first": np.repeat(list("abcd"), 100)})
    result = paired_bootstrap(people.assign(second=people["first"], stratum="all", weight=1.0))
    assert result.low < -0.9
    assert result.high > 0.9
    assert result.p > 0.5


def test_a_stratum_keeps_its_share_in_every_resample():
    # Everybody's genuine pair is right by 1, every impostor pair by 0: half and half whoever is drawn.
    people = list("abcdef")
    genuine = pd.DataFrame({"value": 1.0, "first": people, "second": people, "stratum": "same", "weight": 1.0})
    pairs = [(a, b) for a in people for b in people if a < b]
    impostors = pd.DataFrame(pairs, columns=["first", "second"])
    impostors = impostors.assign(value=0.0, stratum="different", weight=6 / len(pairs))
    result = paired_bootstrap(pd.concat([genuine, impostors]))
    assert (result.difference, result.low, result.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_pair_counts_as_often_as_both_of_its_people_worked_by_hand():
    """Person 0 twice, person 1 three times: his own pair twice, their common one six times; then everybody once."""
    a, b = np.array([0, 0, 1]), np.array([0, 1, 2])
    drawn = np.array([[2, 3, 0], [1, 1, 1]])
    found = weighted_means(drawn, a, b, sums=np.array([1.0, 10.0, 100.0]), weight=np.ones(3))
    assert found.tolist() == pytest.approx([(2 * 1 + 6 * 10) / (2 + 6), 111 / 3])
    assert drawn.tolist() == [[2, 3, 0], [1, 1, 1]]  # resamples are kept for further comparisons


def test_bootstrap_finds_a_difference_that_everybody_shows():
    random = np.random.default_rng(0)
    people = pd.DataFrame({"value": random.normal(1, 0.2, 300), "first": np.repeat(np.arange(30), 10)})
    result = paired_bootstrap(people.assign(second=people["first"], stratum="all", weight=1.0))
    assert result.low > 0.9
    assert result.p < 0.01
    assert result.difference == pytest.approx(people.value.mean())


def test_centred_similarity_worked_by_hand():
    """Two embeddings close together as seen from the origin are opposite as seen from between them."""
    a, b = unit(np.array([[10.0, 1.0]])), unit(np.array([[10.0, -1.0]]))
    assert cosine(a, b) == pytest.approx(99 / 101)
    assert centred_cosine(a, b, (a + b)[0] / 2) == pytest.approx(-1)
    assert centred_cosine(a, a, np.array([0.5, 0.5])) == pytest.approx(1)


def test_the_mean_face_and_the_centre_come_from_training_people(faces, split, tmp_path):
    original.main(faces, split / "pairs.parquet", faces, split / "index.parquet", tmp_path, "dlib", own=True)
    images, index = open_store(faces).images, pd.read_parquet(split / "index.parquet")
    rows = np.unique(pd.read_parquet(split / "pairs.parquet")[["a", "b"]])
    judge, training = load_recogniser("dlib"), images[index.index[index.split == "train"]]
    centre = judge.embed(training).mean(0)
    assert np.abs(np.load(tmp_path / "centre.npy") - centre).max() < 1e-6
    mean_face = judge.embed(training.mean(0)[None].round().astype(np.uint8))
    written = json.loads((tmp_path / "metrics.json").read_text())["mean_face"]
    assert written["ids"] == pytest.approx(float((judge.embed(images[rows]) @ mean_face.T).mean()), abs=1e-5)
    assert written["ids_centred"] < written["ids"]


@pytest.fixture
def four_people(faces):
    """Images and index of the store, the pairs of four people in two folds, and random embeddings by row."""
    images, index = open_store(faces)
    tested = index[index.identity.isin(["s1", "s2", "s4", "s5"])]
    embeddings = np.random.default_rng(0).standard_normal((len(images), 8))
    return images, index, make_pairs(tested, folds=2, seed=1), unit(embeddings)


def test_hardest_protocols_choose_from_the_same_images_of_the_same_fold(four_people):
    images, index, pairs, embeddings = four_people
    found = own_protocols(pairs, index.identity, embeddings, images, seed=0)
    assert found[found.protocol == OWN].drop(columns="protocol").equals(pairs)
    fold_of = {row: fold for fold, part in pairs.groupby("fold") for row in np.unique(part[["a", "b"]])}
    assert (found.a.map(fold_of) == found.fold).all()
    assert (found.b.map(fold_of) == found.fold).all()
    truly_same = found.a.map(index.identity).to_numpy() == found.b.map(index.identity).to_numpy()
    assert (truly_same == found.same).all()
    alike = np.einsum("pe,pe->p", embeddings[found.a], embeddings[found.b])
    hard = found.protocol == HARD
    assert hard.sum() == 2 * 2 * 30  # two folds, both kinds, a third of the 90 genuine pairs of two people
    # In a fold of two people with ten images each there are 100 impostor pairs; the 30 most alike are taken.
    for fold, part in found[hard & ~found.same].groupby("fold"):
        rows = [row for row in fold_of if fold_of[row] == fold]
        everyone = [
            embeddings[a] @ embeddings[b]
            for a in rows
            for b in rows
            if a < b and index.identity[a] != index.identity[b]
        ]
        assert len(everyone) == 100
        assert sorted(alike[part.index]) == pytest.approx(sorted(everyone)[-30:])


def test_largest_change_is_that_of_pose_and_light(four_people):
    images, index, pairs, embeddings = four_people
    found = own_protocols(pairs, index.identity, embeddings, images, seed=0)
    chosen = found[(found.protocol == CHANGED) & found.same]
    change = coarse_change(pairs[pairs.same], images)
    assert coarse_change(chosen, images).mean() > 1.5 * change.mean()
    still = pd.DataFrame({"a": [3], "b": [3]})
    assert coarse_change(still, images) == 0


def test_pairs_inside_groups(four_people):
    _, index, pairs, _ = four_people
    found = group_pairs(pairs, index.identity, index.group, seed=0)
    # s2 and s4 wear eyeglasses in half of the photos or more; s1 and s5 do not.
    assert set(found.group) == {"eyeglasses", "no_eyeglasses"}
    for name, part in found.groupby("group"):
        people = {"s2", "s4"} if name == "eyeglasses" else {"s1", "s5"}
        assert set(part.a.map(index.identity)) | set(part.b.map(index.identity)) == people
        assert part.same.sum() == (~part.same).sum() == 90
    one = index.group.where(index.group == "x", "african")
    assert group_pairs(pairs, index.identity, one, seed=0).group.unique().tolist() == ["african"]
    assert len(group_pairs(pairs, index.identity, index.group.where(index.group == "x", ""), seed=0)) == 0
