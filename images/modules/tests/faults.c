// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults that the device was asked for: at each state and at bytes of the
 * stream, once and always, with a device that stays or breaks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

static const struct arc {
	const char *fail_at;
	uint32_t from, to;
	uint32_t stays;		/* the state before the arc that fails */
} arcs[] = {
	{ "PRE_COPY", STATE(RUNNING), STATE(PRE_COPY), STATE(RUNNING) },
	{ "PRE_COPY_P2P", STATE(PRE_COPY), STATE(STOP_COPY), STATE(PRE_COPY) },
	{ "RUNNING_P2P", STATE(RUNNING), STATE(STOP), STATE(RUNNING) },
	{ "STOP", STATE(RUNNING), STATE(STOP), STATE(RUNNING_P2P) },
	{ "STOP_COPY", STATE(RUNNING), STATE(STOP_COPY), STATE(STOP) },
	{ "STOP_COPY", STATE(PRE_COPY), STATE(STOP_COPY), STATE(PRE_COPY_P2P) },
	{ "RESUMING", STATE(RUNNING), STATE(RESUMING), STATE(STOP) },
	{ "RUNNING", STATE(STOP), STATE(RUNNING), STATE(RUNNING_P2P) },
};

static void close_file(int fd)
{
	if (fd >= 0)
		close(fd);
}

static bool knob_is(const char *file, const char *text)
{
	return !strcmp(read_file(file), text);
}

/* Whether the last line of the history has this in it. */
static bool history_ends_with(const char *text)
{
	const char *history = read_file("history");
	const char *line = strrchr(history, '\n');

	return strstr(line ? line : history, text);
}

static void check_broken(struct device *dev, const char *what)
{
	int none;

	check(get_state(dev) == STATE(ERROR) && knob_is("state", "ERROR") &&
	      history_ends_with(" ERROR 0 ") && history_ends_with(" fault"),
	      "%s: the device is in ERROR, and says so", what);
	check_equal(set_state(dev, STATE(RUNNING), &none), EINVAL,
		    "no state change leads out of ERROR");
	set_text("fail_at", "none");
	reset(dev);
	check_equal(get_state(dev), STATE(RUNNING), "reset does");
}

static void test_arc_fault(struct device *dev, const struct arc *arc)
{
	uint64_t faults = get_number("counters/faults");
	int first_fd, data_fd;

	set_text("fail_times", "once");
	set_text("fail_device", "stays");
	set_text("fail_at", "none");
	reset(dev);
	must(dev, arc->from, &first_fd);
	set_text("fail_at", arc->fail_at);
	check(set_state(dev, arc->to, &data_fd) == EIO && data_fd == -1 &&
	      get_state(dev) == arc->stays && history_ends_with(" -5 "),
	      "%u to %u fails at %s", arc->from, arc->to, arc->fail_at);
	check(!set_state(dev, arc->to, &data_fd) && get_state(dev) == arc->to,
	      "but once");
	close_file(data_fd);
	close_file(first_fd);

	set_text("fail_at", "none");
	reset(dev);
	must(dev, arc->from, &first_fd);
	set_text("fail_times", "always");
	set_text("fail_at", arc->fail_at);
	set_knob("fail_errno", ENOSPC);
	check(set_state(dev, arc->to, &data_fd) == ENOSPC &&
	      set_state(dev, arc->to, &data_fd) == ENOSPC, "always");
	set_knob("fail_errno", EIO);
	set_text("fail_device", "error");
	check_equal(set_state(dev, arc->to, &data_fd), EIO, "the third time");
	check_broken(dev, arc->fail_at);
	check_equal(get_number("counters/faults"), faults + 4,
		    "counter of faults");
	close_file(first_fd);
}

static void set_fail_byte(const char *kind, uint64_t byte)
{
	char text[32];

	snprintf(text, sizeof(text), "%s:%llu", kind, (unsigned long long)byte);
	set_text("fail_at", text);
}

/* Saves; how many bytes came before the first error. */
static size_t save_until_error(struct device *dev, uint8_t *buf, int *error)
{
	int fd, none;
	size_t size;

	must(dev, STATE(PRE_COPY), &fd);
	size = read_all(fd, buf, MIB, 3000, error);
	if (*error == ENOMSG) {
		must(dev, STATE(STOP_COPY), &none);
		size += read_all(fd, buf + size, MIB - size, 3000, error);
	}
	close(fd);
	return size;
}

static void test_read_faults(struct device *dev, uint8_t *buf)
{
	static const size_t bytes[] = { 0, 10000, 20000, 39999 };
	size_t size, whole;
	unsigned int i;
	int error, fd;

	set_text("fail_times", "always");
	for (i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		set_text("fail_device", "stays");
		set_fail_byte("read", bytes[i]);
		reset(dev);
		size = save_until_error(dev, buf, &error);
		check(error == EIO && size <= bytes[i] && bytes[i] - size < 3000 &&
		      get_state(dev) != STATE(ERROR),
		      "the read that would reach byte %zu fails: %zu, %d",
		      bytes[i], size, error);
		set_text("fail_device", "error");
		reset(dev);
		size = save_until_error(dev, buf, &error);
		check_equal(error, EIO, "and breaks the device");
		check_broken(dev, "read");
	}

	set_text("fail_times", "once");
	set_text("fail_device", "stays");
	set_fail_byte("read", 10000);
	reset(dev);
	must(dev, STATE(STOP_COPY), &fd);
	size = read_all(fd, buf, MIB, 4096, &error);
	whole = read_all(fd, buf + size, MIB - size, 4096, &error) + size;
	check(size == 8192 && whole == 40000 && !error,
	      "the same read again succeeds: %zu, %zu", size, whole);
	close(fd);
}

