// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest driver of the reference device: interrupts, on demand and at a rate.
 */
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "refdev_guest.h"

static u64 refdev_guest_raised(struct refdev_guest_vector *vector)
{
	return refdev_guest_read(vector->rg, REFDEV_REG_IRQ_RAISED +
				 vector->number * sizeof(u64));
}

static irqreturn_t refdev_guest_hard(int irq, void *data)
{
	struct refdev_guest_vector *vector = data;

	WRITE_ONCE(vector->hard_seen, refdev_guest_raised(vector));
	this_cpu_inc(vector->count->hard);
	return IRQ_WAKE_THREAD;
}

static irqreturn_t refdev_guest_thread(int irq, void *data)
{
	struct refdev_guest_vector *vector = data;

	WRITE_ONCE(vector->thread_seen, refdev_guest_raised(vector));
	this_cpu_inc(vector->count->thread);
	return IRQ_HANDLED;
}

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
DEVICE_ATTR_RO(irqs);

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
DEVICE_ATTR_WO(trigger);

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
DEVICE_ATTR_RO(irq_hard);

static ssize_t irq_thread_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	return refdev_guest_show_counts(dev_get_drvdata(dev), buf, false);
}
DEVICE_ATTR_RO(irq_thread);

/* One line for each vector: its number, how often it was raised. */
static ssize_t irq_raised_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	unsigned int i;
	int len = 0;

	for (i = 0; i < rg->nr_vectors; i++)
		len += sysfs_emit_at(buf, len, "%u %llu\n", i,
				     refdev_guest_raised(&rg->vectors[i]));
	return len;
}
DEVICE_ATTR_RO(irq_raised);

/* One line for each vector: its number, what handler and thread last read. */
static ssize_t irq_seen_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	unsigned int i;
	int len = 0;

	for (i = 0; i < rg->nr_vectors; i++)
		len += sysfs_emit_at(buf, len, "%u %llu %llu\n", i,
				     READ_ONCE(rg->vectors[i].hard_seen),
				     READ_ONCE(rg->vectors[i].thread_seen));
	return len;
}
DEVICE_ATTR_RO(irq_seen);

/* One line for each vector: its number, its rate in Hz as set by the guest. */
static ssize_t irq_rate_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	unsigned int i;
	int len = 0;

	for (i = 0; i < rg->nr_vectors; i++)
		len += sysfs_emit_at(buf, len, "%u %llu\n", i,
				     refdev_guest_read(rg, REFDEV_REG_IRQ_RATE +
						       i * sizeof(u64)));
	return len;
}

/* "VECTOR HZ"; 0: as the device's knob says. */
static ssize_t irq_rate_store(struct device *dev,
			      struct device_attribute *attr, const char *buf,
			      size_t count)
{
	struct refdev_guest *rg = dev_get_drvdata(dev);
	unsigned int vector, rate;

	if (sscanf(buf, "%u %u", &vector, &rate) != 2 ||
	    vector >= rg->nr_vectors)
		return -EINVAL;
	if (rate > REFDEV_IRQ_RATE_MAX)
		return -ERANGE;
	refdev_guest_write(rg, REFDEV_REG_IRQ_RATE + vector * sizeof(u64),
			   rate);
	return count;
}
DEVICE_ATTR_RW(irq_rate);

/* Only interrupts from now on are awaited. */
void refdev_guest_start_seen(struct refdev_guest *rg)
{
	unsigned int i;

	for (i = 0; i < rg->nr_vectors; i++) {
		struct refdev_guest_vector *vector = &rg->vectors[i];

		WRITE_ONCE(vector->hard_seen, refdev_guest_raised(vector));
		WRITE_ONCE(vector->thread_seen, vector->hard_seen);
	}
}

static void refdev_guest_free_irqs(void *pdev)
{
	pci_free_irq_vectors(pdev);
}

/*
 * IRQF_NO_THREAD keeps the primary handler in hard interrupt context on RT
 * kernels and with threadirqs; it only counts and reads a register.
 */
int refdev_guest_request_irqs(struct refdev_guest *rg)
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

		vector->rg = rg;
		vector->number = i;
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
