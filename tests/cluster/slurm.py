"""A SLURM on this machine alone, from Debian's packages: its own folder, its own ports, no service and no accounts."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PACKAGES = ("slurmctld", "slurmd", "slurm-client")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
CONFIGURATION = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Without cgroups: looks every second at what a job's processes hold, and kills one that holds more than it asked for.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
MinJobAge=86400
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
GPU = "NodeName={host} Name=gpu File=/dev/null\n"
"""A pretend one, for the scheduler to hand out; a device file, as SLURM wants."""


class Slurm:
    """One that runs: its folder, and what the programs of its users need in their environment."""

    def __init__(self, folder):
        self.folder = Path(folder)
        # A step's environment loses SLURM_CONF, and srun would look in /etc: this srun comes first on PATH.
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }

    def run(self, command):
        done = subprocess.run(
            command, shell=True, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def ended(self):
        """All jobs that have ended, as SLURM itself wrote them down: a dictionary each."""
        file = self.folder / "jobs.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]


def missing():
    """Why there can be no SLURM here, or nothing: its packages are installed where that is allowed."""
    if all(map(shutil.which, PROGRAMS)):
        return ""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"Debian's packages {', '.join(PACKAGES)} are not installed, and only root can install them with apt-get"
    install = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    for command in (["apt-get", "update"], install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not all(map(shutil.which, PROGRAMS)):
        return f"{' '.join(install)} failed: {(done.stderr.splitlines() or ['no word'])[-1]}"
    return ""


def free_ports():
    """Two ports that nobody listens on now."""
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def configure(folder, cpus, memory):
    """Everything that the daemons read."""
    controller, daemon = free_ports()
    values = {"host": socket.gethostname().split(".")[0], "folder": folder, "user": os.environ.get("USER", "root")}
    values |= {"controller": controller, "daemon": daemon, "cpus": cpus, "memory": memory}
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
    (folder / "gres.conf").write_text(GPU.format(**values))
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder / "slurm.conf"} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)


def wait_until(happens, seconds, what):
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, f"after {seconds} s: {what}"
        time.sleep(0.5)


def ours(folder):
    """SLURM's processes of this folder and no other's: daemons, and what looks after a job's steps."""
    setting = f"SLURM_CONF={folder / 'slurm.conf'}".encode()
    for process in psutil.process_iter(["name"]):
        # Not psutil's environ(), which finds nothing where a process wrote its title over the beginning.
        with suppress(OSError):
            environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if process.info["name"].startswith("slurm") and setting in environment:
                yield process


def stop(folder):
    """All of them: slurmd and steps wait for a controller that does not answer, and have to be killed."""
    for end in (psutil.Process.terminate, psutil.Process.kill):
        there = list(ours(folder))
        for process in there:
            with suppress(psutil.NoSuchProcess):
                end(process)
        psutil.wait_procs(there, timeout=10)
    assert not list(ours(folder)), "SLURM does not end"


@contextmanager
def running(folder, cpus=2, memory=16000):
    """A SLURM with one node, this machine, which is said to have so many CPUs and MB; stopped at the end."""
    configure(folder, cpus, memory)
    slurm = Slurm(folder)
    try:
        for daemon in ("slurmctld", "slurmd"):
            slurm.run(daemon)
        wait_until(lambda: slurm.run("sinfo -h -o %T") == "idle", 60, f"the node is not idle, see {folder}")
        yield slurm
    finally:
        with suppress(subprocess.SubprocessError):  # it may not have started, or not answer any more
            subprocess.run(["scancel", "--full", "--me"], env=slurm.environment, check=False, timeout=60)
        stop(folder)
