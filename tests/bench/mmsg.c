/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A relay as one writes it on sockets: epoll, recvmmsg, sendmmsg, nothing else. What the XDP relay is
 * compared with. Usage: mmsg ADDRESS FIRST_PORT FLOWS TARGET_ADDRESS; prints "ready" and runs until it is
 * killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define FRAME 2048
#define READY 64

static char buffers[BATCH][FRAME];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static int bound_socket(struct sockaddr_in local)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof(local))) {
		perror("mmsg: cannot bind a socket");
		exit(1);
	}
	return fd;
}

/* The outgoing socket is connected, so that sending need not look up a route for each packet. */
static int connected_socket(struct sockaddr_in target)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&target, sizeof(target))) {
		perror("mmsg: cannot connect a socket");
		exit(1);
	}
	return fd;
}

static void relay(int from, int to)
{
	int received = recvmmsg(from, messages, BATCH, MSG_DONTWAIT, NULL);

	for (int i = 0; i < received; i++)
		vectors[i].iov_len = messages[i].msg_len;
	for (int sent = 0, done; sent < received; sent += done) {
		done = sendmmsg(to, messages + sent, received - sent, 0);
		if (done <= 0)
			break;
	}
	for (int i = 0; i < received; i++)
		vectors[i].iov_len = FRAME;
}

int main(int count, char **arguments)
{
	struct sockaddr_in local = {.sin_family = AF_INET}, target = {.sin_family = AF_INET};
	struct epoll_event ready[READY];
	int poll = epoll_create1(0), flows = count == 5 ? atoi(arguments[3]) : 0;

	if (!flows || !inet_aton(arguments[1], &local.sin_addr) || !inet_aton(arguments[4], &target.sin_addr))
		return fprintf(stderr, "usage: mmsg ADDRESS FIRST_PORT FLOWS TARGET_ADDRESS\n"), 2;
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){buffers[i], FRAME};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
	}
	for (int flow = 0; flow < flows; flow++) {
		struct epoll_event event = {.events = EPOLLIN};
		int in;

		local.sin_port = target.sin_port = htons(atoi(arguments[2]) + flow);
		in = bound_socket(local);
		event.data.u64 = (unsigned long)in << 32 | (unsigned)connected_socket(target);
		epoll_ctl(poll, EPOLL_CTL_ADD, in, &event);
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		int some = epoll_wait(poll, ready, READY, -1);

		for (int i = 0; i < some; i++)
			relay(ready[i].data.u64 >> 32, ready[i].data.u64 & 0xffffffff);
	}
}
