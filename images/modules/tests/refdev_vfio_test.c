// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drives a reference device through the VFIO uAPI, as QEMU does and as QEMU
 * does not. Run it as root on a host where the device exists and nobody uses
 * it: refdev_vfio_test UUID. Prints TAP; the exit code is 1 if a check failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../refdev/refdev_regs.h"

#define MIB	(1UL << 20)
#define STATE(name)	VFIO_DEVICE_STATE_##name

static const char *uuid;
static int checks, failures;

struct device {
	int container, group, fd;
	uint64_t offset[VFIO_PCI_NUM_REGIONS];
};

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(2);
}

static void __attribute__((format(printf, 2, 3))) check(bool ok,
							 const char *format, ...)
{
	va_list args;

	printf("%s %d - ", ok ? "ok" : "not ok", ++checks);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	failures += !ok;
}

static void check_equal(uint64_t got, uint64_t expected, const char *what)
{
	if (got == expected)
		check(true, "%s", what);
	else
		check(false, "%s: %llu instead of %llu", what,
		      (unsigned long long)got, (unsigned long long)expected);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* sysfs: 0 or an errno. */
static int write_file(const char *file, const char *text)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/%s", uuid, file);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		die(path);
	n = write(fd, text, strlen(text));
	if (n < 0)
		n = errno;
	else
		n = 0;
	close(fd);
	return n;
}

static void set_knob(const char *knob, uint64_t value)
{
	char file[64], text[32];

	snprintf(file, sizeof(file), "knobs/%s", knob);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	errno = write_file(file, text);
	if (errno)
		die(file);
}

static uint64_t get_number(const char *file)
{
	char path[PATH_MAX], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/%s", uuid, file);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		die(path);
	close(fd);
	return strtoull(text, NULL, 0);
}

static void default_knobs(void)
{
	set_knob("migration", 1);
	set_knob("stop_copy", 1);
	set_knob("pre_copy", 1);
	set_knob("p2p", 1);
	set_knob("initial_bytes", MIB);
	set_knob("stop_copy_bytes", 65536);
	set_knob("dirty_bytes_per_sec", 0);
	set_knob("save_bytes_per_sec", 0);
	set_knob("load_bytes_per_sec", 0);
	set_knob("load_initial_ms", 0);
	set_knob("state_change_ms", 0);
}

static void open_device(struct device *dev)
{
	struct vfio_region_info info = { .argsz = sizeof(info) };
	char path[PATH_MAX], target[PATH_MAX] = "";

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/iommu_group", uuid);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		die(path);
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(target, '/') + 1);

	dev->container = open("/dev/vfio/vfio", O_RDWR);
	dev->group = open(path, O_RDWR);
	if (dev->container < 0 || dev->group < 0)
		die(path);
	if (ioctl(dev->group, VFIO_GROUP_SET_CONTAINER, &dev->container))
		die("VFIO_GROUP_SET_CONTAINER");
	if (ioctl(dev->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("VFIO_SET_IOMMU");
	dev->fd = ioctl(dev->group, VFIO_GROUP_GET_DEVICE_FD, uuid);
	if (dev->fd < 0)
		die("VFIO_GROUP_GET_DEVICE_FD");
	for (info.index = 0; info.index < VFIO_PCI_NUM_REGIONS; info.index++) {
		if (ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
			die("VFIO_DEVICE_GET_REGION_INFO");
		dev->offset[info.index] = info.offset;
	}
}

static void close_device(struct device *dev)
{
	close(dev->fd);
	close(dev->group);
	close(dev->container);
}

static uint64_t read_reg(struct device *dev, unsigned int reg)
{
	uint64_t value;

	if (pread(dev->fd, &value, 8, dev->offset[REFDEV_BAR_REGS] + reg) != 8)
		die("read of a register");
	return value;
}

static void write_reg(struct device *dev, unsigned int reg, uint64_t value)
{
	if (pwrite(dev->fd, &value, 8, dev->offset[REFDEV_BAR_REGS] + reg) != 8)
		die("write of a register");
}

static int feature(struct device *dev, uint32_t flags, void *data, size_t size)
{
	union {
		struct vfio_device_feature feature;
		uint8_t bytes[sizeof(struct vfio_device_feature) + 64];
	} arg = {};
	int ret;

	arg.feature.argsz = sizeof(arg.feature) + size;
	arg.feature.flags = flags;
	memcpy(arg.feature.data, data, size);
	ret = ioctl(dev->fd, VFIO_DEVICE_FEATURE, &arg.feature) ? errno : 0;
	memcpy(data, arg.feature.data, size);
	return ret;
}

static int set_state(struct device *dev, uint32_t state, int *data_fd)
{
	struct vfio_device_feature_mig_state mig = {
		.device_state = state, .data_fd = -1,
	};
	int ret = feature(dev, VFIO_DEVICE_FEATURE_SET |
			  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &mig,
			  sizeof(mig));

	*data_fd = mig.data_fd;
	return ret;
}

static uint32_t get_state(struct device *dev)
{
	struct vfio_device_feature_mig_state mig = {};

	if (feature(dev, VFIO_DEVICE_FEATURE_GET |
		    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &mig, sizeof(mig)))
		die("GET of the migration state");
	return mig.device_state;
}

static uint64_t data_size(struct device *dev)
{
	struct vfio_device_feature_mig_data_size size = {};

	if (feature(dev, VFIO_DEVICE_FEATURE_GET |
		    VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, &size, sizeof(size)))
		die("GET of the data size");
	return size.stop_copy_length;
}

static int precopy_info(int data_fd, uint64_t *initial, uint64_t *dirty)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };
	int ret = ioctl(data_fd, VFIO_MIG_GET_PRECOPY_INFO, &info) ? errno : 0;

	*initial = info.initial_bytes;
	*dirty = info.dirty_bytes;
	return ret;
}

