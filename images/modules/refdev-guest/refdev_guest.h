/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Driver of the reference device inside the guest. Everything is reached by
 * plain files in the directory refdev/ of the PCI device, see
 * docs/reference-device.md.
 */
#ifndef REFDEV_GUEST_H
#define REFDEV_GUEST_H

#include <linux/device.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/types.h>

#include "refdev_regs.h"

/* Times that a handler ran on a CPU. */
struct refdev_guest_count {
	unsigned long hard;
	unsigned long thread;
};

/*
 * hard_seen and thread_seen: the vector's RAISED register as the handler last
 * read it. When raising has ended, one that is behind missed an interrupt.
 */
struct refdev_guest_vector {
	struct refdev_guest *rg;
	unsigned int number;
	struct refdev_guest_count __percpu *count;
	u64 hard_seen;
	u64 thread_seen;
	char name[32];
};

struct refdev_guest {
	struct pci_dev *pdev;
	void __iomem *regs;
	struct mutex lock;	/* scratch registers as a whole, trigger, DMA */
	__le64 *dma;
	dma_addr_t dma_address;
	unsigned int nr_vectors;
	struct refdev_guest_vector vectors[REFDEV_MAX_VECTORS];
};

static inline u64 refdev_guest_read(struct refdev_guest *rg, unsigned int reg)
{
	return readq(rg->regs + reg);
}

static inline void refdev_guest_write(struct refdev_guest *rg, unsigned int reg,
			       u64 value)
{
	writeq(value, rg->regs + reg);
}

static inline bool refdev_guest_enabled(struct refdev_guest *rg)
{
	return refdev_guest_read(rg, REFDEV_REG_CONTROL) &
	       REFDEV_CONTROL_ENABLE;
}

/* irq.c */
int refdev_guest_request_irqs(struct refdev_guest *rg);
void refdev_guest_start_seen(struct refdev_guest *rg);
extern struct device_attribute dev_attr_irqs;
extern struct device_attribute dev_attr_trigger;
extern struct device_attribute dev_attr_irq_hard;
extern struct device_attribute dev_attr_irq_thread;
extern struct device_attribute dev_attr_irq_raised;
extern struct device_attribute dev_attr_irq_seen;
extern struct device_attribute dev_attr_irq_rate;

/* dma.c */
int refdev_guest_alloc_dma(struct refdev_guest *rg);
void refdev_guest_set_dma(struct refdev_guest *rg, bool enable);
void refdev_guest_place_dma(struct refdev_guest *rg);
extern struct device_attribute dev_attr_dma_pages;
extern struct device_attribute dev_attr_dma_enable;
extern struct device_attribute dev_attr_dma_sequence;
extern struct device_attribute dev_attr_dma_verify;

#endif /* REFDEV_GUEST_H */
