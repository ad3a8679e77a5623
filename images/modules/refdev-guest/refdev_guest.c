// SPDX-License-Identifier: GPL-2.0-only
/*
 * Driver of the reference device inside the guest. Everything is reached by
 * plain files in the directory refdev/ of the PCI device, see
 * docs/reference-device.md.
 */
#include <linux/bits.h>
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "refdev_regs.h"

#define REFDEV_GUEST_MAX_VECTORS	64

/* Times that a handler ran on a CPU. */
struct refdev_guest_count {
	unsigned long hard;
	unsigned long thread;
};

struct refdev_guest_vector {
	struct refdev_guest_count __percpu *count;
	char name[32];
};

struct refdev_guest {
	struct pci_dev *pdev;
	void __iomem *regs;
	struct mutex lock;	/* scratch registers as a whole, trigger */
	unsigned int nr_vectors;
	struct refdev_guest_vector vectors[REFDEV_GUEST_MAX_VECTORS];
};

static u64 refdev_guest_read(struct refdev_guest *rg, unsigned int reg)
{
	return readq(rg->regs + reg);
}

static void refdev_guest_write(struct refdev_guest *rg, unsigned int reg,
			       u64 value)
{
	writeq(value, rg->regs + reg);
}

static irqreturn_t refdev_guest_hard(int irq, void *data)
{
	struct refdev_guest_vector *vector = data;

	this_cpu_inc(vector->count->hard);
	return IRQ_WAKE_THREAD;
}

static irqreturn_t refdev_guest_thread(int irq, void *data)
{
	struct refdev_guest_vector *vector = data;

	this_cpu_inc(vector->count->thread);
	return IRQ_HANDLED;
}

static ssize_t scratch_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	unsigned int i;
	int len = 0;

	mutex_lock(&rg->lock);
	for (i = 0; i < REFDEV_SCRATCH_WORDS; i++)
		len += sysfs_emit_at(buf, len, "%s0x%016llx", i ? " " : "",
				     refdev_guest_read(rg, REFDEV_REG_SCRATCH +
							   i * sizeof(u64)));
	mutex_unlock(&rg->lock);
	return len + sysfs_emit_at(buf, len, "\n");
}

/* Up to REFDEV_SCRATCH_WORDS numbers; the registers after them stay. */
static ssize_t scratch_store(struct device *dev, struct device_attribute *attr,
			     const char *buf, size_t count)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	u64 values[REFDEV_SCRATCH_WORDS];
	char *copy, *rest, *word;
	unsigned int n = 0;
	unsigned int i;
	int ret = 0;

	copy = kstrndup(buf, count, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	rest = copy;
	while (!ret && (word = strsep(&rest, " \t\n"))) {
		if (!*word)
			continue;
		if (n == REFDEV_SCRATCH_WORDS)
			ret = -EINVAL;
		else
			ret = kstrtou64(word, 0, &values[n++]);
	}
	kfree(copy);
	if (ret)
		return ret;
	if (!n)
		return -EINVAL;

	mutex_lock(&rg->lock);
	for (i = 0; i < n; i++)
		refdev_guest_write(rg, REFDEV_REG_SCRATCH + i * sizeof(u64),
				   values[i]);
	mutex_unlock(&rg->lock);
	return count;
}
static DEVICE_ATTR_RW(scratch);

static ssize_t generation_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n",
			  refdev_guest_read(rg, REFDEV_REG_GENERATION));
}
static DEVICE_ATTR_RO(generation);

static ssize_t seed_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);

	return sysfs_emit(buf, "0x%016llx\n",
			  refdev_guest_read(rg, REFDEV_REG_SEED));
}

/* The device ignores a new seed while its state is being saved. */
static ssize_t seed_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	u64 seed;
	int ret;

	ret = kstrtou64(buf, 0, &seed);
	if (ret)
		return ret;
	refdev_guest_write(rg, REFDEV_REG_SEED, seed);
	if (refdev_guest_read(rg, REFDEV_REG_SEED) != seed)
		return -EBUSY;
	return count;
}
static DEVICE_ATTR_RW(seed);

static ssize_t state_words_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n",
			  refdev_guest_read(rg, REFDEV_REG_STATE_WORDS));
}
static DEVICE_ATTR_RO(state_words);

static ssize_t checksum_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);

	return sysfs_emit(buf, "0x%016llx\n",
			  refdev_guest_read(rg, REFDEV_REG_CHECKSUM));
}
static DEVICE_ATTR_RO(checksum);

