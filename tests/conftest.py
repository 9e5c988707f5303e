"""Shared fixtures: the real Database of Faces, aligned once a session, small."""

from pathlib import Path

import pytest
import torch

from stscq.data.orl import orl_folder, read_orl
from stscq.data.pairs import make_pairs
from stscq.data.splits import split_people
from stscq.data.store import open_store, write_store
from tests.search_problems import BACKENDS, only
from tests.trained import SMALL_RECOGNISER, first, kept, latent_places, second, tuned  # noqa: F401  # fixtures of all

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` need one."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """An image store of all 400 faces at 32 pixels."""
    folder = tmp_path_factory.mktemp("faces")
    write_store(read_orl(orl_folder(), 32), folder)
    return folder


@pytest.fixture(scope="session")
def split(faces, tmp_path_factory):
    """Index and pairs of one split: 4 test people, 2 for validation."""
    folder = tmp_path_factory.mktemp("split")
    index = split_people(open_store(faces).index, test_people=4, val_people=["s1", "s2"], seed=1, side="val")
    index.to_parquet(folder / "index.parquet")
    make_pairs(index[index.split == "test"], folds=2, seed=1).to_parquet(folder / "pairs.parquet")
    return folder


@pytest.fixture(scope="session")
def recogniser(faces, split, tmp_path_factory):
    """A small ArcFace, trained for a few steps."""
    from stscq.training.recogniser import main

    out = tmp_path_factory.mktemp("recogniser") / "seed1"
    main(faces, split / "index.parquet", out, SMALL_RECOGNISER, 1, 3, 8, 0.002, 0.05, 16.0, 0.3)
    return out


@pytest.fixture(scope="session")
def places(faces, split, recogniser):
    """What every training stage reads."""
    return {"store": faces, "split": split / "index.parquet", "recogniser": recogniser}


@pytest.fixture(params=BACKENDS)
def backend_name(request, monkeypatch):
    """The search takes each of its backends in turn."""
    only(request.param, monkeypatch)
    return request.param
