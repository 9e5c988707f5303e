"""Figures show the summary's numbers: what is drawn is read back from matplotlib's own objects."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from stscq.evaluation.statistics import summarise
from stscq.report.collect import Run
from stscq.report.figures import FIGURES, draw
from stscq.report.figures.rows import METHODS, by_seed, images_by_group, ranked, shown
from stscq.report.figures.style import BACKBONES, CLASSIC, GREEN, PALETTE
from tests.report_fixtures import SEEDS, make_summary


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return make_summary(tmp_path_factory.mktemp("run"), strangers=True)


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(panel, name):
    """(x, y) points of the line with a method's marker and colour."""
    mine = [one for one in panel.get_lines() if one.get_color() == PALETTE[name] and len(one.get_xdata()) == 1]
    (line,) = [one for one in mine if one.get_linestyle() != "None"]  # the others are ends of the bars
    return float(line.get_xdata()[0]), float(line.get_ydata()[0])


def test_points_are_means_and_bars_are_intervals(summary):
    figure = draw(summary, "rate_accuracy")
    (panel,) = figure.axes
    assert panel.get_title() == "titok_s"
    s = summarise(summary.measured(Run("titok_s", "token_specific", "nn"), "mean_acc"))
    assert drawn(panel, "token-specific")[1] == pytest.approx(s.mean)
    ends = [bar.get_segments()[0][:, 1] for bar in panel.collections if np.ptp(bar.get_segments()[0][:, 1]) > 0]
    assert any(np.allclose(sorted(pair), [s.low, s.high]) for pair in ends)
    assert set(texts(figure)) == {*METHODS.values(), "original (no compression)"}
    # All at one rate: side by side, each in a place of its own.
    assert len({round(drawn(panel, name)[0], 9) for name in list(METHODS.values())[:3]}) == 3


def test_published_points_stand_beside_ours_in_the_papers_profile_alone(summary):
    paper = summary._replace(about={**summary.about, "profile": "paper"})
    assert "published" in texts(draw(paper, "rate_ids"))
    assert "published" not in texts(draw(summary, "rate_ids"))


def lines_of(panel, colour):
    """Linestyle -> (x, y) of the lines of a colour that join points."""
    mine = [line for line in panel.get_lines() if line.get_color() == colour and line.get_linestyle() != "None"]
    return {line.get_linestyle(): [line.get_xdata().tolist(), line.get_ydata().tolist()] for line in mine}


def test_whole_files_of_ours_and_of_classic_codecs(summary):
    figure = draw(summary, "rate_peers")
    accuracy, ids = figure.axes
    webp = lines_of(accuracy, CLASSIC["webp"][0])
    assert webp["--"][0] == [50, 100, 400]
    assert webp["-"][0] == [100, 200, 800]
    ours = summarise(summary.measured(Run("titok_s", "token_specific", "nn"), "mean_acc")).mean
    assert np.allclose(webp["-"][1], [ours - 20, ours - 10, ours + 10])
    assert lines_of(accuracy, BACKBONES[0][0])["-"] == [[17], [pytest.approx(ours)]]
    assert lines_of(ids, BACKBONES[0][0])["-"] == [[17], [pytest.approx(0.6)]]
    heights = [float(line.get_ydata()[0]) for line in accuracy.get_lines() if line.get_color() == GREEN]
    assert heights == [99.0, 99.5]
    assert {"original, 16 pixels", "original, full size", "ours: titok_s", "webp"} <= set(texts(figure))
    assert "avif" not in texts(figure)


def test_the_papers_points_on_lfw_name_their_judge(summary):
    """0.0059 bits a pixel of 256 x 256 are 48 bytes, 0.0234 are 192, 0.0469 are 384."""
    figure = draw(summary, "rate_peers")
    stars = [line for line in figure.axes[0].get_lines() if line.get_markersize() == 13]
    found = {(round(x), y) for line in stars for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}
    assert found == {(48, 87.34), (192, 98.68), (384, 99.46), (48, 77.84), (192, 96.51), (384, 98.33)}
    assert sum("judge: ArcFace" in text for text in texts(figure)) == 2


def test_every_group_has_a_place_also_one_that_serves_nobody(summary):
    runs = shown(summary)
    runs = runs[(runs.selection == "router") & (runs.method == "switchable")]
    rows = images_by_group(summary, runs)
    assert len(rows) == len(SEEDS) * 6 * 4
    assert rows.images.sum() == len(SEEDS) * 12
    figure = draw(summary, "router_people")
    shares = figure.axes[0].collections[0].get_array().reshape(6, 4)
    assert np.allclose(shares.sum(1), 100)
    one = rows[(rows.seed == SEEDS[0]) & (rows.person == "p0")].sort_values("group").images
    assert any(np.allclose(row, 100 * one / one.sum()) for row in shares)
    first = shares.argmax(1)
    assert (np.diff(first[:3]) >= 0).all()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["eyeglasses", "no\neyeglasses"]


def test_shares_are_in_order(summary):
    runs = shown(summary)
    tokens = ranked(summary, "utilisation_tokens.parquet", runs[runs.variant == "global"], ascending=True)
    for _, part in tokens.groupby("seed"):
        part = part.sort_values("rank")
        assert part["rank"].tolist() == list(range(1, 7))
        assert part.share.is_monotonic_increasing
        assert part.share.max() == pytest.approx(50)  # of %, as tests.report_fixtures has it
    most_first = ranked(summary, "utilisation_tokens.parquet", runs[runs.variant == "global"], ascending=False)
    assert most_first[most_first.seed == SEEDS[0]].sort_values("rank").share.is_monotonic_decreasing
    (panel, _) = draw(summary, "router_choices").axes[:2]
    for line in panel.get_lines()[:-1]:
        assert np.all(np.diff(line.get_ydata()) <= 0)
        assert np.sum(line.get_ydata()) == pytest.approx(100)


def test_a_measure_that_is_missing_leaves_a_gap(summary):
    rows = by_seed(summary, shown(summary), "mean_acc", "no such measure")
    assert len(rows) == len(shown(summary)) * len(SEEDS)
    assert rows.mean_acc.notna().all()
    assert rows["no such measure"].isna().all()


def test_a_profile_without_switchable_codecs_says_so(summary):
    without = summary._replace(runs=summary.runs[summary.runs.M == 1])
    for name in ("utilisation_groups", "router_choices", "router_people", "selection_agreement"):
        (text,) = draw(without, name).texts
        assert text.get_text().startswith("no ")
    assert draw(without, "seed_spread").axes


def test_one_seed_is_enough(summary):
    """Of the smoke profile: points without bars."""
    values = summary.values[summary.values.seed == 1]
    one = summary._replace(values=values, about={**summary.about, "seeds": [1]})
    for name in FIGURES:
        figure = draw(one, name)
        assert figure.axes or [text.get_text() for text in figure.texts] == [
            "no codebooks of unequal size in this profile"
        ]
        plt.close(figure)


def test_only_figures_pay_for_seaborn():
    code = (
        "import sys, stscq.cli, stscq.report.summarise, stscq.report.table, stscq.report.page, stscq.report.metrics\n"
        "sys.exit('seaborn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