/* The checksum again, word by word, from the seed and the size alone. */
static ssize_t checksum_expected_show(struct device *dev,
				      struct device_attribute *attr, char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	u64 words = refdev_guest_read(rg, REFDEV_REG_STATE_WORDS);
	u64 word = refdev_guest_read(rg, REFDEV_REG_SEED);
	u64 sum = 0;
	u64 i;

	for (i = 0; i < words; i++) {
		sum += word;
		word += REFDEV_STATE_STEP;
		/* Keeps the compiler from turning the loop into a formula. */
		barrier();
		if (!(i & 0xffff)) {
			if (signal_pending(current))
				return -EINTR;
			cond_resched();
		}
	}
	return sysfs_emit(buf, "0x%016llx\n", sum);
}
static DEVICE_ATTR_RO(checksum_expected);

static ssize_t vectors_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", rg->nr_vectors);
}
static DEVICE_ATTR_RO(vectors);

/* One line for each vector: "vector irq". */
static ssize_t irqs_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	unsigned int i;
	int len = 0;

	for (i = 0; i < rg->nr_vectors; i++)
		len += sysfs_emit_at(buf, len, "%u %d\n", i,
				     pci_irq_vector(rg->pdev, i));
	return len;
}
static DEVICE_ATTR_RO(irqs);

static bool refdev_guest_enabled(struct refdev_guest *rg)
{
	return refdev_guest_read(rg, REFDEV_REG_CONTROL) &
	       REFDEV_CONTROL_ENABLE;
}

static ssize_t enabled_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%d\n",
			  refdev_guest_enabled(dev_get_drvdata(dev)));
}
static DEVICE_ATTR_RO(enabled);

/* "VECTOR" or "VECTOR COUNT"; a device that was reset needs reinit first. */
static ssize_t trigger_store(struct device *dev, struct device_attribute *attr,
			     const char *buf, size_t count)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	unsigned int times = 1;
	unsigned int vector;
	ssize_t ret = count;

	if (sscanf(buf, "%u %u", &vector, &times) < 1 ||
	    vector >= rg->nr_vectors)
		return -EINVAL;

	mutex_lock(&rg->lock);
	if (!refdev_guest_enabled(rg))
		ret = -EIO;
	while (ret > 0 && times--) {
		refdev_guest_write(rg, REFDEV_REG_TRIGGER, vector);
		if (signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	mutex_unlock(&rg->lock);
	return ret;
}
static DEVICE_ATTR_WO(trigger);

/* One line for each vector: its number, then a count for each possible CPU. */
static ssize_t refdev_guest_show_counts(struct refdev_guest *rg, char *buf,
					bool hard)
{
	struct refdev_guest_count *count;
	unsigned int i, cpu;
	int len = 0;

	for (i = 0; i < rg->nr_vectors; i++) {
		len += sysfs_emit_at(buf, len, "%u", i);
		for_each_possible_cpu(cpu) {
			count = per_cpu_ptr(rg->vectors[i].count, cpu);
			len += sysfs_emit_at(buf, len, " %lu",
					     hard ? READ_ONCE(count->hard) :
						    READ_ONCE(count->thread));
		}
		len += sysfs_emit_at(buf, len, "\n");
	}
	return len;
}

static ssize_t irq_hard_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return refdev_guest_show_counts(dev_get_drvdata(dev), buf, true);
}
static DEVICE_ATTR_RO(irq_hard);

static ssize_t irq_thread_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	return refdev_guest_show_counts(dev_get_drvdata(dev), buf, false);
}
static DEVICE_ATTR_RO(irq_thread);

static int refdev_guest_enable(struct refdev_guest *rg)
{
	if (refdev_guest_read(rg, REFDEV_REG_ID) != REFDEV_ID)
		return -ENODEV;
	pci_set_master(rg->pdev);
	refdev_guest_write(rg, REFDEV_REG_CONTROL, REFDEV_CONTROL_ENABLE);
	return refdev_guest_enabled(rg) ? 0 : -EIO;
}

/* After a reset that the guest did not ask for. */
static ssize_t reinit_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	bool value;
	int ret;

	ret = kstrtobool(buf, &value);
	if (ret)
		return ret;
	if (!value)
		return -EINVAL;

	mutex_lock(&rg->lock);
	ret = refdev_guest_enable(rg);
	mutex_unlock(&rg->lock);
	return ret ?: count;
}
static DEVICE_ATTR_WO(reinit);

