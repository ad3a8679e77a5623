// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: numbered pages, written to the guest's buffer at a rate.
 *
 * vfio_dma_rw() copies to the user's memory like a CPU. It pins no pages, so
 * there are none to give back in a dma_unmap operation, which only drivers
 * that pin need; and vfio_iommu_type1 marks just the pages that it wrote. The
 * device keeps a log of its own beside that, if the user asked for it (log.c).
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/slab.h>

#include "refdev.h"

/* What could not be written in time is made up for, but not more than that. */
#define REFDEV_DMA_LATE_NS	(100 * NSEC_PER_MSEC)

static struct workqueue_struct *refdev_dma_wq;

/* Writes the next page. One that fails keeps its number and is tried again. */
static void refdev_dma_write(struct refdev *rd)
{
	struct refdev_regs *regs = &rd->regs;
	u64 address, place, word;
	unsigned int i;
	int ret;

	lockdep_assert_held(&rd->reg_lock);

	div64_u64_rem(regs->dma_sequence, regs->dma_pages, &place);
	word = regs->dma_sequence + 1 +
	       place * REFDEV_DMA_WORDS * REFDEV_STATE_STEP;
	for (i = 0; i < REFDEV_DMA_WORDS; i++) {
		rd->dma_page[i] = cpu_to_le64(word);
		word += REFDEV_STATE_STEP;
	}
	address = regs->dma_address + place * REFDEV_DMA_PAGE;
	ret = vfio_dma_rw(&rd->vdev, address, rd->dma_page, REFDEV_DMA_PAGE,
			  true);
	/* Part of it may be there although it failed. */
	refdev_log_page(rd, address);
	if (ret) {
		refdev_count(rd, REFDEV_DMA_ERRORS, 1);
		return;
	}
	regs->dma_sequence++;
	refdev_count(rd, REFDEV_DMA_PAGES_WRITTEN, 1);
}

/* The number of pages that should have been written by now. */
static u64 refdev_dma_due(struct refdev *rd)
{
	u64 now = ktime_get_ns();
	u64 due;

	lockdep_assert_held(&rd->reg_lock);

	if (!rd->dma_rate)
		return 0;
	if (now - rd->dma_since > REFDEV_DMA_LATE_NS + NSEC_PER_SEC / rd->dma_rate)
		rd->dma_since = now - REFDEV_DMA_LATE_NS -
				NSEC_PER_SEC / rd->dma_rate;
	due = mul_u64_u64_div_u64(now - rd->dma_since, rd->dma_rate,
				  NSEC_PER_SEC);
	rd->dma_since += mul_u64_u64_div_u64(due, NSEC_PER_SEC, rd->dma_rate);
	return due;
}

static void refdev_dma_work(struct work_struct *work)
{
	struct refdev *rd = container_of(to_delayed_work(work), struct refdev,
					 dma_work);
	u64 due;

	mutex_lock(&rd->reg_lock);
	for (due = refdev_dma_due(rd); due && rd->dma_rate; due--) {
		refdev_dma_write(rd);
		/* Registers can be accessed, and DMA be ended, between pages. */
		mutex_unlock(&rd->reg_lock);
		cond_resched();
		mutex_lock(&rd->reg_lock);
	}
	if (rd->dma_rate)
		queue_delayed_work(refdev_dma_wq, &rd->dma_work,
				   max(1UL, (unsigned long)HZ /
				       (unsigned long)rd->dma_rate));
	mutex_unlock(&rd->reg_lock);
}

/* Starts, ends or changes the rate of DMA, as registers and knob want it. */
void refdev_dma_update(struct refdev *rd)
{
	struct refdev_knobs knobs;
	u64 rate = 0;

	lockdep_assert_held(&rd->reg_lock);

	refdev_get_knobs(rd, &knobs);
	if (rd->dma_allowed && rd->regs.dma_control & REFDEV_DMA_ENABLE &&
	    rd->regs.dma_pages)
		rate = knobs.dma_pages_per_sec;
	if (rate == rd->dma_rate)
		return;
	rd->dma_rate = rate;
	rd->dma_since = ktime_get_ns();
	if (rate)
		mod_delayed_work(refdev_dma_wq, &rd->dma_work, 0);
}

/* When this has forbidden it, the last page has been written. */
void refdev_dma_allow(struct refdev *rd, bool allowed)
{
	mutex_lock(&rd->reg_lock);
	rd->dma_allowed = allowed;
	refdev_dma_update(rd);
	mutex_unlock(&rd->reg_lock);
}

int refdev_dma_init(struct refdev *rd)
{
	rd->dma_page = kmalloc(REFDEV_DMA_PAGE, GFP_KERNEL);
	if (!rd->dma_page)
		return -ENOMEM;
	INIT_DELAYED_WORK(&rd->dma_work, refdev_dma_work);
	return 0;
}

/* For a device that is being closed, with DMA forbidden. */
void refdev_dma_release(struct refdev *rd)
{
	cancel_delayed_work_sync(&rd->dma_work);
}

int refdev_dma_setup(void)
{
	refdev_dma_wq = alloc_workqueue("refdev-dma", WQ_UNBOUND, 0);
	return refdev_dma_wq ? 0 : -ENOMEM;
}

void refdev_dma_teardown(void)
{
	destroy_workqueue(refdev_dma_wq);
}
