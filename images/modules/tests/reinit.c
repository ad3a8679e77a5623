// SPDX-License-Identifier: GPL-2.0-only
/*
 * Initial data that comes anew in pre-copy: who is told of it and when, that it
 * is in the stream whoever is told, and what that means for the one who loads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

#define INITIAL	20000
#define REINIT	100000		/* in several records: more than INITIAL */
#define STOP	20000

struct sizes {
	uint32_t flags;
	uint64_t initial, dirty;
};

static struct sizes ask(int data_fd)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };

	if (ioctl(data_fd, VFIO_MIG_GET_PRECOPY_INFO, &info))
		die("VFIO_MIG_GET_PRECOPY_INFO");
	return (struct sizes){ info.flags, info.initial_bytes, info.dirty_bytes };
}

static void expect(struct sizes sizes, uint32_t flags, uint64_t initial,
		   uint64_t dirty, const char *what)
{
	check(sizes.flags == flags && sizes.initial == initial &&
	      sizes.dirty == dirty, "%s: flags %#x, %llu initial, %llu dirty",
	      what, sizes.flags, (unsigned long long)sizes.initial,
	      (unsigned long long)sizes.dirty);
}

static int opt_in(struct device *dev)
{
	uint64_t none = 0;

	return feature(dev, VFIO_DEVICE_FEATURE_SET |
		       VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, &none, 0);
}

static void small_knobs(uint64_t count)
{
	default_knobs();
	set_knob("initial_bytes", INITIAL);
	set_knob("stop_copy_bytes", STOP);
	set_knob("reinit_bytes", REINIT);
	set_knob("reinit_count", count);
}

static void test_opt_in(void)
{
	struct device dev;
	uint64_t none = 0;
	int error, fd;

	small_knobs(1);
	open_device(&dev);
	check(!opt_in(&dev) && !opt_in(&dev), "opt-in to the second version");
	check(!feature(&dev, VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
		       VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, &none, 0),
	      "it can be probed");
	check_equal(feature(&dev, VFIO_DEVICE_FEATURE_GET |
			    VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, &none, 8),
		    EINVAL, "there is nothing to get");
	close_device(&dev);
	open_device(&dev);
	must(&dev, STATE(PRE_COPY), &fd);
	flush(fd);
	expect(ask(fd), 0, 0, REINIT, "the next user has not opted in");
	close(fd);
	close_device(&dev);

	set_knob("precopy_info_v2", 0);
	open_device(&dev);
	error = opt_in(&dev);
	check(error == ENOTTY || !error,
	      "precopy_info_v2=n: unknown, or known to VFIO core only (%d)", error);
	must(&dev, STATE(PRE_COPY), &fd);
	flush(fd);
	expect(ask(fd), 0, 0, REINIT, "and no flag is set");
	close(fd);
	close_device(&dev);

	set_knob("precopy_info_v2", 1);
	set_knob("pre_copy", 0);
	open_device(&dev);
	check_equal(opt_in(&dev), EINVAL, "not without PRE_COPY");
	close_device(&dev);
}

/* What the new data does to the one who asks, told or not. */
static void test_sizes(bool told)
{
	uint64_t came = get_number("counters/reinits");
	uint64_t known = get_number("counters/reinits_told");
	uint64_t bytes = get_number("counters/reinit_bytes_read");
	uint8_t *buf = malloc(MIB);
	int error, fd, none, stop_error;
	struct device dev;
	size_t size;

	if (!buf)
		die("malloc");
	printf("# new initial data, %stold\n", told ? "" : "not ");
	small_knobs(2);
	open_device(&dev);
	if (told)
		opt_in(&dev);
	must(&dev, STATE(PRE_COPY), &fd);
	expect(ask(fd), 0, INITIAL, 0, "at first");
	size = read_all(fd, buf, MIB, 3000, &error);
	check(size == INITIAL && error == ENOMSG, "the initial data: %zu", size);
	check_equal(data_size(&dev), REINIT + STOP,
		    "STOP_COPY would have to read what came");
	if (told)
		expect(ask(fd), VFIO_PRECOPY_INFO_REINIT, REINIT, 0, "it came");
	else
		expect(ask(fd), 0, 0, REINIT, "it is dirty state");
	check(!(ask(fd).flags & VFIO_PRECOPY_INFO_REINIT), "told once");
	check_equal(data_size(&dev), REINIT + STOP, "and counted once");
	size += read(fd, buf + size, REINIT / 4);
	expect(ask(fd), 0, told ? REINIT * 3 / 4 : 0, told ? 0 : REINIT * 3 / 4,
	       "a quarter was read");
	size += read_all(fd, buf + size, MIB - size, 7777, &error);
	check(size == INITIAL + REINIT && error == ENOMSG, "all: %zu", size);
	check_equal(ask(fd).flags, told ? VFIO_PRECOPY_INFO_REINIT : 0,
		    "it came again");
	must(&dev, STATE(PRE_COPY_P2P), &none);
	must(&dev, STATE(STOP_COPY), &none);
	size += read_all(fd, buf + size, MIB - size, 9999, &error);
	check_equal(size, INITIAL + 2 * REINIT + STOP, "the whole stream");
	close(fd);
	check(get_number("counters/reinits") == came + 2 &&
	      get_number("counters/reinits_told") == known + (told ? 2 : 0) &&
	      get_number("counters/reinit_bytes_read") == bytes + 2 * REINIT,
	      "counters");

	set_knob("load_initial_ms", 100);
	came = now_ms();
	error = load(&dev, buf, size, 1111, &stop_error);
	came = now_ms() - came;
	check(!error && !stop_error && came >= 300,
	      "each time it takes its time to be loaded: %d, %d, %llu ms", error,
	      stop_error, (unsigned long long)came);
	free(buf);
	close_device(&dev);
}

