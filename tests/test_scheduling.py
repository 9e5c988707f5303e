"""One timer at a time wakes Snakemake's scheduler, again and again."""

import threading
import time

from snakemake.scheduling.job_scheduler import JobScheduler

from stscq.scheduling import OneTimer, wake_once


def scheduler():
    made = OneTimer.__new__(OneTimer)
    made._open_jobs = threading.Semaphore(0)
    return made


def looks(made):
    """How often it was told to look since the last question."""
    count = 0
    while made._open_jobs.acquire(blocking=False):
        count += 1
    return count


def test_many_requests_are_one_look_and_the_next_is_another():
    made = scheduler()
    for _ in range(2):
        for _ in range(50):
            made._schedule_reevalutation(0.05)
        assert sum(isinstance(thread, threading.Timer) for thread in threading.enumerate()) == 1
        assert made._open_jobs.acquire(timeout=10)
        time.sleep(0.2)
        assert looks(made) == 0


def test_the_workflow_uses_it(monkeypatch):
    import snakemake.workflow  # after the scheduler

    assert "_schedule_reevalutation" in vars(JobScheduler)  # what is overridden is still there
    monkeypatch.setattr(snakemake.workflow, "JobScheduler", JobScheduler)
    wake_once()
    assert snakemake.workflow.JobScheduler is OneTimer
