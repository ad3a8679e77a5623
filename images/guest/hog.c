// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * switchover-hog POLICY PRIORITY CPUS [PERIOD_US]: a load of the guest's scheduler that proves it ran.
 *
 * POLICY is other, fifo or rr; CPUS a list such as 0-2,5, of which one is used at a time, the lowest first. Once it is
 * there it prints "running", then spins until standard input says something or ends (the session that started it is
 * gone). With PERIOD_US it sleeps, and spins for a quarter of each period only, at absolute times of CLOCK_MONOTONIC.
 *
 * At the end it prints "spun N moved N woken N late N": its CPU time in ns, how often it found itself on another CPU
 * than before, how often it was woken by its period, and the longest that it came to run after that, in us. It ends by
 * itself after three minutes, so that a guest that cannot hear the word to stop comes back; then "over" is before that.
 * harness/switchover/irq/loads.py reads it.
 *
 * switchover-hog priority PID=N...: other tasks are SCHED_FIFO with priority N from now on.
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

#define SECOND 1000000000LL
#define LIMIT (180 * SECOND)

static int64_t read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * SECOND + now.tv_nsec;
}

static void sleep_until(int64_t at)
{
	struct timespec until = { .tv_sec = at / SECOND, .tv_nsec = at % SECOND };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static int parse_cpus(const char *text, cpu_set_t *cpus, cpu_set_t *lowest)
{
	int cpu = 0;

	CPU_ZERO(cpus);
	CPU_ZERO(lowest);
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
	if (!CPU_COUNT(cpus))
		return -1;
	while (!CPU_ISSET(cpu, cpus))
		cpu++;
	CPU_SET(cpu, lowest);
	return 0;
}

static int is_told_to_stop(void)
{
	struct pollfd waiting = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&waiting, 1, 0) > 0; /* input or its end */
}

static int set_priorities(char **pairs)
{
	for (; *pairs; pairs++) {
		struct sched_param priority = { 0 };
		int pid;

		if (sscanf(*pairs, "%d=%d", &pid, &priority.sched_priority) != 2)
			return 2;
		if (sched_setscheduler(pid, SCHED_FIFO, &priority)) {
			fprintf(stderr, "switchover-hog: %s: %s\n", *pairs, strerror(errno));
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	int64_t period, start, next, late = 0, woken = 0, moved = 0;
	struct sched_param priority = { 0 };
	volatile unsigned int turns;
	cpu_set_t cpus, lowest;
	int policy, cpu, over;

	if (argc > 1 && !strcmp(argv[1], "priority"))
		return set_priorities(argv + 2);
	period = argc == 5 ? strtoll(argv[4], NULL, 10) * 1000 : 0;
	if (argc < 4 || argc > 5 || parse_cpus(argv[3], &cpus, &lowest) || period < 0) {
		fprintf(stderr, "usage: switchover-hog other|fifo|rr PRIORITY CPUS [PERIOD_US]\n");
		return 2;
	}
	policy = !strcmp(argv[1], "fifo") ? SCHED_FIFO : !strcmp(argv[1], "rr") ? SCHED_RR : SCHED_OTHER;
	priority.sched_priority = policy == SCHED_OTHER ? 0 : atoi(argv[2]);
	/* from the lowest CPU on: where it is once it is real-time is not left to chance */
	if (sched_setaffinity(0, sizeof(lowest), &lowest) || sched_setscheduler(0, policy, &priority) ||
	    sched_setaffinity(0, sizeof(cpus), &cpus)) {
		fprintf(stderr, "switchover-hog: %s: %s\n", argv[3], strerror(errno));
		return 1;
	}
	printf("running\n");
	fflush(stdout);
	cpu = sched_getcpu();
	start = next = read_clock(CLOCK_MONOTONIC);
	while (!(over = read_clock(CLOCK_MONOTONIC) - start > LIMIT) && !is_told_to_stop()) {
		if (period) {
			int64_t now;

			sleep_until(next += period);
			now = read_clock(CLOCK_MONOTONIC);
			woken++;
			late = now - next > late ? now - next : late;
			next += (now - next) / period * period;
			while (read_clock(CLOCK_MONOTONIC) - now < period / 4)
				;
		} else {
			for (turns = 0; turns < 200000; turns++)
				;
		}
		if (sched_getcpu() != cpu) {
			cpu = sched_getcpu();
			moved++;
		}
	}
	printf("%sspun %" PRId64 " moved %" PRId64 " woken %" PRId64 " late %" PRId64 "\n", over ? "over " : "",
	       read_clock(CLOCK_PROCESS_CPUTIME_ID), moved, woken, late / 1000);
	return 0;
}
