// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: module, parent device, types and VFIO device operations.
 */
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "refdev.h"

static unsigned int instances = 16;
module_param(instances, uint, 0444);
MODULE_PARM_DESC(instances, "Number of devices of each type that can exist at a time (default 16)");

struct refdev_type {
	struct mdev_type type;
	unsigned int nr_vectors;
	atomic_t available;
};

static struct refdev_type refdev_types[] = {
	{
		.type.sysfs_name = "4vec",
		.type.pretty_name = "Reference device, 4 MSI-X vectors",
		.nr_vectors = 4,
	},
	{
		.type.sysfs_name = "16vec",
		.type.pretty_name = "Reference device, 16 MSI-X vectors",
		.nr_vectors = 16,
	},
};

static struct mdev_type *refdev_type_list[] = {
	&refdev_types[0].type,
	&refdev_types[1].type,
};

static struct mdev_parent refdev_parent;
static struct platform_device *refdev_platform_device;

static struct refdev_type *to_refdev_type(struct mdev_type *type)
{
	return container_of(type, struct refdev_type, type);
}

static int refdev_init_device(struct vfio_device *vdev)
{
	struct mdev_device *mdev = to_mdev_device(vdev->dev);
	struct refdev_type *type = to_refdev_type(mdev->type);
	struct refdev *rd = to_refdev(vdev);
	int ret;

	rd->history = kvcalloc(REFDEV_HISTORY_ENTRIES, sizeof(*rd->history),
			       GFP_KERNEL);
	if (!rd->history)
		return -ENOMEM;
	ret = refdev_dma_init(rd);
	if (ret)
		goto err_history;
	if (atomic_dec_if_positive(&type->available) < 0) {
		ret = -ENOSPC;
		goto err_dma;
	}

	rd->mdev = mdev;
	rd->type = type;
	rd->nr_vectors = type->nr_vectors;
	rd->default_seed = get_random_u64();
	rd->knobs = refdev_default_knobs;
	rd->state = VFIO_DEVICE_STATE_RUNNING;
	mutex_init(&rd->state_lock);
	mutex_init(&rd->reg_lock);
	mutex_init(&rd->knob_lock);
	spin_lock_init(&rd->history_lock);
	refdev_irq_init(rd);
	refdev_pci_init(rd);
	refdev_pci_reset(rd, true);
	return 0;

err_dma:
	kfree(rd->dma_page);
err_history:
	kvfree(rd->history);
	return ret;
}

static void refdev_release_device(struct vfio_device *vdev)
{
	struct refdev *rd = to_refdev(vdev);

	/* A call on a stream may have kept the device longer than its mdev. */
	atomic_inc(&rd->type->available);
	kfree(rd->dma_page);
	kvfree(rd->history);
}

/*
 * VFIO core reads the operations and flags only on behalf of an open device
 * (they are not set when it is registered, so no debugfs file uses them).
 * That makes opening the moment when the knobs decide what is offered.
 */
static int refdev_open_device(struct vfio_device *vdev)
{
	struct refdev *rd = to_refdev(vdev);

	mutex_lock(&rd->knob_lock);
	rd->opened = true;
	vdev->mig_ops = rd->knobs.migration ? &refdev_migration_ops : NULL;
	vdev->migration_flags = refdev_migration_flags(&rd->knobs);
	refdev_log_offer(rd, rd->knobs.dirty_tracking);
	rd->precopy_info_v2 = false;
	mutex_unlock(&rd->knob_lock);

	refdev_count(rd, REFDEV_OPENS, 1);
	refdev_migration_restart(rd, REFDEV_CAUSE_OPEN);
	return 0;
}

/* The registers stay readable in sysfs until the device is opened again. */
static void refdev_close_device(struct vfio_device *vdev)
{
	struct refdev *rd = to_refdev(vdev);

	refdev_migration_restart(rd, REFDEV_CAUSE_CLOSE);
	refdev_dma_release(rd);
	refdev_irq_release(rd);
	refdev_log_release(rd);

	mutex_lock(&rd->knob_lock);
	rd->opened = false;
	mutex_unlock(&rd->knob_lock);
}

