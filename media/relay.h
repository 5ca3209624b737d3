/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From socket or wire to socket or wire: received, judged, unprotected, staged, protected and sent. No lock
 * or wait. */
#ifndef VOXDP_RELAY_H
#define VOXDP_RELAY_H

#include "flow_crypto.h"
#include "flow_slot.h"
#include "nap.h"
#include "relay_batch.h"
#include "stage.h"
#include "wire.h"
#include "worker_page.h"

struct stage_output {
	struct relay *relay;
	struct flow_slot *slot; /* whose stage sends */
};

/* What a worker carries packets with. */
struct relay {
	struct relay_batch batch;
	struct wires wires; /* used where they lead to the next hop, else the sockets */
	struct worker_page *page;
	struct crypto_place place;
	struct stage_output output;
	unsigned ready; /* packets of batch.out to be sent from the partner's socket of the flow at hand */
	unsigned made;	/* of them, those in batch.made */
	__u64 now;
	struct nap nap;
};

/* ns of CLOCK_MONOTONIC. */
__u64 relay_clock(void);

/* Moves what waits at the flow's socket, at most one batch of it; counts every packet. */
void relay_socket(struct relay *relay, struct flow_slot *slot);

/* Moves a datagram of the flow that came by a wire; `now` is the caller's to set. */
void relay_datagram(struct relay *relay, struct flow_slot *slot, struct relay_packet *packet);

/* Lets the flow's stage and handshake do what is due. */
void relay_tick(struct relay *relay, struct flow_slot *slot);

/* A datagram of DTLS to the peer that `slot` receives from. */
void relay_send_dtls(struct flow_slot *slot, const __u8 *data, size_t length);

#endif
