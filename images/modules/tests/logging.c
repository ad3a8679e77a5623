// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device's own log of the pages that its DMA writes, and reports that are
 * not what they should be. Kernels without IOMMUFD_DRIVER have none of that.
 */
#include <stdio.h>
#include <sys/ioctl.h>

#include "refdev_vfio_test.h"

#define WHOLE	(MAPPED * REFDEV_DMA_PAGE)

static int start_log(struct device *dev, uint64_t *page_size,
		     const struct vfio_device_feature_dma_logging_range *ranges,
		     uint32_t n)
{
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = *page_size, .num_ranges = n,
		.ranges = (uintptr_t)ranges,
	};
	int ret = feature(dev, VFIO_DEVICE_FEATURE_SET |
			  VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &control,
			  sizeof(control));

	*page_size = control.page_size;
	return ret;
}

static int stop_log(struct device *dev)
{
	uint64_t none = 0;

	return feature(dev, VFIO_DEVICE_FEATURE_SET |
		       VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, &none, 0);
}

/* A bit for each of the MAPPED pages; asking clears them. */
static int report(struct device *dev, uint64_t *bitmap)
{
	struct vfio_device_feature_dma_logging_report arg = {
		.iova = IOVA, .length = WHOLE, .page_size = REFDEV_DMA_PAGE,
		.bitmap = (uintptr_t)bitmap,
	};

	*bitmap = 0;
	return feature(dev, VFIO_DEVICE_FEATURE_GET |
		       VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &arg,
		       sizeof(arg));
}

static void expect_report(struct device *dev, uint64_t expected,
			  const char *what)
{
	uint64_t bitmap;
	int error = report(dev, &bitmap);

	check(!error && bitmap == expected, "%s: %d, %#llx instead of %#llx",
	      what, error, (unsigned long long)bitmap,
	      (unsigned long long)expected);
}

static void must_start(struct device *dev, uint64_t pages, uint64_t expected)
{
	const struct vfio_device_feature_dma_logging_range range = {
		.iova = IOVA, .length = pages * REFDEV_DMA_PAGE,
	};
	uint64_t page_size = REFDEV_DMA_PAGE;
	int error = start_log(dev, &page_size, &range, 1);

	check(!error && page_size == expected, "logging starts: %d, pages of %llu",
	      error, (unsigned long long)page_size);
}

/* All pages of the buffer are written at least once, and no more after that. */
static void write_all_pages(struct device *dev)
{
	run_until(dev, PAGES);
	write_reg(dev, REFDEV_REG_DMA_CONTROL, 0);
}

#define BUFFER	((1ULL << PAGES) - 1)

static void test_reports(struct device *dev)
{
	uint64_t bitmap, none = 0;

	check(!feature(dev, VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
		       VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &none, 8),
	      "dirty_tracking=y: logging can be probed");
	check_equal(report(dev, &bitmap), EINVAL, "no report before the start");
	check_equal(stop_log(dev), 0, "a stop without a start does no harm");
	must_start(dev, MAPPED, REFDEV_DMA_PAGE);
	expect_report(dev, 0, "nothing was written");
	write_all_pages(dev);
	expect_report(dev, BUFFER, "the buffer was written, and nothing else");
	expect_report(dev, 0, "a report clears");
	place_buffer(dev);
	run_until(dev, 3);
	write_reg(dev, REFDEV_REG_DMA_CONTROL, 0);
	reset(dev);
	check(!report(dev, &bitmap) && bitmap & 7 && !(bitmap & ~BUFFER),
	      "a reset keeps the log: %#llx", (unsigned long long)bitmap);
	check_equal(stop_log(dev), 0, "logging stops");
	check_equal(report(dev, &bitmap), EINVAL, "no report after the stop");
}

