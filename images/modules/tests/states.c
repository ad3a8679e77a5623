// SPDX-License-Identifier: GPL-2.0-only
/*
 * Identity, migration flags, and every arc of the state machine.
 */
#include <linux/pci_regs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

/* A guest's driver goes on with its BARs after a reset behind its back. */
static void check_command(struct device *dev)
{
	off_t at = dev->offset[VFIO_PCI_CONFIG_REGION_INDEX] + PCI_COMMAND;
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, found = 0;

	check(pwrite(dev->fd, &command, 2, at) == 2, "command register");
	reset(dev);
	check(pread(dev->fd, &found, 2, at) == 2 && found == command,
	      "reset keeps configuration space: command %#x", found);
	close_device(dev);
	open_device(dev);
	check(pread(dev->fd, &found, 2, at) == 2 && !found,
	      "opening does not: command %#x", found);
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
	check_command(&dev);
	check_equal(feature(&dev, VFIO_DEVICE_FEATURE_GET | 0x7fff, &none, 8), ENOTTY,
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

void test_states(void)
{
	unsigned int i;

	test_identity();
	test_flags();
	for (i = 0; i < 4; i++)
		test_arcs(i & 1, i & 2);
}
