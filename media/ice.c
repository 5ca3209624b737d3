/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ice.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "ice_agent.h"

#define PATIENCE       (40 * ICE_SECOND) /* for a pair to be found */
#define HASTE	       (3 * ICE_SECOND)	 /* in which a nomination counts as one of several at a time */
#define LATER	       (2 * ICE_SECOND)	 /* after selection, from when on a check is one for consent */
#define STRANGER_EVERY (50 * ICE_MILLISECOND)
#define STRANGERS      40 /* messages at once */
#define FRIEND_EVERY   (10 * ICE_MILLISECOND)
#define FRIENDS	       100

/* A token bucket, as in bpf/police.h. */
static bool conforms(__u64 *full_at, __u64 now, __u64 interval, unsigned burst)
{
	__u64 moment = *full_at > now ? *full_at : now;

	if (moment - now > interval * (burst - 1))
		return false;
	*full_at = moment + interval;
	return true;
}

static bool same_socket(const union socket_address *one, const union socket_address *other)
{
	__u8 left[16], right[16];

	address_from_socket(one, left);
	address_from_socket(other, right);
	return address_port(one) == address_port(other) && !memcmp(left, right, sizeof(left));
}

struct remote *ice_find(struct ice *ice, const union socket_address *address)
{
	for (unsigned i = 0; i < ice->count; i++)
		if (same_socket(&ice->remotes[i].address, address))
			return &ice->remotes[i];
	return NULL;
}

/* One that nothing was heard of the longest, but no signalled one and not the selected one. */
static struct remote *giving_way(struct ice *ice)
{
	struct remote *oldest = NULL;

	for (unsigned i = 0; i < ice->count; i++) {
		struct remote *remote = &ice->remotes[i];

		if (remote != ice->selected && !remote->signalled &&
		    (!oldest || remote->heard < oldest->heard))
			oldest = remote;
	}
	return oldest;
}

struct remote *ice_add(struct ice *ice, const union socket_address *address, __u32 priority)
{
	struct remote *remote = ice_find(ice, address);

	if (remote)
		return remote;
	remote = ice->count < ICE_REMOTES ? &ice->remotes[ice->count++] : giving_way(ice);
	if (remote)
		*remote = (struct remote){.address = *address, .priority = priority};
	return remote;
}

static void add_candidates(struct ice *ice)
{
	for (unsigned i = 0; i < ice->wanted.candidate_count; i++) {
		const struct engine_candidate *candidate = &ice->wanted.candidates[i];
		union socket_address address;
		struct remote *remote;

		address_to_socket(candidate->address, htons(candidate->port), &address);
		remote = ice_add(ice, &address, candidate->priority);
		if (!remote)
			continue;
		remote->signalled = true;
		remote->priority = candidate->priority;
	}
}

/* A pair that was selected before this agent was there. */
static void take_up(struct ice *ice, __u64 now)
{
	union socket_address address;

	if (!ice->outcome->port)
		return;
	address_to_socket(ice->outcome->address, ice->outcome->port, &address);
	ice->selected = ice_add(ice, &address, 0);
	ice->selected->state = REMOTE_VALID;
	ice->selected->nominated = true;
	ice->consented = ice->chosen = ice->selected->heard = now;
	ice->asked = now + ICE_CONSENT;
}

static void begin(struct ice_outcome *outcome, const struct engine_ice *wanted)
{
	outcome->state = wanted->selected.port ? ENGINE_ICE_SELECTED : ENGINE_ICE_CHECKING;
	outcome->port = htons(wanted->selected.port);
	memcpy(outcome->address, wanted->selected.address, sizeof(outcome->address));
}

struct ice *ice_create(const struct engine_ice *wanted, struct ice_outcome *outcome, ice_send send,
		       void *where, __u64 now)
{
	struct ice *ice = calloc(1, sizeof(*ice));

	if (!ice)
		return NULL;
	ice->wanted = *wanted;
	ice->outcome = outcome;
	ice->send = send;
	ice->where = where;
	ice->role = wanted->role;
	ice->began = now;
	if (!outcome->state)
		begin(outcome, wanted);
	add_candidates(ice);
	take_up(ice, now);
	ice_check(ice, now);
	return ice;
}

void ice_destroy(struct ice *ice)
{
	if (ice)
		OPENSSL_cleanse(ice, sizeof(*ice));
	free(ice);
}

static bool same_credentials(const struct engine_ice *one, const struct engine_ice *other)
{
	return !strcmp(one->own_name, other->own_name) && !strcmp(one->own_password, other->own_password) &&
	       !strcmp(one->peer_name, other->peer_name) && !strcmp(one->peer_password, other->peer_password);
}

