// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: knobs in sysfs.
 */
#include <linux/kstrtox.h>
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "stream.h"

#define REFDEV_MAX_MS			600000ULL
#define REFDEV_DMA_RATE_MAX		1000000ULL
#define REFDEV_REINITS_MAX		1000000ULL
#define REFDEV_MAX_ERRNO		EHWPOISON

const struct refdev_knobs refdev_default_knobs = {
	.migration = true,
	.stop_copy = true,
	.pre_copy = true,
	.p2p = true,
	.initial_bytes = 1 << 20,
	.stop_copy_bytes = 64 << 10,
	.precopy_info_v2 = true,
	.reinit_bytes = 64 << 10,
	.log_page_bytes = REFDEV_DMA_PAGE,
	.log_max_ranges = REFDEV_LOG_RANGES_MAX,
	.log_max_pages = REFDEV_DMA_PAGES_MAX,
	.fail_errno = EIO,
	.stream_version = REFDEV_STREAM_NEWEST,
	.version_errno = EINVAL,
};

static const char * const refdev_times_names[] = {
	[REFDEV_FAIL_ONCE] = "once",
	[REFDEV_FAIL_ALWAYS] = "always",
	NULL
};

static const char * const refdev_device_names[] = {
	[REFDEV_FAIL_STAYS] = "stays",
	[REFDEV_FAIL_ERROR] = "error",
	NULL
};

static const char * const refdev_corrupt_names[] = {
	[REFDEV_CORRUPT_NONE] = "none",
	[REFDEV_CORRUPT_STREAM] = "stream",
	[REFDEV_CORRUPT_STATE] = "state",
	NULL
};

static const char * const refdev_other_version_names[] = {
	[REFDEV_OTHER_REFUSED] = "refused",
	[REFDEV_OTHER_READ] = "read",
	[REFDEV_OTHER_MISREAD] = "misread",
	NULL
};

static const char * const refdev_reinit_at_names[] = {
	[REFDEV_REINIT_READ] = "read",
	[REFDEV_REINIT_P2P] = "PRE_COPY_P2P",
	NULL
};

static const char * const refdev_p2p_active_names[] = {
	[REFDEV_P2P_NONE] = "none",
	[REFDEV_P2P_IRQS] = "irqs",
	[REFDEV_P2P_ALL] = "all",
	NULL
};

static const char * const refdev_log_report_names[] = {
	[REFDEV_LOG_TRUE] = "true",
	[REFDEV_LOG_TOO_LITTLE] = "too-little",
	[REFDEV_LOG_FAIL] = "fail",
	NULL
};

struct refdev_knob {
	struct device_attribute attr;
	size_t offset;			/* in struct refdev_knobs */
	u64 min, max;
	u64 multiple;			/* of this, if it is not 0 */
	bool is_power_of_2;
	bool is_size;			/* part of the device state */
	bool (*is_possible)(void);	/* of a flag: on this kernel */
	const char * const *names;	/* of a choice */
	void (*changed)(struct refdev *rd);	/* reg_lock is held */
};

#define to_refdev_knob(a) container_of(a, struct refdev_knob, attr)

/* Flags are offered to a user when the device is opened. */
static ssize_t flag_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	struct refdev *rd = dev_get_drvdata(dev);
	struct refdev_knobs knobs;

	refdev_get_knobs(rd, &knobs);
	return sysfs_emit(buf, "%c\n",
			  *(bool *)((void *)&knobs +
				    to_refdev_knob(attr)->offset) ? 'y' : 'n');
}

static ssize_t flag_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	struct refdev_knob *knob = to_refdev_knob(attr);
	struct refdev *rd = dev_get_drvdata(dev);
	bool value;
	int ret;

	ret = kstrtobool(buf, &value);
	if (ret)
		return ret;
	if (value && knob->is_possible && !knob->is_possible())
		return -EOPNOTSUPP;

	mutex_lock(&rd->knob_lock);
	if (rd->opened)
		ret = -EBUSY;
	else
		*(bool *)((void *)&rd->knobs + knob->offset) = value;
	mutex_unlock(&rd->knob_lock);
	return ret ?: count;
}

