# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds `ctl.kernel._libbpf`: libbpf, the structs of bpf/flow.h and the C that works on mapped flows.

Run as a script it builds in place; setuptools builds it by way of `ffibuilder`.
"""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

TYPES = """
typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;
typedef uint16_t __be16; typedef uint32_t __be32;
"""

LIBBPF = """
struct bpf_object; struct bpf_program; struct bpf_map;

struct bpf_object *bpf_object__open_file(const char *path, const void *opts);
int bpf_object__load(struct bpf_object *object);
void bpf_object__close(struct bpf_object *object);
struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *object, const char *name);
int bpf_program__fd(const struct bpf_program *program);
struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *object, const char *name);
int bpf_map__fd(const struct bpf_map *map);
int bpf_map__reuse_fd(struct bpf_map *map, int fd);
int bpf_map__set_max_entries(struct bpf_map *map, uint32_t max_entries);
const void *bpf_map__initial_value(struct bpf_map *map, size_t *size);

int bpf_obj_get(const char *path);
int bpf_obj_pin(int fd, const char *path);
int bpf_prog_get_fd_by_id(uint32_t id);
int bpf_map_get_fd_by_id(uint32_t id);
int bpf_obj_get_info_by_fd(int fd, void *info, uint32_t *size);
int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags);
int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_freeze(int fd);
int bpf_link_update(int fd, int program, const void *opts);
int bpf_link_detach(int fd);
int libbpf_num_possible_cpus(void);

#define BPF_F_TEST_XDP_LIVE_FRAMES ...
#define BPF_MAP_TYPE_PERCPU_HASH ...
#define BPF_MAP_TYPE_PERCPU_ARRAY ...
#define BPF_MAP_TYPE_LRU_PERCPU_HASH ...

