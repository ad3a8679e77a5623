// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: it logs which pages its DMA has written, for VFIO's
 * DMA_LOGGING features.
 *
 * The reports go through an iova_bitmap, which kernels have whose IOMMU drivers
 * may use IOMMUFD (IOMMUFD_DRIVER). On others the device offers no logging.
 *
 * reg_lock protects the log: no page is written while it is started, stopped or
 * reported. A reset keeps it, as it keeps all that is not state of the device.
 */
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/xarray.h>

#include "refdev.h"

#if IS_ENABLED(CONFIG_IOMMUFD_DRIVER)

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS(IOMMUFD);
#else
MODULE_IMPORT_NS("IOMMUFD");
#endif

struct refdev_log_range {
	u64 first, last;		/* addresses of bytes */
};

struct refdev_log {
	u64 page;			/* bytes, a power of 2 */
	u64 max_pages;
	u64 nr_pages;
	struct xarray pages;		/* by address / page: written */
	bool overflow;			/* some are missing: all are dirty */
	unsigned int nr_ranges;
	struct refdev_log_range ranges[];
};

bool refdev_log_is_possible(void)
{
	return true;
}

static bool refdev_log_covers(const struct refdev_log *log, u64 address)
{
	unsigned int i;

	for (i = 0; i < log->nr_ranges; i++)
		if (address >= log->ranges[i].first &&
		    address <= log->ranges[i].last)
			return true;
	return false;
}

static void refdev_log_overflow(struct refdev *rd)
{
	if (!rd->log->overflow)
		dev_notice(&rd->mdev->dev,
			   "the log is full: it reports all pages from now on\n");
	rd->log->overflow = true;
	refdev_count(rd, REFDEV_LOG_OVERFLOWS, 1);
}

/* A page of DMA was written, or part of it. */
void refdev_log_page(struct refdev *rd, u64 address)
{
	struct refdev_log *log = rd->log;
	unsigned long index;

	lockdep_assert_held(&rd->reg_lock);

	if (!log || log->overflow || !refdev_log_covers(log, address))
		return;
	index = address >> ilog2(log->page);
	if (xa_load(&log->pages, index))
		return;
	if (log->nr_pages == log->max_pages ||
	    xa_err(xa_store(&log->pages, index, xa_mk_value(1), GFP_KERNEL)))
		refdev_log_overflow(rd);
	else
		log->nr_pages++;
}

static void refdev_log_free(struct refdev_log *log)
{
	if (!log)
		return;
	xa_destroy(&log->pages);
	kfree(log);
}

static struct refdev_log *
refdev_log_create(struct rb_root_cached *ranges, u32 nnodes, u64 page,
		  u64 max_pages)
{
	struct interval_tree_node *node;
	struct refdev_log *log;

	log = kzalloc(struct_size(log, ranges, nnodes), GFP_KERNEL_ACCOUNT);
	if (!log)
		return NULL;
	xa_init(&log->pages);
	log->page = page;
	log->max_pages = max_pages;
	for (node = interval_tree_iter_first(ranges, 0, ULONG_MAX);
	     node && log->nr_ranges < nnodes;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		log->ranges[log->nr_ranges].first = node->start;
		log->ranges[log->nr_ranges++].last = node->last;
	}
	return log;
}

/* The page size that the user hints at, or the smallest that the device can. */
static int refdev_log_start(struct vfio_device *vdev,
			    struct rb_root_cached *ranges, u32 nnodes,
			    u64 *page_size)
{
	struct refdev *rd = to_refdev(vdev);
	struct refdev_knobs knobs;
	struct refdev_log *log;
	u64 page;
	int ret = 0;

	refdev_get_knobs(rd, &knobs);
	if (nnodes > knobs.log_max_ranges)
		return -E2BIG;
	page = is_power_of_2(*page_size) ? *page_size : 0;
	page = clamp(page, knobs.log_page_bytes, REFDEV_LOG_PAGE_MAX);
	log = refdev_log_create(ranges, nnodes, page, knobs.log_max_pages);
	if (!log)
		return -ENOMEM;

	mutex_lock(&rd->reg_lock);
	if (rd->log) {
		ret = -EINVAL;
	} else {
		swap(rd->log, log);
		*page_size = page;
		refdev_count(rd, REFDEV_LOG_STARTS, 1);
	}
	mutex_unlock(&rd->reg_lock);
	refdev_log_free(log);
	return ret;
}