/* Nobody asks for it: it is read in STOP_COPY, where it is late. */
static void test_unasked(void)
{
	struct device dev;
	uint8_t *buf = malloc(MIB);
	int error, fd;
	size_t size;

	if (!buf)
		die("malloc");
	small_knobs(1);
	open_device(&dev);
	opt_in(&dev);
	must(&dev, STATE(PRE_COPY), &fd);
	size = read_all(fd, buf, MIB, 3000, &error);
	check_equal(size, INITIAL, "nobody asked");
	must(&dev, STATE(STOP_COPY), &error);
	check_equal(data_size(&dev), REINIT + STOP, "so it is left");
	size += read_all(fd, buf + size, MIB - size, 3000, &error);
	check(size == INITIAL + REINIT + STOP && !error, "for STOP_COPY: %zu",
	      size);
	close(fd);
	free(buf);
	close_device(&dev);
}

/* After the decision: it comes with PRE_COPY_P2P, each time up to the count. */
static void test_p2p(void)
{
	struct device dev;
	int fd, none;

	small_knobs(2);
	set_text("reinit_at", "PRE_COPY_P2P");
	open_device(&dev);
	opt_in(&dev);
	must(&dev, STATE(PRE_COPY), &fd);
	flush(fd);
	expect(ask(fd), 0, 0, 0, "not before PRE_COPY_P2P");
	must(&dev, STATE(PRE_COPY_P2P), &none);
	check_equal(data_size(&dev), REINIT + STOP, "with PRE_COPY_P2P");
	expect(ask(fd), VFIO_PRECOPY_INFO_REINIT, REINIT, 0, "and it is told");
	must(&dev, STATE(PRE_COPY), &none);
	flush(fd);
	must(&dev, STATE(PRE_COPY_P2P), &none);
	expect(ask(fd), VFIO_PRECOPY_INFO_REINIT, REINIT, 0, "a second time");
	must(&dev, STATE(PRE_COPY), &none);
	flush(fd);
	must(&dev, STATE(PRE_COPY_P2P), &none);
	expect(ask(fd), 0, 0, 0, "no more often than asked for");
	close(fd);
	close_device(&dev);
}

/* So many bytes later; dirty state before it counts no more. */
static void test_after_bytes(void)
{
	uint8_t *buf = malloc(MIB);
	struct device dev;
	struct sizes sizes = {};
	uint64_t end;
	int fd;

	if (!buf)
		die("malloc");
	default_knobs();
	set_knob("dirty_bytes_per_sec", MIB);
	set_knob("reinit_count", 1);
	set_knob("reinit_after_bytes", MIB + 10000);
	open_device(&dev);
	opt_in(&dev);
	must(&dev, STATE(PRE_COPY), &fd);
	check_equal(read(fd, buf, MIB), MIB, "the initial data");
	for (end = now_ms() + 10000; now_ms() < end; usleep(10000)) {
		sizes = ask(fd);
		if (sizes.dirty >= 100000)
			break;
	}
	check(!sizes.flags && sizes.dirty >= 100000, "not before so many bytes");
	check_equal(read(fd, buf, 10004), 10004, "these bytes");
	sizes = ask(fd);
	check(sizes.flags == VFIO_PRECOPY_INFO_REINIT &&
	      sizes.initial > 65536 && sizes.dirty < 20000,
	      "then: flags %#x, %llu initial with the rest of a record, %llu dirty",
	      sizes.flags, (unsigned long long)sizes.initial,
	      (unsigned long long)sizes.dirty);
	close(fd);
	free(buf);
	close_device(&dev);
}

/* Streams before version 3 have no name for it, and carry it all the same. */
static void test_stream_versions(void)
{
	uint8_t *buf = malloc(MIB);
	int error, fd, none, stop_error;
	struct device dev;
	size_t size;
	int version;

	if (!buf)
		die("malloc");
	for (version = 3; version >= 1; version--) {
		small_knobs(1);
		set_knob("stream_version", version);
		open_device(&dev);
		must(&dev, STATE(PRE_COPY), &fd);
		size = read_all(fd, buf, MIB, 3000, &error);
		ask(fd);
		must(&dev, STATE(STOP_COPY), &none);
		size += read_all(fd, buf + size, MIB - size, 3000, &error);
		close(fd);
		error = load(&dev, buf, size, 1000, &stop_error);
		check(size == INITIAL + REINIT + STOP && !error && !stop_error,
		      "version %d: %zu bytes, %d, %d", version, size, error,
		      stop_error);
		if (version == 3) {
			set_knob("stream_version", 2);
			set_text("other_version", "misread");
			reset(&dev);
			error = load(&dev, buf, size, 1000, &stop_error);
			check_equal(error, EINVAL,
				    "an older driver does not know the record");
		}
		close_device(&dev);
	}
	free(buf);
}

static void test_reinit_knobs(void)
{
	default_knobs();
	check_equal(write_file("knobs/reinit_bytes", "4095"), ERANGE, "minimum");
	check_equal(write_file("knobs/reinit_bytes", "4097"), EINVAL,
		    "multiples of 8");
	check_equal(write_file("knobs/reinit_count", "1000001"), ERANGE,
		    "too often");
	check_equal(write_file("knobs/reinit_at", "PRE_COPY"), EINVAL, "PRE_COPY");
}

void test_reinit(void)
{
	test_reinit_knobs();
	test_opt_in();
	test_sizes(true);
	test_sizes(false);
	test_unasked();
	test_p2p();
	test_after_bytes();
	test_stream_versions();
	default_knobs();
}