static u64 refdev_knob_get(struct refdev *rd, const struct refdev_knob *knob)
{
	struct refdev_knobs knobs;

	refdev_get_knobs(rd, &knobs);
	return *(u64 *)((void *)&knobs + knob->offset);
}

static int refdev_knob_set(struct refdev *rd, const struct refdev_knob *knob,
			   u64 value)
{
	int ret = 0;

	mutex_lock(&rd->reg_lock);
	if (knob->is_size && rd->streaming) {
		ret = -EBUSY;
		goto out;
	}
	mutex_lock(&rd->knob_lock);
	*(u64 *)((void *)&rd->knobs + knob->offset) = value;
	mutex_unlock(&rd->knob_lock);
	if (knob->changed)
		knob->changed(rd);
out:
	mutex_unlock(&rd->reg_lock);
	return ret;
}

static ssize_t number_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%llu\n", refdev_knob_get(dev_get_drvdata(dev),
							 to_refdev_knob(attr)));
}

static ssize_t number_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	struct refdev_knob *knob = to_refdev_knob(attr);
	u64 value;
	int ret;

	ret = kstrtou64(buf, 0, &value);
	if (ret)
		return ret;
	if (value < knob->min || value > knob->max)
		return -ERANGE;
	if (knob->multiple && value % knob->multiple)
		return -EINVAL;
	if (knob->is_power_of_2 && !is_power_of_2(value))
		return -EINVAL;
	return refdev_knob_set(dev_get_drvdata(dev), knob, value) ?: count;
}

static ssize_t choice_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	struct refdev_knob *knob = to_refdev_knob(attr);

	return sysfs_emit(buf, "%s\n",
			  knob->names[refdev_knob_get(dev_get_drvdata(dev),
						      knob)]);
}

static ssize_t choice_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	struct refdev_knob *knob = to_refdev_knob(attr);
	int value;

	value = __sysfs_match_string(knob->names, -1, buf);
	if (value < 0)
		return value;
	return refdev_knob_set(dev_get_drvdata(dev), knob, value) ?: count;
}

/* Hz for each vector from 0 on; zeros at the end are left out. */
static ssize_t irq_rates_show(struct device *dev,
			      struct device_attribute *attr, char *buf)
{
	struct refdev *rd = dev_get_drvdata(dev);
	struct refdev_knobs knobs;
	unsigned int n = rd->nr_vectors;
	unsigned int i;
	int len = 0;

	refdev_get_knobs(rd, &knobs);
	while (n > 1 && !knobs.irq_rates[n - 1])
		n--;
	for (i = 0; i < n; i++)
		len += sysfs_emit_at(buf, len, "%s%llu", i ? " " : "",
				     knobs.irq_rates[i]);
	return len + sysfs_emit_at(buf, len, "\n");
}

static int refdev_parse_rates(char *text, u64 *rates, unsigned int n)
{
	unsigned int i = 0;
	char *word;
	int ret;

	while ((word = strsep(&text, " \t\n"))) {
		if (!*word)
			continue;
		if (i == n)
			return -EINVAL;
		ret = kstrtou64(word, 0, &rates[i]);
		if (ret)
			return ret;
		if (rates[i] > REFDEV_IRQ_RATE_MAX)
			return -ERANGE;
		i++;
	}
	return 0;
}

static ssize_t irq_rates_store(struct device *dev,
			       struct device_attribute *attr, const char *buf,
			       size_t count)
{
	struct refdev *rd = dev_get_drvdata(dev);
	u64 rates[REFDEV_MAX_VECTORS] = {};
	char *text;
	int ret;

	text = kstrndup(buf, count, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	ret = refdev_parse_rates(text, rates, rd->nr_vectors);
	kfree(text);
	if (ret)
		return ret;

	mutex_lock(&rd->reg_lock);
	mutex_lock(&rd->knob_lock);
	memcpy(rd->knobs.irq_rates, rates, sizeof(rates));
	mutex_unlock(&rd->knob_lock);
	refdev_irq_set_rates(rd);
	mutex_unlock(&rd->reg_lock);
	return count;
}

static ssize_t fail_at_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct refdev_knobs knobs;

	refdev_get_knobs(dev_get_drvdata(dev), &knobs);
	switch (knobs.fail_at) {
	case REFDEV_FAIL_STATE:
		return sysfs_emit(buf, "%s\n",
				  refdev_state_name(knobs.fail_state));
	case REFDEV_FAIL_READ:
		return sysfs_emit(buf, "read:%llu\n", knobs.fail_byte);
	case REFDEV_FAIL_WRITE:
		return sysfs_emit(buf, "write:%llu\n", knobs.fail_byte);
	case REFDEV_FAIL_LOAD:
		return sysfs_emit(buf, "load\n");
	default:
		return sysfs_emit(buf, "none\n");
	}
}

