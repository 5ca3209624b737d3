/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The inside of an ICE agent, for the files that share it: ice.c answers, ice_checks.c asks. */
#ifndef VOXDP_ICE_AGENT_H
#define VOXDP_ICE_AGENT_H

#include "ice.h"
#include "stun.h"

#define ICE_MILLISECOND 1000000ULL
#define ICE_SECOND	1000000000ULL
#define ICE_REMOTES	32		       /* signalled ones, and those learned from checks */
#define ICE_PACE	(50 * ICE_MILLISECOND) /* between two checks of ours (RFC 8445 §14.2) */
#define ICE_CONSENT	(5 * ICE_SECOND)       /* between two requests for consent, more or less */
#define ICE_EXPIRY	(30 * ICE_SECOND)      /* of consent (RFC 7675 §5.1) */

enum remote_state {
	REMOTE_WAITING,
	REMOTE_CHECKING, /* a check is under way */
	REMOTE_VALID,	 /* a check of ours was answered, or being lite we need none */
	REMOTE_FAILED,
};

struct remote {
	union socket_address address;
	__u32 priority;
	__u8 state;	/* enum remote_state */
	bool signalled; /* a candidate of the description */
	bool weighed;	/* was checked by the peer without being nominated: a nomination is no haste */
	bool nominated; /* by the peer: takes effect once valid */
	bool leading;	/* the check under way is our nomination */
	bool triggered; /* to be checked at once */
	bool lost;	/* its consent has expired: not again with these credentials */
	__u64 heard;	/* last authentic message from there; 0: none */
	__u8 transaction[STUN_TRANSACTION];
	unsigned tries;
	__u64 due; /* of the next try, or of giving up */
};

/* What requests of before a restart are known by, until the restart has found a pair. */
struct former {
	char own_name[ENGINE_ICE_TEXT];
	char own_password[ENGINE_ICE_TEXT];
	char peer_name[ENGINE_ICE_TEXT];
};

struct ice {
	struct engine_ice wanted;
	struct ice_outcome *outcome;
	ice_send send;
	void *where;
	enum engine_ice_role role; /* now */
	struct former former;	   /* own_name empty: none */
	struct remote remotes[ICE_REMOTES];
	unsigned count;
	struct remote *selected; /* NULL: none of these credentials */
	__u64 began;
	__u64 due;
	__u64 paced;			    /* when the next check may go out */
	__u64 first_valid;		    /* 0: no pair is valid yet */
	__u64 consented;		    /* last sign of consent on the selected pair */
	__u64 asked;			    /* when consent is asked for, or the pair kept alive, next */
	__u64 chosen;			    /* when the pair was selected */
	bool asks_us;			    /* the peer goes on checking the selected pair */
	__u8 transaction[STUN_TRANSACTION]; /* of the last request for consent */
	__u64 strangers, friends;	    /* when these may be answered in full again: see conforms */
};

/* The remote end at an address; NULL: not known. */
struct remote *ice_find(struct ice *ice, const union socket_address *address);

/* The same, added if there is room or one to give way. */
struct remote *ice_add(struct ice *ice, const union socket_address *address, __u32 priority);

/* Nominated and valid: takes the pair, unless a better one was nominated as hastily. */
void ice_settle(struct ice *ice, struct remote *remote, __u64 now);

/* The peer leads, or follows, as we do: takes the other role. */
void ice_turn(struct ice *ice, enum engine_ice_role role);

/* An answer to a check or a request for consent of ours. False: not believed. */
bool ice_answered(struct ice *ice, const struct stun_message *message, const union socket_address *source,
		  __u64 now);

/* Our own checks, nomination and consent, as far as they are due; sets `due`. */
void ice_check(struct ice *ice, __u64 now);

static inline bool ice_is_lite(const struct ice *ice)
{
	return ice->role == ICE_LITE;
}

#endif
