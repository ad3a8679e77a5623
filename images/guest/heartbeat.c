// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * switchover-heartbeat PERIOD_US ADDRESS PORT TOKEN [MAC]: shows the outside that this guest runs.
 *
 * Sends a datagram each PERIOD_US, at absolute times of CLOCK_MONOTONIC, until standard input says something or
 * ends (the session that started it is gone), then prints "sent N skipped N failed N". Periods that passed while the guest stood still are
 * skipped and counted: no burst catches up. Sequence numbers count what was sent.
 *
 * With MAC the address needs no ARP: a permanent neighbour is set for it.
 *
 * The datagram, big-endian: "SWHB", 32 bits of 0, TOKEN, sequence from 0, CLOCK_MONOTONIC in ns: 32 bytes.
 * harness/switchover/hosts/heartbeat.py reads it.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

struct heartbeat {
	char magic[4];
	uint32_t reserved;
	uint64_t token;
	uint64_t sequence;
	uint64_t monotonic_ns;
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * SECOND + now.tv_nsec;
}

static void sleep_until(int64_t at)
{
	struct timespec until = { .tv_sec = at / SECOND, .tv_nsec = at % SECOND };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static int is_told_to_stop(void)
{
	struct pollfd waiting = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&waiting, 1, 0) > 0; /* input or its end */
}

static int set_neighbour(int sock, const struct sockaddr_in *address, const char *mac)
{
	struct arpreq neighbour = { .arp_flags = ATF_COM | ATF_PERM };
	unsigned char *m = (unsigned char *)neighbour.arp_ha.sa_data;

	if (sscanf(mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5) != 6) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&neighbour.arp_pa, address, sizeof(*address));
	neighbour.arp_ha.sa_family = ARPHRD_ETHER;
	return ioctl(sock, SIOCSARP, &neighbour);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct heartbeat beat = { .magic = "SWHB" };
	uint64_t sent = 0, skipped = 0, failed = 0;
	int64_t period, next;
	int sock;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: switchover-heartbeat PERIOD_US ADDRESS PORT TOKEN [MAC]\n");
		return 2;
	}
	period = strtoll(argv[1], NULL, 10) * 1000;
	address.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
	beat.token = htobe64(strtoull(argv[4], NULL, 16));
	if (period <= 0 || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) {
		fprintf(stderr, "switchover-heartbeat: %s us to %s is no way to send\n", argv[1], argv[2]);
		return 2;
	}
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (sock < 0 || (argc == 6 && set_neighbour(sock, &address, argv[5])) ||
	    connect(sock, (struct sockaddr *)&address, sizeof(address))) {
		fprintf(stderr, "switchover-heartbeat: %s: %s\n", argv[2], strerror(errno));
		return 1;
	}

	for (next = now_ns() + period; !is_told_to_stop(); next += period) {
		int64_t late;

		sleep_until(next);
		late = now_ns() - next;
		if (late >= period) {
			skipped += late / period;
			next += late / period * period;
		}
		beat.sequence = htobe64(sent);
		beat.monotonic_ns = htobe64(now_ns());
		if (send(sock, &beat, sizeof(beat), 0) == sizeof(beat))
			sent++;
		else
			failed++;
	}
	printf("sent %" PRIu64 " skipped %" PRIu64 " failed %" PRIu64 "\n", sent, skipped, failed);
	return 0;
}
