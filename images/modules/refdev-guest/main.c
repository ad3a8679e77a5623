// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest driver of the reference device: registers and the life of the driver.
 */
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "refdev_guest.h"

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

static ssize_t enabled_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%d\n",
			  refdev_guest_enabled(dev_get_drvdata(dev)));
}
static DEVICE_ATTR_RO(enabled);

static int refdev_guest_enable(struct refdev_guest *rg)
{
	if (refdev_guest_read(rg, REFDEV_REG_ID) != REFDEV_ID)
		return -ENODEV;
	pci_set_master(rg->pdev);
	refdev_guest_place_dma(rg);
	refdev_guest_start_seen(rg);
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
	&dev_attr_enabled.attr,
	&dev_attr_irqs.attr,
	&dev_attr_trigger.attr,
	&dev_attr_irq_hard.attr,
	&dev_attr_irq_thread.attr,
	&dev_attr_irq_raised.attr,
	&dev_attr_irq_seen.attr,
	&dev_attr_irq_rate.attr,
	&dev_attr_dma_pages.attr,
	&dev_attr_dma_enable.attr,
	&dev_attr_dma_sequence.attr,
	&dev_attr_dma_verify.attr,
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
	if (!vectors || vectors > REFDEV_MAX_VECTORS)
		return dev_err_probe(dev, -ENODEV, "%llu vectors\n", vectors);
	rg->nr_vectors = vectors;

	ret = refdev_guest_alloc_dma(rg);
	if (ret)
		return dev_err_probe(dev, ret, "no DMA buffer\n");
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

	refdev_guest_set_dma(rg, false);
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
	.shutdown = refdev_guest_remove,
	.dev_groups = refdev_guest_groups,
};
module_pci_driver(refdev_guest_driver);

MODULE_DESCRIPTION("Guest driver of the reference device");
MODULE_LICENSE("GPL");
