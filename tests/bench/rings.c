/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The same socket relay by epoll with recvmsg and sendto, and by io_uring with receives always posted and
 * sends and receives submitted together. Arguments: epoll or uring, pairs of sockets, packets a second and
 * pair, seconds. Prints ns of CPU of the relay's thread for each packet, and how many it relayed.
 *
 * A pair is an ingress and an egress on loopback; a second thread sends to the ingresses, on its own CPU.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BYTES	172
#define ENTRIES 4096
#define NAP	400000

struct pair {
	int in, out;
	struct sockaddr_in target;
	char data[2048];
	struct iovec part;
	struct msghdr message;
};

static struct pair *pairs;
static int *senders;
static unsigned count, rate;
static double seconds;
static volatile int over;

static __u64 clock_of(clockid_t which)
{
	struct timespec now;

	clock_gettime(which, &now);
	return (__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec;
}

static int udp(struct sockaddr_in *name)
{
	int descriptor = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t length = sizeof(*name);

	*name = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (descriptor < 0 || bind(descriptor, (struct sockaddr *)name, sizeof(*name)) ||
	    getsockname(descriptor, (struct sockaddr *)name, &length))
		exit(2);
	return descriptor;
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *speak(void *unused)
{
	char data[BYTES] = {0};
	__u64 began = clock_of(CLOCK_MONOTONIC), step = 1000000000ULL / ((__u64)rate * count);

	on_cpu(0);
	for (__u64 i = 0; !over; i++) {
		while (clock_of(CLOCK_MONOTONIC) < began + i * step)
			if (over)
				return NULL;
		send(senders[i % count], data, sizeof(data), 0);
	}
	return unused;
}

static void open_pairs(void)
{
	struct sockaddr_in name;

	pairs = calloc(count, sizeof(*pairs));
	senders = calloc(count, sizeof(*senders));
	for (unsigned i = 0; i < count; i++) {
		struct pair *pair = &pairs[i];

		udp(&pair->target); /* a sink that nobody reads */
		pair->out = udp(&name);
		pair->in = udp(&name);
		senders[i] = socket(AF_INET, SOCK_DGRAM, 0);
		if (connect(senders[i], (struct sockaddr *)&name, sizeof(name)))
			exit(2);
		pair->part = (struct iovec){pair->data, sizeof(pair->data)};
		pair->message = (struct msghdr){.msg_iov = &pair->part, .msg_iovlen = 1};
	}
}

static void nap(void)
{
	struct timespec moment = {.tv_nsec = NAP};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
}

static unsigned long by_epoll(__u64 until)
{
	struct epoll_event events[256], event = {.events = EPOLLIN};
	int epoll = epoll_create1(0);
	unsigned long relayed = 0;

	for (unsigned i = 0; i < count; i++) {
		event.data.ptr = &pairs[i];
		epoll_ctl(epoll, EPOLL_CTL_ADD, pairs[i].in, &event);
	}
	while (clock_of(CLOCK_MONOTONIC) < until) {
		int ready = epoll_wait(epoll, events, 256, 10);

		for (int i = 0; i < ready; i++) {
			struct pair *pair = events[i].data.ptr;
			ssize_t length = recvmsg(pair->in, &pair->message, MSG_DONTWAIT);

			if (length > 0 && sendto(pair->out, pair->data, (size_t)length, MSG_DONTWAIT,
						 (struct sockaddr *)&pair->target, sizeof(pair->target)) > 0)
				relayed++;
		}
		nap();
	}
	return relayed;
}

struct ring {
	int descriptor;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *completions;
	unsigned queued;
};

static void open_ring(struct ring *ring)
{
	struct io_uring_params parameters = {.flags = IORING_SETUP_SINGLE_ISSUER |
						      IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
					     .cq_entries = 2 * ENTRIES};
	size_t bytes;
	char *memory;

	ring->descriptor = (int)syscall(SYS_io_uring_setup, ENTRIES, &parameters);
	if (ring->descriptor < 0) {
		perror("io_uring_setup");
		exit(3);
	}
	bytes = parameters.sq_off.array +
		parameters.sq_entries * sizeof(unsigned); /* the last part of both rings */
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->descriptor,
		      IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, ENTRIES * sizeof(*ring->entries), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, ring->descriptor, IORING_OFF_SQES);
	if (memory == MAP_FAILED || ring->entries == MAP_FAILED)
		exit(3);
	ring->sq_tail = (unsigned *)(memory + parameters.sq_off.tail);
	ring->sq_mask = (unsigned *)(memory + parameters.sq_off.ring_mask);
	ring->sq_array = (unsigned *)(memory + parameters.sq_off.array);
	ring->cq_head = (unsigned *)(memory + parameters.cq_off.head);
	ring->cq_tail = (unsigned *)(memory + parameters.cq_off.tail);
	ring->cq_mask = (unsigned *)(memory + parameters.cq_off.ring_mask);
	ring->completions = (struct io_uring_cqe *)(memory + parameters.cq_off.cqes);
}

static void enter(struct ring *ring, unsigned wait)
{
	syscall(SYS_io_uring_enter, ring->descriptor, ring->queued, wait, IORING_ENTER_GETEVENTS, NULL, 0);
	ring->queued = 0;
}

static void post(struct ring *ring, const struct pair *pair, int sends)
{
	unsigned tail = *ring->sq_tail, place = tail & *ring->sq_mask;

	ring->entries[place] = (struct io_uring_sqe){
		.opcode = sends ? IORING_OP_SENDMSG : IORING_OP_RECVMSG,
		.fd = sends ? pair->out : pair->in,
		.addr = (__u64)(unsigned long)&pair->message,
		.len = 1,
		.user_data = (__u64)(unsigned long)pair | (unsigned)sends,
	};
	ring->sq_array[place] = place;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (++ring->queued == ENTRIES)
		enter(ring, 0);
}

static void complete(struct ring *ring, const struct io_uring_cqe *done, unsigned long *relayed)
{
	struct pair *pair = (struct pair *)(unsigned long)(done->user_data & ~1ULL);
	int sent = (int)(done->user_data & 1);

	pair->message.msg_name = sent ? NULL : &pair->target;
	pair->message.msg_namelen = sent ? 0 : sizeof(pair->target);
	pair->part.iov_len = sent || done->res < 0 ? sizeof(pair->data) : (size_t)done->res;
	*relayed += sent && done->res > 0;
	post(ring, pair, !sent);
}

static unsigned long by_uring(__u64 until)
{
	struct ring ring = {0};
	unsigned long relayed = 0;

	open_ring(&ring);
	for (unsigned i = 0; i < count; i++)
		post(&ring, &pairs[i], 0);
	while (clock_of(CLOCK_MONOTONIC) < until) {
		unsigned head = *ring.cq_head;

		enter(&ring, 1);
		for (; head != __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE); head++)
			complete(&ring, &ring.completions[head & *ring.cq_mask], &relayed);
		__atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
		enter(&ring, 0); /* the sends, and with them the receives that follow */
		nap();
	}
	return relayed;
}

int main(int arguments, char **words)
{
	pthread_t sender;
	unsigned long relayed;
	__u64 until, used;

	if (arguments != 5)
		return 4;
	count = (unsigned)atoi(words[2]);
	rate = (unsigned)atoi(words[3]);
	seconds = atof(words[4]);
	open_pairs();
	pthread_create(&sender, NULL, speak, NULL);
	on_cpu(1);
	until = clock_of(CLOCK_MONOTONIC) + (__u64)(seconds * 1e9);
	used = clock_of(CLOCK_THREAD_CPUTIME_ID);
	relayed = strcmp(words[1], "uring") ? by_epoll(until) : by_uring(until);
	used = clock_of(CLOCK_THREAD_CPUTIME_ID) - used;
	over = 1;
	pthread_join(sender, NULL);
	printf("%.0f %lu\n", relayed ? (double)used / (double)relayed : 0.0, relayed);
	return 0;
}
