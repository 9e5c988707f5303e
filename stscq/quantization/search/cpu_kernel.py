"""The kernel for CPUs in LLVM's language, and compiled for a machine.

Each latent is a lane of a vector, so its top score is found without a step across lanes, and entries are read as they
lie: for a few latents, when most lanes are idle, still nearly as fast as they come from memory. `Kernel` says in C what
it writes: compiled from C it is no faster, and needs a compiler on every machine (docs/search.md has the numbers).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, c_int64, c_void_p
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir

AHEAD = 4096
"""Entries are asked for from memory this many floats (16 KiB) before they are multiplied."""
BLOCK = 64
"""Channels whose products are summed one by one. Then the sums are added: few roundings meet in a score."""
FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, INTS, LONGS = FLOAT.as_pointer(), INT.as_pointer(), LONG.as_pointer()


class Machine(NamedTuple):
    """cpu, features: in LLVM's words; width: floats in a vector; entries: multiplied at once, by one or two vectors of
    latents, which is as many sums as the registers hold."""

    cpu: str
    features: str
    width: int
    entries: int


@cache
def this_machine() -> Machine | None:
    """None where products and sums are not one instruction (x86 before 2013)."""
    features = llvm.get_host_cpu_features()
    shape = None
    if features.get("avx512f"):
        shape = 16, 8
    elif features.get("fma"):
        shape = 8, 4
    elif llvm.get_process_triple().startswith(("aarch64", "arm64")):
        shape = 4, 8
    return shape and Machine(llvm.get_host_cpu_name(), features.flatten(), *shape)


@cache
def compiled(machine: Machine, vectors: int, metric: str, with_entry: bool) -> Callable[..., None]:
    """The kernel as machine code, in some 30 ms. metric: inner where nothing corrects the scores.

    Arguments as in `Kernel`: seven addresses and four numbers.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    target_machine = target.create_target_machine(cpu=machine.cpu, features=machine.features, opt=3)
    module = llvm.parse_assembly(str(Kernel(machine, vectors, metric, with_entry).module))
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_unrolling = tuning.loop_vectorization = tuning.slp_vectorization = False  # it is written in vectors
    builder = llvm.create_pass_builder(target_machine, tuning)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, target_machine)
    engine.finalize_object()
    call: Any = CFUNCTYPE(None, *[c_void_p] * 7, *[c_int64] * 4)(engine.get_function_address("top_scores"))
    call.engine = engine  # which owns the code
    return call


