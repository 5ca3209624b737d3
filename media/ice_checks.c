/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a full agent asks: checks toward the peer's candidates, a nomination where it leads, and consent. */
#include <openssl/rand.h>
#include <string.h>

#include "ice_agent.h"

#define FIRST_WAIT   (500 * ICE_MILLISECOND) /* for the answer to a check; then twice as long */
#define LONGEST_WAIT (4 * ICE_SECOND)
#define TRIES	     7
#define WEIGH	     (300 * ICE_MILLISECOND) /* for a better pair, once there is one */
#define KEEP_ALIVE   (15 * ICE_SECOND)	     /* between two indications of a lite agent (RFC 8445 §11) */
#define LOOK	     (1 * ICE_SECOND)	     /* between two looks at consent and patience */

static void draw(__u8 *transaction)
{
	RAND_bytes(transaction, STUN_TRANSACTION);
}

static void send_request(struct ice *ice, const struct remote *remote, const __u8 *transaction, bool use)
{
	__u8 data[STUN_LONGEST];
	struct stun_writer writer = stun_begin(data, STUN_REQUEST, transaction);

	stun_put_username(&writer, ice->wanted.peer_name, ice->wanted.own_name);
	stun_put_priority(&writer, ice->wanted.priority);
	stun_put_role(&writer, ice->role == ICE_CONTROLLING ? STUN_CONTROLLING : STUN_CONTROLLED,
		      ice->wanted.tiebreaker);
	if (use)
		stun_put_use_candidate(&writer);
	ice->send(ice->where, data, stun_finish(&writer, ice->wanted.peer_password), &remote->address);
}

static void send_indication(struct ice *ice, const struct remote *remote)
{
	__u8 data[STUN_LONGEST], transaction[STUN_TRANSACTION];
	struct stun_writer writer;

	draw(transaction);
	writer = stun_begin(data, STUN_INDICATION, transaction);
	ice->send(ice->where, data, stun_finish(&writer, NULL), &remote->address);
}

static void begin_check(struct ice *ice, struct remote *remote, bool leading, __u64 now)
{
	/* One that is under way is sent again rather than given up for another: its answer may be on the way.
	 */
	if (leading || remote->state != REMOTE_CHECKING)
		draw(remote->transaction);
	remote->leading = leading;
	remote->triggered = false;
	if (!leading)
		remote->state = REMOTE_CHECKING;
	remote->tries = 1;
	remote->due = now + FIRST_WAIT;
	send_request(ice, remote, remote->transaction, leading);
}

static bool is_open(const struct remote *remote)
{
	return remote->state == REMOTE_CHECKING || remote->leading;
}

static void fail(struct remote *remote)
{
	remote->state = REMOTE_FAILED;
	remote->leading = remote->triggered = false;
	remote->due = 0;
}

static void try_again(struct ice *ice, struct remote *remote, __u64 now)
{
	__u64 wait = FIRST_WAIT << remote->tries;

	if (remote->tries >= TRIES) {
		fail(remote);
		return;
	}
	remote->tries++;
	remote->due = now + (wait < LONGEST_WAIT ? wait : LONGEST_WAIT);
	send_request(ice, remote, remote->transaction, remote->leading);
}

static struct remote *waiting(struct ice *ice, bool triggered)
{
	struct remote *best = NULL;

	for (unsigned i = 0; i < ice->count; i++) {
		struct remote *remote = &ice->remotes[i];
		bool waits =
			triggered ? remote->triggered : remote->state == REMOTE_WAITING && remote->signalled;

		if (waits && !remote->leading && (!best || remote->priority > best->priority))
			best = remote;
	}
	return best;
}

static struct remote *overdue(struct ice *ice, __u64 now)
{
	for (unsigned i = 0; i < ice->count; i++)
		if (is_open(&ice->remotes[i]) && ice->remotes[i].due <= now)
			return &ice->remotes[i];
	return NULL;
}

/* At most one check at a time: those that an incoming one asked for, those unanswered, then the best one. */
static bool check_next(struct ice *ice, __u64 now)
{
	struct remote *remote = waiting(ice, true);

	if (!remote) {
		remote = overdue(ice, now);
		if (remote) {
			try_again(ice, remote, now);
			return true;
		}
		remote = waiting(ice, false);
	}
	if (remote)
		begin_check(ice, remote, false, now);
	return remote;
}

static bool is_hopeful(const struct remote *remote)
{
	return remote->triggered || remote->state == REMOTE_CHECKING ||
	       (remote->state == REMOTE_WAITING && remote->signalled);
}

/* The best valid pair, once none that may still become valid is better or has taken too long. */
static void nominate(struct ice *ice, __u64 now)
{
	struct remote *best = NULL;
	bool better = false;

	if (ice->role != ICE_CONTROLLING || ice->selected || !ice->first_valid)
		return;
	for (unsigned i = 0; i < ice->count; i++) {
		struct remote *remote = &ice->remotes[i];

		if (remote->leading)
			return;
		if (remote->state == REMOTE_VALID && !remote->lost &&
		    (!best || remote->priority > best->priority))
			best = remote;
	}
	for (unsigned i = 0; best && i < ice->count; i++)
		better |= is_hopeful(&ice->remotes[i]) && ice->remotes[i].priority > best->priority;
	if (best && (!better || now - ice->first_valid >= WEIGH))
		begin_check(ice, best, true, now);
}

