/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Entries of one layout of bpf/flow.h rewritten as another's: where the fields of a map's value lie, as the
 * map's own type information (BTF) tells, and the copying of many entries field by field.
 */
#ifndef VOXDP_LAYOUTS_SHIM_H
#define VOXDP_LAYOUTS_SHIM_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <bpf/btf.h>
#include "flow.h"
#include "flowtable_shim.h"

#define FIELD_NAME 64

/* A field of a map's value, nested ones as outer.inner; offset and size in bytes. */
struct field_place {
	char name[FIELD_NAME];
	uint32_t offset;
	uint32_t size;
};

/* Bytes to be copied from a place in one entry to a place in another. */
struct field_copy {
	uint32_t from, to, size;
};

static int fields_of_struct(const struct btf *btf, uint32_t type, const char *prefix, uint32_t base,
			    struct field_place *places, int capacity)
{
	const struct btf_type *outer = btf__type_by_id(btf, type);
	const struct btf_member *member = btf_members(outer);
	int found = 0;

	for (int i = 0; i < btf_vlen(outer); i++, member++) {
		int inner = btf__resolve_type(btf, member->type);
		uint32_t offset = base + btf_member_bit_offset(outer, (uint32_t)i) / 8;
		char name[FIELD_NAME];

		if (inner < 0)
			return inner;
		snprintf(name, sizeof(name), "%s%s", prefix, btf__name_by_offset(btf, member->name_off));
		if (btf_is_struct(btf__type_by_id(btf, (uint32_t)inner))) {
			strncat(name, ".", sizeof(name) - strlen(name) - 1);
			int more = fields_of_struct(btf, (uint32_t)inner, name, offset, places + found,
						    capacity - found);
			if (more < 0)
				return more;
			found += more;
			continue;
		}
		if (found == capacity)
			return -E2BIG;
		memcpy(places[found].name, name, sizeof(name));
		places[found].offset = offset;
		places[found++].size = (uint32_t)btf__resolve_size(btf, (uint32_t)inner);
	}
	return found;
}

/* The struct that a map's value is, or that the only variable of a data section is. */
static int value_struct(const struct btf *btf, uint32_t type)
{
	const struct btf_type *value = btf__type_by_id(btf, type);

	if (value && btf_is_datasec(value))
		type = btf__type_by_id(btf, btf_var_secinfos(value)->type)->type;
	return btf__resolve_type(btf, type);
}

/* The fields of a map's value by its BTF; how many, or a negative error: ENOENT where it has no BTF. */
static int map_fields(int map, struct field_place *places, int capacity)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);
	int error = bpf_obj_get_info_by_fd(map, &info, &size), type, found;
	struct btf *btf;

	if (error)
		return error;
	if (!info.btf_id)
		return -ENOENT;
	btf = btf__load_from_kernel_by_id(info.btf_id);
	if (!btf)
		return -errno;
	type = value_struct(btf, info.btf_value_type_id);
	found = type < 0 ? type : fields_of_struct(btf, (uint32_t)type, "", 0, places, capacity);
	btf__free(btf);
	return found;
}

static void entry_copy(const char *from, char *to, const struct field_copy *fields, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		memcpy(to + fields[i].to, from + fields[i].from, fields[i].size);
}

/* Copies `entries` entries of `from_size` and `to_size` bytes, nobody looking. */
static void entries_copy(const char *from, uint32_t from_size, char *to, uint32_t to_size, uint32_t entries,
			 const struct field_copy *fields, uint32_t count)
{
	for (uint32_t i = 0; i < entries; i++)
		entry_copy(from + (uint64_t)i * from_size, to + (uint64_t)i * to_size, fields, count);
}

/* Writes one flow under the kernel's eyes: off, filled, and what the control word says last. */
static void flow_renew(const struct flow *from, struct flow *to)
{
	const size_t head = sizeof(union control_word);
	union control_word control = control_load(to), renewed;

	control.state = FLOW_OFF;
	control_store(to, control);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	memcpy((char *)to + head, (const char *)from + head, sizeof(*to) - head);
	memcpy(&renewed, from, head);
	control_store(to, renewed);
}

/* Adds to a counter of 4 or 8 bytes that the kernel counts on. */
static void counter_add(void *counter, uint32_t size, int64_t amount)
{
	if (size == sizeof(uint64_t))
		__atomic_fetch_add((uint64_t *)counter, (uint64_t)amount, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add((uint32_t *)counter, (uint32_t)amount, __ATOMIC_RELAXED);
}

/* Indexes at which two arrays of entries differ, at most `entries`; how many. */
static uint32_t entries_differing(const char *a, const char *b, uint32_t size, uint32_t entries,
				  uint32_t *indexes)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < entries; i++)
		if (memcmp(a + (uint64_t)i * size, b + (uint64_t)i * size, size))
			indexes[found++] = i;
	return found;
}

#endif