/* Reads in pieces of this size up to an error or the end: bytes, errno. */
static size_t read_all(int data_fd, uint8_t *buf, size_t room, size_t piece,
		       int *error)
{
	size_t done = 0;
	ssize_t n = 1;

	while (n > 0) {
		if (room - done < piece)
			piece = room - done;
		if (!piece)
			die("more data than expected");
		n = read(data_fd, buf + done, piece);
		if (n > 0)
			done += n;
	}
	*error = n < 0 ? errno : 0;
	return done;
}

static int write_all(int data_fd, const uint8_t *buf, size_t size, size_t piece)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(data_fd, buf + done,
				  size - done < piece ? size - done : piece);

		if (n < 0)
			return errno;
		done += n;
	}
	return 0;
}

static void must(struct device *dev, uint32_t state, int *data_fd)
{
	errno = set_state(dev, state, data_fd);
	if (errno)
		die("state change that must succeed");
}

static void test_identity(void)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct device dev;
	uint64_t none = 0;
	uint16_t id[2];

	default_knobs();
	open_device(&dev);
	check(!ioctl(dev.fd, VFIO_DEVICE_GET_INFO, &info) &&
	      info.flags == (VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET) &&
	      info.num_regions == 9 && info.num_irqs == 5, "device info");
	check(pread(dev.fd, id, 4, dev.offset[VFIO_PCI_CONFIG_REGION_INDEX]) == 4 &&
	      id[0] == REFDEV_PCI_VENDOR && id[1] == REFDEV_PCI_DEVICE,
	      "PCI identity");
	check_equal(read_reg(&dev, REFDEV_REG_ID), REFDEV_ID, "identity register");
	check_equal(feature(&dev, VFIO_DEVICE_FEATURE_GET | 12, &none, 8), ENOTTY,
		    "an unknown feature is ENOTTY");
	check_equal(feature(&dev, VFIO_DEVICE_FEATURE_PROBE |
			    VFIO_DEVICE_FEATURE_SET |
			    VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &none, 8),
		    ENOTTY, "no DMA logging");
	check_equal(write_file("knobs/p2p", "n"), EBUSY,
		    "flags cannot change while the device is open");
	check_equal(write_file("knobs/initial_bytes", "4095"), ERANGE,
		    "sizes have a minimum");
	check_equal(write_file("knobs/initial_bytes", "4097"), EINVAL,
		    "sizes are multiples of 8");
	close_device(&dev);
}

static void test_flags(void)
{
	struct vfio_device_feature_migration mig = {};
	struct device dev;
	int data_fd;

	default_knobs();
	set_knob("migration", 0);
	open_device(&dev);
	check_equal(feature(&dev, VFIO_DEVICE_FEATURE_GET |
			    VFIO_DEVICE_FEATURE_MIGRATION, &mig, sizeof(mig)),
		    ENOTTY, "migration=n: no migration feature");
	close_device(&dev);

	set_knob("migration", 1);
	set_knob("stop_copy", 0);
	open_device(&dev);
	check(!feature(&dev, VFIO_DEVICE_FEATURE_GET |
		       VFIO_DEVICE_FEATURE_MIGRATION, &mig, sizeof(mig)) &&
	      mig.flags == (VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY),
	      "stop_copy=n: only the other flags");
	check_equal(set_state(&dev, STATE(STOP), &data_fd), EOPNOTSUPP,
		    "stop_copy=n: no state changes");
	close_device(&dev);
}

