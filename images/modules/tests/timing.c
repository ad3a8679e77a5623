// SPDX-License-Identifier: GPL-2.0-only
/*
 * What takes its time, and what ends that: bandwidth, delays, closing, signals.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

/*
 * A rate or a delay makes things take so long, and no less; a machine that is
 * busy with other things makes one try take longer. So what counts of several
 * tries is the quickest, which must be neither too quick nor too slow. Each is
 * timed from before its stream began: a user who comes late finds the device
 * ahead (refdev_stream_pace), so a part of a stream can look too quick.
 */
#define TRIES 5

struct timed {
	const char *what;
	uint64_t expected, took;
};

enum {
	PRE_COPY_READ,
	STOP_COPY_READ,
	INITIAL_WRITE,
	WHOLE_WRITE,
	ARCS,
	TIMED
};

static uint64_t most_ms(const struct timed *timed)
{
	return timed->expected * 108 / 100 + 20;
}

static void keep_quickest(struct timed *timed, uint64_t start)
{
	uint64_t took = now_ms() - start;

	if (took < timed->took)
		timed->took = took;
}

static void try_times(struct timed *timed, uint8_t *buf)
{
	struct device dev;
	int error, fd, none;
	uint64_t start;
	size_t size;

	default_knobs();
	set_knob("initial_bytes", 10000000);
	set_knob("stop_copy_bytes", 10000000);
	set_knob("save_bytes_per_sec", 20000000);
	open_device(&dev);
	start = now_ms();
	must(&dev, STATE(PRE_COPY), &fd);
	size = read_all(fd, buf, 64 * MIB, MIB, &error);
	keep_quickest(&timed[PRE_COPY_READ], start);
	set_knob("save_bytes_per_sec", 50000000);
	usleep(200000);
	start = now_ms();
	must(&dev, STATE(STOP_COPY), &none);
	size += read_all(fd, buf + size, 64 * MIB, 65536, &error);
	keep_quickest(&timed[STOP_COPY_READ], start);
	close(fd);

	set_knob("load_bytes_per_sec", 40000000);
	set_knob("load_initial_ms", 300);
	start = now_ms();
	must(&dev, STATE(RESUMING), &fd);
	write_all(fd, buf, 10000000, 50000);
	keep_quickest(&timed[INITIAL_WRITE], start);
	/* From the same start: the device makes up for what it overslept. */
	write_all(fd, buf + 10000000, 10000000, 300000);
	keep_quickest(&timed[WHOLE_WRITE], start);
	close(fd);

	set_knob("state_change_ms", 50);
	start = now_ms();
	must(&dev, STATE(RUNNING), &none);
	keep_quickest(&timed[ARCS], start);
	set_knob("state_change_ms", 0);

	set_knob("save_bytes_per_sec", 0);
	start = now_ms();
	must(&dev, STATE(STOP_COPY), &fd);
	size = read_all(fd, buf, 64 * MIB, MIB, &error);
	printf("# unlimited save: %zu bytes in %llu ms\n", size,
	       (unsigned long long)(now_ms() - start));
	close(fd);
	set_knob("load_bytes_per_sec", 0);
	set_knob("load_initial_ms", 0);
	must(&dev, STATE(RESUMING), &fd);
	start = now_ms();
	write_all(fd, buf, size, MIB);
	printf("# unlimited load: %zu bytes in %llu ms\n", size,
	       (unsigned long long)(now_ms() - start));
	close(fd);
	close_device(&dev);
}

static void test_times(void)
{
	struct timed timed[TIMED] = {
		[PRE_COPY_READ] = {
			.what = "10 MB at 20 MB/s in pre-copy",
			.expected = 500,
		},
		[STOP_COPY_READ] = {
			.what = "10 MB at 50 MB/s in stop-copy, after a pause",
			.expected = 200,
		},
		[INITIAL_WRITE] = {
			.what = "10 MB at 40 MB/s and 300 ms to load them",
			.expected = 550,
		},
		[WHOLE_WRITE] = {
			.what = "20 MB at 40 MB/s and 300 ms to load half of them",
			.expected = 800,
		},
		[ARCS] = {
			.what = "three arcs of 50 ms",
			.expected = 150,
		},
	};
	uint8_t *buf = malloc(64 * MIB);
	int i, left, tries;

	if (!buf)
		die("malloc");
	/* Page faults are not to be timed. */
	memset(buf, 0, 24 * MIB);
	for (i = 0; i < TIMED; i++)
		timed[i].took = UINT64_MAX;
	for (tries = 0, left = 1; left && tries < TRIES; tries++) {
		try_times(timed, buf);
		for (i = 0, left = 0; i < TIMED; i++)
			left += timed[i].took > most_ms(&timed[i]);
	}
	for (i = 0; i < TIMED; i++)
		check(timed[i].took >= timed[i].expected * 95 / 100 &&
		      timed[i].took <= most_ms(&timed[i]),
		      "%s: %llu ms, expected %llu", timed[i].what,
		      (unsigned long long)timed[i].took,
		      (unsigned long long)timed[i].expected);
	free(buf);
}

static void test_file_outlives_device(void)
{
	struct device dev;
	uint8_t byte;
	int fd;

	default_knobs();
	open_device(&dev);
	must(&dev, STATE(PRE_COPY), &fd);
	close_device(&dev);
	check(read(fd, &byte, 1) < 0 && errno == ENODEV,
	      "a stream of a closed device gives an error");
	open_device(&dev);
	check_equal(get_state(&dev), STATE(RUNNING), "RUNNING when opened again");
	close(fd);
	close_device(&dev);
}

static void *slow_read(void *data_fd)
{
	static uint8_t buf[65536];

	if (read(*(int *)data_fd, buf, sizeof(buf)) < 0)
		return (void *)(long)errno;
	return NULL;
}

/* 64 KiB at 1 KB/s take a minute, unless something ends the wait. */
static void test_slow_read_ends(void)
{
	struct device dev;
	pthread_t thread;
	uint64_t start;
	int fd, none;
	pid_t child;

	default_knobs();
	set_knob("save_bytes_per_sec", 1000);
	open_device(&dev);
	must(&dev, STATE(PRE_COPY), &fd);
	if (pthread_create(&thread, NULL, slow_read, &fd))
		die("pthread_create");
	usleep(100000);
	start = now_ms();
	must(&dev, STATE(RUNNING), &none);
	pthread_join(thread, NULL);
	check(now_ms() - start < 500, "a state change ends a slow read");
	close(fd);

	must(&dev, STATE(PRE_COPY), &fd);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		slow_read(&fd);
		_exit(0);
	}
	usleep(100000);
	start = now_ms();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	check(now_ms() - start < 500, "SIGKILL ends a slow read");
	close(fd);

	set_knob("state_change_ms", 60000);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		set_state(&dev, STATE(STOP), &none);
		_exit(0);
	}
	usleep(100000);
	start = now_ms();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	check(now_ms() - start < 500, "SIGKILL ends a slow state change");
	check_equal(get_state(&dev), STATE(PRE_COPY), "which had no effect");
	close_device(&dev);
	default_knobs();
}

void test_timing(void)
{
	test_times();
	test_slow_read_ends();
	test_file_outlives_device();
}