static void test_limits(struct device *dev)
{
	const struct vfio_device_feature_dma_logging_range ranges[] = {
		{ .iova = IOVA, .length = 2 * REFDEV_DMA_PAGE },
		{ .iova = IOVA + 4 * REFDEV_DMA_PAGE, .length = REFDEV_DMA_PAGE },
	};
	uint64_t page_size = REFDEV_DMA_PAGE;

	place_buffer(dev);
	set_knob("log_max_ranges", 1);
	check_equal(start_log(dev, &page_size, ranges, 2), E2BIG,
		    "more ranges than the device has room for");
	set_knob("log_max_ranges", 2);
	check_equal(start_log(dev, &page_size, ranges, 2), 0, "two ranges");
	check_equal(start_log(dev, &page_size, ranges, 2), EINVAL,
		    "a second start");
	write_all_pages(dev);
	expect_report(dev, 0x13, "only pages in the ranges are logged");
	stop_log(dev);

	place_buffer(dev);
	set_knob("log_page_bytes", 4 * REFDEV_DMA_PAGE);
	must_start(dev, MAPPED, 4 * REFDEV_DMA_PAGE);
	run_until(dev, 1);
	write_all_pages(dev);
	expect_report(dev, BUFFER, "pages of 16 KiB");
	stop_log(dev);
	set_knob("log_page_bytes", REFDEV_DMA_PAGE);

	place_buffer(dev);
	set_knob("log_max_pages", 2);
	must_start(dev, MAPPED, REFDEV_DMA_PAGE);
	write_all_pages(dev);
	expect_report(dev, ~0ULL, "a full log reports everything");
	check(get_number("counters/log_overflows") > 0, "and tells");
	stop_log(dev);
	set_knob("log_max_pages", 1 << 20);
}

static void test_wrong_reports(struct device *dev)
{
	uint64_t faults = get_number("counters/faults");
	uint64_t left_out = get_number("counters/log_pages_left_out");
	uint64_t bitmap;

	place_buffer(dev);
	set_text("log_report", "too-little");
	must_start(dev, MAPPED, REFDEV_DMA_PAGE);
	write_all_pages(dev);
	expect_report(dev, BUFFER & 0x5555555555555555ULL,
		      "too-little: every second page is left out");
	check_equal(get_number("counters/log_pages_left_out"),
		    left_out + PAGES / 2, "and counted");
	set_text("log_report", "true");
	expect_report(dev, 0, "and forgotten");
	set_text("log_report", "fail");
	set_knob("fail_errno", ENOSPC);
	check_equal(report(dev, &bitmap), ENOSPC, "fail: the report fails");
	check_equal(get_number("counters/faults"), faults + 1, "and is counted");
	set_text("log_report", "true");
	stop_log(dev);
}

static void test_log_knobs(void)
{
	check_equal(write_file("knobs/log_page_bytes", "12288"), EINVAL,
		    "pages of a power of 2");
	check_equal(write_file("knobs/log_page_bytes", "2048"), ERANGE,
		    "no smaller pages");
	check_equal(write_file("knobs/log_max_ranges", "257"), ERANGE,
		    "no more ranges than VFIO core lets through");
	check_equal(write_file("knobs/log_max_pages", "0"), ERANGE, "no pages");
	check_equal(write_file("knobs/log_report", "too-much"), EINVAL,
		    "too-much");
}

void test_logging(void)
{
	struct device dev;
	uint64_t bitmap;
	int error;

	default_knobs();
	test_log_knobs();
	error = write_file("knobs/dirty_tracking", "y");
	if (error) {
		check_equal(error, EOPNOTSUPP,
			    "a kernel without IOMMUFD_DRIVER # SKIP no DMA logging");
		return;
	}
	set_knob("dma_pages_per_sec", 20000);
	reopen_with_memory(&dev);
	check_equal(write_file("knobs/dirty_tracking", "n"), EBUSY,
		    "it cannot change while the device is open");
	test_reports(&dev);
	test_limits(&dev);
	test_wrong_reports(&dev);
	must_start(&dev, MAPPED, REFDEV_DMA_PAGE);
	close_with_memory(&dev);
	reopen_with_memory(&dev);
	check_equal(report(&dev, &bitmap), EINVAL, "closing ends the log");
	close_with_memory(&dev);
	default_knobs();
}