static void test_write_faults(struct device *dev, uint8_t *buf, size_t size)
{
	static const size_t bytes[] = { 0, 10000, 20000, 39999 };
	int error, stop_error, fd, none;
	unsigned int i;

	set_text("fail_times", "always");
	for (i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		set_text("fail_device", "stays");
		set_fail_byte("write", bytes[i]);
		reset(dev);
		error = load(dev, buf, size, 3000, &stop_error);
		check(error == EIO && stop_error == EINVAL &&
		      get_state(dev) == STATE(RESUMING),
		      "the write that would bring byte %zu fails: %d, %d",
		      bytes[i], error, stop_error);
		set_text("fail_device", "error");
		reset(dev);
		error = load(dev, buf, size, 3000, &stop_error);
		check_equal(error, EIO, "and breaks the device");
		check_broken(dev, "write");
	}

	set_text("fail_times", "once");
	set_text("fail_device", "stays");
	set_fail_byte("write", 39999);
	reset(dev);
	must(dev, STATE(RESUMING), &fd);
	check(write(fd, buf, size) < 0 && errno == EIO &&
	      write(fd, buf, size) == (ssize_t)size &&
	      !set_state(dev, STATE(STOP), &none),
	      "the same write again succeeds");
	close(fd);

	set_text("fail_at", "load");
	reset(dev);
	error = load(dev, buf, size, 3000, &stop_error);
	check(!error && stop_error == EIO &&
	      get_state(dev) == STATE(RESUMING) &&
	      !set_state(dev, STATE(STOP), &none), "the load fails once");
	set_text("fail_device", "error");
	set_text("fail_at", "load");
	reset(dev);
	error = load(dev, buf, size, 3000, &stop_error);
	check(!error && stop_error == EIO, "the load fails");
	check_broken(dev, "load");
}

static void test_corrupt(struct device *dev)
{
	int error, stop_error, none;
	uint64_t checksum, words, seed, sum = 0;
	uint8_t *stream;
	size_t size;

	set_text("corrupt", "stream");
	reset(dev);
	stream = save(dev, true, 3000, &size);
	reset(dev);
	error = load(dev, stream, size - 1, size, &stop_error);
	check_equal(error, 0, "corrupt=stream: no write but the last notices");
	reset(dev);
	error = load(dev, stream, size, 1000, &stop_error);
	check(error == EINVAL && stop_error == EINVAL, "the last one does");
	free(stream);

	set_text("corrupt", "state");
	reset(dev);
	checksum = read_reg(dev, REFDEV_REG_CHECKSUM);
	stream = save(dev, true, MIB, &size);
	error = load(dev, stream, size, MIB, &stop_error);
	must(dev, STATE(RUNNING), &none);
	words = read_reg(dev, REFDEV_REG_STATE_WORDS);
	seed = read_reg(dev, REFDEV_REG_SEED);
	while (words--)
		sum += seed + words * REFDEV_STATE_STEP;
	check(!error && !stop_error && sum == checksum &&
	      read_reg(dev, REFDEV_REG_CHECKSUM) != checksum,
	      "corrupt=state: only the checksum tells");
	free(stream);
	set_text("corrupt", "none");
}

static void test_fault_knobs(void)
{
	static const char * const good[] = {
		"none", "PRE_COPY", "PRE_COPY_P2P", "RUNNING_P2P", "STOP",
		"STOP_COPY", "RESUMING", "RUNNING", "read:0", "write:123456789",
		"load",
	};
	static const char * const bad[] = {
		"", "ERROR", "PRE", "PRE_COPY_P2P2", "read", "read:", "read:x",
		"write:-1", "read:1 2", "loads",
	};
	unsigned int i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		set_text("fail_at", good[i]);
		check(knob_is("knobs/fail_at", good[i]), "fail_at=%s", good[i]);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(write_file("knobs/fail_at", *bad[i] ? bad[i] : "\n") == EINVAL &&
		      knob_is("knobs/fail_at", "load"),
		      "fail_at=%s is refused", bad[i]);
	check_equal(write_file("knobs/fail_errno", "0"), ERANGE, "errno 0");
	check_equal(write_file("knobs/fail_errno", "134"), ERANGE, "errno 134");
	check_equal(write_file("knobs/fail_times", "twice"), EINVAL, "twice");
	check_equal(write_file("knobs/fail_device", "burns"), EINVAL, "burns");
	check_equal(write_file("knobs/corrupt", "y"), EINVAL, "corrupt=y");
	check_equal(write_file("knobs/dma_pages_per_sec", "1000001"), ERANGE,
		    "too many pages per second");
}

void test_faults(void)
{
	struct device dev;
	unsigned int i;
	uint8_t *buf;
	size_t size;
	int error;

	printf("# faults\n");
	buf = malloc(MIB);
	if (!buf)
		die("malloc");
	default_knobs();
	test_fault_knobs();
	default_knobs();
	open_device(&dev);
	for (i = 0; i < sizeof(arcs) / sizeof(arcs[0]); i++)
		test_arc_fault(&dev, &arcs[i]);
	set_knob("initial_bytes", 20000);
	set_knob("stop_copy_bytes", 20000);
	test_read_faults(&dev, buf);
	reset(&dev);
	size = save_until_error(&dev, buf, &error);
	check(size == 40000 && !error, "no fault is left: %zu, %d", size, error);
	test_write_faults(&dev, buf, size);
	test_corrupt(&dev);
	close_device(&dev);
	free(buf);
	default_knobs();
}
