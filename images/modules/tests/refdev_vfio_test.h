/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of the reference device share: checks, sysfs files, and the
 * VFIO uAPI.
 */
#ifndef REFDEV_VFIO_TEST_H
#define REFDEV_VFIO_TEST_H

#include <errno.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../refdev/refdev_regs.h"

#define MIB	(1UL << 20)
#define STATE(name)	VFIO_DEVICE_STATE_##name

/* Of the uAPI since Linux 7.1. */
#ifndef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2
#define VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2	12
#endif
#ifndef VFIO_PRECOPY_INFO_REINIT
#define VFIO_PRECOPY_INFO_REINIT	(1 << 0)
#endif

/* The user's memory, of which the first pages are the device's buffer. */
#define IOVA	0x100000000ULL
#define MAPPED	64		/* pages */
#define PAGES	32		/* of the buffer */

struct device {
	int container, group, fd;
	uint64_t offset[VFIO_PCI_NUM_REGIONS];
};

extern const char *uuid;
extern int checks, failures;

/* vfio.c */
void __attribute__((noreturn)) die(const char *what);
void __attribute__((format(printf, 2, 3))) check(bool ok, const char *format, ...);
void check_equal(uint64_t got, uint64_t expected, const char *what);
uint64_t now_ms(void);
int write_file(const char *file, const char *text);
void set_text(const char *knob, const char *text);
void set_knob(const char *knob, uint64_t value);
const char *read_file(const char *file);
uint64_t get_number(const char *file);
void default_knobs(void);
void open_device(struct device *dev);
void close_device(struct device *dev);
uint64_t read_reg(struct device *dev, unsigned int reg);
void write_reg(struct device *dev, unsigned int reg, uint64_t value);
int feature(struct device *dev, uint32_t flags, void *data, size_t size);
int set_state(struct device *dev, uint32_t state, int *data_fd);
uint32_t get_state(struct device *dev);
uint64_t data_size(struct device *dev);
int precopy_info(int data_fd, uint64_t *initial, uint64_t *dirty);
size_t read_all(int data_fd, uint8_t *buf, size_t room, size_t piece,
		int *error);
void flush(int data_fd);
int write_all(int data_fd, const uint8_t *buf, size_t size, size_t piece);
void reset(struct device *dev);
void must(struct device *dev, uint32_t state, int *data_fd);
uint8_t *save(struct device *dev, bool pre_copy, size_t piece, size_t *size);
int load(struct device *dev, const uint8_t *buf, size_t size, size_t piece,
	 int *stop_error);
int set_irqs(struct device *dev, uint32_t flags, uint32_t index,
	     uint32_t start, uint32_t count, const int *fds);
uint64_t drain(int event);

/* dma.c */
void open_with_memory(struct device *dev);
void reopen_with_memory(struct device *dev);
void close_with_memory(struct device *dev);
void place_buffer(struct device *dev);
void run_until(struct device *dev, uint64_t number);
void test_dma_in_state(struct device *dev, uint32_t state, bool runs);

/* One function for each topic; each uses the device from opening to closing. */
void test_states(void);
void test_streams(void);
void test_timing(void);
void test_interrupts(void);
void test_dma(void);
void test_reinit(void);
void test_quiescent(void);
void test_logging(void);
void test_faults(void);

#endif /* REFDEV_VFIO_TEST_H */
