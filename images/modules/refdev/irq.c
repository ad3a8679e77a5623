// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: MSI-X vectors and the request interrupt as eventfds.
 *
 * An interrupt reaches its eventfd in RUNNING and PRE_COPY only. At any other
 * time, and while its vector has no eventfd, it is latched, once per vector,
 * and is delivered as soon as both conditions hold.
 */
#include <linux/slab.h>

#include "refdev.h"

unsigned int refdev_irq_count(struct refdev *rd, u32 index)
{
	switch (index) {
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return rd->nr_vectors;
	case VFIO_PCI_REQ_IRQ_INDEX:
		return 1;
	default:
		return 0;
	}
}

static void refdev_irq_signal(struct refdev *rd, unsigned int vector)
{
	lockdep_assert_held(&rd->irq_lock);

	eventfd_signal(rd->trigger[vector]);
	refdev_count(rd, REFDEV_IRQS_SIGNALLED, 1);
}

static void refdev_irq_deliver_latched(struct refdev *rd)
{
	unsigned int vector;

	lockdep_assert_held(&rd->irq_lock);

	if (!rd->irq_deliver)
		return;
	for_each_set_bit(vector, rd->latched, rd->nr_vectors) {
		if (!rd->trigger[vector])
			continue;
		__clear_bit(vector, rd->latched);
		refdev_irq_signal(rd, vector);
	}
}

void refdev_irq_raise(struct refdev *rd, unsigned int vector)
{
	unsigned long flags;

	spin_lock_irqsave(&rd->irq_lock, flags);
	refdev_count(rd, REFDEV_IRQS_RAISED, 1);
	if (rd->irq_deliver && rd->trigger[vector])
		refdev_irq_signal(rd, vector);
	else if (__test_and_set_bit(vector, rd->latched))
		refdev_count(rd, REFDEV_IRQS_COALESCED, 1);
	else
		refdev_count(rd, REFDEV_IRQS_LATCHED, 1);
	spin_unlock_irqrestore(&rd->irq_lock, flags);
}

void refdev_irq_set_deliver(struct refdev *rd, bool deliver)
{
	unsigned long flags;

	spin_lock_irqsave(&rd->irq_lock, flags);
	rd->irq_deliver = deliver;
	refdev_irq_deliver_latched(rd);
	spin_unlock_irqrestore(&rd->irq_lock, flags);
}

u64 refdev_irq_get_latched(struct refdev *rd)
{
	unsigned long flags;
	u64 latched;

	spin_lock_irqsave(&rd->irq_lock, flags);
	bitmap_to_arr64(&latched, rd->latched, rd->nr_vectors);
	spin_unlock_irqrestore(&rd->irq_lock, flags);
	return latched;
}

void refdev_irq_set_latched(struct refdev *rd, u64 latched)
{
	unsigned long flags;

	spin_lock_irqsave(&rd->irq_lock, flags);
	bitmap_from_arr64(rd->latched, &latched, rd->nr_vectors);
	refdev_irq_deliver_latched(rd);
	spin_unlock_irqrestore(&rd->irq_lock, flags);
}

/* The removal of the device waits for its user: ask the user to go. */
void refdev_irq_request(struct refdev *rd, unsigned int count)
{
	unsigned long flags;
	bool asked;

	spin_lock_irqsave(&rd->irq_lock, flags);
	asked = rd->request;
	if (asked)
		eventfd_signal(rd->request);
	spin_unlock_irqrestore(&rd->irq_lock, flags);

	if (!asked && !count)
		dev_notice(&rd->mdev->dev,
			   "removal waits for a user who did not register for requests\n");
}

/*
 * Swaps count triggers for those in contexts (all or none), and leaves the old
 * ones there to be released.
 */
static void refdev_irq_swap(struct refdev *rd, struct eventfd_ctx **triggers,
			    struct eventfd_ctx **contexts, unsigned int count)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&rd->irq_lock, flags);
	for (i = 0; i < count; i++)
		swap(triggers[i], contexts[i]);
	refdev_irq_deliver_latched(rd);
	spin_unlock_irqrestore(&rd->irq_lock, flags);
}

static void refdev_irq_put(struct eventfd_ctx **contexts, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		if (contexts[i])
			eventfd_ctx_put(contexts[i]);
}

static int refdev_irq_set_eventfds(struct refdev *rd,
				   struct eventfd_ctx **triggers,
				   const s32 *fds, unsigned int count)
{
	struct eventfd_ctx *contexts[REFDEV_MAX_VECTORS] = {};
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct eventfd_ctx *context;

		if (fds[i] == -1)
			continue;
		context = eventfd_ctx_fdget(fds[i]);
		if (IS_ERR(context)) {
			refdev_irq_put(contexts, i);
			return PTR_ERR(context);
		}
		contexts[i] = context;
	}
	refdev_irq_swap(rd, triggers, contexts, count);
	refdev_irq_put(contexts, count);
	return 0;
}

static void refdev_irq_disable(struct refdev *rd, struct eventfd_ctx **triggers,
			       unsigned int count)
{
	struct eventfd_ctx *contexts[REFDEV_MAX_VECTORS] = {};

	refdev_irq_swap(rd, triggers, contexts, count);
	refdev_irq_put(contexts, count);
}

static int refdev_irq_set_msix(struct refdev *rd, struct vfio_irq_set *hdr,
			       void *data)
{
	const u8 *bools = data;
	unsigned int i;

	switch (hdr->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return refdev_irq_set_eventfds(rd, rd->trigger + hdr->start,
					       data, hdr->count);
	case VFIO_IRQ_SET_DATA_NONE:
		if (!hdr->count) {
			refdev_irq_disable(rd, rd->trigger, rd->nr_vectors);
			refdev_irq_set_latched(rd, 0);
		}
		for (i = 0; i < hdr->count; i++)
			refdev_irq_raise(rd, hdr->start + i);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		for (i = 0; i < hdr->count; i++)
			if (bools[i])
				refdev_irq_raise(rd, hdr->start + i);
		return 0;
	default:
		return -EINVAL;
	}
}

static int refdev_irq_set_request(struct refdev *rd, struct vfio_irq_set *hdr,
				  void *data)
{
	const u8 *bools = data;

	switch (hdr->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return refdev_irq_set_eventfds(rd, &rd->request, data,
					       hdr->count);
	case VFIO_IRQ_SET_DATA_NONE:
		if (!hdr->count)
			refdev_irq_disable(rd, &rd->request, 1);
		else
			refdev_irq_request(rd, 0);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		if (hdr->count && bools[0])
			refdev_irq_request(rd, 0);
		return 0;
	default:
		return -EINVAL;
	}
}

/* hdr and data come from vfio_set_irqs_validate_and_prepare(). */
int refdev_irq_set(struct refdev *rd, struct vfio_irq_set *hdr, void *data)
{
	if ((hdr->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) !=
	    VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (hdr->index == VFIO_PCI_MSIX_IRQ_INDEX)
		return refdev_irq_set_msix(rd, hdr, data);
	return refdev_irq_set_request(rd, hdr, data);
}

void refdev_irq_release(struct refdev *rd)
{
	refdev_irq_disable(rd, rd->trigger, rd->nr_vectors);
	refdev_irq_disable(rd, &rd->request, 1);
}