class Kernel:
    """Writes `void top_scores(z, latents, entries, corrections, top, entry, second, first, last, K, d)`. In C with
    vectors it would be this; each method below writes the part that its docstring quotes.

        for (long block = first; block < last; block++) {
            const vector *z_block = z + latents[block] * d * vectors;             // d x vectors
            const float *e = entries[block], *c = corrections[block];             // K x d, K
            vector top[vectors] = -INFINITY, second[vectors] = -INFINITY;         // and int entry[vectors] = 0
            for (long k = 0; k < K; k += together) {                              // the last K % together one by one
                vector sums[together][vectors];
                multiply(sums, z_block, e + k * d);
                for (int u = 0; u < together; u++) compare(sums[u], k + u, c);
            }
            store top, entry and second at block * vectors;
        }

    z: blocks of d x lanes floats; for each block of work, latents: the number of a block of z, entries and corrections:
    the addresses of a codebook and of its corrections. top, entry and second have a lane for each lane. `vectors`,
    `together` and the metric are constants: loops over them are written out, and LLVM holds the vectors in registers.
    """

    def __init__(self, machine: Machine, vectors: int, metric: str, with_entry: bool):
        self.width, self.vectors, self.metric, self.with_entry = machine.width, range(vectors), metric, with_entry
        self.lanes = vectors * machine.width
        self.vector, self.whole = ir.VectorType(FLOAT, self.width), ir.VectorType(INT, self.width)
        self.module = ir.Module()
        types = [FLOATS, LONGS, LONGS, LONGS, FLOATS, INTS, FLOATS, LONG, LONG, LONG, LONG]
        self.function = self._function("top_scores", ir.VoidType(), types)
        self.z, self.latents, self.entries, self.corrections, *self.outputs, first, last, self.K, self.d = (
            self.function.args
        )
        self.fma = self._function(f"llvm.fma.v{self.width}f32", self.vector, [self.vector] * 3)
        self.prefetch = self._function("llvm.prefetch.p0", ir.VoidType(), [FLOATS, INT, INT, INT])
        self.ir = ir.IRBuilder(self.function.append_basic_block())
        self.top, self.second = (self._variables(self.vector, vectors) for _ in range(2))
        self.entry = self._variables(self.whole, vectors)
        self.sums = [self._variables(self.vector, vectors) for _ in range(machine.entries)]
        with self._loop(first, last, 1) as block:
            self._block(block, together=machine.entries)
        self.ir.ret_void()

    def _block(self, block: ir.Value, together: int) -> None:
        """The body of the outermost loop."""
        b = self.ir
        size = b.mul(self.d, LONG(self.lanes))
        z = b.gep(self.z, [b.mul(b.load(b.gep(self.latents, [block])), size)])
        entries = b.inttoptr(b.load(b.gep(self.entries, [block])), FLOATS)
        corrections = None
        if self.metric != "inner":
            corrections = b.inttoptr(b.load(b.gep(self.corrections, [block])), FLOATS)
        for v in self.vectors:
            b.store(self.vector([float("-inf")] * self.width), self.top[v])
            b.store(self.vector([float("-inf")] * self.width), self.second[v])
            b.store(self.whole([0] * self.width), self.entry[v])
        even = b.sub(self.K, b.urem(self.K, LONG(together)))
        for first, last, step in ((LONG(0), even, together), (even, self.K, 1)):
            with self._loop(first, last, step) as start:
                numbers = [b.add(start, LONG(u)) for u in range(step)]
                self._multiply(z, [b.gep(entries, [b.mul(k, self.d)]) for k in numbers])
                for k, sums in zip(numbers, self.sums, strict=False):
                    self._compare(sums, k, corrections)
        self._write(b.mul(block, LONG(self.lanes)))

    def _multiply(self, z: ir.Value, entries: list[ir.Value]) -> None:
        """BLOCK channels are summed apart, so that few roundings meet in a sum:

        sums = products(z, e, 0, min(BLOCK, d));
        for (first = BLOCK; first < d; first += BLOCK) sums += products(z, e, first, min(first + BLOCK, d));
        """
        b, sums, block = self.ir, self.sums[: len(entries)], LONG(BLOCK)
        self._products(z, entries, LONG(0), self._smaller(block, self.d))
        with self._loop(block, self.d, BLOCK) as first:
            before = [[b.load(variable) for variable in variables] for variables in sums]
            self._products(z, entries, first, self._smaller(b.add(first, block), self.d))
            for variables, others in zip(sums, before, strict=True):
                for variable, other in zip(variables, others, strict=True):
                    b.store(b.fadd(other, b.load(variable)), variable)

    def _products(self, z: ir.Value, entries: list[ir.Value], first: ir.Value, last: ir.Value) -> None:
        """sums = 0;
        for (channel = first; channel < last; channel++) {
            prefetch(e[0] + channel * together + AHEAD);
            sums[u][v] = fma(e[u][channel], z[channel][v], sums[u][v]);    // for all u and v
        }
        """
        b, sums = self.ir, self.sums[: len(entries)]
        for variable in chain(*sums):
            b.store(self.vector([0.0] * self.width), variable)
        with self._loop(first, last, 1) as channel:
            at = b.mul(channel, LONG(self.lanes))
            latents = [b.load(self._vector_at(z, at, v), align=4) for v in self.vectors]
            ahead = b.add(b.mul(channel, LONG(len(entries))), LONG(AHEAD))
            b.call(self.prefetch, [b.gep(entries[0], [ahead]), INT(0), INT(3), INT(1)])
            for entry, variables in zip(entries, sums, strict=True):
                value = self._splat(b.load(b.gep(entry, [channel])), self.vector)
                for v in self.vectors:
                    b.store(b.call(self.fma, [value, latents[v], b.load(variables[v])]), variables[v])

    def _compare(self, sums: list[ir.Value], k: ir.Value, corrections: ir.Value | None) -> None:
        """For all v:

        score = sums[v] * c[k];                                 // euclidean: sums[v] - c[k]; uncorrected: sums[v]
        second[v] = max(min(score, top[v]), second[v]);
        entry[v] = score > top[v] ? k : entry[v];
        top[v] = score > top[v] ? score : top[v];
        """
        b = self.ir
        if corrections is not None:
            correction = self._splat(b.load(b.gep(corrections, [k])), self.vector)
        for v in self.vectors:
            score, top = b.load(sums[v]), b.load(self.top[v])
            if corrections is not None:
                score = (b.fmul if self.metric == "cosine" else b.fsub)(score, correction)
            more = b.fcmp_ordered(">", score, top)
            b.store(b.select(more, score, top), self.top[v])
            if self.with_entry:
                second = b.load(self.second[v])
                lower = b.select(b.fcmp_ordered("<", score, top), score, top)
                b.store(b.select(b.fcmp_ordered(">", lower, second), lower, second), self.second[v])
                number = self._splat(b.trunc(k, INT), self.whole)
                b.store(b.select(more, number, b.load(self.entry[v])), self.entry[v])

    def _write(self, at: ir.Value) -> None:
        """Stores top, entry and second for the lanes from `at` on."""
        for variables, output in zip((self.top, self.entry, self.second), self.outputs, strict=True):
            for v in self.vectors if self.with_entry or variables is self.top else ():
                self.ir.store(self.ir.load(variables[v]), self._vector_at(output, at, v), align=4)

    def _function(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        return ir.Function(self.module, ir.FunctionType(result, arguments), name)

    def _variables(self, kind: ir.Type, number: int) -> list[ir.Value]:
        return [self.ir.alloca(kind) for _ in range(number)]

    def _smaller(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """min(a, b)"""
        return self.ir.select(self.ir.icmp_signed("<", a, b), a, b)

    def _vector_at(self, pointer: ir.Value, at: ir.Value, v: int) -> ir.Value:
        """(vector *) (pointer + at) + v"""
        kind = self.whole if pointer.type.pointee == INT else self.vector
        at = self.ir.add(at, LONG(v * self.width))
        return self.ir.bitcast(self.ir.gep(pointer, [at]), kind.as_pointer())

    def _splat(self, value: ir.Value, kind: ir.VectorType) -> ir.Value:
        """The same number in all lanes."""
        one = self.ir.insert_element(kind(ir.Undefined), value, INT(0))
        return self.ir.shuffle_vector(one, kind(ir.Undefined), self.whole([0] * self.width))

    @contextmanager
    def _loop(self, first: ir.Value, last: ir.Value, step: int) -> Iterator[ir.Value]:
        """for (number = first; number < last; number += step)"""
        with self.ir.goto_entry_block():
            variable = self.ir.alloca(LONG)
        self.ir.store(first, variable)
        head, body, end = (self.function.append_basic_block(name) for name in ("head", "body", "end"))
        self.ir.branch(head)
        self.ir.position_at_end(head)
        number = self.ir.load(variable)
        self.ir.cbranch(self.ir.icmp_signed("<", number, last), body, end)
        self.ir.position_at_end(body)
        yield number
        self.ir.store(self.ir.add(number, LONG(step)), variable)
        self.ir.branch(head)
        self.ir.position_at_end(end)