/* Checks begin anew, and what was selected carries the media until they have found a pair (RFC 8445 §9). */
static void restart(struct ice *ice, const struct engine_ice *wanted, __u64 now)
{
	memcpy(ice->former.own_name, ice->wanted.own_name, ENGINE_ICE_TEXT);
	memcpy(ice->former.own_password, ice->wanted.own_password, ENGINE_ICE_TEXT);
	memcpy(ice->former.peer_name, ice->wanted.peer_name, ENGINE_ICE_TEXT);
	memset(ice->remotes, 0, sizeof(ice->remotes));
	ice->count = 0;
	ice->selected = NULL;
	ice->first_valid = 0;
	ice->role = wanted->role;
	ice->began = now;
	ice->outcome->state = ENGINE_ICE_CHECKING;
}

void ice_change(struct ice *ice, const struct engine_ice *wanted, __u64 now)
{
	if (!same_credentials(&ice->wanted, wanted))
		restart(ice, wanted, now);
	else if (ice_is_lite(ice) != (wanted->role == ICE_LITE))
		ice->role = wanted->role;
	ice->wanted = *wanted;
	add_candidates(ice);
	ice_check(ice, now);
}

void ice_turn(struct ice *ice, enum engine_ice_role role)
{
	if (ice->role == role)
		return;
	ice->role = role;
	for (unsigned i = 0; i < ice->count; i++)
		ice->remotes[i].leading = false;
}

static void select_pair(struct ice *ice, struct remote *remote, __u64 now)
{
	struct ice_outcome *outcome = ice->outcome;

	if (remote == ice->selected && outcome->port)
		return;
	ice->selected = remote;
	ice->chosen = ice->consented = now;
	ice->asked = now + ICE_CONSENT;
	ice->asks_us = false;
	OPENSSL_cleanse(&ice->former, sizeof(ice->former));
	address_from_socket(&remote->address, outcome->address);
	outcome->port = address_port(&remote->address);
	outcome->state = ENGINE_ICE_SELECTED;
}

/*
 * Peers of RFC 5245 nominate every pair that they check, and mean the best; those of RFC 8445 check first and
 * then nominate one, and later maybe another, which they mean though it be a worse one.
 */
static bool is_hasty(const struct ice *ice, const struct remote *remote, __u64 now)
{
	const struct remote *best = ice->selected;

	return best && best != remote && !remote->weighed && remote->priority < best->priority &&
	       best->heard + HASTE > now;
}

void ice_settle(struct ice *ice, struct remote *remote, __u64 now)
{
	if (remote->lost || (ice->role == ICE_CONTROLLED && remote->state != REMOTE_VALID))
		return;
	if (!is_hasty(ice, remote, now))
		select_pair(ice, remote, now);
}

static void reply(struct ice *ice, struct stun_writer *writer, const char *password,
		  const union socket_address *target)
{
	ice->send(ice->where, writer->data, stun_finish(writer, password), target);
}

static void refuse(struct ice *ice, const struct stun_message *request, enum stun_error error,
		   const char *password, const union socket_address *source)
{
	__u8 data[STUN_LONGEST];
	struct stun_writer writer = stun_begin(data, STUN_ERROR, request->transaction);

	stun_put_error(&writer, error, request);
	reply(ice, &writer, password, source);
}

static void agree(struct ice *ice, const struct stun_message *request, const char *password,
		  const union socket_address *source)
{
	__u8 data[STUN_LONGEST], address[16];
	struct stun_writer writer = stun_begin(data, STUN_SUCCESS, request->transaction);

	address_from_socket(source, address);
	stun_put_mapped(&writer, address, address_port(source));
	reply(ice, &writer, password, source);
}

/* Is the user name "own:peer"? */
static bool is_name(const struct stun_message *request, const char *own, const char *peer)
{
	size_t own_length = strlen(own), peer_length = strlen(peer);
	const __u8 *name = request->username;

	return own_length && request->username_length == own_length + 1 + peer_length &&
	       !memcmp(name, own, own_length) && name[own_length] == ':' &&
	       !memcmp(name + own_length + 1, peer, peer_length);
}

/* The password that goes with the name in the request; NULL: a name that is nobody's here. */
static const char *password_of(const struct ice *ice, const struct stun_message *request)
{
	if (is_name(request, ice->wanted.own_name, ice->wanted.peer_name))
		return ice->wanted.own_password;
	if (is_name(request, ice->former.own_name, ice->former.peer_name))
		return ice->former.own_password;
	return NULL;
}

/* RFC 8445 §7.3.1.1; a lite agent never leads one that is not. True: the conflict is the peer's to solve. */
static bool conflicts(struct ice *ice, const struct stun_message *request)
{
	bool stronger = ice->wanted.tiebreaker >= request->tiebreaker;

	if (request->role == STUN_CONTROLLED && ice_is_lite(ice))
		return true;
	if (request->role == STUN_CONTROLLED && ice->role == ICE_CONTROLLED) {
		if (!stronger)
			return true;
		ice_turn(ice, ICE_CONTROLLING);
	}
	if (request->role == STUN_CONTROLLING && ice->role == ICE_CONTROLLING) {
		if (stronger)
			return true;
		ice_turn(ice, ICE_CONTROLLED);
	}
	return false;
}

