// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: MSI-X vectors and the request interrupt as eventfds.
 *
 * An interrupt reaches its eventfd in RUNNING and PRE_COPY only, and in the P2P
 * states if the knob p2p_active says so. At any other time, and while its
 * vector has no eventfd, it is latched, once per vector, and is delivered as
 * soon as both conditions hold.
 *
 * A clock per vector raises it at a rate, in the same states only.
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "refdev.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static void hrtimer_setup(struct hrtimer *timer,
			  enum hrtimer_restart (*function)(struct hrtimer *),
			  clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#endif

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

static void refdev_irq_raise_locked(struct refdev *rd, unsigned int vector)
{
	lockdep_assert_held(&rd->irq_lock);

	/* Before the signal: whoever gets it finds itself counted. */
	rd->raised[vector]++;
	refdev_count(rd, REFDEV_IRQS_RAISED, 1);
	if (rd->irq_deliver && rd->trigger[vector])
		refdev_irq_signal(rd, vector);
	else if (__test_and_set_bit(vector, rd->latched))
		refdev_count(rd, REFDEV_IRQS_COALESCED, 1);
	else
		refdev_count(rd, REFDEV_IRQS_LATCHED, 1);
}

void refdev_irq_raise(struct refdev *rd, unsigned int vector)
{
	unsigned long flags;

	spin_lock_irqsave(&rd->irq_lock, flags);
	refdev_irq_raise_locked(rd, vector);
	spin_unlock_irqrestore(&rd->irq_lock, flags);
}

static enum hrtimer_restart refdev_clock_tick(struct hrtimer *timer)
{
	struct refdev_clock *clock = container_of(timer, struct refdev_clock,
						  timer);
	enum hrtimer_restart restart = HRTIMER_NORESTART;
	struct refdev *rd = clock->rd;
	unsigned long flags;

	spin_lock_irqsave(&rd->irq_lock, flags);
	/* Queued: started again, by somebody who had the lock before. */
	if (rd->irq_deliver && clock->period_ns && !hrtimer_is_queued(timer)) {
		refdev_irq_raise_locked(rd, clock->vector);
		hrtimer_forward_now(timer, ns_to_ktime(clock->period_ns));
		restart = HRTIMER_RESTART;
	}
	spin_unlock_irqrestore(&rd->irq_lock, flags);
	return restart;
}

/* A clock that must not run any more ends at its next tick. */
static void refdev_clock_start(struct refdev_clock *clock)
{
	lockdep_assert_held(&clock->rd->irq_lock);

	if (clock->rd->irq_deliver && clock->period_ns)
		hrtimer_start(&clock->timer, ns_to_ktime(clock->period_ns),
			      HRTIMER_MODE_REL_SOFT);
}

/* As registers and knobs want it: a rate that the guest has set wins. */
void refdev_irq_set_rates(struct refdev *rd)
{
	struct refdev_knobs knobs;
	unsigned long flags;
	unsigned int i;

	lockdep_assert_held(&rd->reg_lock);

	refdev_get_knobs(rd, &knobs);
	spin_lock_irqsave(&rd->irq_lock, flags);
	for (i = 0; i < rd->nr_vectors; i++) {
		u64 rate = rd->regs.irq_rate[i] ?: knobs.irq_rates[i];
		u64 period = 0;

		if (rate && rd->regs.control & REFDEV_CONTROL_ENABLE)
			period = div64_u64(NSEC_PER_SEC, rate);
		if (period == rd->clocks[i].period_ns)
			continue;
		rd->clocks[i].period_ns = period;
		refdev_clock_start(&rd->clocks[i]);
	}
	spin_unlock_irqrestore(&rd->irq_lock, flags);
}

void refdev_irq_set_deliver(struct refdev *rd, bool deliver)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&rd->irq_lock, flags);
	if (deliver != rd->irq_deliver) {
		rd->irq_deliver = deliver;
		refdev_irq_deliver_latched(rd);
		for (i = 0; i < rd->nr_vectors; i++)
			refdev_clock_start(&rd->clocks[i]);
	}
	spin_unlock_irqrestore(&rd->irq_lock, flags);
}

void refdev_irq_get_state(struct refdev *rd, struct refdev_irq_state *state)
{
	unsigned long flags;

	spin_lock_irqsave(&rd->irq_lock, flags);
	bitmap_to_arr64(&state->latched, rd->latched, rd->nr_vectors);
	memcpy(state->raised, rd->raised, sizeof(rd->raised));
	spin_unlock_irqrestore(&rd->irq_lock, flags);
}

void refdev_irq_set_state(struct refdev *rd,
			  const struct refdev_irq_state *state)
{
	unsigned long flags;

	spin_lock_irqsave(&rd->irq_lock, flags);
	bitmap_from_arr64(rd->latched, &state->latched, rd->nr_vectors);
	memcpy(rd->raised, state->raised, sizeof(rd->raised));
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

static void refdev_irq_drop_latched(struct refdev *rd)
{
	unsigned long flags;

	spin_lock_irqsave(&rd->irq_lock, flags);
	bitmap_zero(rd->latched, rd->nr_vectors);
	spin_unlock_irqrestore(&rd->irq_lock, flags);
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
			refdev_irq_drop_latched(rd);
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

void refdev_irq_init(struct refdev *rd)
{
	unsigned int i;

	spin_lock_init(&rd->irq_lock);
	for (i = 0; i < REFDEV_MAX_VECTORS; i++) {
		rd->clocks[i].rd = rd;
		rd->clocks[i].vector = i;
		hrtimer_setup(&rd->clocks[i].timer, refdev_clock_tick,
			      CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	}
}

/* For a device that is being closed, with interrupts held back. */
void refdev_irq_release(struct refdev *rd)
{
	unsigned int i;

	for (i = 0; i < rd->nr_vectors; i++)
		hrtimer_cancel(&rd->clocks[i].timer);
	refdev_irq_disable(rd, rd->trigger, rd->nr_vectors);
	refdev_irq_disable(rd, &rd->request, 1);
}
