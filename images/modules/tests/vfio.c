// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checks in TAP, the device's files in sysfs, and the calls of the VFIO uAPI.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

const char *uuid;
int checks, failures;

void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(2);
}

void check(bool ok, const char *format, ...)
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

void check_equal(uint64_t got, uint64_t expected, const char *what)
{
	if (got == expected)
		check(true, "%s", what);
	else
		check(false, "%s: %llu instead of %llu", what,
		      (unsigned long long)got, (unsigned long long)expected);
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* sysfs: 0 or an errno. */
int write_file(const char *file, const char *text)
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

void set_text(const char *knob, const char *text)
{
	char file[64];

	snprintf(file, sizeof(file), "knobs/%s", knob);
	errno = write_file(file, text);
	if (errno)
		die(file);
}

void set_knob(const char *knob, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	set_text(knob, text);
}

/* Without the newline at the end; valid until the next call. */
const char *read_file(const char *file)
{
	static char text[131072];
	char path[PATH_MAX];
	ssize_t n = 1;
	size_t len = 0;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/%s", uuid, file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		die(path);
	while (n > 0) {
		n = read(fd, text + len, sizeof(text) - 1 - len);
		if (n < 0)
			die(path);
		len += n;
	}
	close(fd);
	if (len && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	return text;
}

uint64_t get_number(const char *file)
{
	return strtoull(read_file(file), NULL, 0);
}

void reset(struct device *dev)
{
	if (ioctl(dev->fd, VFIO_DEVICE_RESET))
		die("VFIO_DEVICE_RESET");
}

void default_knobs(void)
{
	set_knob("migration", 1);
	set_knob("stop_copy", 1);
	set_knob("pre_copy", 1);
	set_knob("p2p", 1);
	set_knob("precopy_info_v2", 1);
	set_knob("dirty_tracking", 0);
	set_knob("initial_bytes", MIB);
	set_knob("stop_copy_bytes", 65536);
	set_knob("dirty_bytes_per_sec", 0);
	set_knob("reinit_count", 0);
	set_knob("reinit_bytes", 65536);
	set_knob("reinit_after_bytes", 0);
	set_text("reinit_at", "read");
	set_knob("save_bytes_per_sec", 0);
	set_knob("load_bytes_per_sec", 0);
	set_knob("load_initial_ms", 0);
	set_knob("state_change_ms", 0);
	set_text("p2p_active", "none");
	set_knob("dma_pages_per_sec", 0);
	set_text("log_report", "true");
	set_knob("log_page_bytes", REFDEV_DMA_PAGE);
	set_knob("log_max_ranges", 256);
	set_knob("log_max_pages", 1 << 20);
	set_text("irq_rates", "0");
	set_text("fail_at", "none");
	set_knob("fail_errno", EIO);
	set_text("fail_times", "once");
	set_text("fail_device", "stays");
	set_text("corrupt", "none");
	set_knob("stream_version", 3);
	set_text("other_version", "refused");
	set_knob("version_errno", EINVAL);
}

void open_device(struct device *dev)
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

void close_device(struct device *dev)
{
	close(dev->fd);
	close(dev->group);
	close(dev->container);
}

uint64_t read_reg(struct device *dev, unsigned int reg)
{
	uint64_t value;

	if (pread(dev->fd, &value, 8, dev->offset[REFDEV_BAR_REGS] + reg) != 8)
		die("read of a register");
	return value;
}

void write_reg(struct device *dev, unsigned int reg, uint64_t value)
{
	if (pwrite(dev->fd, &value, 8, dev->offset[REFDEV_BAR_REGS] + reg) != 8)
		die("write of a register");
}

int feature(struct device *dev, uint32_t flags, void *data, size_t size)
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

int set_state(struct device *dev, uint32_t state, int *data_fd)
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

uint32_t get_state(struct device *dev)
{
	struct vfio_device_feature_mig_state mig = {};

	if (feature(dev, VFIO_DEVICE_FEATURE_GET |
		    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &mig, sizeof(mig)))
		die("GET of the migration state");
	return mig.device_state;
}

uint64_t data_size(struct device *dev)
{
	struct vfio_device_feature_mig_data_size size = {};

	if (feature(dev, VFIO_DEVICE_FEATURE_GET |
		    VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, &size, sizeof(size)))
		die("GET of the data size");
	return size.stop_copy_length;
}

int precopy_info(int data_fd, uint64_t *initial, uint64_t *dirty)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };
	int ret = ioctl(data_fd, VFIO_MIG_GET_PRECOPY_INFO, &info) ? errno : 0;

	*initial = info.initial_bytes;
	*dirty = info.dirty_bytes;
	return ret;
}

/* Reads in pieces of this size up to an error or the end: bytes, errno. */
size_t read_all(int data_fd, uint8_t *buf, size_t room, size_t piece,
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

/* Reads and forgets all that can be read now. */
void flush(int data_fd)
{
	static uint8_t buf[65536];

	while (read(data_fd, buf, sizeof(buf)) > 0)
		;
}

int write_all(int data_fd, const uint8_t *buf, size_t size, size_t piece)
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

void must(struct device *dev, uint32_t state, int *data_fd)
{
	errno = set_state(dev, state, data_fd);
	if (errno)
		die("state change that must succeed");
}

/* Saves with reads of this size; the caller frees the stream. */
uint8_t *save(struct device *dev, bool pre_copy, size_t piece, size_t *size)
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

int load(struct device *dev, const uint8_t *buf, size_t size, size_t piece,
	 int *stop_error)
{
	int error, fd, none;

	must(dev, STATE(RESUMING), &fd);
	error = write_all(fd, buf, size, piece);
	*stop_error = set_state(dev, STATE(STOP), &none);
	close(fd);
	return error;
}

int set_irqs(struct device *dev, uint32_t flags, uint32_t index,
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

uint64_t drain(int event)
{
	uint64_t n = 0;

	return read(event, &n, 8) == 8 ? n : 0;
}