/* A lite agent takes the peer's own requests for consent as a sign of it: it makes none. */
static void note_interest(struct ice *ice, const struct remote *remote, __u64 now)
{
	if (remote != ice->selected)
		return;
	ice->consented = now;
	if (now - ice->chosen > LATER)
		ice->asks_us = true;
}

/* A check that was answered with success. */
static void learn(struct ice *ice, const struct stun_message *request, const union socket_address *source,
		  __u64 now)
{
	struct remote *remote = ice_add(ice, source, request->priority);

	if (!remote)
		return;
	remote->heard = now;
	if (ice_is_lite(ice)) {
		remote->state = REMOTE_VALID;
		note_interest(ice, remote, now);
	} else if (remote->state != REMOTE_VALID) {
		remote->triggered = true;
	}
	if (ice->role == ICE_CONTROLLING)
		return;
	if (!request->use_candidate) {
		remote->weighed = true;
		return;
	}
	remote->nominated = true;
	ice_settle(ice, remote, now);
}

/* False: not believed. Who does not know the password gets no answer that could tell it is wrong. */
static bool asked(struct ice *ice, const struct stun_message *request, const union socket_address *source,
		  __u64 now)
{
	const char *password;

	if (!request->username || !request->integrity) {
		refuse(ice, request, STUN_BAD_REQUEST, NULL, source);
		return false;
	}
	password = password_of(ice, request);
	if (!password) {
		refuse(ice, request, STUN_UNAUTHENTICATED, NULL, source);
		return false;
	}
	if (!stun_authentic(request, password))
		return false;
	if (request->unknown_count) {
		refuse(ice, request, STUN_UNKNOWN_ATTRIBUTE, password, source);
		return false;
	}
	if (conflicts(ice, request)) {
		refuse(ice, request, STUN_ROLE_CONFLICT, password, source);
		return true;
	}
	agree(ice, request, password, source);
	if (password == ice->wanted.own_password)
		learn(ice, request, source, now);
	return true;
}

/* Whoever was authentic before is not held up by a flood of those who never were. */
static bool within_limit(struct ice *ice, const union socket_address *source, __u64 now)
{
	const struct remote *remote = ice_find(ice, source);

	if (remote && remote->heard)
		return conforms(&ice->friends, now, FRIEND_EVERY, FRIENDS);
	return conforms(&ice->strangers, now, STRANGER_EVERY, STRANGERS);
}

static bool believed(struct ice *ice, const __u8 *data, size_t length, const union socket_address *source,
		     __u64 now)
{
	struct stun_message message;

	if (!within_limit(ice, source, now) || !stun_read(data, length, &message))
		return false;
	switch (message.class) {
	case STUN_REQUEST:
		return asked(ice, &message, source, now);
	case STUN_INDICATION:
		return true; /* keeps the way open, and says nothing that could be believed */
	default:
		return ice_answered(ice, &message, source, now);
	}
}

bool ice_receive(struct ice *ice, const __u8 *data, size_t length, const union socket_address *source,
		 __u64 now)
{
	bool good = believed(ice, data, length, source, now);

	if (good)
		ice->outcome->checks++;
	else
		ice->outcome->refused++;
	ice_check(ice, now);
	return good;
}

static void drop_pair(struct ice *ice, enum engine_ice_state state)
{
	ice->selected = NULL;
	memset(ice->outcome->address, 0, sizeof(ice->outcome->address));
	ice->outcome->port = 0;
	ice->outcome->state = (__u8)state;
}

bool ice_hears(struct ice *ice, const union socket_address *source)
{
	const struct remote *remote = ice->selected ? NULL : ice_find(ice, source);

	return remote && remote->heard && !remote->lost;
}

/* Consent of a peer that never asked for ours cannot be told from silence: media will tell. */
static void look_at_consent(struct ice *ice, __u64 now)
{
	if (!ice->selected || (ice_is_lite(ice) && !ice->asks_us) || now - ice->consented < ICE_EXPIRY)
		return;
	ice->selected->lost = true;
	drop_pair(ice, ENGINE_ICE_LOST);
}

void ice_tick(struct ice *ice, __u64 now)
{
	look_at_consent(ice, now);
	if (ice->outcome->state == ENGINE_ICE_CHECKING && now - ice->began >= PATIENCE)
		drop_pair(ice, ENGINE_ICE_FAILED);
	ice_check(ice, now);
}

__u64 ice_due(const struct ice *ice)
{
	return ice->due;
}
