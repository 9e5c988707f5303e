"""What training cost, from records and logs as the runs leave them."""

import json

import pytest

from stscq.errors import DataError
from stscq.report.training_cost import read_training, record_files, training_cost


def leave_record(models, place, module, seconds, steps, batch, rate, accumulate=None, gpu=None):
    folder = models / place
    folder.mkdir(parents=True)
    arguments = {"out": str(folder), "steps": steps, "batch": batch}
    if accumulate:
        arguments["accumulate"] = accumulate
    machine = {"cpu": "a CPU", "cores": 2, **({"gpu": gpu} if gpu else {})}
    record = folder / f"{module.rsplit('.', 1)[-1]}.run.json"
    record.write_text(json.dumps({"module": module, "arguments": arguments, "machine": machine, "seconds": seconds}))
    (folder / "log.jsonl").write_text(f'{{"step": 0, "images_per_second": 1.0}}\n{{"images_per_second": {rate}}}\n')
    return record


@pytest.fixture
def models(tmp_path):
    leave_record(tmp_path, "recogniser/seed1", "stscq.training.recogniser", 10.0, 5, 8, 10.0)
    for seed, seconds in ((1, 60.0), (2, 80.0)):
        leave_record(
            tmp_path,
            f"ibq/stage1_tokenizer/fine_tuned/seed{seed}",
            "stscq.training.stage1_tokenizer",
            seconds,
            10,
            4,
            2.0,
            accumulate=2,
        )
        for variant in ("global", "switchable"):
            leave_record(tmp_path, f"ibq/stage2/{variant}/seed{seed}", "stscq.training.stage2", 30.0, 10, 4, 2.0)
            leave_record(tmp_path, f"ibq/stage3/{variant}/seed{seed}", "stscq.training.stage3", 90.0, 10, 4, 2.0)
    return tmp_path


def test_seconds_a_model_and_hours_of_all(models):
    frame = training_cost(map(read_training, record_files(models)))
    rows = frame.set_index(["what", "backbone", "stage"])
    stage1 = rows.loc[("training", "ibq", "stage1_tokenizer")]
    assert (stage1.models, stage1.seconds, stage1.images_seen) == (2, 70.0, 10 * 4 * 2)
    assert stage1.hours == pytest.approx(140 / 3600)
    method = rows.loc[("method on top of the tokenizer", "ibq", "stage1_codebooks + stage2 + stage3")]
    assert (method.models, method.seconds, method.images_seen) == (4, 30.0 + 90.0, 80)
    assert method.hours == pytest.approx(4 * 120 / 3600)
    assert rows.loc[("all training", "all", "all")].hours == pytest.approx((10 + 140 + 480) / 3600)
    assert list(frame.stage[:4]) == ["recogniser", "stage1_tokenizer", "stage2", "stage3"]
    assert list(frame.published_hours.dropna()) == [50, 40]
    assert frame.published_gpus.iloc[-1] == "8 x V100"


def test_a_run_that_went_on_is_not_taken_for_a_short_one(tmp_path):
    # 100 images at 2 a second take 50 s; the record has only the 10 s since the kill.
    record = leave_record(tmp_path, "ibq/stage2/global/seed1", "stscq.training.stage2", 10.0, 25, 4, 2.0, gpu="a GPU")
    training = read_training(record)
    assert (training.seconds, training.going_on, training.machine) == (50.0, True, "a GPU")
    assert training_cost([training]).continued.iloc[0] == 1


def test_a_record_without_its_log_is_named(models):
    (models / "ibq/stage1_tokenizer/fine_tuned/seed1/log.jsonl").unlink()
    with pytest.raises(
        DataError,
        match=r"ibq/stage1_tokenizer/fine_tuned/seed1/stage1_tokenizer\.run\.json: no record of training with its log",
    ):
        list(map(read_training, record_files(models)))


def test_without_any_training_only_the_published_rows_are_left(tmp_path):
    frame = training_cost(map(read_training, record_files(tmp_path)))
    assert list(frame.published_hours) == [50, 40]