static void refdev_request(struct vfio_device *vdev, unsigned int count)
{
	refdev_irq_request(to_refdev(vdev), count);
}

static long refdev_ioctl_info(unsigned long arg)
{
	size_t minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
static int refdev_get_region_info(struct vfio_device *vdev,
				  struct vfio_region_info *info,
				  struct vfio_info_cap *caps)
{
	return refdev_pci_region_info(info);
}
#else
static long refdev_ioctl_region_info(unsigned long arg)
{
	size_t minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;
	int ret;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	ret = refdev_pci_region_info(&info);
	if (ret)
		return ret;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}
#endif

static long refdev_ioctl_irq_info(struct refdev *rd, unsigned long arg)
{
	size_t minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;

	info.count = refdev_irq_count(rd, info.index);
	info.flags = info.count ? VFIO_IRQ_INFO_EVENTFD : 0;
	if (info.index == VFIO_PCI_REQ_IRQ_INDEX)
		info.flags |= VFIO_IRQ_INFO_NORESIZE;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static long refdev_ioctl_set_irqs(struct refdev *rd, unsigned long arg)
{
	size_t minsz = offsetofend(struct vfio_irq_set, count);
	struct vfio_irq_set hdr;
	size_t data_size = 0;
	void *data = NULL;
	int ret;

	if (copy_from_user(&hdr, (void __user *)arg, minsz))
		return -EFAULT;

	ret = vfio_set_irqs_validate_and_prepare(&hdr,
						 refdev_irq_count(rd, hdr.index),
						 VFIO_PCI_NUM_IRQS, &data_size);
	if (ret)
		return ret;
	if (data_size) {
		data = memdup_user((void __user *)(arg + minsz), data_size);
		if (IS_ERR(data))
			return PTR_ERR(data);
	}
	ret = refdev_irq_set(rd, &hdr, data);
	kfree(data);
	return ret;
}

static long refdev_ioctl(struct vfio_device *vdev, unsigned int cmd,
			 unsigned long arg)
{
	struct refdev *rd = to_refdev(vdev);

	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return refdev_ioctl_info(arg);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
	case VFIO_DEVICE_GET_REGION_INFO:
		return refdev_ioctl_region_info(arg);
#endif
	case VFIO_DEVICE_GET_IRQ_INFO:
		return refdev_ioctl_irq_info(rd, arg);
	case VFIO_DEVICE_SET_IRQS:
		return refdev_ioctl_set_irqs(rd, arg);
	case VFIO_DEVICE_RESET:
		refdev_count(rd, REFDEV_RESETS, 1);
		refdev_migration_restart(rd, REFDEV_CAUSE_RESET);
		return 0;
	default:
		return -ENOTTY;
	}
}

#ifndef REFDEV_CORE_HAS_PRECOPY_INFO_V2
/* As VFIO core does since Linux 7.1; the knob takes the driver for an older one. */
static int refdev_set_precopy_info_v2(struct refdev *rd, u32 flags,
				      size_t argsz)
{
	struct refdev_knobs knobs;
	int ret;

	refdev_get_knobs(rd, &knobs);
	if (!rd->vdev.mig_ops || !knobs.precopy_info_v2)
		return -ENOTTY;
	if (!(rd->vdev.migration_flags & VFIO_MIGRATION_PRE_COPY))
		return -EINVAL;
	ret = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_SET, 0);
	if (ret != 1)
		return ret;
	WRITE_ONCE(rd->precopy_info_v2, true);
	return 0;
}
#endif

/* Features that VFIO core does not know. */
static int refdev_device_feature(struct vfio_device *vdev, u32 flags,
				 void __user *arg, size_t argsz)
{
	switch (flags & VFIO_DEVICE_FEATURE_MASK) {
#ifndef REFDEV_CORE_HAS_PRECOPY_INFO_V2
	case VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2:
		return refdev_set_precopy_info_v2(to_refdev(vdev), flags,
						  argsz);
#endif
	default:
		return -ENOTTY;
	}
}

