// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * switchover-gpio CHIP LINE: has a GPIO line interrupt on both of its edges, in a thread, under the name "switchover".
 * CHIP is a device such as /dev/gpiochip0. Prints "running", then waits until standard input says something or ends,
 * and prints "events N", how many edges the thread of the interrupt told of.
 *
 * switchover-gpio pull FILE COUNT PRIORITY CPU...: changes the level of a line of gpio-sim so many times, up first. FILE
 * is its attribute "pull". Each change, and so its interrupt, is on the next of the CPUs, by a task that is pinned there;
 * of FIFO PRIORITY unless that is 0.
 *
 * harness/switchover/irq/sources.py uses it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/gpio.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static int pull(const char *path, long count, int priority, int cpus, char **cpu)
{
	const struct sched_param parameters = { .sched_priority = priority };
	const struct timespec pause = { .tv_nsec = 20000000 };
	static const char *const levels[] = { "pull-up", "pull-down" };
	int file = open(path, O_WRONLY | O_CLOEXEC);

	if (file < 0 || (priority && sched_setscheduler(0, SCHED_FIFO, &parameters)))
		goto failed;
	for (long i = 0; i < count; i++) {
		const char *level = levels[i % 2];
		cpu_set_t here;

		CPU_ZERO(&here);
		CPU_SET(atoi(cpu[i % cpus]), &here);
		if (sched_setaffinity(0, sizeof(here), &here) || pwrite(file, level, strlen(level), 0) < 0)
			goto failed;
		nanosleep(&pause, NULL);
	}
	return 0;
failed:
	fprintf(stderr, "switchover-gpio: %s: %s\n", path, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	struct gpio_v2_line_request line = { .num_lines = 1, .consumer = "switchover" };
	struct gpio_v2_line_event events[16];
	uint64_t seen = 0;
	int chip;

	if (argc > 5 && !strcmp(argv[1], "pull"))
		return pull(argv[2], atol(argv[3]), atoi(argv[4]), argc - 5, argv + 5);
	if (argc != 3) {
		fprintf(stderr, "usage: switchover-gpio CHIP LINE\n"
				"       switchover-gpio pull FILE COUNT PRIORITY CPU...\n");
		return 2;
	}
	line.offsets[0] = (uint32_t)strtoul(argv[2], NULL, 10);
	line.config.flags = GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_EDGE_RISING | GPIO_V2_LINE_FLAG_EDGE_FALLING;
	chip = open(argv[1], O_RDWR | O_CLOEXEC);
	if (chip < 0 || ioctl(chip, GPIO_V2_GET_LINE_IOCTL, &line)) {
		fprintf(stderr, "switchover-gpio: %s line %s: %s\n", argv[1], argv[2], strerror(errno));
		return 1;
	}
	printf("running\n");
	fflush(stdout);
	for (;;) {
		struct pollfd waiting[] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = line.fd, .events = POLLIN },
		};

		if (poll(waiting, 2, -1) < 0 || waiting[0].revents)
			break;
		if (waiting[1].revents) {
			ssize_t got = read(line.fd, events, sizeof(events));

			if (got <= 0)
				break;
			seen += (uint64_t)got / sizeof(events[0]);
		}
	}
	printf("events %" PRIu64 "\n", seen);
	return 0;
}
