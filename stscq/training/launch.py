"""Start a stage as several processes of this machine, one a GPU, by Accelerate's launcher. docs/many-gpus.md

python -m stscq.training.launch 4 stscq.training.stage2 --store data/demo/faces ...

Without a GPU the processes share the CPU: that is for trying it. On many machines the same command is run on each, and
NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT say how many they are, which this is, and where the first one listens.
"""

import os
import sys
from collections.abc import Mapping

import torch

from stscq import ranks
from stscq.device import DeviceError, gpu_locks, lock, take_several
from stscq.errors import ParamsError, StscqError


def main(arguments: list[str]) -> None:
    """ARGUMENTS: how many processes, module, its options. Ends with code 1 if a process does."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        several = int(arguments[0])
        if torch.cuda.is_available():
            os.environ["CUDA_VISIBLE_DEVICES"] = own_gpus(several)
        launch(several, arguments[1:])
    except ChildFailedError:
        sys.exit("error: one of the processes ended with an error; its own line stands above")


def launch(several: int, command: list[str]) -> None:
    """Runs a module with its options in SEVERAL processes, and waits for them."""
    try:
        from accelerate.commands.launch import launch_command, launch_command_parser
    except ImportError as problem:
        raise ParamsError(
            "gpu: several processes need the package accelerate; install it, or ask for 1 GPU"
        ) from problem
    # multi_gpu is Accelerate's word for its launcher of several processes on one machine, with GPUs or without. The
    # rest is said because it would be looked up in a file in the user's home.
    options = [
        "--multi_gpu",
        *machines(several, os.environ),
        *("--mixed_precision", "no"),
        *("--dynamo_backend", "no"),
        "--module",
    ]
    os.environ[ranks.TOGETHER] = "1"
    launch_command(launch_command_parser().parse_args([*options, *command]))


def machines(several: int, environment: Mapping[str, str]) -> list[str]:
    """What Accelerate is told of the machines that train together, each with SEVERAL processes: this one, or NNODES.

    Raises ParamsError when it is not said where the first one is.
    """
    count = int(environment.get("NNODES", "1"))
    options = {"num_machines": str(count), "num_processes": str(count * several)}
    if count == 1:
        options["main_process_port"] = "0"  # any that is free
    elif missing := [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]:
        raise ParamsError(f"NNODES={count}: set {', '.join(missing)}, too (docs/many-gpus.md)")
    else:
        options["machine_rank"] = environment["NODE_RANK"]
        options["main_process_ip"] = environment["MASTER_ADDR"]
        options["main_process_port"] = environment["MASTER_PORT"]
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def own_gpus(several: int) -> str:
    """For CUDA_VISIBLE_DEVICES: GPUs that no other job of this machine holds, kept while this process lives.

    Waits until so many are free. Raises DeviceError when there are fewer.
    """
    locks = gpu_locks()
    if len(locks) < several:
        raise DeviceError(
            f"gpu: {several} asked for, and {len(locks)} are here; ask for fewer in params.yaml (resources)"
        )
    return names_of(take_several(locks, several, lock("gpus")), os.environ.get("CUDA_VISIBLE_DEVICES"))


def names_of(numbers: list[int], visible: str | None) -> str:
    """GPUs as torch numbers them, in the words of CUDA_VISIBLE_DEVICES, which may have hidden and reordered some."""
    names = visible.split(",") if visible else [str(number) for number in range(max(numbers) + 1)]
    return ",".join(names[number] for number in numbers)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except StscqError as problem:
        sys.exit(f"error: {problem}")
