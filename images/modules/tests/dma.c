// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA: numbered pages in the user's memory, which of them are dirty, and that
 * none is written when none may be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "refdev_vfio_test.h"

#define SIZE	(MAPPED * REFDEV_DMA_PAGE)

static uint64_t *memory;

static void map_memory(struct device *dev)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = IOVA,
		.size = SIZE,
	};

	if (ioctl(dev->container, VFIO_IOMMU_MAP_DMA, &map))
		die("VFIO_IOMMU_MAP_DMA");
}

static void unmap_memory(struct device *dev)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = IOVA, .size = SIZE,
	};

	if (ioctl(dev->container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		die("VFIO_IOMMU_UNMAP_DMA");
}

/* Zeroes the memory and tells the device of it; DMA is off then. */
void place_buffer(struct device *dev)
{
	write_reg(dev, REFDEV_REG_DMA_CONTROL, 0);
	memset(memory, 0, SIZE);
	write_reg(dev, REFDEV_REG_DMA_ADDRESS, IOVA);
	write_reg(dev, REFDEV_REG_DMA_PAGES, PAGES);
}

/* With the knobs as they are. */
void reopen_with_memory(struct device *dev)
{
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	open_device(dev);
	map_memory(dev);
	place_buffer(dev);
}

void open_with_memory(struct device *dev)
{
	default_knobs();
	reopen_with_memory(dev);
}

void close_with_memory(struct device *dev)
{
	close_device(dev);
	munmap(memory, SIZE);
}

static uint64_t sequence(struct device *dev)
{
	return read_reg(dev, REFDEV_REG_DMA_SEQUENCE);
}

/* Lets the device write until its next page has at least this number. */
void run_until(struct device *dev, uint64_t number)
{
	uint64_t end = now_ms() + 10000;

	write_reg(dev, REFDEV_REG_DMA_CONTROL, REFDEV_DMA_ENABLE);
	while (sequence(dev) < number && now_ms() < end)
		usleep(1000);
}

/* The first place whose page is not as it must be after next pages, or -1. */
static int find_wrong(uint64_t next)
{
	uint64_t place, number, word;
	int i;

	for (place = 0; place < MAPPED; place++) {
		const uint64_t *page = memory + place * REFDEV_DMA_WORDS;
		bool written = place < PAGES && place < next;

		number = written ? (next - 1 - place) / PAGES * PAGES + place : 0;
		for (i = 0; i < (int)REFDEV_DMA_WORDS; i++) {
			word = written ? number + 1 +
			       (place * REFDEV_DMA_WORDS + i) * REFDEV_STATE_STEP : 0;
			if (page[i] != word)
				return place;
		}
	}
	return -1;
}

static void track(struct device *dev, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {
		.argsz = sizeof(dirty), .flags = flag,
	};

	if (ioctl(dev->container, VFIO_IOMMU_DIRTY_PAGES, &dirty))
		die("VFIO_IOMMU_DIRTY_PAGES");
}

/* A bit for each of the MAPPED pages; asking clears them. */
static uint64_t dirty_pages(struct device *dev)
{
	uint64_t bitmap = 0;
	struct {
		struct vfio_iommu_type1_dirty_bitmap dirty;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} arg = {
		.dirty.argsz = sizeof(arg),
		.dirty.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.get.iova = IOVA,
		.get.size = SIZE,
		.get.bitmap.pgsize = REFDEV_DMA_PAGE,
		.get.bitmap.size = sizeof(bitmap),
		.get.bitmap.data = (void *)&bitmap,
	};

	if (ioctl(dev->container, VFIO_IOMMU_DIRTY_PAGES, &arg))
		die("VFIO_IOMMU_DIRTY_PAGES, GET_BITMAP");
	return bitmap;
}

static void test_pages(void)
{
	struct device dev;
	uint64_t next, again, written;

	printf("# DMA\n");
	open_with_memory(&dev);
	track(&dev, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	set_knob("dma_pages_per_sec", 200);
	usleep(30000);
	check(!sequence(&dev) && find_wrong(0) < 0 && !dirty_pages(&dev),
	      "no page is written, none is dirty before DMA is enabled");

	written = get_number("counters/dma_pages_written");
	run_until(&dev, 5);
	write_reg(&dev, REFDEV_REG_DMA_CONTROL, 0);
	next = sequence(&dev);
	check(next >= 5 && next < PAGES, "some pages: %llu",
	      (unsigned long long)next);
	check_equal(find_wrong(next), (uint64_t)-1, "each page has its number");
	check_equal(dirty_pages(&dev), (1ULL << next) - 1,
		    "exactly the written pages are dirty");
	check_equal(dirty_pages(&dev), 0, "asked again: none");
	usleep(30000);
	check(sequence(&dev) == next && find_wrong(next) < 0,
	      "none is written after DMA was disabled");
	check_equal(get_number("counters/dma_pages_written"), written + next,
		    "counter of pages");

	set_knob("dma_pages_per_sec", 5000);
	run_until(&dev, next + 1);
	write_reg(&dev, REFDEV_REG_DMA_CONTROL, 0);
	again = sequence(&dev);
	set_knob("dma_pages_per_sec", 0);
	write_reg(&dev, REFDEV_REG_DMA_CONTROL, REFDEV_DMA_ENABLE);
	usleep(20000);
	check_equal(sequence(&dev), again, "rate 0 writes nothing");
	set_knob("dma_pages_per_sec", 5000);
	run_until(&dev, 3 * PAGES + 7);
	write_reg(&dev, REFDEV_REG_DMA_ADDRESS, 0);
	check_equal(read_reg(&dev, REFDEV_REG_DMA_ADDRESS), IOVA,
		    "the buffer cannot move while DMA is enabled");
	write_reg(&dev, REFDEV_REG_DMA_CONTROL, 0);
	check_equal(find_wrong(sequence(&dev)), (uint64_t)-1,
		    "round and round, and nothing beyond the buffer");
	check_equal(dirty_pages(&dev), (1ULL << PAGES) - 1,
		    "nothing beyond the buffer is dirty");
	place_buffer(&dev);
	check_equal(sequence(&dev), 0, "a new buffer starts the numbering");
	track(&dev, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
	close_with_memory(&dev);
}

static void test_rate(void)
{
	struct device dev;
	uint64_t start, took, next;

	open_with_memory(&dev);
	set_knob("dma_pages_per_sec", 1000);
	start = now_ms();
	write_reg(&dev, REFDEV_REG_DMA_CONTROL, REFDEV_DMA_ENABLE);
	usleep(500000);
	next = sequence(&dev);
	took = now_ms() - start;
	check(next > took * 8 / 10 && next < took * 11 / 10,
	      "1000 pages per second: %llu in %llu ms",
	      (unsigned long long)next, (unsigned long long)took);
	close_with_memory(&dev);
}

static void test_failed_pages(void)
{
	struct device dev;
	uint64_t errors, next;

	open_with_memory(&dev);
	set_knob("dma_pages_per_sec", 2000);
	run_until(&dev, 3);
	unmap_memory(&dev);
	next = sequence(&dev);
	errors = get_number("counters/dma_errors");
	usleep(100000);
	check(sequence(&dev) == next &&
	      get_number("counters/dma_errors") > errors,
	      "without memory: only errors are counted");
	map_memory(&dev);
	run_until(&dev, next + 3);
	write_reg(&dev, REFDEV_REG_DMA_CONTROL, 0);
	check(sequence(&dev) >= next + 3 && find_wrong(sequence(&dev)) < 0,
	      "with memory again: no number was left out");
	close_with_memory(&dev);
}

/* Whether pages are written in a state. */
void test_dma_in_state(struct device *dev, uint32_t state, bool runs)
{
	uint64_t next, written;
	int data_fd;

	reset(dev);
	place_buffer(dev);
	run_until(dev, 1);
	must(dev, state, &data_fd);
	next = sequence(dev);
	if (runs) {
		run_until(dev, next + 1);
		check(sequence(dev) > next, "pages are written in %u", state);
	} else {
		written = get_number("counters/dma_pages_written");
		check_equal(find_wrong(next), (uint64_t)-1,
			    "all pages are there when the state is reached");
		usleep(20000);
		check(sequence(dev) == next && find_wrong(next) < 0 &&
		      get_number("counters/dma_pages_written") == written,
		      "no page is written in %u", state);
	}
	if (data_fd >= 0)
		close(data_fd);
}

static void test_dma_states(void)
{
	struct device dev;

	open_with_memory(&dev);
	set_knob("dma_pages_per_sec", 100000);
	test_dma_in_state(&dev, STATE(RUNNING), true);
	test_dma_in_state(&dev, STATE(PRE_COPY), true);
	test_dma_in_state(&dev, STATE(PRE_COPY_P2P), false);
	test_dma_in_state(&dev, STATE(RUNNING_P2P), false);
	test_dma_in_state(&dev, STATE(STOP), false);
	test_dma_in_state(&dev, STATE(STOP_COPY), false);
	test_dma_in_state(&dev, STATE(RESUMING), false);
	reset(&dev);
	check(!read_reg(&dev, REFDEV_REG_DMA_CONTROL) &&
	      !read_reg(&dev, REFDEV_REG_DMA_PAGES) && !sequence(&dev),
	      "reset clears the registers of DMA");
	close_with_memory(&dev);
}

/* The destination goes on where the source stopped, in the same memory. */
static void test_dma_moves(void)
{
	int error, stop_error, none;
	struct device dev;
	uint8_t *stream;
	uint64_t next;
	size_t size;

	open_with_memory(&dev);
	set_knob("dma_pages_per_sec", 5000);
	run_until(&dev, PAGES + 3);
	stream = save(&dev, true, 5000, &size);
	next = sequence(&dev);
	reset(&dev);
	error = load(&dev, stream, size, 777, &stop_error);
	check(!error && !stop_error && sequence(&dev) == next &&
	      find_wrong(next) < 0, "the number of the next page moves");
	must(&dev, STATE(RUNNING), &none);
	run_until(&dev, next + 2 * PAGES);
	write_reg(&dev, REFDEV_REG_DMA_CONTROL, 0);
	check_equal(find_wrong(sequence(&dev)), (uint64_t)-1,
		    "it goes on from there");
	free(stream);
	close_with_memory(&dev);
}

/* Closing and reset with all of it going on: the kernel log tells the rest. */
static void test_busy_end(void)
{
	struct device dev;
	int i;

	for (i = 0; i < 10; i++) {
		open_with_memory(&dev);
		set_knob("dma_pages_per_sec", 1000000);
		set_text("irq_rates", "10000 10000 10000 10000");
		write_reg(&dev, REFDEV_REG_CONTROL, REFDEV_CONTROL_ENABLE);
		run_until(&dev, 1);
		if (i & 1)
			reset(&dev);
		close_with_memory(&dev);
	}
	check_equal(get_number("knobs/dma_pages_per_sec"), 1000000,
		    "closed in the middle of DMA and interrupts");
	default_knobs();
}

void test_dma(void)
{
	test_pages();
	test_rate();
	test_failed_pages();
	test_dma_states();
	test_dma_moves();
	test_busy_end();
}
