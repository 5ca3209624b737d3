/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What libbpf asks of C and Python cannot give: a print callback with a va_list, the option structs, and
 * the walk through BTF to a variable of the object.
 */
#ifndef VOXDP_LIBBPF_SHIM_H
#define VOXDP_LIBBPF_SHIM_H

#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#define LOG_SIZE (256 * 1024)

static __thread char libbpf_log[LOG_SIZE];
static __thread size_t libbpf_log_used;

/* Keep what libbpf says of the calling thread's call; the rest of an overlong text is let go. */
static int libbpf_log_append(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t room = LOG_SIZE - libbpf_log_used;

	if (level == LIBBPF_DEBUG || room <= 1)
		return 0;
	int written = vsnprintf(libbpf_log + libbpf_log_used, room, format, arguments);
	if (written > 0)
		libbpf_log_used += (size_t)written < room ? (size_t)written : room - 1;
	return written;
}

static void libbpf_log_capture(void)
{
	libbpf_set_print(libbpf_log_append);
}

static void libbpf_log_clear(void)
{
	libbpf_log_used = 0;
	libbpf_log[0] = 0;
}

static const char *libbpf_log_text(void)
{
	return libbpf_log;
}

/* The data section of `object` that holds the variable `name`; its place there by way of the pointers. */
static struct bpf_map *object_variable(struct bpf_object *object, const char *name, uint32_t *offset,
				       uint32_t *size)
{
	const struct btf *btf = bpf_object__btf(object);
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		const struct btf_type *section = btf__type_by_id(btf, bpf_map__btf_value_type_id(map));

		if (!section || !btf_is_datasec(section))
			continue;
		const struct btf_var_secinfo *entry = btf_var_secinfos(section);
		for (int i = 0; i < btf_vlen(section); i++, entry++) {
			const struct btf_type *variable = btf__type_by_id(btf, entry->type);

			if (strcmp(btf__name_by_offset(btf, variable->name_off), name) == 0) {
				*offset = entry->offset;
				*size = entry->size;
				return map;
			}
		}
	}
	return NULL;
}

/* A link for XDP on an interface; its descriptor, or a negative error. */
static int xdp_link_create(int program, int ifindex, uint32_t xdp_flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = xdp_flags);

	return bpf_link_create(program, ifindex, BPF_XDP, &options);
}

/* Interface index of an XDP link. cffi knows no anonymous unions. */
static uint32_t link_ifindex(const struct bpf_link_info *info)
{
	return info->xdp.ifindex;
}

/* statfs's f_type; -1 if there is no such path. */
static long file_system_magic(const char *path)
{
	struct statfs status;

	return statfs(path, &status) ? -1 : (long)status.f_type;
}

#endif
