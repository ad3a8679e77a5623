// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * switchover-hog POLICY PRIORITY CPUS: a load of the guest's scheduler that proves it ran.
 *
 * POLICY is other, fifo or rr; CPUS a list such as 0-2,5, of which one is used at a time. Prints "running", then spins
 * until standard input says something or ends (the session that started it is gone), then prints "spun N", its CPU
 * time in ns. harness/switchover/irq/loads.py reads it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t cpu_time_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int parse_cpus(const char *text, cpu_set_t *cpus)
{
	CPU_ZERO(cpus);
	while (*text) {
		char *end;
		long first = strtol(text, &end, 10), last = first;

		if (end == text || first < 0)
			return -1;
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		for (; first <= last && last < CPU_SETSIZE; first++)
			CPU_SET(first, cpus);
		text = *end == ',' ? end + 1 : end;
		if (*end && *end != ',')
			return -1;
	}
	return CPU_COUNT(cpus) ? 0 : -1;
}

static int is_told_to_stop(void)
{
	struct pollfd waiting = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&waiting, 1, 0) > 0; /* input or its end */
}

int main(int argc, char **argv)
{
	struct sched_param priority = { 0 };
	volatile unsigned int turns;
	cpu_set_t cpus;
	int policy;

	if (argc != 4 || parse_cpus(argv[3], &cpus)) {
		fprintf(stderr, "usage: switchover-hog other|fifo|rr PRIORITY CPUS\n");
		return 2;
	}
	policy = !strcmp(argv[1], "fifo") ? SCHED_FIFO : !strcmp(argv[1], "rr") ? SCHED_RR : SCHED_OTHER;
	priority.sched_priority = policy == SCHED_OTHER ? 0 : atoi(argv[2]);
	printf("running\n");
	fflush(stdout);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) || sched_setscheduler(0, policy, &priority)) {
		fprintf(stderr, "switchover-hog: %s: %s\n", argv[3], strerror(errno));
		return 1;
	}
	while (!is_told_to_stop())
		for (turns = 0; turns < 200000; turns++)
			;
	printf("spun %" PRId64 "\n", cpu_time_ns());
	return 0;
}