static struct attribute *refdev_guest_attrs[] = {
	&dev_attr_scratch.attr,
	&dev_attr_generation.attr,
	&dev_attr_seed.attr,
	&dev_attr_state_words.attr,
	&dev_attr_checksum.attr,
	&dev_attr_checksum_expected.attr,
	&dev_attr_vectors.attr,
	&dev_attr_irqs.attr,
	&dev_attr_enabled.attr,
	&dev_attr_trigger.attr,
	&dev_attr_irq_hard.attr,
	&dev_attr_irq_thread.attr,
	&dev_attr_reinit.attr,
	NULL
};

static const struct attribute_group refdev_guest_group = {
	.name = "refdev",
	.attrs = refdev_guest_attrs,
};

static const struct attribute_group *refdev_guest_groups[] = {
	&refdev_guest_group,
	NULL
};

static void refdev_guest_free_irqs(void *pdev)
{
	pci_free_irq_vectors(pdev);
}

/*
 * IRQF_NO_THREAD keeps the primary handler in hard interrupt context on RT
 * kernels and with threadirqs; it only counts.
 */
static int refdev_guest_request_irqs(struct refdev_guest *rg)
{
	struct device *dev = &rg->pdev->dev;
	unsigned int i;
	int ret;

	ret = pci_alloc_irq_vectors(rg->pdev, rg->nr_vectors, rg->nr_vectors,
				    PCI_IRQ_MSIX);
	if (ret < 0)
		return ret;
	ret = devm_add_action_or_reset(dev, refdev_guest_free_irqs, rg->pdev);
	if (ret)
		return ret;

	for (i = 0; i < rg->nr_vectors; i++) {
		struct refdev_guest_vector *vector = &rg->vectors[i];

		vector->count = devm_alloc_percpu(dev,
						  struct refdev_guest_count);
		if (!vector->count)
			return -ENOMEM;
		snprintf(vector->name, sizeof(vector->name), "refdev-%u", i);
		ret = devm_request_threaded_irq(dev, pci_irq_vector(rg->pdev, i),
						refdev_guest_hard,
						refdev_guest_thread,
						IRQF_NO_THREAD, vector->name,
						vector);
		if (ret)
			return ret;
	}
	return 0;
}

static int refdev_guest_probe(struct pci_dev *pdev,
			      const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct refdev_guest *rg;
	u64 vectors;
	int ret;

	rg = devm_kzalloc(dev, sizeof(*rg), GFP_KERNEL);
	if (!rg)
		return -ENOMEM;
	rg->pdev = pdev;
	mutex_init(&rg->lock);
	pci_set_drvdata(pdev, rg);

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	rg->regs = pcim_iomap(pdev, REFDEV_BAR_REGS, REFDEV_BAR_SIZE);
	if (!rg->regs)
		return -ENOMEM;

	vectors = refdev_guest_read(rg, REFDEV_REG_VECTORS);
	if (!vectors || vectors > REFDEV_GUEST_MAX_VECTORS)
		return dev_err_probe(dev, -ENODEV, "%llu vectors\n", vectors);
	rg->nr_vectors = vectors;

	ret = refdev_guest_request_irqs(rg);
	if (ret)
		return dev_err_probe(dev, ret, "cannot set up interrupts\n");
	ret = refdev_guest_enable(rg);
	if (ret)
		return dev_err_probe(dev, ret, "cannot enable the device\n");
	return 0;
}

static void refdev_guest_remove(struct pci_dev *pdev)
{
	struct refdev_guest *rg = pci_get_drvdata(pdev);

	refdev_guest_write(rg, REFDEV_REG_CONTROL, 0);
}

static const struct pci_device_id refdev_guest_ids[] = {
	{ PCI_DEVICE(REFDEV_PCI_VENDOR, REFDEV_PCI_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, refdev_guest_ids);

static struct pci_driver refdev_guest_driver = {
	.name = "refdev_guest",
	.id_table = refdev_guest_ids,
	.probe = refdev_guest_probe,
	.remove = refdev_guest_remove,
	.dev_groups = refdev_guest_groups,
};
module_pci_driver(refdev_guest_driver);

MODULE_DESCRIPTION("Guest driver of the reference device");
MODULE_LICENSE("GPL");
