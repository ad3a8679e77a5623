// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: counters and history in sysfs.
 */
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/version.h>

#include "refdev.h"

/* Binary attributes are constant on 7.x, and are not on 6.12. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#define REFDEV_BIN_CONST
#else
#define REFDEV_BIN_CONST const
#endif

static ssize_t counter_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct dev_ext_attribute *counter =
		container_of(attr, struct dev_ext_attribute, attr);
	struct refdev *rd = dev_get_drvdata(dev);
	unsigned long index = (unsigned long)counter->var;

	return sysfs_emit(buf, "%lld\n", atomic64_read(&rd->counters[index]));
}

#define REFDEV_COUNTER(_name, _index)					\
	static struct dev_ext_attribute refdev_counter_##_name = {	\
		.attr = __ATTR(_name, 0444, counter_show, NULL),	\
		.var = (void *)_index,					\
	}

REFDEV_COUNTER(precopy_bytes_read, REFDEV_PRECOPY_BYTES_READ);
REFDEV_COUNTER(stop_copy_bytes_read, REFDEV_STOP_COPY_BYTES_READ);
REFDEV_COUNTER(dirty_bytes_read, REFDEV_DIRTY_BYTES_READ);
REFDEV_COUNTER(bytes_written, REFDEV_BYTES_WRITTEN);
REFDEV_COUNTER(reads, REFDEV_READS);
REFDEV_COUNTER(writes, REFDEV_WRITES);
REFDEV_COUNTER(enomsg, REFDEV_ENOMSG);
REFDEV_COUNTER(precopy_infos, REFDEV_PRECOPY_INFOS);
REFDEV_COUNTER(loads, REFDEV_LOADS);
REFDEV_COUNTER(load_errors, REFDEV_LOAD_ERRORS);
REFDEV_COUNTER(irqs_raised, REFDEV_IRQS_RAISED);
REFDEV_COUNTER(irqs_signalled, REFDEV_IRQS_SIGNALLED);
REFDEV_COUNTER(irqs_latched, REFDEV_IRQS_LATCHED);
REFDEV_COUNTER(irqs_coalesced, REFDEV_IRQS_COALESCED);
REFDEV_COUNTER(dma_pages_written, REFDEV_DMA_PAGES_WRITTEN);
REFDEV_COUNTER(dma_errors, REFDEV_DMA_ERRORS);
REFDEV_COUNTER(faults, REFDEV_FAULTS);
REFDEV_COUNTER(other_versions, REFDEV_OTHER_VERSIONS);
REFDEV_COUNTER(reinits, REFDEV_REINITS);
REFDEV_COUNTER(reinits_told, REFDEV_REINITS_TOLD);
REFDEV_COUNTER(reinit_bytes_read, REFDEV_REINIT_BYTES_READ);
REFDEV_COUNTER(log_starts, REFDEV_LOG_STARTS);
REFDEV_COUNTER(log_reports, REFDEV_LOG_REPORTS);
REFDEV_COUNTER(log_pages_reported, REFDEV_LOG_PAGES_REPORTED);
REFDEV_COUNTER(log_pages_left_out, REFDEV_LOG_PAGES_LEFT_OUT);
REFDEV_COUNTER(log_overflows, REFDEV_LOG_OVERFLOWS);
REFDEV_COUNTER(opens, REFDEV_OPENS);
REFDEV_COUNTER(resets, REFDEV_RESETS);

static struct attribute *refdev_counter_attrs[] = {
	&refdev_counter_precopy_bytes_read.attr.attr,
	&refdev_counter_stop_copy_bytes_read.attr.attr,
	&refdev_counter_dirty_bytes_read.attr.attr,
	&refdev_counter_bytes_written.attr.attr,
	&refdev_counter_reads.attr.attr,
	&refdev_counter_writes.attr.attr,
	&refdev_counter_enomsg.attr.attr,
	&refdev_counter_precopy_infos.attr.attr,
	&refdev_counter_loads.attr.attr,
	&refdev_counter_load_errors.attr.attr,
	&refdev_counter_irqs_raised.attr.attr,
	&refdev_counter_irqs_signalled.attr.attr,
	&refdev_counter_irqs_latched.attr.attr,
	&refdev_counter_irqs_coalesced.attr.attr,
	&refdev_counter_dma_pages_written.attr.attr,
	&refdev_counter_dma_errors.attr.attr,
	&refdev_counter_faults.attr.attr,
	&refdev_counter_other_versions.attr.attr,
	&refdev_counter_reinits.attr.attr,
	&refdev_counter_reinits_told.attr.attr,
	&refdev_counter_reinit_bytes_read.attr.attr,
	&refdev_counter_log_starts.attr.attr,
	&refdev_counter_log_reports.attr.attr,
	&refdev_counter_log_pages_reported.attr.attr,
	&refdev_counter_log_pages_left_out.attr.attr,
	&refdev_counter_log_overflows.attr.attr,
	&refdev_counter_opens.attr.attr,
	&refdev_counter_resets.attr.attr,
	NULL
};

static const struct attribute_group refdev_counter_group = {
	.name = "counters",
	.attrs = refdev_counter_attrs,
};

static ssize_t state_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct refdev *rd = dev_get_drvdata(dev);

	/* No lock: a state change may take its time, and this may not. */
	return sysfs_emit(buf, "%s\n", refdev_state_name(READ_ONCE(rd->state)));
}
static DEVICE_ATTR_RO(state);