/* Every 4 to 6 s, so that those of many calls do not come together (RFC 7675 §5.1). */
static __u64 until_next_request(void)
{
	__u16 drawn = 0;

	RAND_bytes((__u8 *)&drawn, sizeof(drawn));
	return ICE_CONSENT * 4 / 5 + ICE_CONSENT * 2 / 5 * drawn / 65535;
}

static void ask_consent(struct ice *ice, __u64 now)
{
	if (!ice->selected || ice->asked > now)
		return;
	if (ice_is_lite(ice)) {
		send_indication(ice, ice->selected);
		ice->asked = now + KEEP_ALIVE;
		return;
	}
	draw(ice->transaction);
	send_request(ice, ice->selected, ice->transaction, false);
	ice->asked = now + until_next_request();
}

/* With nothing left to try, and nothing more to come, waiting is of no use. */
static void give_up(struct ice *ice)
{
	if (!ice->wanted.complete || ice->outcome->state != ENGINE_ICE_CHECKING || !ice->count)
		return;
	for (unsigned i = 0; i < ice->count; i++)
		if (ice->remotes[i].state != REMOTE_FAILED)
			return;
	ice->outcome->state = ENGINE_ICE_FAILED;
}

static __u64 earliest_try(const struct ice *ice, __u64 now)
{
	__u64 due = now + LOOK;

	for (unsigned i = 0; i < ice->count; i++) {
		const struct remote *remote = &ice->remotes[i];

		if ((remote->triggered && !remote->leading) ||
		    (remote->state == REMOTE_WAITING && remote->signalled))
			return ice->paced;
		if (is_open(remote) && remote->due < due)
			due = remote->due;
		if (remote->state == REMOTE_VALID && !ice->selected && ice->role == ICE_CONTROLLING &&
		    ice->first_valid + WEIGH < due && ice->first_valid + WEIGH > now)
			due = ice->first_valid + WEIGH;
	}
	return due > ice->paced ? due : ice->paced;
}

void ice_check(struct ice *ice, __u64 now)
{
	ask_consent(ice, now);
	ice->due = now + LOOK;
	if (ice_is_lite(ice))
		return;
	nominate(ice, now);
	if (ice->paced <= now && check_next(ice, now))
		ice->paced = now + ICE_PACE;
	give_up(ice);
	ice->due = earliest_try(ice, now);
}

static struct remote *open_check(struct ice *ice, const __u8 *transaction)
{
	for (unsigned i = 0; i < ice->count; i++)
		if (is_open(&ice->remotes[i]) &&
		    !memcmp(ice->remotes[i].transaction, transaction, STUN_TRANSACTION))
			return &ice->remotes[i];
	return NULL;
}

/* What we asked one address has to be answered from there (RFC 8445 §7.2.5.2.1). */
static bool is_from(struct ice *ice, const struct remote *remote, const union socket_address *source)
{
	return ice_find(ice, source) == remote;
}

static void succeeded(struct ice *ice, struct remote *remote, __u64 now)
{
	bool nomination = remote->leading;

	remote->state = REMOTE_VALID;
	remote->leading = false;
	remote->heard = now;
	if (!ice->first_valid)
		ice->first_valid = now;
	if (nomination || (ice->role == ICE_CONTROLLED && remote->nominated))
		ice_settle(ice, remote, now);
	if (nomination)
		return;
	nominate(ice, now);
}

static void refused(struct ice *ice, struct remote *remote, const struct stun_message *message)
{
	if (message->error != STUN_ROLE_CONFLICT) {
		fail(remote);
		return;
	}
	ice_turn(ice, ice->role == ICE_CONTROLLING ? ICE_CONTROLLED : ICE_CONTROLLING);
	remote->state = REMOTE_WAITING;
	remote->leading = false;
	remote->triggered = true;
}

bool ice_answered(struct ice *ice, const struct stun_message *message, const union socket_address *source,
		  __u64 now)
{
	bool consent = ice->selected && !memcmp(ice->transaction, message->transaction, STUN_TRANSACTION);
	struct remote *remote = consent ? ice->selected : open_check(ice, message->transaction);

	if (!remote || ice_is_lite(ice) || message->unknown_count)
		return false;
	if (!stun_authentic(message, ice->wanted.peer_password))
		return false;
	if (!is_from(ice, remote, source)) {
		if (!consent)
			fail(remote);
		return false;
	}
	if (message->class == STUN_ERROR && !consent)
		refused(ice, remote, message);
	else if (consent && message->class == STUN_SUCCESS)
		ice->consented = now;
	else if (message->class == STUN_SUCCESS)
		succeeded(ice, remote, now);
	return true;
}