static int refdev_parse_fail_at(const char *buf, struct refdev_knobs *knobs)
{
	enum vfio_device_mig_state state;
	size_t prefix;

	if (sysfs_streq(buf, "none")) {
		knobs->fail_at = REFDEV_FAIL_NONE;
		return 0;
	}
	if (sysfs_streq(buf, "load")) {
		knobs->fail_at = REFDEV_FAIL_LOAD;
		return 0;
	}
	prefix = str_has_prefix(buf, "read:");
	if (prefix) {
		knobs->fail_at = REFDEV_FAIL_READ;
		return kstrtou64(buf + prefix, 0, &knobs->fail_byte);
	}
	prefix = str_has_prefix(buf, "write:");
	if (prefix) {
		knobs->fail_at = REFDEV_FAIL_WRITE;
		return kstrtou64(buf + prefix, 0, &knobs->fail_byte);
	}
	for (state = 0; state < VFIO_DEVICE_STATE_NR; state++) {
		if (state == VFIO_DEVICE_STATE_ERROR ||
		    !sysfs_streq(buf, refdev_state_name(state)))
			continue;
		knobs->fail_at = REFDEV_FAIL_STATE;
		knobs->fail_state = state;
		return 0;
	}
	return -EINVAL;
}

/* Makes a fault that was spent happen again, also with the same value. */
static ssize_t fail_at_store(struct device *dev, struct device_attribute *attr,
			     const char *buf, size_t count)
{
	struct refdev *rd = dev_get_drvdata(dev);
	struct refdev_knobs knobs = {};
	int ret;

	ret = refdev_parse_fail_at(buf, &knobs);
	if (ret)
		return ret;

	mutex_lock(&rd->knob_lock);
	rd->knobs.fail_at = knobs.fail_at;
	rd->knobs.fail_state = knobs.fail_state;
	rd->knobs.fail_byte = knobs.fail_byte;
	rd->fault_spent = false;
	mutex_unlock(&rd->knob_lock);
	return count;
}

#define REFDEV_KNOB(_name, _kind, ...)					\
	static struct refdev_knob refdev_knob_##_name = {		\
		.attr = __ATTR(_name, 0644, _kind##_show, _kind##_store), \
		.offset = offsetof(struct refdev_knobs, _name),		\
		__VA_ARGS__						\
	}

#define REFDEV_SIZE(_name)						\
	REFDEV_KNOB(_name, number, .min = REFDEV_SECTION_MIN,		\
		    .max = REFDEV_SECTION_MAX, .multiple = 8,		\
		    .is_size = true, .changed = refdev_state_changed)

REFDEV_KNOB(migration, flag);
REFDEV_KNOB(stop_copy, flag);
REFDEV_KNOB(pre_copy, flag);
REFDEV_KNOB(p2p, flag);
REFDEV_KNOB(precopy_info_v2, flag);
REFDEV_KNOB(dirty_tracking, flag, .is_possible = refdev_log_is_possible);
REFDEV_SIZE(initial_bytes);
REFDEV_SIZE(stop_copy_bytes);
REFDEV_KNOB(dirty_bytes_per_sec, number, .max = REFDEV_RATE_MAX);
REFDEV_KNOB(reinit_count, number, .max = REFDEV_REINITS_MAX);
REFDEV_KNOB(reinit_bytes, number, .min = REFDEV_SECTION_MIN,
	    .max = REFDEV_SECTION_MAX, .multiple = 8);
