// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest driver of the reference device: the buffer that the device writes
 * numbered pages to, and whether they are what they must be.
 */
#include <linux/dma-mapping.h>
#include <linux/kstrtox.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "refdev_guest.h"

/* What a dma_verify file can hold of wrong pages. */
#define REFDEV_GUEST_MAX_WRONG	16

static unsigned int dma_pages = 256;
module_param(dma_pages, uint, 0444);
MODULE_PARM_DESC(dma_pages, "Size of the DMA buffer in pages of 4 KiB, 0: none (default 256)");

/* False after a reset that the guest did not ask for, and without a buffer. */
static bool refdev_guest_has_dma(struct refdev_guest *rg)
{
	return rg->dma &&
	       refdev_guest_read(rg, REFDEV_REG_DMA_PAGES) == dma_pages &&
	       refdev_guest_read(rg, REFDEV_REG_DMA_ADDRESS) == rg->dma_address;
}

/* When a write that disables DMA is done, the last page has been written. */
void refdev_guest_set_dma(struct refdev_guest *rg, bool enable)
{
	refdev_guest_write(rg, REFDEV_REG_DMA_CONTROL,
			   enable ? REFDEV_DMA_ENABLE : 0);
}

static bool refdev_guest_dma_enabled(struct refdev_guest *rg)
{
	return refdev_guest_read(rg, REFDEV_REG_DMA_CONTROL) &
	       REFDEV_DMA_ENABLE;
}

static ssize_t dma_pages_show(struct device *dev,
			      struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", dma_pages);
}
DEVICE_ATTR_RO(dma_pages);

static ssize_t dma_enable_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n",
			  refdev_guest_dma_enabled(dev_get_drvdata(dev)));
}

static ssize_t dma_enable_store(struct device *dev,
				struct device_attribute *attr, const char *buf,
				size_t count)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	ssize_t ret = count;
	bool enable;
	int error;

	error = kstrtobool(buf, &enable);
	if (error)
		return error;

	mutex_lock(&rg->lock);
	if (refdev_guest_has_dma(rg))
		refdev_guest_set_dma(rg, enable);
	else
		ret = -EIO;
	mutex_unlock(&rg->lock);
	return ret;
}
DEVICE_ATTR_RW(dma_enable);

static ssize_t dma_sequence_show(struct device *dev,
				 struct device_attribute *attr, char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n",
			  refdev_guest_read(rg, REFDEV_REG_DMA_SEQUENCE));
}
DEVICE_ATTR_RO(dma_sequence);

/*
 * What must be in word 0 of a page, and the step to each word after it, when
 * next pages were written. Places that had no turn yet are zero.
 */
static u64 refdev_guest_expect(u64 next, unsigned int place, u64 *step)
{
	u64 turns;
	u32 rest;

	*step = 0;
	if (next <= place)
		return 0;
	turns = div_u64_rem(next, dma_pages, &rest);
	if (place >= rest)
		turns--;
	*step = REFDEV_STATE_STEP;
	return turns * dma_pages + place + 1 +
	       place * REFDEV_DMA_WORDS * REFDEV_STATE_STEP;
}

/* Finds the first wrong word of a page; false if there is none. */
static bool refdev_guest_find_wrong(struct refdev_guest *rg, u64 next,
				    unsigned int place, unsigned int *word,
				    u64 *expected)
{
	const __le64 *page = rg->dma + place * REFDEV_DMA_WORDS;
	u64 step;

	*expected = refdev_guest_expect(next, place, &step);
	for (*word = 0; *word < REFDEV_DMA_WORDS; (*word)++) {
		if (le64_to_cpu(READ_ONCE(page[*word])) != *expected)
			return true;
		*expected += step;
	}
	return false;
}

/* The lines of wrong pages: "PAGE WORD FOUND EXPECTED", the first wrong word. */
static void refdev_guest_verify(struct refdev_guest *rg, u64 next, char *buf,
				unsigned int *wrong)
{
	unsigned int place, word;
	u64 expected;
	int len = 0;

	for (place = 0; place < dma_pages; place++) {
		cond_resched();
		if (!refdev_guest_find_wrong(rg, next, place, &word, &expected))
			continue;
		if ((*wrong)++ >= REFDEV_GUEST_MAX_WRONG)
			continue;
		len += scnprintf(buf + len, PAGE_SIZE / 2 - len,
				 "%u %u 0x%016llx 0x%016llx\n", place, word,
				 le64_to_cpu(rg->dma[place * REFDEV_DMA_WORDS +
						     word]), expected);
	}
}

/*
 * "ok SEQUENCE", or "wrong SEQUENCE PAGES" and the first pages. SEQUENCE is
 * the number of the next page. DMA rests meanwhile.
 */
static ssize_t dma_verify_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	unsigned int wrong = 0;
	bool enabled;
	char *lines;
	int len = -EIO;
	u64 next;

	lines = kzalloc(PAGE_SIZE / 2, GFP_KERNEL);
	if (!lines)
		return -ENOMEM;

	mutex_lock(&rg->lock);
	if (refdev_guest_has_dma(rg)) {
		enabled = refdev_guest_dma_enabled(rg);
		refdev_guest_set_dma(rg, false);
		next = refdev_guest_read(rg, REFDEV_REG_DMA_SEQUENCE);
		dma_rmb();
		refdev_guest_verify(rg, next, lines, &wrong);
		if (enabled)
			refdev_guest_set_dma(rg, true);
		if (wrong)
			len = sysfs_emit(buf, "wrong %llu %u\n%s", next, wrong,
					 lines);
		else
			len = sysfs_emit(buf, "ok %llu\n", next);
	}
	mutex_unlock(&rg->lock);
	kfree(lines);
	return len;
}
DEVICE_ATTR_RO(dma_verify);

/* Tells the device of the buffer: the numbering of pages starts anew. */
void refdev_guest_place_dma(struct refdev_guest *rg)
{
	refdev_guest_set_dma(rg, false);
	if (!rg->dma)
		return;
	memset(rg->dma, 0, dma_pages * REFDEV_DMA_PAGE);
	dma_wmb();
	refdev_guest_write(rg, REFDEV_REG_DMA_ADDRESS, rg->dma_address);
	refdev_guest_write(rg, REFDEV_REG_DMA_PAGES, dma_pages);
}

int refdev_guest_alloc_dma(struct refdev_guest *rg)
{
	struct device *dev = &rg->pdev->dev;
	int ret;

	if (!dma_pages)
		return 0;
	if (dma_pages > REFDEV_DMA_PAGES_MAX)
		return -EINVAL;
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	rg->dma = dmam_alloc_coherent(dev, dma_pages * REFDEV_DMA_PAGE,
				      &rg->dma_address, GFP_KERNEL);
	return rg->dma ? 0 : -ENOMEM;
}
