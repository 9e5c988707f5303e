"""A pack of a run's numbers in a fresh clone: the report by the real Snakemake, and nothing else."""

import shutil

import pytest

from tests.provenance.conftest import Project

pytestmark = pytest.mark.provenance
TABLES = [f"results/demo/tables/{name}.md" for name in ("headline", "main")]


def test_numbers_alone_make_tables_without_data_weights_and_training(made, tmp_path):
    made.run(f"stscq pack demo --out {tmp_path}/demo.zip")
    made.run(f"git clone -q . {tmp_path}/reader")
    reader = Project(tmp_path / "reader")
    shutil.rmtree(reader.folder / "results")
    reader.run(f"stscq unpack {tmp_path}/demo.zip")
    wanted = " ".join(TABLES)
    assert reader.jobs(target=wanted) == {"summarise": 1, "table": 2}
    reader.run(f"snakemake --cores 2 {wanted}")
    for table in TABLES:
        assert (reader.folder / table).read_bytes() == (made.folder / table).read_bytes()
    # What the packed numbers hang on is still looked at.
    reader.params(stage3={"lr": 0.001})
    assert reader.jobs(target=wanted)["stage3"] == 2


def test_codecs_are_trained_beside_unpacked_ones(made, tmp_path):
    """Faces and split are made again, the same bytes, and none of the packed numbers with them."""
    made.run(f"stscq pack demo --out {tmp_path}/demo.zip")
    made.run(f"git clone -q . {tmp_path}/second")
    second = Project(tmp_path / "second")
    second.run(f"stscq unpack {tmp_path}/demo.zip")
    second.run("snakemake --cores 2 data/demo/splits/seed1/index.parquet")
    assert second.jobs(target="data/demo/summary/about.json") == {"summarise": 1}
