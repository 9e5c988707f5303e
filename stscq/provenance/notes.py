"""Snakemake's own notes (.snakemake/metadata), kept so that DVC can carry them along with the files they are about.

Snakemake notes of each output its job's parameters, code and inputs, and runs the job again when they change. Three
things are added. A profile's notes have a folder of their own. A note holds the SHA-256 of the output as well, and what
is compared is contents: files that another tool brought are current whatever their times, and one that was edited, or
that belongs to another run, is not. Hashes are remembered (stscq.hashes), where Snakemake would hash every
input again for every output.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import snakemake.workflow
from filelock import BaseFileLock, FileLock, Timeout
from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
from snakemake.persistence.file import FilePersistence

from stscq.hashes import sha256_of

MADE = ("data/", "models/", "results/", "weights/")
"""Where jobs write."""


def keep_notes(profile: str) -> None:
    """From now on, Snakemake keeps the notes of this profile here."""

    class OfProfile(Notes):
        folder = profile

    snakemake.workflow.FilePersistence = OfProfile  # type: ignore[misc]


class Notes(FilePersistence):  # type: ignore[misc]
    folder = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # warn_only: a dry run, which looks on. A job's own Snakemake must not wait for the one that started it.
        if not options.get("warn_only") and self.dag.workflow.is_main_process:
            self.running = self.wait_for_others()  # held until this process ends, however it ends
        folder = self.path / "metadata" / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._metadata_path = str(folder)
        self.max_checksum_file_size = -1  # of the inputs that Snakemake itself would hash, once for every output
        self.hashes: dict[str, str] = {}
        self.problems: dict[str, str | None] = {}
        self.read: dict[str, dict[str, str]] = {}

    def wait_for_others(self) -> BaseFileLock:
        """Until no other Snakemake works on this profile: a killed DVC leaves its Snakemake behind, which goes on, and
        after `--unlock` two of them would delete each other's outputs. The lock goes with the process."""
        lock = FileLock(self.path / f"{self.folder}.running")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"profile {self.folder}: another Snakemake is running here; waiting for it", file=sys.stderr)
            lock.acquire()
        return lock

    def _write_locks(self, lock_type: str, keys: Iterable[str]) -> None:
        """A Snakemake that ends deletes the whole folder of locks, also from under one that waited for it."""
        Path(self._lockdir).mkdir(exist_ok=True)
        super()._write_locks(lock_type, keys)

    def metadata(self, target: Any) -> MetadataRecord | None:
        """The note of an output; if it has a problem, that stands in place of its parameters: the job runs again."""
        note, key = super().metadata(target), str(target)
        if key not in self.problems:
            self.problems[key] = self.problem(key, note)
        if self.problems[key] is None:
            return note
        note = note or MetadataRecord(record_format_version=RECORD_FORMAT_VERSION)
        return note.model_copy(update={"params": [self.problems[key]]})

    def problem(self, key: str, note: MetadataRecord | None) -> str | None:
        """Why an output is not what its note speaks of; None when it is, or is missing."""
        if not Path(key).exists() or (note is None and key.startswith("weights/")):  # weights may be brought by hand
            return None
        if note is None:
            return f"nothing is known of {key}"
        changed = [
            file for file, checksum in (note.input_checksums or {}).items() if self.now(file) not in (checksum, None)
        ]
        return f"{changed[0]} is not what it was" if changed else None

    def now(self, file: str) -> str | None:
        """The checksum of a file or folder, in Snakemake's spelling; None where there is none."""
        if file not in self.hashes and Path(file).exists():
            self.hashes[file] = f"sha256:{sha256_of([Path(file)])[file]}"
        return self.hashes.get(file)

    def started(self, job: Any, external_jobid: str | None = None) -> None:
        """Also remember what the job is about to read, in case that somebody edits it while the job runs."""
        super().started(job, external_jobid)
        read = {str(file): checksum for file in job.input if (checksum := self.now(str(file)))}
        self.read |= {str(file): read for file in job.output}

    async def finished(self, job: Any) -> None:
        """Snakemake's --touch changes times, and here calls nothing current that is not."""
        if not self.dag.workflow.touch:
            await super().finished(job)
            return
        for file in job.output:
            self._unmark_incomplete(self._get_key(file))

    def _write_record(self, key: str, record: MetadataRecord) -> None:
        record.input_checksums = dict(self.read.pop(key, {}))
        if checksum := self.now(key):
            record.input_checksums[key] = checksum
        super()._write_record(key, record)

    def input_checksums(self, job: Any, input_path: Any) -> set[Any]:
        """Snakemake asks this before it hashes an input that is newer than the outputs: here is the input's hash."""
        self.dag.workflow.iocache.checksum[input_path] = self.now(str(input_path))
        return super().input_checksums(job, input_path)

    def _input_changed(self, job: Any, file: Any = None) -> bool:
        """As a set; a data set that is not on this machine has not changed."""
        now, before = set(self._input(job)), self.input(file) or []
        return {path for path in before if path in now or path.startswith(MADE) or Path(path).exists()} != now

    def save_iocache(self) -> None:
        """Not: a dry run writes nothing, and what --trust-io-cache would believe may be old."""

    def _clear_cache(self) -> None:
        super()._clear_cache()
        self.hashes, self.problems = {}, {}
