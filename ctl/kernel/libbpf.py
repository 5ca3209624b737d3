# SPDX-License-Identifier: GPL-3.0-or-later
"""libbpf for Python: objects, programs, maps and links, each owning its file descriptor.

Every failure becomes a BpfError that carries errno and what libbpf or the verifier said.
"""

from __future__ import annotations

import errno
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from ctl.kernel._libbpf import ffi, lib

LOG_LINES = 12
XDP_FLAGS = {"generic": 1 << 1, "native": 1 << 2}
PER_CPU_TYPES = frozenset(
    (lib.BPF_MAP_TYPE_PERCPU_HASH, lib.BPF_MAP_TYPE_PERCPU_ARRAY, lib.BPF_MAP_TYPE_LRU_PERCPU_HASH)
)

Mode = Literal["native", "generic"]

lib.libbpf_log_capture()


class BpfError(OSError):
    """The kernel or libbpf refused. `errno` is set; the text has the reason, as far as one was given."""


class Handle:
    """A file descriptor of a BPF thing; closed with the object, or before by `close`."""

    kind: ClassVar[str]
    """What the kernel calls such a descriptor in /proc/self/fd."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._closing = weakref.finalize(self, os.close, fd)

    def close(self) -> None:
        """Close the descriptor; again is harmless."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def pin(self, path: Path) -> None:
        """Give the thing a name in a bpf file system, so that it outlives this process."""
        check(lib.bpf_obj_pin(self.fd, os.fsencode(path)), f"pin {path}")

    @classmethod
    def from_pin(cls, path: Path) -> Self:
        """Open a pinned thing. Needs read and write permission on the file, no capability."""
        fd = check(lib.bpf_obj_get(os.fsencode(path)), f"open {path}")
        found = os.readlink(f"/proc/self/fd/{fd}").rpartition(":")[2]
        if found != cls.kind:
            os.close(fd)
            raise BpfError(errno.EINVAL, f"{path} is a {found}, not a {cls.kind}; run: voxdp detach")
        return cls(fd)


@dataclass(frozen=True, slots=True)
class TestRun:
    """One BPF_PROG_TEST_RUN: the verdict, the packet after the last run, nanoseconds of one run."""

    __test__ = False  # pytest takes the name for a test

    retval: int
    data: bytes
    duration_ns: int


class Program(Handle):
    """A loaded program."""

    kind = "bpf-prog"

    @classmethod
    def from_id(cls, program_id: int) -> Program:
        """Open any program of the system by its id. Needs CAP_SYS_ADMIN."""
        return cls(check(lib.bpf_prog_get_fd_by_id(program_id), f"open program {program_id}"))

    @property
    def info(self) -> Any:
        """The kernel's struct bpf_prog_info, as a cffi struct."""
        return query(self.fd, "struct bpf_prog_info")

    @property
    def id(self) -> int:
        """The kernel's number of the program."""
        return int(self.info.id)

    @property
    def name(self) -> str:
        """At most 15 characters."""
        return text(self.info.name)

    @property
    def tag(self) -> str:
        """Hash of the instructions: 16 hexadecimal digits."""
        return bytes(self.info.tag).hex()

    @property
    def verified_instructions(self) -> int:
        """How many instructions the verifier walked through."""
        return int(self.info.verified_insns)

    @property
    def map_ids(self) -> tuple[int, ...]:
        """Ids of the maps that the program uses."""
        count = self.info.nr_map_ids
        ids = ffi.new("uint32_t[]", max(count, 1))
        info = ffi.new("struct bpf_prog_info *", {"nr_map_ids": count})
        info.map_ids = int(ffi.cast("uintptr_t", ids))
        size = ffi.new("uint32_t *", ffi.sizeof("struct bpf_prog_info"))
        check(lib.bpf_obj_get_info_by_fd(self.fd, info, size), "ask for the maps of the program")
        return tuple(ids[0:count])

    def test_run(
        self,
        data: bytes,
        *,
        repeat: int = 1,
        ingress_ifindex: int = 0,
        live_frames: bool = False,
        batch: int = 0,
    ) -> TestRun:
        """Run the program on a frame by BPF_PROG_TEST_RUN. Needs CAP_BPF and CAP_NET_ADMIN.

        ingress_ifindex: as if the frame came in on that interface. live_frames: `repeat` frames really leave
        by XDP_TX and redirects, `batch` (at most 256, 0: the kernel's 64) at a time; then nothing comes back.
        """
        packet = ffi.from_buffer(data)
        result = ffi.new("uint8_t[]", 0 if live_frames else len(data) + 256)
        context = ffi.new("struct xdp_md *", {"data_end": len(data), "ingress_ifindex": ingress_ifindex})
        options = ffi.new("struct bpf_test_run_opts *", {"sz": ffi.sizeof("struct bpf_test_run_opts")})
        options.data_in, options.data_size_in = packet, len(data)
        options.repeat = repeat
        if ingress_ifindex:
            options.ctx_in, options.ctx_size_in = context, ffi.sizeof("struct xdp_md")
        if live_frames:
            options.flags, options.batch_size = lib.BPF_F_TEST_XDP_LIVE_FRAMES, batch
        else:
            options.data_out, options.data_size_out = result, len(result)
        check(lib.bpf_prog_test_run_opts(self.fd, options), "test run")
        output = b"" if live_frames else ffi.buffer(result, options.data_size_out)[:]
        return TestRun(options.retval, output, options.duration)


