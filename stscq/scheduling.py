"""Snakemake's scheduler, woken once a second at most.

Its own starts a timer at every look at the waiting jobs, and every timer that goes off causes a look: each job that
ends adds a chain of timers that never stops. After some hundred jobs that took a fifth of a core, and a second at the
end.
"""

import threading

from snakemake.scheduling.job_scheduler import JobScheduler


def wake_once() -> None:
    """From now on, Snakemake schedules by `OneTimer`."""
    import snakemake.workflow  # which cannot be imported before the scheduler

    snakemake.workflow.JobScheduler = OneTimer  # type: ignore[misc]


class OneTimer(JobScheduler):  # type: ignore[misc]
    """At most one timer waits, and none keeps the process from ending."""

    waiting = False

    def _schedule_reevalutation(self, delay: float) -> None:
        if not self.waiting:
            self.waiting = True
            timer = threading.Timer(delay, self.look)
            timer.daemon = True
            timer.start()

    def look(self) -> None:
        self.waiting = False
        self._open_jobs.release()