static int refdev_log_stop(struct vfio_device *vdev)
{
	refdev_log_release(to_refdev(vdev));
	return 0;
}

/* Whether a report that tells too little leaves this page out. */
static bool refdev_log_leaves_out(const struct refdev_knobs *knobs,
				  unsigned long index)
{
	return knobs->log_report == REFDEV_LOG_TOO_LITTLE && index & 1;
}

/* Pages that reach beyond this part of a report stay for the next one. */
static void refdev_log_report(struct refdev *rd,
			      const struct refdev_knobs *knobs, u64 first,
			      u64 last, struct iova_bitmap *dirty)
{
	struct refdev_log *log = rd->log;
	unsigned int shift = ilog2(log->page);
	unsigned long index;
	void *entry;

	xa_for_each_range(&log->pages, index, entry, first >> shift,
			  last >> shift) {
		u64 start = max(first, (u64)index << shift);
		u64 end = min(last, ((u64)index << shift) + log->page - 1);

		if (refdev_log_leaves_out(knobs, index)) {
			refdev_count(rd, REFDEV_LOG_PAGES_LEFT_OUT, 1);
		} else {
			iova_bitmap_set(dirty, start, end - start + 1);
			refdev_count(rd, REFDEV_LOG_PAGES_REPORTED, 1);
		}
		if (((u64)index << shift) + log->page - 1 <= last) {
			xa_erase(&log->pages, index);
			log->nr_pages--;
		}
	}
}

static int refdev_log_read_and_clear(struct vfio_device *vdev,
				     unsigned long iova, unsigned long length,
				     struct iova_bitmap *dirty)
{
	struct refdev *rd = to_refdev(vdev);
	struct refdev_knobs knobs;
	int ret = 0;

	if (!length)
		return 0;
	refdev_get_knobs(rd, &knobs);
	mutex_lock(&rd->reg_lock);
	if (!rd->log) {
		ret = -EINVAL;
	} else if (knobs.log_report == REFDEV_LOG_FAIL) {
		refdev_count(rd, REFDEV_FAULTS, 1);
		ret = -(int)knobs.fail_errno;
	} else if (rd->log->overflow) {
		iova_bitmap_set(dirty, iova, length);
	} else {
		refdev_log_report(rd, &knobs, iova, iova + (length - 1), dirty);
	}
	if (!ret)
		refdev_count(rd, REFDEV_LOG_REPORTS, 1);
	mutex_unlock(&rd->reg_lock);
	return ret;
}

static const struct vfio_log_ops refdev_log_ops = {
	.log_start = refdev_log_start,
	.log_stop = refdev_log_stop,
	.log_read_and_clear = refdev_log_read_and_clear,
};

/* Also for a device that is being closed. */
void refdev_log_release(struct refdev *rd)
{
	struct refdev_log *log;

	mutex_lock(&rd->reg_lock);
	log = rd->log;
	rd->log = NULL;
	mutex_unlock(&rd->reg_lock);
	refdev_log_free(log);
}

void refdev_log_offer(struct refdev *rd, bool offered)
{
	rd->vdev.log_ops = offered ? &refdev_log_ops : NULL;
}

#else /* !CONFIG_IOMMUFD_DRIVER */

bool refdev_log_is_possible(void)
{
	return false;
}

void refdev_log_page(struct refdev *rd, u64 address)
{
}

void refdev_log_release(struct refdev *rd)
{
}

void refdev_log_offer(struct refdev *rd, bool offered)
{
}

#endif
