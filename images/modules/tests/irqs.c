// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSI-X vectors as eventfds: on demand, latched, at a rate, migrated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

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

#define VECTORS	4

static void attach_eventfds(struct device *dev, int *fds)
{
	int i;

	for (i = 0; i < VECTORS; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (set_irqs(dev, VFIO_IRQ_SET_ACTION_TRIGGER |
		     VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_MSIX_IRQ_INDEX, 0,
		     VECTORS, fds))
		die("VFIO_DEVICE_SET_IRQS");
}

static void close_eventfds(const int *fds)
{
	int i;

	for (i = 0; i < VECTORS; i++)
		close(fds[i]);
}

static uint64_t raised(struct device *dev, unsigned int vector)
{
	return read_reg(dev, REFDEV_REG_IRQ_RAISED + 8 * vector);
}

#define WINDOWS	10

/*
 * Interrupts of this vector within 300 ms, checked to be rate times that.
 * A machine that stands still loses some of them: it may be too few for some
 * windows, but never too many.
 */
static void expect_rate(int event, uint64_t rate, const char *what)
{
	uint64_t start, took, n, most = 0;
	int window;

	for (window = 0; window < WINDOWS; window++) {
		drain(event);
		start = now_ms();
		usleep(300000);
		n = drain(event);
		took = now_ms() - start;
		most = rate * took * 12 / 10000 + 2;
		if (n > most || n + 2 >= rate * took * 8 / 10000)
			break;
	}
	check(n <= most && window < WINDOWS,
	      "%s: %llu interrupts in %llu ms at %llu Hz", what,
	      (unsigned long long)n, (unsigned long long)took,
	      (unsigned long long)rate);
}

static void test_rate_knob(void)
{
	default_knobs();
	set_text("irq_rates", "100 0 0 50");
	check(!strcmp(read_file("knobs/irq_rates"), "100 0 0 50"), "four rates");
	set_text("irq_rates", " 0x10  20 0\n");
	check(!strcmp(read_file("knobs/irq_rates"), "16 20"),
	      "missing rates are 0");
	check_equal(write_file("knobs/irq_rates", "1 2 3 4 5"), EINVAL,
		    "more rates than vectors");
	check_equal(write_file("knobs/irq_rates", "10001"), ERANGE,
		    "too high a rate");
	check_equal(write_file("knobs/irq_rates", "1 x"), EINVAL, "not a number");
	check(!strcmp(read_file("knobs/irq_rates"), "16 20"),
	      "what is refused changes nothing");
	set_text("irq_rates", "\n");
	check(!strcmp(read_file("knobs/irq_rates"), "0"), "no rates");
}

static void test_rates(void)
{
	struct device dev;
	int fds[VECTORS];
	uint64_t before;
	int none, fd;

	default_knobs();
	open_device(&dev);
	attach_eventfds(&dev, fds);
	set_text("irq_rates", "100 0 0 50");
	expect_rate(fds[0], 0, "before the driver enables interrupts");
	write_reg(&dev, REFDEV_REG_CONTROL, REFDEV_CONTROL_ENABLE);
	expect_rate(fds[0], 100, "as the knob says");
	expect_rate(fds[3], 50, "each vector at its own rate");
	check(!drain(fds[1]) && !drain(fds[2]), "none without a rate");
	write_reg(&dev, REFDEV_REG_IRQ_RATE, 500);
	write_reg(&dev, REFDEV_REG_IRQ_RATE + 8, 20);
	expect_rate(fds[0], 500, "the guest's rate wins");
	expect_rate(fds[1], 20, "the guest's rate");
	write_reg(&dev, REFDEV_REG_IRQ_RATE, 0);
	expect_rate(fds[0], 100, "the knob's again");
	write_reg(&dev, REFDEV_REG_IRQ_RATE + 8, 1000000);
	check_equal(read_reg(&dev, REFDEV_REG_IRQ_RATE + 8),
		    REFDEV_IRQ_RATE_MAX, "the guest's rate has a maximum");
	write_reg(&dev, REFDEV_REG_IRQ_RATE + 8, 0);

	must(&dev, STATE(PRE_COPY), &fd);
	expect_rate(fds[0], 100, "in PRE_COPY");
	must(&dev, STATE(PRE_COPY_P2P), &none);
	drain(fds[0]);
	before = raised(&dev, 0);
	expect_rate(fds[0], 0, "not in PRE_COPY_P2P");
	check_equal(raised(&dev, 0), before, "none is raised there either");
	must(&dev, STATE(RUNNING), &none);
	expect_rate(fds[0], 100, "in RUNNING again");
	close(fd);

	set_text("irq_rates", "0");
	drain(fds[0]);
	before = raised(&dev, 0);
	expect_rate(fds[0], 0, "rate 0");
	check_equal(raised(&dev, 0), before, "none is raised at rate 0");
	reset(&dev);
	check_equal(raised(&dev, 0), 0, "reset clears the count");
	close_eventfds(fds);
	close_device(&dev);
}

static void test_raised(void)
{
	uint64_t before[VECTORS], after[VECTORS], signalled = 0;
	int error, stop_error, none, i;
	struct device dev;
	int fds[VECTORS];
	uint8_t *stream;
	size_t size;

	default_knobs();
	open_device(&dev);
	attach_eventfds(&dev, fds);
	write_reg(&dev, REFDEV_REG_CONTROL, REFDEV_CONTROL_ENABLE);
	for (i = 0; i < VECTORS; i++)
		write_reg(&dev, REFDEV_REG_IRQ_RATE + 8 * i, 100 * (i + 1));
	usleep(100000);
	must(&dev, STATE(STOP), &none);
	for (i = 0; i < VECTORS; i++) {
		before[i] = raised(&dev, i);
		signalled += drain(fds[i]) == before[i] && before[i];
	}
	check_equal(signalled, VECTORS, "as many signals as were raised");

	stream = save(&dev, false, 1000, &size);
	reset(&dev);
	error = load(&dev, stream, size, 999, &stop_error);
	for (i = 0; i < VECTORS; i++)
		if (raised(&dev, i) != before[i] ||
		    read_reg(&dev, REFDEV_REG_IRQ_RATE + 8 * i) !=
		    100ULL * (i + 1))
			break;
	check(!error && !stop_error && i == VECTORS,
	      "rates and counts move with the state");
	must(&dev, STATE(RUNNING), &none);
	usleep(100000);
	must(&dev, STATE(STOP), &none);
	for (i = 0, signalled = 0; i < VECTORS; i++) {
		after[i] = raised(&dev, i);
		signalled += after[i] > before[i] &&
			     drain(fds[i]) == after[i] - before[i];
	}
	check_equal(signalled, VECTORS, "and go on at the destination");
	free(stream);
	close_eventfds(fds);
	close_device(&dev);
}

void test_interrupts(void)
{
	test_irqs();
	test_irq_moves();
	test_rate_knob();
	test_rates();
	test_raised();
}
