// SPDX-License-Identifier: GPL-2.0-only
/*
 * Streams in pieces of any size, damaged streams, state that becomes dirty.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

static void test_stream(bool pre_copy, size_t read_piece, size_t write_piece)
{
	uint64_t checksum, seed, generation;
	int error, stop_error, none;
	struct device dev;
	uint8_t *stream;
	size_t size;
	int i;

	printf("# stream with pre_copy=%d reads of %zu writes of %zu\n",
	       pre_copy, read_piece, write_piece);
	default_knobs();
	set_knob("initial_bytes", 200000);
	set_knob("stop_copy_bytes", 70000);
	open_device(&dev);
	for (i = 0; i < REFDEV_SCRATCH_WORDS; i++)
		write_reg(&dev, REFDEV_REG_SCRATCH + 8 * i, i * 0x1111111111ULL);
	write_reg(&dev, REFDEV_REG_SEED, 0x123456789abcdefULL);
	seed = read_reg(&dev, REFDEV_REG_SEED);
	checksum = read_reg(&dev, REFDEV_REG_CHECKSUM);
	generation = read_reg(&dev, REFDEV_REG_GENERATION);
	stream = save(&dev, pre_copy, read_piece, &size);
	check_equal(size, 270000, "size of the stream");

	if (ioctl(dev.fd, VFIO_DEVICE_RESET))
		die("VFIO_DEVICE_RESET");
	check_equal(read_reg(&dev, REFDEV_REG_SCRATCH + 8), 0,
		    "reset clears registers");
	/* Another size here: the one that is loaded counts. */
	set_knob("stop_copy_bytes", 4096);
	error = load(&dev, stream, size, write_piece, &stop_error);
	check(!error && !stop_error, "load: %d, then STOP: %d", error, stop_error);
	must(&dev, STATE(RUNNING), &none);
	check_equal(read_reg(&dev, REFDEV_REG_SEED), seed, "seed");
	check_equal(read_reg(&dev, REFDEV_REG_CHECKSUM), checksum, "checksum");
	check_equal(read_reg(&dev, REFDEV_REG_GENERATION), generation + 1,
		    "generation");
	check_equal(get_number("knobs/stop_copy_bytes"), 70000,
		    "the size comes with the state");
	for (i = 0; i < REFDEV_SCRATCH_WORDS; i++)
		if (read_reg(&dev, REFDEV_REG_SCRATCH + 8 * i) !=
		    i * 0x1111111111ULL)
			break;
	check_equal(i, REFDEV_SCRATCH_WORDS, "scratch registers");
	free(stream);
	close_device(&dev);
}

static void test_corruption(void)
{
	int error, stop_error, i;
	struct device dev;
	uint8_t *stream;
	size_t size;

	default_knobs();
	set_knob("initial_bytes", 8192);
	set_knob("stop_copy_bytes", 8192);
	open_device(&dev);
	stream = save(&dev, true, MIB, &size);

	for (i = 0; i < 64; i++) {
		size_t where = size * i / 64 + i % 8;

		ioctl(dev.fd, VFIO_DEVICE_RESET);
		stream[where] ^= 1 << i % 8;
		error = load(&dev, stream, size, 1000, &stop_error);
		stream[where] ^= 1 << i % 8;
		if (error != EINVAL || stop_error != EINVAL)
			break;
	}
	check(i == 64, "a flipped bit is refused by a write (%d)", i);

	ioctl(dev.fd, VFIO_DEVICE_RESET);
	/* scratch registers: only the trailer protects them */
	stream[8192 + 32 + 24 + 8] ^= 1;
	error = load(&dev, stream, size - 1, size, &stop_error);
	check(!error && stop_error == EINVAL, "without the last byte: %d, %d",
	      error, stop_error);
	ioctl(dev.fd, VFIO_DEVICE_RESET);
	error = load(&dev, stream, size, size - 1, &stop_error);
	check(error == EINVAL, "the last write reports the checksum: %d", error);
	check_equal(get_state(&dev), STATE(RESUMING), "still RESUMING");
	stream[8192 + 32 + 24 + 8] ^= 1;

	ioctl(dev.fd, VFIO_DEVICE_RESET);
	stream[size] = 0;
	error = load(&dev, stream, size + 8, size, &stop_error);
	check(error == EINVAL && stop_error == EINVAL,
	      "data after the trailer: %d, %d", error, stop_error);
	ioctl(dev.fd, VFIO_DEVICE_RESET);
	error = load(&dev, stream, size, 1, &stop_error);
	check(!error && !stop_error, "the same stream unharmed: %d, %d", error,
	      stop_error);
	free(stream);
	close_device(&dev);
}