class Map(Handle):
    """A map. Keys and values are bytes of exactly `key_size` and `value_size`."""

    kind = "bpf-map"

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = query(fd, "struct bpf_map_info")
        self.id = int(info.id)
        self.name = text(info.name)
        self.type = int(info.type)
        self.key_size = int(info.key_size)
        self.value_size = int(info.value_size)
        self.max_entries = int(info.max_entries)

    @classmethod
    def from_id(cls, map_id: int) -> Map:
        """Open any map of the system by its id. Needs CAP_SYS_ADMIN."""
        return cls(check(lib.bpf_map_get_fd_by_id(map_id), f"open map {map_id}"))

    def update(self, key: bytes, value: bytes) -> None:
        """Store a value, new or not."""
        self._check_size("key", key, self.key_size)
        if self.type not in PER_CPU_TYPES:
            self._check_size("value", value, self.value_size)
        else:
            self._check_size("values of all CPUs", value, self._per_cpu_stride() * cpu_count())
        check(lib.bpf_map_update_elem(self.fd, key, value, 0), f"update map {self.name}")

    def lookup(self, key: bytes) -> bytes:
        """The value; BpfError with ENOENT if there is none. Not for per-CPU maps."""
        if self.type in PER_CPU_TYPES:
            raise ValueError(f"map {self.name} has a value for each CPU: use lookup_percpu")
        return self._lookup(key, self.value_size)

    def lookup_percpu(self, key: bytes) -> list[bytes]:
        """The value of every possible CPU, in their order."""
        if self.type not in PER_CPU_TYPES:
            raise ValueError(f"map {self.name} has one value for all CPUs: use lookup")
        stride = self._per_cpu_stride()
        values = self._lookup(key, stride * cpu_count())
        return [values[start : start + self.value_size] for start in range(0, len(values), stride)]

    def freeze(self) -> None:
        """Forbid user space to change the map from now on."""
        check(lib.bpf_map_freeze(self.fd), f"freeze map {self.name}")

    def mmap(self, writable: bool) -> mmap.mmap:
        """The values of an array with BPF_F_MMAPABLE, one after the other, as shared memory."""
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        size = self.max_entries * ((self.value_size + 7) & ~7)
        return mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED, prot=protection)

    def _lookup(self, key: bytes, size: int) -> bytes:
        self._check_size("key", key, self.key_size)
        value = ffi.new("uint8_t[]", size)
        check(lib.bpf_map_lookup_elem(self.fd, key, value), f"look up in map {self.name}")
        return bytes(ffi.buffer(value))

    def _per_cpu_stride(self) -> int:
        return (self.value_size + 7) & ~7

    def _check_size(self, what: str, data: bytes, size: int) -> None:
        if len(data) != size:
            raise ValueError(f"{what} of map {self.name} has {size} bytes, got {len(data)}")


class Link(Handle):
    """An XDP link: holds a program on an interface until it is closed everywhere, unless pinned."""

    kind = "bpf-link"

    @classmethod
    def attach_xdp(cls, program: Program, ifindex: int, mode: Mode) -> Link:
        """Put the program on an interface; EBUSY if one is there already, EOPNOTSUPP if the driver cannot."""
        fd = lib.xdp_link_create(program.fd, ifindex, XDP_FLAGS[mode])
        return cls(check(fd, f"attach XDP in {mode} mode"))

    @property
    def program_id(self) -> int:
        """Id of the program that the link holds."""
        return int(query(self.fd, "struct bpf_link_info").prog_id)

    @property
    def ifindex(self) -> int:
        """Interface of the link; 0 once the interface is gone or the link was detached."""
        info = query(self.fd, "struct bpf_link_info")
        return int(lib.link_ifindex(ffi.addressof(info)))

    def held(self) -> tuple[int, int]:
        """Say where the link is and what it holds: `ifindex` and `program_id` at one moment."""
        info = query(self.fd, "struct bpf_link_info")
        return int(lib.link_ifindex(ffi.addressof(info))), int(info.prog_id)

    def update(self, program: Program) -> None:
        """Replace the program atomically: every packet meets the former or the new one."""
        check(lib.bpf_link_update(self.fd, program.fd, ffi.NULL), "update the link")

    def destroy(self) -> None:
        """Take the program off the interface, whoever else holds the link, and close."""
        check(lib.bpf_link_detach(self.fd), "detach the link")
        self.close()


