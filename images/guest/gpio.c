// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * switchover-gpio CHIP LINE: has a GPIO line interrupt on both of its edges, in a thread, under the name "switchover".
 *
 * CHIP is a device such as /dev/gpiochip0. Prints "running", then waits until standard input ends, and prints
 * "events N", how many edges the thread of the interrupt told of. harness/switchover/irq/sources.py reads it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/gpio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct gpio_v2_line_request line = { .num_lines = 1, .consumer = "switchover" };
	struct gpio_v2_line_event events[16];
	uint64_t seen = 0;
	int chip;

	if (argc != 3) {
		fprintf(stderr, "usage: switchover-gpio CHIP LINE\n");
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