static ssize_t generation_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct refdev *rd = dev_get_drvdata(dev);
	u64 generation;

	mutex_lock(&rd->reg_lock);
	generation = rd->regs.generation;
	mutex_unlock(&rd->reg_lock);
	return sysfs_emit(buf, "%llu\n", generation);
}
static DEVICE_ATTR_RO(generation);

static struct attribute *refdev_attrs[] = {
	&dev_attr_state.attr,
	&dev_attr_generation.attr,
	NULL
};

/*
 * History lines are padded to one length, so that a reader who needs several
 * calls gets whole lines even while entries are added.
 */
#define REFDEV_HISTORY_LINE	120

static void refdev_history_line(const struct refdev_history_entry *entry,
				char line[REFDEV_HISTORY_LINE + 1])
{
	static const char * const causes[] = {
		[REFDEV_CAUSE_SET_STATE] = "set_state",
		[REFDEV_CAUSE_RESET] = "reset",
		[REFDEV_CAUSE_OPEN] = "open",
		[REFDEV_CAUSE_CLOSE] = "close",
		[REFDEV_CAUSE_FAULT] = "fault",
	};
	int len;

	len = scnprintf(line, REFDEV_HISTORY_LINE,
			"%llu %llu %llu %s %s %d %llu %s", entry->seq,
			entry->mono_ns, entry->real_ns,
			refdev_state_name(entry->from),
			refdev_state_name(entry->to), entry->result,
			entry->duration_ns, causes[entry->cause]);
	memset(line + len, ' ', REFDEV_HISTORY_LINE - 1 - len);
	line[REFDEV_HISTORY_LINE - 1] = '\n';
	line[REFDEV_HISTORY_LINE] = '\0';
}

void refdev_history_add(struct refdev *rd, struct refdev_history_entry *entry)
{
	spin_lock(&rd->history_lock);
	entry->seq = rd->history_seq++;
	rd->history[entry->seq % REFDEV_HISTORY_ENTRIES] = *entry;
	spin_unlock(&rd->history_lock);
}

/* Finds the entry at this place among those that are kept, oldest first. */
static bool refdev_history_get(struct refdev *rd, u64 place,
			       struct refdev_history_entry *entry)
{
	u64 oldest;
	bool found;

	spin_lock(&rd->history_lock);
	oldest = rd->history_seq - min_t(u64, rd->history_seq,
					 REFDEV_HISTORY_ENTRIES);
	found = oldest + place < rd->history_seq;
	if (found)
		*entry = rd->history[(oldest + place) % REFDEV_HISTORY_ENTRIES];
	spin_unlock(&rd->history_lock);
	return found;
}

static ssize_t history_read(struct file *file, struct kobject *kobj,
			    REFDEV_BIN_CONST struct bin_attribute *attr,
			    char *buf, loff_t pos, size_t count)
{
	struct refdev *rd = dev_get_drvdata(kobj_to_dev(kobj));
	char line[REFDEV_HISTORY_LINE + 1];
	struct refdev_history_entry entry;
	size_t done = 0;

	while (done < count) {
		u32 skip;
		u64 place = div_u64_rem(pos + done, REFDEV_HISTORY_LINE, &skip);
		size_t n = min_t(size_t, count - done,
				 REFDEV_HISTORY_LINE - skip);

		if (!refdev_history_get(rd, place, &entry))
			break;
		refdev_history_line(&entry, line);
		memcpy(buf + done, line + skip, n);
		done += n;
	}
	return done;
}
static BIN_ATTR_RO(history, 0);

static REFDEV_BIN_CONST struct bin_attribute *REFDEV_BIN_CONST
refdev_bin_attrs[] = {
	&bin_attr_history,
	NULL
};

static const struct attribute_group refdev_group = {
	.attrs = refdev_attrs,
	.bin_attrs = refdev_bin_attrs,
};

const struct attribute_group *refdev_groups[] = {
	&refdev_group,
	&refdev_knob_group,
	&refdev_counter_group,
	NULL
};
