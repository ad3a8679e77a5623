// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: migration states and what each arc between them does.
 */
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/ktime.h>

#include "stream.h"

u64 refdev_migration_flags(const struct refdev_knobs *knobs)
{
	if (!knobs->migration)
		return 0;
	return (knobs->stop_copy ? VFIO_MIGRATION_STOP_COPY : 0) |
	       (knobs->p2p ? VFIO_MIGRATION_P2P : 0) |
	       (knobs->pre_copy ? VFIO_MIGRATION_PRE_COPY : 0);
}

const char *refdev_state_name(enum vfio_device_mig_state state)
{
	static const char * const names[VFIO_DEVICE_STATE_NR] = {
		[VFIO_DEVICE_STATE_ERROR] = "ERROR",
		[VFIO_DEVICE_STATE_STOP] = "STOP",
		[VFIO_DEVICE_STATE_RUNNING] = "RUNNING",
		[VFIO_DEVICE_STATE_STOP_COPY] = "STOP_COPY",
		[VFIO_DEVICE_STATE_RESUMING] = "RESUMING",
		[VFIO_DEVICE_STATE_RUNNING_P2P] = "RUNNING_P2P",
		[VFIO_DEVICE_STATE_PRE_COPY] = "PRE_COPY",
		[VFIO_DEVICE_STATE_PRE_COPY_P2P] = "PRE_COPY_P2P",
	};

	return names[state];
}

static bool refdev_is_saving(enum vfio_device_mig_state state)
{
	return state == VFIO_DEVICE_STATE_PRE_COPY ||
	       state == VFIO_DEVICE_STATE_PRE_COPY_P2P ||
	       state == VFIO_DEVICE_STATE_STOP_COPY;
}

/*
 * Whether it interrupts and writes to memory. In the P2P states no device may
 * begin DMA to another one, and must stop all DMA if it cannot tell; all of
 * this device's goes to the user's memory, so that it may go on.
 */
static void refdev_set_active(struct refdev *rd,
			      enum vfio_device_mig_state state)
{
	bool runs = state == VFIO_DEVICE_STATE_RUNNING ||
		    state == VFIO_DEVICE_STATE_PRE_COPY;
	bool p2p = state == VFIO_DEVICE_STATE_RUNNING_P2P ||
		   state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
	struct refdev_knobs knobs;

	refdev_get_knobs(rd, &knobs);
	refdev_irq_set_deliver(rd, runs ||
			       (p2p && knobs.p2p_active != REFDEV_P2P_NONE));
	refdev_dma_allow(rd, runs ||
			 (p2p && knobs.p2p_active == REFDEV_P2P_ALL));
}

static void refdev_close_stream(struct refdev *rd)
{
	struct refdev_stream *stream = rd->stream;

	if (!stream)
		return;
	rd->stream = NULL;
	refdev_stream_close(stream);
	refdev_stream_put(stream);

	mutex_lock(&rd->reg_lock);
	rd->streaming = false;
	mutex_unlock(&rd->reg_lock);
}

/*
 * Carries out one arc of the state machine, or fails and leaves the device in
 * the state where it is. Returns the file of a new stream, NULL or an error.
 */
static struct file *refdev_do_arc(struct refdev *rd,
				  enum vfio_device_mig_state next)
{
	enum vfio_device_mig_state from = rd->state;
	struct file *file = NULL;
	int ret;

	if (from == VFIO_DEVICE_STATE_RESUMING) {
		ret = refdev_load_apply(rd->stream);
		if (ret)
			return ERR_PTR(ret);
	}

	if (next == VFIO_DEVICE_STATE_RESUMING)
		file = refdev_load_open(rd);
	else if (refdev_is_saving(next) && !refdev_is_saving(from))
		file = refdev_save_open(rd, next == VFIO_DEVICE_STATE_STOP_COPY);
	if (IS_ERR(file))
		return file;

	refdev_set_active(rd, next);

	if (from == VFIO_DEVICE_STATE_RESUMING ||
	    (refdev_is_saving(from) && !refdev_is_saving(next)))
		refdev_close_stream(rd);
	else if (refdev_is_saving(from) && next == VFIO_DEVICE_STATE_STOP_COPY)
		refdev_save_stopped(rd->stream);
	if (next == VFIO_DEVICE_STATE_PRE_COPY_P2P)
		refdev_reinit_p2p(rd->stream);

	WRITE_ONCE(rd->state, next);
	return file;
}

/* From here only a reset, closing or opening lead away. */
static void refdev_enter_error(struct refdev *rd)
{
	struct refdev_history_entry entry = {
		.mono_ns = ktime_get_ns(),
		.real_ns = ktime_get_real_ns(),
		.from = rd->state,
		.to = VFIO_DEVICE_STATE_ERROR,
		.cause = REFDEV_CAUSE_FAULT,
	};

	refdev_set_active(rd, VFIO_DEVICE_STATE_ERROR);
	refdev_close_stream(rd);
	WRITE_ONCE(rd->state, VFIO_DEVICE_STATE_ERROR);

	entry.duration_ns = ktime_get_ns() - entry.mono_ns;
	refdev_history_add(rd, &entry);
}