/* Where each pair of states leads, and whether it gives a file. */
static bool is_saving(uint32_t state)
{
	return state == STATE(PRE_COPY) || state == STATE(PRE_COPY_P2P) ||
	       state == STATE(STOP_COPY);
}

static bool is_supported(uint32_t state, bool pre_copy, bool p2p)
{
	switch (state) {
	case STATE(ERROR):
		return false;
	case STATE(RUNNING_P2P):
		return p2p;
	case STATE(PRE_COPY):
		return pre_copy;
	case STATE(PRE_COPY_P2P):
		return pre_copy && p2p;
	default:
		return true;
	}
}

static bool is_allowed(uint32_t from, uint32_t to)
{
	if (from == STATE(STOP_COPY) &&
	    (to == STATE(PRE_COPY) || to == STATE(PRE_COPY_P2P)))
		return false;
	/* An empty stream was loaded: RESUMING can only be left by a reset. */
	return from != STATE(RESUMING) || to == from;
}

static void test_arc(struct device *dev, uint32_t from, uint32_t to,
		     bool supported)
{
	bool allowed = supported && is_allowed(from, to);
	bool opens = allowed && from != to &&
		     (to == STATE(RESUMING) ||
		      (is_saving(to) && !is_saving(from)));
	int data_fd, second_fd, error;
	uint64_t word;

	if (ioctl(dev->fd, VFIO_DEVICE_RESET))
		die("VFIO_DEVICE_RESET");
	must(dev, from, &data_fd);
	error = set_state(dev, to, &second_fd);
	check(allowed == !error && (second_fd >= 0) == opens,
	      "%u -> %u: error %d, file %d", from, to, error, second_fd);
	if (allowed)
		check_equal(get_state(dev), to, "state reached");
	if (data_fd >= 0 && allowed && from != to &&
	    !(is_saving(from) && is_saving(to)))
		check(read(data_fd, &word, 8) < 0 &&
		      (errno == ENODEV || errno == EBADF),
		      "the stream of %u is closed", from);
	if (data_fd >= 0)
		close(data_fd);
	if (second_fd >= 0)
		close(second_fd);
}

static void test_arcs(bool pre_copy, bool p2p)
{
	struct device dev;
	uint32_t from, to;

	default_knobs();
	set_knob("pre_copy", pre_copy);
	set_knob("p2p", p2p);
	open_device(&dev);
	printf("# arcs with pre_copy=%d p2p=%d\n", pre_copy, p2p);
	for (from = 0; from < 8; from++) {
		if (!is_supported(from, pre_copy, p2p))
			continue;
		for (to = 0; to < 9; to++)
			test_arc(&dev, from, to,
				 to < 8 && is_supported(to, pre_copy, p2p));
	}
	close_device(&dev);
}

/* Saves with reads of this size; the caller frees the stream. */
static uint8_t *save(struct device *dev, bool pre_copy, size_t piece,
		     size_t *size)
{
	size_t room = 64 * MIB;
	uint8_t *buf = malloc(room);
	uint64_t initial, dirty, left;
	size_t early = 0;
	int fd, none;
	int error;

	if (!buf)
		die("malloc");
	must(dev, pre_copy ? STATE(PRE_COPY) : STATE(STOP_COPY), &fd);
	if (pre_copy) {
		check(!precopy_info(fd, &initial, &dirty) &&
		      initial == get_number("knobs/initial_bytes") && !dirty,
		      "pre-copy starts with all initial bytes, none dirty");
		check_equal(data_size(dev),
			    initial + get_number("knobs/stop_copy_bytes"),
			    "data size counts unread pre-copy data");
		early = read_all(fd, buf, room, piece, &error);
		check_equal(error, ENOMSG, "drained pre-copy ends in ENOMSG");
		check(!precopy_info(fd, &initial, &dirty) && !initial,
		      "no initial bytes are left");
		must(dev, STATE(STOP_COPY), &none);
		check_equal(none, (uint64_t)-1, "no second file in STOP_COPY");
	}
	check_equal(precopy_info(fd, &initial, &dirty), EINVAL,
		    "no pre-copy information in STOP_COPY");
	left = data_size(dev);
	*size = early + read_all(fd, buf + early, room - early, piece, &error);
	check_equal(error, 0, "STOP_COPY ends in 0");
	check_equal(*size - early, left, "data size was what had to be read");
	check_equal(data_size(dev), 0, "nothing is left");
	must(dev, STATE(STOP), &none);
	check(read(fd, buf + *size, 1) < 0 && errno == ENODEV,
	      "STOP closes the stream");
	close(fd);
	return buf;
}

