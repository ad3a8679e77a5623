// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: faults that users ask for.
 */
#include "refdev.h"

static struct refdev_fault refdev_fault_inject(struct refdev *rd)
{
	const struct refdev_knobs *knobs = &rd->knobs;
	struct refdev_fault fault = {};

	lockdep_assert_held(&rd->knob_lock);

	if (rd->fault_spent)
		return fault;
	rd->fault_spent = knobs->fail_times == REFDEV_FAIL_ONCE;
	fault.error = -(int)knobs->fail_errno;
	fault.fatal = knobs->fail_device == REFDEV_FAIL_ERROR;
	refdev_count(rd, REFDEV_FAULTS, 1);
	return fault;
}

/* The fault that this arc of the state machine meets. */
struct refdev_fault refdev_fault_arc(struct refdev *rd,
				     enum vfio_device_mig_state from,
				     enum vfio_device_mig_state to)
{
	const struct refdev_knobs *knobs = &rd->knobs;
	struct refdev_fault fault = {};

	mutex_lock(&rd->knob_lock);
	if ((knobs->fail_at == REFDEV_FAIL_STATE && knobs->fail_state == to) ||
	    (knobs->fail_at == REFDEV_FAIL_LOAD &&
	     from == VFIO_DEVICE_STATE_RESUMING))
		fault = refdev_fault_inject(rd);
	mutex_unlock(&rd->knob_lock);
	return fault;
}

/* The fault that a call meets which would move count bytes from byte first on. */
struct refdev_fault refdev_fault_bytes(struct refdev *rd,
				       enum refdev_fail_at at, u64 first,
				       u64 count)
{
	const struct refdev_knobs *knobs = &rd->knobs;
	struct refdev_fault fault = {};

	mutex_lock(&rd->knob_lock);
	if (knobs->fail_at == at && first <= knobs->fail_byte &&
	    knobs->fail_byte - first < count)
		fault = refdev_fault_inject(rd);
	mutex_unlock(&rd->knob_lock);
	return fault;
}

bool refdev_fault_corrupts(struct refdev *rd, enum refdev_corrupt what)
{
	bool corrupts;

	mutex_lock(&rd->knob_lock);
	corrupts = rd->knobs.corrupt == what;
	mutex_unlock(&rd->knob_lock);
	if (corrupts)
		refdev_count(rd, REFDEV_FAULTS, 1);
	return corrupts;
}