/* A fault in a call on this stream, unless the stream has ended meanwhile. */
void refdev_migration_fail(struct refdev *rd, struct refdev_stream *stream)
{
	mutex_lock(&rd->state_lock);
	if (rd->stream == stream)
		refdev_enter_error(rd);
	mutex_unlock(&rd->state_lock);
}

static int refdev_arc_delay(struct refdev *rd)
{
	struct refdev_knobs knobs;

	refdev_get_knobs(rd, &knobs);
	if (!knobs.state_change_ms)
		return 0;
	return refdev_sleep(ktime_get_ns() +
			    knobs.state_change_ms * NSEC_PER_MSEC);
}

static struct file *refdev_change_state(struct refdev *rd,
					enum vfio_device_mig_state next)
{
	struct refdev_history_entry entry = {
		.mono_ns = ktime_get_ns(),
		.real_ns = ktime_get_real_ns(),
		.from = rd->state,
		.to = next,
		.cause = REFDEV_CAUSE_SET_STATE,
	};
	struct refdev_fault fault = {};
	struct file *file;

	file = ERR_PTR(refdev_arc_delay(rd));
	if (!IS_ERR(file)) {
		fault = refdev_fault_arc(rd, entry.from, next);
		file = ERR_PTR(fault.error);
	}
	if (!IS_ERR(file))
		file = refdev_do_arc(rd, next);
	entry.result = PTR_ERR_OR_ZERO(file);
	entry.duration_ns = ktime_get_ns() - entry.mono_ns;
	refdev_history_add(rd, &entry);
	if (fault.fatal)
		refdev_enter_error(rd);
	return file;
}

static struct file *refdev_set_state(struct vfio_device *vdev,
				     enum vfio_device_mig_state target)
{
	struct refdev *rd = to_refdev(vdev);
	enum vfio_device_mig_state next;
	struct file *file = NULL;
	int ret;

	/* vfio_mig_get_next_state() takes these two for bugs of the driver. */
	if (!(vdev->migration_flags & VFIO_MIGRATION_STOP_COPY))
		return ERR_PTR(-EOPNOTSUPP);

	mutex_lock(&rd->state_lock);
	if (rd->state == VFIO_DEVICE_STATE_ERROR)
		file = ERR_PTR(-EINVAL);
	/* A stream starts only on the last arc: no file is ever dropped. */
	while (!IS_ERR(file) && rd->state != target) {
		ret = vfio_mig_get_next_state(vdev, rd->state, target, &next);
		file = ret ? ERR_PTR(ret) : refdev_change_state(rd, next);
	}
	mutex_unlock(&rd->state_lock);
	return file;
}

static int refdev_get_state(struct vfio_device *vdev,
			    enum vfio_device_mig_state *state)
{
	struct refdev *rd = to_refdev(vdev);

	mutex_lock(&rd->state_lock);
	*state = rd->state;
	mutex_unlock(&rd->state_lock);
	return 0;
}

/* All that would have to be read if STOP_COPY began now. */
static int refdev_get_data_size(struct vfio_device *vdev,
				unsigned long *stop_copy_length)
{
	struct refdev *rd = to_refdev(vdev);
	struct refdev_knobs knobs;

	mutex_lock(&rd->state_lock);
	if (refdev_is_saving(rd->state)) {
		*stop_copy_length = refdev_save_unread(rd->stream);
	} else {
		refdev_get_knobs(rd, &knobs);
		*stop_copy_length = knobs.initial_bytes + knobs.stop_copy_bytes;
	}
	mutex_unlock(&rd->state_lock);
	return 0;
}

const struct vfio_migration_ops refdev_migration_ops = {
	.migration_set_state = refdev_set_state,
	.migration_get_state = refdev_get_state,
	.migration_get_data_size = refdev_get_data_size,
};

/*
 * Ends whatever goes on and goes to RUNNING: when a user comes or goes, and on
 * VFIO_DEVICE_RESET. Closing keeps the registers and raises no interrupt.
 */
void refdev_migration_restart(struct refdev *rd, enum refdev_cause cause)
{
	static const struct refdev_irq_state no_irqs;
	struct refdev_history_entry entry = {
		.to = VFIO_DEVICE_STATE_RUNNING,
		.cause = cause,
	};

	mutex_lock(&rd->state_lock);
	entry.mono_ns = ktime_get_ns();
	entry.real_ns = ktime_get_real_ns();
	entry.from = rd->state;

	refdev_set_active(rd, VFIO_DEVICE_STATE_STOP);
	refdev_close_stream(rd);
	if (cause != REFDEV_CAUSE_CLOSE) {
		refdev_irq_set_state(rd, &no_irqs);
		refdev_pci_reset(rd, cause == REFDEV_CAUSE_OPEN);
		refdev_set_active(rd, VFIO_DEVICE_STATE_RUNNING);
	}
	WRITE_ONCE(rd->state, VFIO_DEVICE_STATE_RUNNING);

	entry.duration_ns = ktime_get_ns() - entry.mono_ns;
	refdev_history_add(rd, &entry);
	mutex_unlock(&rd->state_lock);
}
