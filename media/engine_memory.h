/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an engine consists of. */
#ifndef VOXDP_ENGINE_MEMORY_H
#define VOXDP_ENGINE_MEMORY_H

#include "dtls.h"
#include "engine.h"
#include "history_store.h"
#include "intake.h"
#include "table.h"
#include "vault.h"
#include "worker.h"

struct engine {
	struct table table;
	struct worker_shared shared;
	struct history_store store;
	struct vault vault;
	struct dtls_identity identity;
	struct exchange exchange;
	struct worker_page *pages; /* one per worker */
	struct worker *workers;
	unsigned worker_count;
	unsigned restarts;
	int watch; /* epoll of the workers' pidfds */
};

#endif
