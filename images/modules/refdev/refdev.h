/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reference device: a mediated VFIO PCI device whose migration behaviour is
 * set by knobs. docs/reference-device.md describes all that users see.
 *
 * Locks, outermost first:
 *   refdev::state_lock   migration state, the current stream, history order
 *   refdev_stream::lock  position in a stream
 *   refdev::reg_lock     registers, size of the state, configuration space
 *   refdev::knob_lock    knobs and open_count
 *   refdev::irq_lock     interrupt triggers and latches (spinlock)
 *   refdev::history_lock the ring of state changes (spinlock)
 * Nobody sleeps for a knob (bandwidth, load time) with a lock held; only the
 * time per state change passes under state_lock.
 */
#ifndef REFDEV_H
#define REFDEV_H

#include <linux/atomic.h>
#include <linux/eventfd.h>
#include <linux/kref.h>
#include <linux/mdev.h>
#include <linux/mutex.h>
#include <linux/pci_regs.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <linux/wait.h>

#include "refdev_regs.h"

#define REFDEV_MAX_VECTORS	16
#define REFDEV_HISTORY_ENTRIES	512

enum refdev_counter {
	REFDEV_PRECOPY_BYTES_READ,
	REFDEV_STOP_COPY_BYTES_READ,
	REFDEV_DIRTY_BYTES_READ,
	REFDEV_BYTES_WRITTEN,
	REFDEV_READS,
	REFDEV_WRITES,
	REFDEV_ENOMSG,
	REFDEV_PRECOPY_INFOS,
	REFDEV_LOADS,
	REFDEV_LOAD_ERRORS,
	REFDEV_IRQS_RAISED,
	REFDEV_IRQS_SIGNALLED,
	REFDEV_IRQS_LATCHED,
	REFDEV_IRQS_COALESCED,
	REFDEV_OPENS,
	REFDEV_RESETS,
	REFDEV_NR_COUNTERS
};

/* What users dial in; sizes are bytes in the migration stream. */
struct refdev_knobs {
	bool migration;
	bool stop_copy;
	bool pre_copy;
	bool p2p;
	u64 initial_bytes;
	u64 stop_copy_bytes;
	u64 dirty_bytes_per_sec;
	u64 save_bytes_per_sec;		/* 0: unlimited */
	u64 load_bytes_per_sec;		/* 0: unlimited */
	u64 load_initial_ms;
	u64 state_change_ms;		/* for each single arc */
};

/* What a guest can write to, and what a reset clears. */
struct refdev_regs {
	u64 control;
	u64 generation;
	u64 seed;
	u64 checksum;
	u64 scratch[REFDEV_SCRATCH_WORDS];
};

enum refdev_cause {
	REFDEV_CAUSE_SET_STATE,
	REFDEV_CAUSE_RESET,
	REFDEV_CAUSE_OPEN,
	REFDEV_CAUSE_CLOSE,
};

struct refdev_history_entry {
	u64 seq;
	u64 mono_ns;
	u64 real_ns;
	u64 duration_ns;
	enum vfio_device_mig_state from;
	enum vfio_device_mig_state to;
	int result;
	enum refdev_cause cause;
};

struct refdev_stream;

struct refdev {
	struct vfio_device vdev;
	struct mdev_device *mdev;
	unsigned int nr_vectors;
	u64 default_seed;

	struct mutex state_lock;
	enum vfio_device_mig_state state;
	struct refdev_stream *stream;

	struct mutex reg_lock;
	struct refdev_regs regs;
	bool streaming;			/* the state's size and seed are fixed */
	u8 config[PCI_CFG_SPACE_SIZE];
	u8 config_wmask[PCI_CFG_SPACE_SIZE];
	__le32 msix_table[REFDEV_MAX_VECTORS * PCI_MSIX_ENTRY_SIZE / 4];

	struct mutex knob_lock;
	struct refdev_knobs knobs;
	bool opened;

	spinlock_t irq_lock;
	bool irq_deliver;		/* RUNNING or PRE_COPY */
	struct eventfd_ctx *trigger[REFDEV_MAX_VECTORS];
	struct eventfd_ctx *request;
	DECLARE_BITMAP(latched, REFDEV_MAX_VECTORS);

	atomic64_t counters[REFDEV_NR_COUNTERS];
	spinlock_t history_lock;
	u64 history_seq;		/* entries ever recorded */
	struct refdev_history_entry *history;
};

static inline struct refdev *to_refdev(struct vfio_device *vdev)
{
	return container_of(vdev, struct refdev, vdev);
}

static inline void refdev_count(struct refdev *rd, enum refdev_counter counter,
				u64 n)
{
	atomic64_add(n, &rd->counters[counter]);
}

/* pci.c */
void refdev_pci_init(struct refdev *rd);
void refdev_pci_reset(struct refdev *rd);
ssize_t refdev_pci_read(struct vfio_device *vdev, char __user *buf,
			size_t count, loff_t *ppos);
ssize_t refdev_pci_write(struct vfio_device *vdev, const char __user *buf,
			 size_t count, loff_t *ppos);
int refdev_pci_region_info(struct vfio_region_info *info);

/* irq.c */
unsigned int refdev_irq_count(struct refdev *rd, u32 index);
int refdev_irq_set(struct refdev *rd, struct vfio_irq_set *hdr, void *data);
void refdev_irq_raise(struct refdev *rd, unsigned int vector);
void refdev_irq_set_deliver(struct refdev *rd, bool deliver);
void refdev_irq_request(struct refdev *rd, unsigned int count);
u64 refdev_irq_get_latched(struct refdev *rd);
void refdev_irq_set_latched(struct refdev *rd, u64 latched);
void refdev_irq_release(struct refdev *rd);

/* migration.c */
extern const struct vfio_migration_ops refdev_migration_ops;
u64 refdev_migration_flags(const struct refdev_knobs *knobs);
void refdev_migration_restart(struct refdev *rd, enum refdev_cause cause);
const char *refdev_state_name(enum vfio_device_mig_state state);

/* stream.c */
u64 refdev_state_words(struct refdev *rd);
void refdev_state_changed(struct refdev *rd);

/* sysfs.c */
extern const struct attribute_group *refdev_groups[];
extern const struct refdev_knobs refdev_default_knobs;
void refdev_history_add(struct refdev *rd, struct refdev_history_entry *entry);

static inline void refdev_get_knobs(struct refdev *rd,
				    struct refdev_knobs *knobs)
{
	mutex_lock(&rd->knob_lock);
	*knobs = rd->knobs;
	mutex_unlock(&rd->knob_lock);
}

#endif /* REFDEV_H */