static int load(struct device *dev, const uint8_t *buf, size_t size,
		size_t piece, int *stop_error)
{
	int error, fd, none;

	must(dev, STATE(RESUMING), &fd);
	error = write_all(fd, buf, size, piece);
	*stop_error = set_state(dev, STATE(STOP), &none);
	close(fd);
	return error;
}

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

static void expect_time(uint64_t start, uint64_t expected, const char *what)
{
	uint64_t took = now_ms() - start;

	check(took >= expected * 95 / 100 && took <= expected * 108 / 100 + 20,
	      "%s: %llu ms, expected %llu", what, (unsigned long long)took,
	      (unsigned long long)expected);
}

static void test_times(void)
{
	uint8_t *buf = malloc(64 * MIB);
	int error, fd, none;
	struct device dev;
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
	expect_time(start, 500, "10 MB at 20 MB/s in pre-copy");
	set_knob("save_bytes_per_sec", 100000000);
	usleep(200000);
	must(&dev, STATE(STOP_COPY), &none);
	start = now_ms();
	size += read_all(fd, buf + size, 64 * MIB, 65536, &error);
	expect_time(start, 100, "10 MB at 100 MB/s in stop-copy, after a pause");
	close(fd);

	set_knob("load_bytes_per_sec", 40000000);
	set_knob("load_initial_ms", 300);
	must(&dev, STATE(RESUMING), &fd);
	start = now_ms();
	write_all(fd, buf, 10000000, 50000);
	expect_time(start, 550, "10 MB at 40 MB/s and 300 ms to load them");
	start = now_ms();
	write_all(fd, buf + 10000000, 10000000, 300000);
	expect_time(start, 250, "10 MB at 40 MB/s");
	close(fd);

	set_knob("state_change_ms", 50);
	start = now_ms();
	must(&dev, STATE(RUNNING), &none);
	expect_time(start, 150, "three arcs of 50 ms");
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
	free(buf);
	close_device(&dev);
}

static int set_irqs(struct device *dev, uint32_t flags, uint32_t index,
		    uint32_t start, uint32_t count, const int *fds)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + 64];
	} arg = {};

	arg.set.argsz = sizeof(arg.set);
	arg.set.flags = flags;
	arg.set.index = index;
	arg.set.start = start;
	arg.set.count = count;
	if (fds) {
		arg.set.argsz += count * sizeof(*fds);
		memcpy(arg.set.data, fds, count * sizeof(*fds));
	}
	return ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &arg.set) ? errno : 0;
}

static uint64_t drain(int event)
{
	uint64_t n = 0;

	return read(event, &n, 8) == 8 ? n : 0;
}

