// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: configuration space, registers, MSI-X table and PBA.
 *
 * The configuration space is that of a conventional PCI function with the
 * MSI-X capability only. Nothing is gated by the command register.
 */
#include <linux/pci_ids.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>

#include "refdev.h"

#define REFDEV_REGION_SHIFT	40
#define REFDEV_MSIX_CAP		0x40

static u64 refdev_region_size(unsigned int index)
{
	switch (index) {
	case VFIO_PCI_BAR0_REGION_INDEX + REFDEV_BAR_REGS:
	case VFIO_PCI_BAR0_REGION_INDEX + REFDEV_BAR_MSIX:
		return REFDEV_BAR_SIZE;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return PCI_CFG_SPACE_SIZE;
	default:
		return 0;
	}
}

int refdev_pci_region_info(struct vfio_region_info *info)
{
	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;

	info->size = refdev_region_size(info->index);
	info->offset = (u64)info->index << REFDEV_REGION_SHIFT;
	info->flags = info->size ? VFIO_REGION_INFO_FLAG_READ |
				   VFIO_REGION_INFO_FLAG_WRITE : 0;
	info->cap_offset = 0;
	return 0;
}

/* What can be written in configuration space, the same for all devices. */
void refdev_pci_init(struct refdev *rd)
{
	u8 *wmask = rd->config_wmask;

	put_unaligned_le16(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			   PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
			   PCI_COMMAND_INTX_DISABLE, wmask + PCI_COMMAND);
	wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	wmask[PCI_LATENCY_TIMER] = 0xff;
	wmask[PCI_INTERRUPT_LINE] = 0xff;
	put_unaligned_le32(~(REFDEV_BAR_SIZE - 1),
			   wmask + PCI_BASE_ADDRESS_0 + 4 * REFDEV_BAR_REGS);
	put_unaligned_le32(~(REFDEV_BAR_SIZE - 1),
			   wmask + PCI_BASE_ADDRESS_0 + 4 * REFDEV_BAR_MSIX);
	put_unaligned_le16(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL,
			   wmask + REFDEV_MSIX_CAP + PCI_MSIX_FLAGS);
}

