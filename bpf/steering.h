/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What steering.bpf.c and user space agree on. Included after <linux/bpf.h>, or by cffi. */
#ifndef VOXDP_STEERING_H
#define VOXDP_STEERING_H

#define STEERING_SLOTS	   256	 /* Call-IDs fall into so many; slot modulo workers is the worker */
#define STEERING_DEPTH	   16384 /* bytes of a message in which the Call-ID is looked for */
#define STEERING_LISTENERS 64
#define STEERING_SOCKETS   4096
#define STEERING_IPV4	   2

/* An address and port that several sockets share. */
struct listener {
	__u32 family;
	__u32 port;	  /* as the host writes numbers */
	__u32 address[4]; /* as it stands in the packet; IPv4 in the first */
};

/* Its sockets: `workers` of them, from `first` on in the map of sockets. */
struct share {
	__u32 first;
	__u32 workers;
};

#endif
