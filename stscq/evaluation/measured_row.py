"""Seconds and memory of one coding scheme, on random weights: what stscq.evaluation.measure_cost runs for each row.

A peak is the highest use of memory since just before the model was built. On a CPU: resident memory of the process
(Linux), so that libraries loaded before do not count, and scratch space of kernels does. On CUDA: what torch allocated.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from stscq.backbones import Tokenizer
from stscq.backbones.base import fast_layout
from stscq.device import full_precision, own_device
from stscq.evaluation.cost import CodingScheme, on_meta
from stscq.evaluation.int8_codebooks import MIB
from stscq.machine import machine
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.router import Router
from stscq.quantization.search import Assignment, search_cr, search_nn

REPEATS = {"cpu": 2, "cuda": 20}
"""Timed searches after one to warm up; half as many passes of encoder and decoder."""
T = TypeVar("T")


class MeasuredCost(NamedTuple):
    """Seconds of every timed pass of one image; peaks in MiB, of the sender alone and with the receiver added."""

    encoder_seconds: list[float]
    search_seconds: list[float]
    decoder_seconds: list[float]
    sender_peak_mib: float
    peak_mib: float
    device: str


class Sender(NamedTuple):
    """What turns an image into indices; router is None with one group, or with selection nn."""

    tokenizer: Tokenizer
    codebooks: Codebooks
    router: Router | None


@torch.inference_mode()
@full_precision()
def measure(scheme: CodingScheme, threads: int, repeats: int | None = None) -> MeasuredCost:
    """Codes one random image on `own_device()`, as precisely as the codec does; `threads` of the CPU, `repeats` as
    REPEATS."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = own_device()
    repeats = repeats or REPEATS[device.type]
    memory = Peak(device)
    sender = build_sender(scheme, device)
    image = torch.rand(1, 3, scheme.model["image_size"], scheme.model["image_size"], device=device)
    image = image.contiguous(memory_format=torch.channels_last)

    passes = max(1, repeats // 2)
    encoding, z_e = timed(lambda: sender.tokenizer.encode(image), passes, device)
    searching, assignment = timed(lambda: search(sender, z_e), repeats, device)
    sender_peak = memory.mib()
    for part in sender.tokenizer.decoder_parts():
        fill(part.to_empty(device=device), recurse=True)
    decoding, _ = timed(lambda: sender.tokenizer.decode(sender.codebooks.lookup(assignment)), passes, device)
    return MeasuredCost(encoding, searching, decoding, sender_peak, memory.mib(), name_of(device))


def build_sender(scheme: CodingScheme, device: torch.device) -> Sender:
    """Random weights; the tokenizer's decoder stays on the meta device, where it takes no memory."""
    tokenizer = fast_layout(on_meta(scheme.model))
    tokenizer.take_codebook()
    receiver = {module for part in tokenizer.decoder_parts() for module in part.modules()}
    for module in tokenizer.modules():
        if module not in receiver:
            fill(module.to_empty(device=device, recurse=False), recurse=False)
    sizes = (scheme.held_groups, scheme.codebooks_per_group(tokenizer.T), scheme.K, tokenizer.d)
    weight = torch.empty(sizes, device=device).uniform_(-1, 1)
    routed = scheme.selection == "router"
    router = Router(scheme.M, tokenizer.T, tokenizer.d, scheme.rank).to(device) if routed else None
    return Sender(tokenizer, Codebooks(weight, tokenizer.metric), router)


def fill(module: nn.Module, recurse: bool) -> None:
    """Small random weights: no number grows beyond bounds, and none is so small that arithmetic slows down."""
    for parameter in module.parameters(recurse=recurse):
        parameter.uniform_(-0.1, 0.1)


def search(sender: Sender, z_e: Tensor) -> Assignment:
    """As at inference: in all groups, or in the one that the router selects, which is the one in memory."""
    codebooks = sender.codebooks
    if sender.router is None:
        return search_nn(z_e, codebooks.weight, codebooks.metric)
    group = sender.router(z_e).argmax(1)
    return search_cr(z_e, codebooks.weight, torch.zeros_like(group), codebooks.metric)


def timed(call: Callable[[], T], repeats: int, device: torch.device) -> tuple[list[float], T]:
    """Seconds of each call after one to warm up, the GPU's work included; and what the last one gave."""
    seconds = []
    result = call()
    for _ in range(repeats):
        wait_for(device)
        began = time.perf_counter()
        result = call()
        wait_for(device)
        seconds.append(time.perf_counter() - began)
    return seconds, result


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Peak:
    """Highest use of memory since it was made, see the head of this file; nan where the system does not tell."""

    def __init__(self, device: torch.device):
        self.device = device
        self.highest = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device) / MIB
        else:
            self.before = resident_mib("VmRSS")

    def mib(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MIB - self.before
        # The kernel counts pages by CPU and adds up now and then: its peak may go down by a few of them.
        self.highest = max(resident_mib("VmHWM") - self.before, self.highest)  # nan stays nan
        return self.highest


def resident_mib(field: str) -> float:
    """VmRSS, the process's resident memory, or VmHWM, the highest it ever was."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), float("nan"))


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(machine()["cpu"])