REFDEV_KNOB(reinit_after_bytes, number, .max = REFDEV_SECTION_MAX);
REFDEV_KNOB(reinit_at, choice, .names = refdev_reinit_at_names);
REFDEV_KNOB(save_bytes_per_sec, number, .max = REFDEV_RATE_MAX);
REFDEV_KNOB(load_bytes_per_sec, number, .max = REFDEV_RATE_MAX);
REFDEV_KNOB(load_initial_ms, number, .max = REFDEV_MAX_MS);
REFDEV_KNOB(state_change_ms, number, .max = REFDEV_MAX_MS);
REFDEV_KNOB(p2p_active, choice, .names = refdev_p2p_active_names);
REFDEV_KNOB(dma_pages_per_sec, number, .max = REFDEV_DMA_RATE_MAX,
	    .changed = refdev_dma_update);
REFDEV_KNOB(log_report, choice, .names = refdev_log_report_names);
REFDEV_KNOB(log_page_bytes, number, .min = REFDEV_DMA_PAGE,
	    .max = REFDEV_LOG_PAGE_MAX, .is_power_of_2 = true);
REFDEV_KNOB(log_max_ranges, number, .min = 1, .max = REFDEV_LOG_RANGES_MAX);
REFDEV_KNOB(log_max_pages, number, .min = 1, .max = REFDEV_DMA_PAGES_MAX);
REFDEV_KNOB(irq_rates, irq_rates);
REFDEV_KNOB(fail_at, fail_at);
REFDEV_KNOB(fail_errno, number, .min = 1, .max = REFDEV_MAX_ERRNO);
REFDEV_KNOB(fail_times, choice, .names = refdev_times_names);
REFDEV_KNOB(fail_device, choice, .names = refdev_device_names);
REFDEV_KNOB(corrupt, choice, .names = refdev_corrupt_names);
REFDEV_KNOB(stream_version, number, .min = REFDEV_STREAM_OLDEST,
	    .max = REFDEV_STREAM_NEWEST);
REFDEV_KNOB(other_version, choice, .names = refdev_other_version_names);
REFDEV_KNOB(version_errno, number, .min = 1, .max = REFDEV_MAX_ERRNO);

static struct attribute *refdev_knob_attrs[] = {
	&refdev_knob_migration.attr.attr,
	&refdev_knob_stop_copy.attr.attr,
	&refdev_knob_pre_copy.attr.attr,
	&refdev_knob_p2p.attr.attr,
	&refdev_knob_precopy_info_v2.attr.attr,
	&refdev_knob_dirty_tracking.attr.attr,
	&refdev_knob_initial_bytes.attr.attr,
	&refdev_knob_stop_copy_bytes.attr.attr,
	&refdev_knob_dirty_bytes_per_sec.attr.attr,
	&refdev_knob_reinit_count.attr.attr,
	&refdev_knob_reinit_bytes.attr.attr,
	&refdev_knob_reinit_after_bytes.attr.attr,
	&refdev_knob_reinit_at.attr.attr,
	&refdev_knob_save_bytes_per_sec.attr.attr,
	&refdev_knob_load_bytes_per_sec.attr.attr,
	&refdev_knob_load_initial_ms.attr.attr,
	&refdev_knob_state_change_ms.attr.attr,
	&refdev_knob_p2p_active.attr.attr,
	&refdev_knob_dma_pages_per_sec.attr.attr,
	&refdev_knob_log_report.attr.attr,
	&refdev_knob_log_page_bytes.attr.attr,
	&refdev_knob_log_max_ranges.attr.attr,
	&refdev_knob_log_max_pages.attr.attr,
	&refdev_knob_irq_rates.attr.attr,
	&refdev_knob_fail_at.attr.attr,
	&refdev_knob_fail_errno.attr.attr,
	&refdev_knob_fail_times.attr.attr,
	&refdev_knob_fail_device.attr.attr,
	&refdev_knob_corrupt.attr.attr,
	&refdev_knob_stream_version.attr.attr,
	&refdev_knob_other_version.attr.attr,
	&refdev_knob_version_errno.attr.attr,
	NULL
};

const struct attribute_group refdev_knob_group = {
	.name = "knobs",
	.attrs = refdev_knob_attrs,
};