static void refdev_config_init(struct refdev *rd)
{
	u8 *config = rd->config;
	unsigned int i;

	memset(config, 0, sizeof(rd->config));
	put_unaligned_le16(REFDEV_PCI_VENDOR, config + PCI_VENDOR_ID);
	put_unaligned_le16(REFDEV_PCI_DEVICE, config + PCI_DEVICE_ID);
	put_unaligned_le16(PCI_STATUS_CAP_LIST, config + PCI_STATUS);
	config[PCI_CLASS_REVISION] = 1;
	config[PCI_CLASS_DEVICE + 1] = PCI_CLASS_OTHERS;
	put_unaligned_le16(REFDEV_PCI_VENDOR, config + PCI_SUBSYSTEM_VENDOR_ID);
	put_unaligned_le16(rd->nr_vectors, config + PCI_SUBSYSTEM_ID);
	config[PCI_CAPABILITY_LIST] = REFDEV_MSIX_CAP;
	config += REFDEV_MSIX_CAP;
	config[PCI_CAP_LIST_ID] = PCI_CAP_ID_MSIX;
	put_unaligned_le16(rd->nr_vectors - 1, config + PCI_MSIX_FLAGS);
	put_unaligned_le32(REFDEV_MSIX_TABLE | REFDEV_BAR_MSIX,
			   config + PCI_MSIX_TABLE);
	put_unaligned_le32(REFDEV_MSIX_PBA | REFDEV_BAR_MSIX,
			   config + PCI_MSIX_PBA);

	memset(rd->msix_table, 0, sizeof(rd->msix_table));
	for (i = 0; i < rd->nr_vectors; i++)
		rd->msix_table[(i * PCI_MSIX_ENTRY_SIZE +
				PCI_MSIX_ENTRY_VECTOR_CTRL) / 4] =
			cpu_to_le32(PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

/*
 * Registers as after power-on. A user who comes finds configuration space and
 * MSI-X table so too; VFIO_DEVICE_RESET keeps them, as a function keeps what
 * pci_try_reset_function() saves and restores around its reset.
 */
void refdev_pci_reset(struct refdev *rd, bool config)
{
	mutex_lock(&rd->reg_lock);
	if (config)
		refdev_config_init(rd);
	memset(&rd->regs, 0, sizeof(rd->regs));
	rd->regs.seed = rd->default_seed;
	refdev_state_changed(rd);
	refdev_dma_update(rd);
	refdev_irq_set_rates(rd);
	mutex_unlock(&rd->reg_lock);
}

/* Whether reg is one of n registers from base on, and which of them. */
static bool refdev_reg_index(u64 reg, u64 base, unsigned int n, u64 *index)
{
	if (reg < base)
		return false;
	*index = (reg - base) / sizeof(u64);
	return *index < n;
}

static u64 refdev_array_read(struct refdev *rd, u64 reg)
{
	struct refdev_irq_state state;
	u64 i;

	if (refdev_reg_index(reg, REFDEV_REG_SCRATCH, REFDEV_SCRATCH_WORDS, &i))
		return rd->regs.scratch[i];
	if (refdev_reg_index(reg, REFDEV_REG_IRQ_RATE, rd->nr_vectors, &i))
		return rd->regs.irq_rate[i];
	if (refdev_reg_index(reg, REFDEV_REG_IRQ_RAISED, rd->nr_vectors, &i)) {
		refdev_irq_get_state(rd, &state);
		return state.raised[i];
	}
	return 0;
}

static void refdev_array_write(struct refdev *rd, u64 reg, u64 value)
{
	u64 i;

	if (refdev_reg_index(reg, REFDEV_REG_SCRATCH, REFDEV_SCRATCH_WORDS, &i))
		rd->regs.scratch[i] = value;
	if (refdev_reg_index(reg, REFDEV_REG_IRQ_RATE, rd->nr_vectors, &i)) {
		rd->regs.irq_rate[i] = min(value, REFDEV_IRQ_RATE_MAX);
		refdev_irq_set_rates(rd);
	}
}

static u64 refdev_reg_read(struct refdev *rd, u64 reg)
{
	switch (reg) {
	case REFDEV_REG_ID:
		return REFDEV_ID;
	case REFDEV_REG_VECTORS:
		return rd->nr_vectors;
	case REFDEV_REG_CONTROL:
		return rd->regs.control;
	case REFDEV_REG_GENERATION:
		return rd->regs.generation;
	case REFDEV_REG_SEED:
		return rd->regs.seed;
	case REFDEV_REG_STATE_WORDS:
		return refdev_state_words(rd);
	case REFDEV_REG_CHECKSUM:
		return rd->regs.checksum;
	case REFDEV_REG_DMA_ADDRESS:
		return rd->regs.dma_address;
	case REFDEV_REG_DMA_PAGES:
		return rd->regs.dma_pages;
	case REFDEV_REG_DMA_CONTROL:
		return rd->regs.dma_control;
	case REFDEV_REG_DMA_SEQUENCE:
		return rd->regs.dma_sequence;
	default:
		return refdev_array_read(rd, reg);
	}
}

static void refdev_reg_write(struct refdev *rd, u64 reg, u64 value)
{
	switch (reg) {
	case REFDEV_REG_CONTROL:
		rd->regs.control = value & REFDEV_CONTROL_ENABLE;
		refdev_irq_set_rates(rd);
		break;
	case REFDEV_REG_SEED:
		if (rd->streaming)
			break;
		rd->regs.seed = value;
		refdev_state_changed(rd);
		break;
	case REFDEV_REG_TRIGGER:
		if (rd->regs.control & REFDEV_CONTROL_ENABLE &&
		    value < rd->nr_vectors)
			refdev_irq_raise(rd, value);
		break;
	case REFDEV_REG_DMA_ADDRESS:
		if (rd->regs.dma_control & REFDEV_DMA_ENABLE)
			break;
		rd->regs.dma_address = round_down(value, REFDEV_DMA_PAGE);
		rd->regs.dma_sequence = 0;
		break;
	case REFDEV_REG_DMA_PAGES:
		if (rd->regs.dma_control & REFDEV_DMA_ENABLE)
			break;
		rd->regs.dma_pages = min(value, REFDEV_DMA_PAGES_MAX);
		rd->regs.dma_sequence = 0;
		break;
	case REFDEV_REG_DMA_CONTROL:
		rd->regs.dma_control = value & REFDEV_DMA_ENABLE;
		refdev_dma_update(rd);
		break;
	default:
		refdev_array_write(rd, reg, value);
	}
}

static u64 refdev_msix_read(struct refdev *rd, u64 pos)
{
	struct refdev_irq_state state;
	u64 low, high;

	if (pos == REFDEV_MSIX_PBA) {
		refdev_irq_get_state(rd, &state);
		return state.latched;
	}
	if (pos >= rd->nr_vectors * PCI_MSIX_ENTRY_SIZE)
		return 0;
	low = le32_to_cpu(rd->msix_table[pos / 4]);
	high = le32_to_cpu(rd->msix_table[pos / 4 + 1]);
	return high << 32 | low;
}

static void refdev_msix_write(struct refdev *rd, u64 pos, u64 value)
{
	if (pos >= rd->nr_vectors * PCI_MSIX_ENTRY_SIZE)
		return;
	rd->msix_table[pos / 4] = cpu_to_le32(lower_32_bits(value));
	rd->msix_table[pos / 4 + 1] = cpu_to_le32(upper_32_bits(value));
}

static u64 refdev_bar_read(struct refdev *rd, unsigned int bar, u64 pos)
{
	return bar == REFDEV_BAR_REGS ? refdev_reg_read(rd, pos) :
					refdev_msix_read(rd, pos);
}

static void refdev_bar_write(struct refdev *rd, unsigned int bar, u64 pos,
			     u64 value)
{
	if (bar == REFDEV_BAR_REGS)
		refdev_reg_write(rd, pos, value);
	else
		refdev_msix_write(rd, pos, value);
}

/*
 * One access inside an aligned 64-bit word. A write of 4 bytes keeps the other
 * half of what can be read back; the upper half of TRIGGER is ignored.
 */
static int refdev_bar_access(struct refdev *rd, unsigned int bar, u64 pos,
			     void *data, size_t size, bool write)
{
	u64 base = pos & ~7ULL;
	__le64 word;

	if (!write) {
		word = cpu_to_le64(refdev_bar_read(rd, bar, base));
		memcpy(data, (u8 *)&word + (pos - base), size);
		return 0;
	}
	if (size < 4)
		return -EINVAL;
	if (bar == REFDEV_BAR_REGS && base == REFDEV_REG_TRIGGER && pos != base)
		return 0;
	word = cpu_to_le64(refdev_bar_read(rd, bar, base));
	memcpy((u8 *)&word + (pos - base), data, size);
	refdev_bar_write(rd, bar, base, le64_to_cpu(word));
	return 0;
}

static void refdev_config_access(struct refdev *rd, u64 pos, u8 *data,
				 size_t size, bool write)
{
	u8 *config = rd->config + pos;
	u8 *wmask = rd->config_wmask + pos;
	size_t i;

	if (!write) {
		memcpy(data, config, size);
		return;
	}
	for (i = 0; i < size; i++)
		config[i] = (config[i] & ~wmask[i]) | (data[i] & wmask[i]);
}

static int refdev_pci_access(struct refdev *rd, loff_t where, void *data,
			     size_t size, bool write)
{
	unsigned int index = where >> REFDEV_REGION_SHIFT;
	u64 pos = where & (BIT_ULL(REFDEV_REGION_SHIFT) - 1);
	int ret = 0;

	if (pos >= refdev_region_size(index))
		return -EINVAL;

	mutex_lock(&rd->reg_lock);
	if (index == VFIO_PCI_CONFIG_REGION_INDEX)
		refdev_config_access(rd, pos, data, size, write);
	else
		ret = refdev_bar_access(rd, index - VFIO_PCI_BAR0_REGION_INDEX,
					pos, data, size, write);
	mutex_unlock(&rd->reg_lock);
	return ret;
}

/* The largest naturally aligned access at this position. */
static size_t refdev_access_size(loff_t pos, size_t count)
{
	size_t size = 8;

	while (size > count || pos & (size - 1))
		size /= 2;
	return size;
}

ssize_t refdev_pci_read(struct vfio_device *vdev, char __user *buf,
			size_t count, loff_t *ppos)
{
	struct refdev *rd = to_refdev(vdev);
	size_t done = 0;
	u8 data[8];
	int ret;

	while (done < count) {
		size_t size = refdev_access_size(*ppos, count - done);

		ret = refdev_pci_access(rd, *ppos, data, size, false);
		if (ret)
			return ret;
		if (copy_to_user(buf + done, data, size))
			return -EFAULT;
		done += size;
		*ppos += size;
	}
	return done;
}

ssize_t refdev_pci_write(struct vfio_device *vdev, const char __user *buf,
			 size_t count, loff_t *ppos)
{
	struct refdev *rd = to_refdev(vdev);
	size_t done = 0;
	u8 data[8];
	int ret;

	while (done < count) {
		size_t size = refdev_access_size(*ppos, count - done);

		if (copy_from_user(data, buf + done, size))
			return -EFAULT;
		ret = refdev_pci_access(rd, *ppos, data, size, true);
		if (ret)
			return ret;
		done += size;
		*ppos += size;
	}
	return done;
}
