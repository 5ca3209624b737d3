/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * STUN messages (RFC 8489) as ICE uses them (RFC 8445 §7): Binding alone, short-term credentials, and a
 * FINGERPRINT, without which a message is none. Reads hostile bytes; knows nothing of who may say what.
 */
#ifndef VOXDP_STUN_H
#define VOXDP_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#define STUN_TRANSACTION 12
#define STUN_UNKNOWNS	 8   /* attributes that are named in a refusal */
#define STUN_LONGEST	 640 /* of a message of ours: two names and whatever else ICE puts in */

enum stun_class {
	STUN_REQUEST,
	STUN_INDICATION,
	STUN_SUCCESS,
	STUN_ERROR,
};

enum stun_error {
	STUN_BAD_REQUEST = 400,
	STUN_UNAUTHENTICATED = 401,
	STUN_UNKNOWN_ATTRIBUTE = 420,
	STUN_ROLE_CONFLICT = 487,
};

/* Who leads, by the sender's word. */
enum stun_role {
	STUN_NO_ROLE,
	STUN_CONTROLLED,
	STUN_CONTROLLING,
};

/* What a message says; pointers lead into it. */
struct stun_message {
	const __u8 *data;
	size_t length;
	const __u8 *transaction; /* STUN_TRANSACTION bytes */
	const __u8 *username;	 /* NULL: none */
	size_t username_length;
	size_t integrity; /* where MESSAGE-INTEGRITY begins, 0: there is none */
	__u64 tiebreaker;
	__u32 priority; /* 0: none */
	unsigned error; /* of STUN_ERROR; 0: none */
	enum stun_class class;
	enum stun_role role;
	bool use_candidate;
	bool mapped; /* XOR-MAPPED-ADDRESS is there */
	__be16 mapped_port;
	__u8 mapped_address[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned unknown_count;	 /* attributes that must be understood, and are not */
	__u16 unknown[STUN_UNKNOWNS];
};

/* A message that is being written into `data`, which has room for STUN_LONGEST bytes. */
struct stun_writer {
	__u8 *data;
	size_t length;
};

/* Is this datagram STUN, by its first byte (RFC 7983), its length and the cookie? */
bool stun_owns(const __u8 *data, size_t length);

/* Reads a Binding message. False: damaged, of another method, or without a right FINGERPRINT at its end. */
bool stun_read(const __u8 *data, size_t length, struct stun_message *message);

/* Whether MESSAGE-INTEGRITY was made with this password. Takes as long for a wrong one as for the right. */
bool stun_authentic(const struct stun_message *message, const char *password);

struct stun_writer stun_begin(__u8 *data, enum stun_class class, const __u8 *transaction);

/* "to:from", as a request to who has the name `to` says. */
void stun_put_username(struct stun_writer *writer, const char *to, const char *from);

void stun_put_priority(struct stun_writer *writer, __u32 priority);
void stun_put_role(struct stun_writer *writer, enum stun_role role, __u64 tiebreaker);
void stun_put_use_candidate(struct stun_writer *writer);

/* XOR-MAPPED-ADDRESS; 16 bytes, port in network order. */
void stun_put_mapped(struct stun_writer *writer, const __u8 *address, __be16 port);

/* ERROR-CODE; with STUN_UNKNOWN_ATTRIBUTE also which they are. */
void stun_put_error(struct stun_writer *writer, enum stun_error error, const struct stun_message *about);

/* MESSAGE-INTEGRITY, unless `password` is NULL, then FINGERPRINT. Returns how long the message is. */
size_t stun_finish(struct stun_writer *writer, const char *password);

#endif