static void test_irqs(void)
{
	const uint32_t trigger = VFIO_IRQ_SET_ACTION_TRIGGER;
	const uint32_t eventfd_trigger = trigger | VFIO_IRQ_SET_DATA_EVENTFD;
	const uint32_t msix = VFIO_PCI_MSIX_IRQ_INDEX;
	uint64_t latched, coalesced;
	int fds[4], some[2], none, i;
	struct device dev;

	default_knobs();
	open_device(&dev);
	for (i = 0; i < 4; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	check(!set_irqs(&dev, eventfd_trigger, msix, 0, 4, fds), "four eventfds");
	write_reg(&dev, REFDEV_REG_TRIGGER, 1);
	check_equal(drain(fds[1]), 0, "no interrupt before the driver enables it");
	write_reg(&dev, REFDEV_REG_CONTROL, REFDEV_CONTROL_ENABLE);
	write_reg(&dev, REFDEV_REG_TRIGGER, 1);
	check(drain(fds[1]) == 1 && !drain(fds[0]), "vector 1");

	latched = get_number("counters/irqs_latched");
	coalesced = get_number("counters/irqs_coalesced");
	must(&dev, STATE(RUNNING_P2P), &none);
	write_reg(&dev, REFDEV_REG_TRIGGER, 2);
	write_reg(&dev, REFDEV_REG_TRIGGER, 2);
	write_reg(&dev, REFDEV_REG_TRIGGER, 3);
	check(!drain(fds[2]) && !drain(fds[3]), "none in RUNNING_P2P");
	must(&dev, STATE(STOP), &none);
	check(!drain(fds[2]), "none in STOP");
	must(&dev, STATE(RUNNING), &none);
	check(drain(fds[2]) == 1 && drain(fds[3]) == 1, "delivered in RUNNING");
	check(get_number("counters/irqs_latched") == latched + 2 &&
	      get_number("counters/irqs_coalesced") == coalesced + 1,
	      "counters of latched interrupts");

	some[0] = -1;
	some[1] = fds[0];
	check(!set_irqs(&dev, eventfd_trigger, msix, 1, 2, some), "a sub-range");
	write_reg(&dev, REFDEV_REG_TRIGGER, 2);
	write_reg(&dev, REFDEV_REG_TRIGGER, 3);
	write_reg(&dev, REFDEV_REG_TRIGGER, 1);
	check(drain(fds[0]) == 1 && drain(fds[3]) == 1 && !drain(fds[1]),
	      "vector 1 has none, 2 another, 3 its own");
	check(!set_irqs(&dev, eventfd_trigger, msix, 1, 1, &fds[1]) &&
	      drain(fds[1]) == 1, "delivered when the eventfd comes");
	check_equal(set_irqs(&dev, eventfd_trigger, msix, 3, 2, some), EINVAL,
		    "beyond the last vector");
	some[1] = dev.container;
	check_equal(set_irqs(&dev, eventfd_trigger, msix, 0, 2, some), EINVAL,
		    "not an eventfd");
	write_reg(&dev, REFDEV_REG_TRIGGER, 1);
	check_equal(drain(fds[1]), 1, "and nothing has changed");
	check(!set_irqs(&dev, trigger | VFIO_IRQ_SET_DATA_NONE, msix, 3, 1, NULL) &&
	      drain(fds[3]) == 1, "loopback");
	check(!set_irqs(&dev, trigger | VFIO_IRQ_SET_DATA_NONE, msix, 0, 0, NULL),
	      "disable");
	write_reg(&dev, REFDEV_REG_TRIGGER, 3);
	check(!drain(fds[3]), "none when disabled");
	check(set_irqs(&dev, trigger | VFIO_IRQ_SET_DATA_NONE,
		       VFIO_PCI_INTX_IRQ_INDEX, 0, 1, NULL) == EINVAL, "no INTx");
	check(!set_irqs(&dev, eventfd_trigger, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, fds) &&
	      !set_irqs(&dev, trigger | VFIO_IRQ_SET_DATA_NONE,
			VFIO_PCI_REQ_IRQ_INDEX, 0, 1, NULL) &&
	      drain(fds[0]) == 1, "request interrupt");
	for (i = 0; i < 4; i++)
		close(fds[i]);
	close_device(&dev);
}

/* A latched interrupt is part of the state and arrives at the destination. */
static void test_irq_moves(void)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int error, none, stop_error;
	struct device dev;
	uint8_t *stream;
	size_t size;

	default_knobs();
	open_device(&dev);
	write_reg(&dev, REFDEV_REG_CONTROL, REFDEV_CONTROL_ENABLE);
	must(&dev, STATE(STOP), &none);
	write_reg(&dev, REFDEV_REG_TRIGGER, 2);
	stream = save(&dev, false, MIB, &size);
	close_device(&dev);
	open_device(&dev);
	check(!set_irqs(&dev, VFIO_IRQ_SET_ACTION_TRIGGER |
			VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_MSIX_IRQ_INDEX, 2,
			1, &event), "eventfd at the destination");
	error = load(&dev, stream, size, MIB, &stop_error);
	check(!error && !stop_error && !drain(event), "loaded, no interrupt yet");
	must(&dev, STATE(RUNNING), &none);
	check_equal(drain(event), 1, "the latched interrupt arrives");
	check_equal(read_reg(&dev, REFDEV_REG_CONTROL), REFDEV_CONTROL_ENABLE,
		    "interrupts stay enabled");
	close(event);
	free(stream);
	close_device(&dev);
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

int main(int argc, char **argv)
{
	static const size_t pieces[] = { 1, 7, 4096, 65537, MIB };
	unsigned int i;

	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	uuid = argv[1];
	test_identity();
	test_flags();
	for (i = 0; i < 4; i++)
		test_arcs(i & 1, i & 2);
	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		test_stream(true, pieces[i], pieces[4 - i]);
		test_stream(false, pieces[i], pieces[4 - i]);
	}
	test_corruption();
	test_dirty();
	test_times();
	test_slow_read_ends();
	test_irqs();
	test_irq_moves();
	test_file_outlives_device();
	default_knobs();
	printf("1..%d\n", checks);
	return failures ? 1 : 0;
}
