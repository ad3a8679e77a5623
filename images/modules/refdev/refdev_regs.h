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
#define REFDEV_REG_SCRATCH	0x100	/* rw: REFDEV_SCRATCH_WORDS registers */

#define REFDEV_SCRATCH_WORDS	16

#define REFDEV_ID		0x5645444645525753ULL	/* "SWREFDEV" */

/* Interrupts are raised only while this is set. */
#define REFDEV_CONTROL_ENABLE	0x1ULL

/* Word i of the device state is seed + i * REFDEV_STATE_STEP. */
#define REFDEV_STATE_STEP	0x9e3779b97f4a7c15ULL

#endif /* REFDEV_REGS_H */
