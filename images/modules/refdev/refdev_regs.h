/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the reference device shows to its guest: PCI identity and registers.
 * Shared by the device (refdev) and by its driver (refdev_guest).
 */
#ifndef REFDEV_REGS_H
#define REFDEV_REGS_H

#define REFDEV_PCI_VENDOR	0x1234
#define REFDEV_PCI_DEVICE	0x0d1f

/* BARs: 32-bit memory, 4 KiB each. */
#define REFDEV_BAR_REGS		0
#define REFDEV_BAR_MSIX		2
#define REFDEV_BAR_SIZE		0x1000
#define REFDEV_MSIX_TABLE	0x000
#define REFDEV_MSIX_PBA		0x800

/*
 * Registers in BAR 0: little endian, 64 bits wide, to be accessed with
 * aligned accesses of 8 or 4 bytes.
 */
#define REFDEV_REG_ID		0x000	/* ro: REFDEV_ID */
#define REFDEV_REG_VECTORS	0x008	/* ro: number of MSI-X vectors */
#define REFDEV_REG_CONTROL	0x010	/* rw: REFDEV_CONTROL_*, 0 after reset */
#define REFDEV_REG_GENERATION	0x018	/* ro: loads behind this state */
#define REFDEV_REG_SEED		0x020	/* rw: ignored while a save is open */
#define REFDEV_REG_STATE_WORDS	0x028	/* ro: 64-bit words of device state */
#define REFDEV_REG_CHECKSUM	0x030	/* ro: sum of these words, modulo 2^64 */
#define REFDEV_REG_TRIGGER	0x038	/* wo: number of the vector to raise */
#define REFDEV_REG_DMA_ADDRESS	0x040	/* rw: of the buffer, whole pages */
#define REFDEV_REG_DMA_PAGES	0x048	/* rw: its size, REFDEV_DMA_PAGES_MAX at most */
#define REFDEV_REG_DMA_CONTROL	0x050	/* rw: REFDEV_DMA_*, 0 after reset */
#define REFDEV_REG_DMA_SEQUENCE	0x058	/* ro: pages written to this buffer so far */
#define REFDEV_REG_SCRATCH	0x100	/* rw: REFDEV_SCRATCH_WORDS registers */
#define REFDEV_REG_IRQ_RATE	0x200	/* rw: Hz, a register for each vector */
#define REFDEV_REG_IRQ_RAISED	0x300	/* ro: raised so far, one for each vector */

#define REFDEV_SCRATCH_WORDS	16
#define REFDEV_MAX_VECTORS	16
#define REFDEV_IRQ_RATE_MAX	10000ULL

#define REFDEV_ID		0x5645444645525753ULL	/* "SWREFDEV" */

/* Interrupts are raised only while this is set. */
#define REFDEV_CONTROL_ENABLE	0x1ULL

/* Word i of the device state is seed + i * REFDEV_STATE_STEP. */
#define REFDEV_STATE_STEP	0x9e3779b97f4a7c15ULL

/*
 * While this is set the buffer's place is fixed, and the device writes to it.
 * When a write to DMA_CONTROL that clears it is done, so is the last page.
 */
#define REFDEV_DMA_ENABLE	0x1ULL

/*
 * Pages are numbered from 0 when address or size of the buffer are written.
 * Page number n goes to place p = n % pages, and its word i is
 * n + 1 + (p * REFDEV_DMA_WORDS + i) * REFDEV_STATE_STEP.
 */
#define REFDEV_DMA_PAGE		4096ULL
#define REFDEV_DMA_WORDS	(REFDEV_DMA_PAGE / 8)
#define REFDEV_DMA_PAGES_MAX	(1ULL << 20)

#endif /* REFDEV_REGS_H */