static const struct vfio_device_ops refdev_device_ops = {
	.name = "refdev",
	.init = refdev_init_device,
	.release = refdev_release_device,
	.open_device = refdev_open_device,
	.close_device = refdev_close_device,
	.read = refdev_pci_read,
	.write = refdev_pci_write,
	.ioctl = refdev_ioctl,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	.get_region_info_caps = refdev_get_region_info,
#endif
	.device_feature = refdev_device_feature,
	.request = refdev_request,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
};

static int refdev_mdev_probe(struct mdev_device *mdev)
{
	struct refdev *rd;
	int ret;

	rd = vfio_alloc_device(refdev, vdev, &mdev->dev, &refdev_device_ops);
	if (IS_ERR(rd))
		return PTR_ERR(rd);

	dev_set_drvdata(&mdev->dev, rd);
	ret = vfio_register_emulated_iommu_dev(&rd->vdev);
	if (ret)
		vfio_put_device(&rd->vdev);
	return ret;
}

/* Waits until nobody has the device open; refdev_request() asks for that. */
static void refdev_mdev_remove(struct mdev_device *mdev)
{
	struct refdev *rd = dev_get_drvdata(&mdev->dev);

	vfio_unregister_group_dev(&rd->vdev);
	vfio_put_device(&rd->vdev);
}

static unsigned int refdev_get_available(struct mdev_type *type)
{
	return atomic_read(&to_refdev_type(type)->available);
}

static ssize_t refdev_show_description(struct mdev_type *type, char *buf)
{
	return sysfs_emit(buf, "device with adjustable migration behaviour, %u MSI-X vectors\n",
			  to_refdev_type(type)->nr_vectors);
}

static struct mdev_driver refdev_mdev_driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.probe = refdev_mdev_probe,
	.remove = refdev_mdev_remove,
	.get_available = refdev_get_available,
	.show_description = refdev_show_description,
	.driver = {
		.name = "refdev_mdev",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
		.dev_groups = refdev_groups,
	},
};

static int refdev_parent_probe(struct platform_device *pdev)
{
	return mdev_register_parent(&refdev_parent, &pdev->dev,
				    &refdev_mdev_driver, refdev_type_list,
				    ARRAY_SIZE(refdev_type_list));
}

static void refdev_parent_remove(struct platform_device *pdev)
{
	mdev_unregister_parent(&refdev_parent);
}

static struct platform_driver refdev_parent_driver = {
	.probe = refdev_parent_probe,
	.remove = refdev_parent_remove,
	.driver = {
		.name = "refdev",
	},
};

static int __init refdev_module_init(void)
{
	unsigned int i;
	int ret;

	if (instances > INT_MAX)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(refdev_types); i++)
		atomic_set(&refdev_types[i].available, instances);

	ret = refdev_dma_setup();
	if (ret)
		return ret;
	ret = mdev_register_driver(&refdev_mdev_driver);
	if (ret)
		goto err_dma;
	ret = platform_driver_register(&refdev_parent_driver);
	if (ret)
		goto err_mdev;
	refdev_platform_device = platform_device_register_simple("refdev",
								 PLATFORM_DEVID_NONE,
								 NULL, 0);
	if (IS_ERR(refdev_platform_device)) {
		ret = PTR_ERR(refdev_platform_device);
		goto err_platform;
	}
	return 0;

err_platform:
	platform_driver_unregister(&refdev_parent_driver);
err_mdev:
	mdev_unregister_driver(&refdev_mdev_driver);
err_dma:
	refdev_dma_teardown();
	return ret;
}

static void __exit refdev_module_exit(void)
{
	platform_device_unregister(refdev_platform_device);
	platform_driver_unregister(&refdev_parent_driver);
	mdev_unregister_driver(&refdev_mdev_driver);
	refdev_dma_teardown();
}

module_init(refdev_module_init);
module_exit(refdev_module_exit);
MODULE_DESCRIPTION("Mediated device with adjustable migration behaviour");
MODULE_VERSION("3.0");
MODULE_LICENSE("GPL");