static bool scratch_is(struct device *dev, bool reversed)
{
	unsigned int i;

	for (i = 0; i < REFDEV_SCRATCH_WORDS; i++) {
		unsigned int value = reversed ? REFDEV_SCRATCH_WORDS - 1 - i : i;

		if (read_reg(dev, REFDEV_REG_SCRATCH + 8 * i) != value)
			return false;
	}
	return true;
}

/* A stream of one version for a driver of another one. */
static void test_versions(uint64_t from, uint64_t to)
{
	uint64_t others = get_number("counters/other_versions");
	int error, stop_error, none;
	struct device dev;
	uint8_t *stream;
	unsigned int i;
	size_t size;

	default_knobs();
	set_knob("stream_version", from);
	open_device(&dev);
	for (i = 0; i < REFDEV_SCRATCH_WORDS; i++)
		write_reg(&dev, REFDEV_REG_SCRATCH + 8 * i, i);
	stream = save(&dev, true, MIB, &size);
	reset(&dev);
	error = load(&dev, stream, size, MIB, &stop_error);
	must(&dev, STATE(RUNNING), &none);
	check(!error && !stop_error && scratch_is(&dev, false),
	      "version %d for its own driver", (int)from);
	check_equal(get_number("counters/other_versions"), others, "not counted");

	set_knob("stream_version", to);
	reset(&dev);
	error = load(&dev, stream, size, 8, &stop_error);
	check_equal(error, EINVAL, "another version is refused");
	set_knob("version_errno", EOPNOTSUPP);
	reset(&dev);
	error = load(&dev, stream, 64, 64, &stop_error);
	check_equal(error, EOPNOTSUPP, "with the errno that is asked for");
	set_text("other_version", "read");
	reset(&dev);
	error = load(&dev, stream, size, MIB, &stop_error);
	must(&dev, STATE(RUNNING), &none);
	check(!error && !stop_error && scratch_is(&dev, false),
	      "other_version=read: as it was");
	set_text("other_version", "misread");
	reset(&dev);
	error = load(&dev, stream, size, MIB, &stop_error);
	must(&dev, STATE(RUNNING), &none);
	check(!error && !stop_error && scratch_is(&dev, true),
	      "other_version=misread: the other way round");
	check_equal(get_number("counters/other_versions"), others + 4, "counted");
	free(stream);
	close_device(&dev);
	default_knobs();
}

static void test_dirty(void)
{
	uint64_t initial, dirty, count;
	uint8_t *buf = malloc(64 * MIB);
	int error, fd, none, stop_error;
	struct device dev;
	size_t size;

	default_knobs();
	set_knob("dirty_bytes_per_sec", 4 * MIB);
	open_device(&dev);
	count = get_number("counters/dirty_bytes_read");
	must(&dev, STATE(PRE_COPY), &fd);
	usleep(100000);
	check(!precopy_info(fd, &initial, &dirty) && !dirty,
	      "nothing is dirty before something was read");
	size = read(fd, buf, MIB);
	check_equal(size, MIB, "all initial bytes in one read");
	usleep(100000);
	check(!precopy_info(fd, &initial, &dirty) && dirty >= 400000 &&
	      dirty < MIB, "dirty after 100 ms: %llu", (unsigned long long)dirty);
	usleep(400000);
	check(!precopy_info(fd, &initial, &dirty) && dirty <= MIB &&
	      dirty > MIB - 8192, "no more than was sent: %llu",
	      (unsigned long long)dirty);
	size += read(fd, buf + size, 100001);
	check(!precopy_info(fd, &initial, &dirty) && dirty > 900000,
	      "half a record read: %llu", (unsigned long long)dirty);
	must(&dev, STATE(PRE_COPY_P2P), &none);
	must(&dev, STATE(STOP_COPY), &none);
	initial = data_size(&dev);
	usleep(50000);
	check_equal(data_size(&dev), initial, "STOP_COPY makes nothing dirty");
	count += initial - 65536 + 100001;
	initial += size;
	size += read_all(fd, buf + size, 64 * MIB - size, 77777, &error);
	check_equal(size, initial, "dirty state is read in STOP_COPY");
	check_equal(get_number("counters/dirty_bytes_read"), count,
		    "counter of dirty bytes");
	close(fd);
	error = load(&dev, buf, size, 12345, &stop_error);
	check(!error && !stop_error, "load of a stream with dirty state");
	free(buf);
	close_device(&dev);
}

void test_streams(void)
{
	static const size_t pieces[] = { 1, 7, 4096, 65537, MIB };
	unsigned int i;

	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		test_stream(true, pieces[i], pieces[4 - i]);
		test_stream(false, pieces[i], pieces[4 - i]);
	}
	test_corruption();
	test_versions(1, 2);
	test_versions(2, 1);
	test_versions(1, 3);
	test_dirty();
}
