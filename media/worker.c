/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The asking side of a worker: started, asked, watched and ended. */
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "intake.h"

#define MILLISECOND 1000000ULL

static int by_number(const void *one, const void *other)
{
	return *(const int *)one - *(const int *)other;
}

/* Every other open file is the engine's own business, or another worker's: kept open, a port would stay
 * taken. */
static void close_all_but(int *kept, unsigned count)
{
	unsigned from = 3;

	qsort(kept, count, sizeof(*kept), by_number);
	for (unsigned i = 0; i < count; i++) {
		if ((unsigned)kept[i] > from)
			syscall(SYS_close_range, from, (unsigned)kept[i] - 1, 0);
		if ((unsigned)kept[i] >= from)
			from = (unsigned)kept[i] + 1;
	}
	syscall(SYS_close_range, from, ~0U, 0);
}

static void keep_own_files(const struct worker *worker, int channel)
{
	const struct table *table = worker->shared->table;
	const struct exchange *exchange = worker->shared->exchange;
	const struct wire_files *wires = &worker->shared->wire_files[worker->number * ENGINE_WIRES];
	int *kept = malloc((table->used + 1 + exchange->workers + 2 * ENGINE_WIRES) * sizeof(*kept));
	unsigned count = 0;

	if (!kept)
		_exit(1);
	kept[count++] = channel;
	for (unsigned i = 0; i < exchange->workers; i++)
		kept[count++] = exchange->bells[i];
	for (unsigned i = 0; i < ENGINE_WIRES; i++)
		if (wires[i].open) {
			kept[count++] = wires[i].descriptor;
			kept[count++] = wires[i].memory;
		}
	for (__u32 slot = 0; slot < table->capacity; slot++)
		if (table->bindings[slot].key.port && table->bindings[slot].worker == worker->number)
			kept[count++] = table->bindings[slot].socket;
	close_all_but(kept, count);
	free(kept);
}

/*
 * Before all else that wants this CPU, if whoever started the engine allows it that (LimitRTPRIO, ulimit -r):
 * then a packet waits for none of it. A worker that would not give the CPU back is ended as one that hangs.
 */
static void go_first(void)
{
	struct rlimit most;
	struct sched_param priority = {.sched_priority = 1};

	if (!getrlimit(RLIMIT_RTPRIO, &most) && most.rlim_cur)
		sched_setscheduler(0, SCHED_RR, &priority);
}

static _Noreturn void become_worker(const struct worker *worker, int channel, pid_t parent)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	prctl(PR_SET_NAME, "voxdp-worker");
	for (int number = 1; number < NSIG; number++)
		signal(number, number == SIGHUP || number == SIGINT ? SIG_IGN : SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	keep_own_files(worker, channel);
	go_first();
	if (send(channel, "", 1, MSG_NOSIGNAL) != 1)
		_exit(0);
	worker_run(worker, channel);
}

/* A byte on the channel, in time. */
static int wait_answer(const struct worker *worker)
{
	struct pollfd answer = {.fd = worker->channel, .events = POLLIN};
	char byte;
	int ready;

	do {
		ready = poll(&answer, 1, ENGINE_HANG_MILLIS);
	} while (ready < 0 && errno == EINTR);
	return ready == 1 && recv(worker->channel, &byte, 1, MSG_DONTWAIT) == 1 ? 0 : -1;
}

static void forget_process(struct worker *worker)
{
	int error = errno;

	if (worker->descriptor >= 0)
		close(worker->descriptor);
	if (worker->channel >= 0)
		close(worker->channel);
	worker->descriptor = worker->channel = -1;
	worker->process = 0;
	errno = error;
}

int worker_start(struct worker *worker)
{
	pid_t parent = getpid();
	int channels[2];

	worker->descriptor = worker->channel = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channels))
		return -1;
	worker->channel = channels[0];
	worker->page->slot = NO_SLOT;
	worker->beat = worker->page->beat;
	worker->beat_time = 0;
	worker->process = fork();
	if (!worker->process)
		become_worker(worker, channels[1], parent);
	close(channels[1]);
	if (worker->process > 0) {
		worker->starts++;
		worker->descriptor = (int)syscall(SYS_pidfd_open, worker->process, 0);
		/* Until it has closed what is not its own, a port that is given up would stay taken. */
		if (worker->descriptor >= 0 && !wait_answer(worker))
			return 0;
		worker_stop(worker);
		return -1;
	}
	forget_process(worker);
	return -1;
}

void worker_stop(struct worker *worker)
{
	if (worker->process > 0) {
		kill(worker->process, SIGKILL);
		while (waitpid(worker->process, NULL, 0) < 0 && errno == EINTR)
			;
	}
	forget_process(worker);
}

bool worker_alive(struct worker *worker, __u64 now)
{
	__u64 beat = __atomic_load_n(&worker->page->beat, __ATOMIC_RELAXED);

	if (worker->process <= 0 || waitpid(worker->process, NULL, WNOHANG)) {
		worker->process = 0;
		return false;
	}
	if (beat != worker->beat || !worker->beat_time) {
		worker->beat = beat;
		worker->beat_time = now;
	}
	intake_ring(worker->shared->exchange, worker->number);
	return now - worker->beat_time < ENGINE_HANG_MILLIS * MILLISECOND;
}

static int post(const struct worker *worker, const int *sockets, unsigned count)
{
	union {
		struct cmsghdr align;
		__u8 bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	char byte = 1;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

	if (count) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(count * sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), sockets, count * sizeof(int));
	}
	return sendmsg(worker->channel, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

int worker_ask(struct worker *worker, const int *sockets, unsigned count)
{
	if (worker->channel < 0 || post(worker, sockets, count))
		return -1;
	return wait_answer(worker);
}
