// SPDX-License-Identifier: GPL-2.0-only
/*
 * What goes on in the P2P states, and a reset in each state.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

static void close_file(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int attach_vector(struct device *dev)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (set_irqs(dev, VFIO_IRQ_SET_ACTION_TRIGGER |
		     VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1,
		     &event))
		die("VFIO_DEVICE_SET_IRQS");
	return event;
}

/* Interrupts on demand and at a rate in a state, if they are to go on there. */
static void test_irqs_in_state(struct device *dev, uint32_t state, bool goes_on)
{
	uint64_t end = now_ms() + 10000, signalled, ticks;
	int data_fd, event, none;

	reset(dev);
	event = attach_vector(dev);
	write_reg(dev, REFDEV_REG_CONTROL, REFDEV_CONTROL_ENABLE);
	must(dev, state, &data_fd);
	write_reg(dev, REFDEV_REG_TRIGGER, 0);
	signalled = drain(event);
	write_reg(dev, REFDEV_REG_IRQ_RATE, 1000);
	for (ticks = 0; goes_on && !ticks && now_ms() < end; usleep(1000))
		ticks = drain(event);
	usleep(20000);
	ticks += drain(event);
	check(signalled == goes_on && !ticks == !goes_on,
	      "state %u: interrupts %s: %llu and %llu", state,
	      goes_on ? "go on" : "wait", (unsigned long long)signalled,
	      (unsigned long long)ticks);
	must(dev, STATE(STOP), &none);
	drain(event);
	usleep(20000);
	check_equal(drain(event), 0, "none in STOP");
	close_file(data_fd);
	close(event);
}

static void test_p2p_active(void)
{
	static const uint32_t states[] = {
		STATE(RUNNING_P2P), STATE(PRE_COPY_P2P)
	};
	static const struct {
		const char *knob;
		bool irqs, dma;
	} ways[] = {
		{ "none", false, false },
		{ "irqs", true, false },
		{ "all", true, true },
	};
	struct device dev;
	unsigned int i, k;

	open_with_memory(&dev);
	check_equal(write_file("knobs/p2p_active", "dma"), EINVAL, "dma alone");
	set_knob("dma_pages_per_sec", 100000);
	for (i = 0; i < 3; i++) {
		printf("# p2p_active=%s\n", ways[i].knob);
		set_text("p2p_active", ways[i].knob);
		for (k = 0; k < 2; k++) {
			test_irqs_in_state(&dev, states[k], ways[i].irqs);
			test_dma_in_state(&dev, states[k], ways[i].dma);
		}
		test_dma_in_state(&dev, STATE(STOP), false);
	}
	close_with_memory(&dev);
	default_knobs();
}

/* Whether the last line of the history has this in it. */
static bool history_ends_with(const char *text)
{
	const char *history = read_file("history");
	const char *line = strrchr(history, '\n');

	return strstr(line ? line : history, text);
}

static void break_device(struct device *dev)
{
	int none;

	set_text("fail_device", "error");
	set_text("fail_at", "STOP");
	set_state(dev, STATE(STOP), &none);
	set_text("fail_at", "none");
	if (get_state(dev) != STATE(ERROR))
		die("a device that must be in ERROR");
}

static void test_reset_in(struct device *dev, uint32_t state, const char *name)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };
	uint64_t resets = get_number("counters/resets");
	uint64_t word = 0;
	char line[64];
	int data_fd = -1;

	place_buffer(dev);
	run_until(dev, 1);
	write_reg(dev, REFDEV_REG_SCRATCH, 7);
	if (state == STATE(ERROR))
		break_device(dev);
	else
		must(dev, state, &data_fd);
	reset(dev);
	snprintf(line, sizeof(line), " %s RUNNING 0 ", name);
	check(get_state(dev) == STATE(RUNNING) && history_ends_with(line) &&
	      history_ends_with(" reset") &&
	      get_number("counters/resets") == resets + 1,
	      "reset leads from %s to RUNNING", name);
	check(!read_reg(dev, REFDEV_REG_SCRATCH) &&
	      !read_reg(dev, REFDEV_REG_DMA_CONTROL), "and clears registers");
	if (data_fd < 0)
		return;
	check(read(data_fd, &word, 8) < 0 && write(data_fd, &word, 8) < 0 &&
	      ioctl(data_fd, VFIO_MIG_GET_PRECOPY_INFO, &info) < 0,
	      "the stream of %s is dead", name);
	close(data_fd);
}

static void test_resets(void)
{
	static const char * const names[] = {
		[STATE(ERROR)] = "ERROR",
		[STATE(STOP)] = "STOP",
		[STATE(RUNNING)] = "RUNNING",
		[STATE(STOP_COPY)] = "STOP_COPY",
		[STATE(RESUMING)] = "RESUMING",
		[STATE(RUNNING_P2P)] = "RUNNING_P2P",
		[STATE(PRE_COPY)] = "PRE_COPY",
		[STATE(PRE_COPY_P2P)] = "PRE_COPY_P2P",
	};
	struct device dev;
	uint8_t *stream;
	uint32_t state;
	size_t size;

	open_with_memory(&dev);
	set_knob("dma_pages_per_sec", 10000);
	for (state = 0; state < sizeof(names) / sizeof(names[0]); state++)
		test_reset_in(&dev, state, names[state]);
	stream = save(&dev, true, MIB, &size);
	check_equal(size, MIB + 65536, "and the device saves as ever");
	free(stream);
	close_with_memory(&dev);
	default_knobs();
}

void test_quiescent(void)
{
	test_p2p_active();
	test_resets();
}