class BpfObject:
    """A BPF object file: opened, adjusted, loaded."""

    def __init__(self, pointer: Any, path: Path) -> None:
        self.path = path
        self._pointer = ffi.gc(pointer, lib.bpf_object__close)

    @classmethod
    def open(cls, path: Path, *, map_sizes: Mapping[str, int] = {}, rodata: bytes | None = None) -> BpfObject:
        """Read an object file.

        map_sizes: max_entries by name of map. rodata: value of its `const volatile` variable `config`.
        """
        lib.libbpf_log_clear()
        pointer = lib.bpf_object__open_file(os.fsencode(path), ffi.NULL)
        check_pointer(pointer, f"open {path}")
        loaded = cls(pointer, path)
        for name, size in map_sizes.items():
            check(lib.bpf_map__set_max_entries(loaded._map(name), size), f"resize map {name}")
        if rodata is not None:
            loaded.set_variable("config", rodata)
        return loaded

    def set_variable(self, name: str, value: bytes) -> None:
        """Set the first value of a global variable, in whatever section it is; before `load`."""
        place = ffi.new("uint32_t[2]")
        section = lib.object_variable(self._pointer, name.encode(), place, place + 1)
        check_pointer(section, f"find variable {name} in {self.path}", errno.ENOENT)
        if place[1] != len(value):
            raise ValueError(f"variable {name} of {self.path} has {place[1]} bytes, got {len(value)}")
        memory = lib.bpf_map__initial_value(section, ffi.new("size_t *"))
        ffi.memmove(ffi.cast("uint8_t *", memory) + place[0], value, len(value))

    def reuse(self, name: str, existing: Map) -> None:
        """Let the object use an existing map in place of one of its own; before `load`."""
        check(lib.bpf_map__reuse_fd(self._map(name), existing.fd), f"reuse map {name}")

    def load(self) -> None:
        """Create the maps and have the programs verified. Needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON."""
        lib.libbpf_log_clear()
        check(lib.bpf_object__load(self._pointer), f"load {self.path}")

    def program(self, name: str) -> Program:
        """A loaded program."""
        program = lib.bpf_object__find_program_by_name(self._pointer, name.encode())
        check_pointer(program, f"find program {name} in {self.path}", errno.ENOENT)
        return Program(duplicate(check(lib.bpf_program__fd(program), f"use program {name} before load")))

    def map(self, name: str) -> Map:
        """A map of the loaded object; `config` is the data section that holds the variable `config`."""
        return Map(duplicate(check(lib.bpf_map__fd(self._map(name)), f"use map {name} before load")))

    def close(self) -> None:
        """Free libbpf's memory. Programs and maps taken from the object stay open."""
        ffi.release(self._pointer)

    def _map(self, name: str) -> Any:
        found = lib.bpf_object__find_map_by_name(self._pointer, name.encode())
        if not found:
            place = ffi.new("uint32_t[2]")
            found = lib.object_variable(self._pointer, name.encode(), place, place + 1)
        return check_pointer(found, f"find map {name} in {self.path}", errno.ENOENT)


def check(result: int, action: str) -> int:
    """The one place where a return code of libbpf becomes an error; gives back a good one."""
    if result < 0:
        raise failure(-result, action)
    return result


def check_pointer(pointer: Any, action: str, number: int | None = None) -> Any:
    """The same for functions that return NULL and set errno."""
    if not pointer:
        raise failure(number or ffi.errno, action)
    return pointer


def failure(number: int, action: str) -> BpfError:
    """An error with the last lines of what libbpf printed since the log was cleared."""
    detail = "".join(f"\n  {line}" for line in failure_log())
    return BpfError(number, f"cannot {action}: {os.strerror(number)}{detail}")


def failure_log() -> list[str]:
    """The last lines that libbpf printed in this thread, once."""
    said: str = ffi.string(lib.libbpf_log_text()).decode(errors="replace")
    lib.libbpf_log_clear()
    return said.strip().splitlines()[-LOG_LINES:]


def query(fd: int, kind: str) -> Any:
    """BPF_OBJ_GET_INFO_BY_FD into a new cffi struct of the given kind."""
    info = ffi.new(f"{kind} *")
    check(lib.bpf_obj_get_info_by_fd(fd, info, ffi.new("uint32_t *", ffi.sizeof(kind))), f"query {kind}")
    return info[0]


def text(characters: Any) -> str:
    """A fixed character array as text."""
    return bytes(ffi.string(characters)).decode()


def duplicate(fd: int) -> int:
    """A second descriptor, closed on exec."""
    return os.dup(fd)


def cpu_count() -> int:
    """Possible CPUs: the number of values that a per-CPU map has for a key."""
    return check(lib.libbpf_num_possible_cpus(), "count the CPUs: /sys must be mounted")