struct xdp_md { uint32_t data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct bpf_test_run_opts {
    size_t sz;
    const void *data_in; void *data_out; uint32_t data_size_in, data_size_out;
    const void *ctx_in; uint32_t ctx_size_in;
    uint32_t retval; int repeat; uint32_t duration, flags, batch_size; ...;
};
int bpf_prog_test_run_opts(int fd, struct bpf_test_run_opts *options);

struct bpf_prog_info {
    uint32_t type, id; uint8_t tag[8]; uint32_t jited_prog_len, xlated_prog_len; uint64_t load_time;
    uint32_t nr_map_ids; uint64_t map_ids; char name[16]; uint64_t run_time_ns, run_cnt;
    uint32_t verified_insns; ...;
};
struct bpf_map_info {
    uint32_t type, id, key_size, value_size, max_entries, map_flags; char name[16]; ...;
};
struct bpf_link_info { uint32_t type, id, prog_id; ...; };

struct bpf_xdp_query_opts { size_t sz; uint32_t prog_id, drv_prog_id, skb_prog_id; uint8_t attach_mode; ...; };
int bpf_xdp_query(int ifindex, int flags, struct bpf_xdp_query_opts *options);
int bpf_xdp_attach(int ifindex, int program, uint32_t flags, const void *opts);
int bpf_xdp_detach(int ifindex, uint32_t flags, const void *opts);
#define XDP_FLAGS_UPDATE_IF_NOEXIST ...
#define XDP_FLAGS_SKB_MODE ...
#define XDP_FLAGS_DRV_MODE ...
enum { XDP_ATTACHED_NONE, XDP_ATTACHED_DRV, XDP_ATTACHED_SKB, XDP_ATTACHED_HW, XDP_ATTACHED_MULTI, ... };
"""

SHIM = """
void libbpf_log_capture(void);
void libbpf_log_clear(void);
const char *libbpf_log_text(void);
struct bpf_map *object_variable(struct bpf_object *object, const char *name, uint32_t *offset,
                                uint32_t *size);
int xdp_link_create(int program, int ifindex, uint32_t xdp_flags);
uint32_t link_ifindex(const struct bpf_link_info *info);
long file_system_magic(const char *path);
"""

FLOWS = """
struct flow_table {
    struct flow *flows; struct flow_ledger *ledgers; uint32_t entries, generation;
    uint32_t addresses[RELAY_ADDRESSES][4];
};
struct flow_wanted { uint32_t index; ...; };
void rule_encode(const struct flow_wanted *wanted, const uint32_t local[4], struct flow_rule *rule,
                 struct flow_wide *wide);
uint32_t rate_interval(uint32_t rate);
bool flow_set_flags(struct flow *flow, uint16_t set, uint16_t clear);
uint32_t flows_clear_flags(const struct flow_table *table, uint16_t flags);
bool flow_off(struct flow *flow);
bool flows_write(struct flow_table *table, const void *packed, uint32_t count, uint32_t size, uint32_t tenant,
                 bool fresh);
uint32_t flows_active(const struct flow_table *table, uint32_t *indexes, uint32_t capacity);
uint32_t flows_generation(const struct flow_table *table);
struct flow_columns {
    uint64_t *packets, *bytes, *last_seen, *rejected, *dropped;
    uint32_t *jitter, *largest_gap, *lost, *reordered, *duplicates, *payload_type;
};
bool flows_columns(const struct flow_table *table, const uint32_t *indexes, uint32_t count,
                   const struct flow_columns *columns);
struct flow_counts { uint64_t packets; ...; };
bool flows_counts(const struct flow_table *table, const uint32_t *indexes, uint32_t count,
                  struct flow_counts *into);
uint32_t events_drain(void *consumer_page, const void *producer_pages, uint32_t page_size, uint64_t mask,
                      struct event *events, uint32_t capacity);
uint32_t copies_drain(void *consumer_page, const void *producer_pages, uint32_t page_size, uint64_t mask,
                      struct copy *copies, uint32_t capacity);
"""

LAYOUTS = """
struct field_place { char name[64]; uint32_t offset, size; };
struct field_copy { uint32_t from, to, size; };
int map_fields(int map, struct field_place *places, int capacity);
void entries_copy(const char *from, uint32_t from_size, char *to, uint32_t to_size, uint32_t entries,
                  const struct field_copy *fields, uint32_t count);
void entry_copy(const char *from, char *to, const struct field_copy *fields, uint32_t count);
void flow_renew(const struct flow *from, struct flow *to);
void counter_add(void *counter, uint32_t size, int64_t amount);
uint32_t entries_differing(const char *a, const char *b, uint32_t size, uint32_t entries, uint32_t *indexes);
"""

SOURCE = """
#include <linux/types.h>
#include "flow.h"
#include "libbpf_shim.h"
#include "flowtable_shim.h"
#include "flowcounts_shim.h"
#include "events_shim.h"
#include "layouts_shim.h"
"""


def flow_declarations() -> str:
    """What cffi can read of bpf/flow.h: all but the preprocessor's lines, save those that define a number."""
    number = re.compile(r"#define\s+\w+\s+(0x[0-9a-fA-F]+|\d+)")
    lines = []
    for line in (ROOT / "bpf" / "flow.h").read_text().splitlines():
        define = number.match(line)
        if define:
            lines.append(define.group())
        elif not line.startswith("#"):
            lines.append(line)
        elif "/*" in line and "*/" not in line:
            raise ValueError(f"flow.h: a comment goes on after a preprocessor line: {line}")
    return "\n".join(lines)


ffibuilder = FFI()
ffibuilder.cdef(TYPES + flow_declarations() + LIBBPF + SHIM + FLOWS + LAYOUTS)
ffibuilder.set_source(
    "ctl.kernel._libbpf",
    SOURCE,
    include_dirs=[str(ROOT / "bpf"), str(HERE)],
    depends=[str(ROOT / "bpf" / "flow.h"), *map(str, sorted(HERE.glob("*_shim.h")))],
    libraries=["bpf"],
    extra_compile_args=["-O2", "-Wall", "-Wextra"],
)


def build_in_place() -> None:
    """Put the module beside this file, under the name that setuptools gives it too, and nothing else."""
    with TemporaryDirectory() as scratch:
        built = ffibuilder.compile(tmpdir=scratch, target="_libbpf.abi3.so")
        shutil.move(built, HERE / "_libbpf.abi3.so")


if __name__ == "__main__":
    build_in_place()
