/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reference device: a mediated VFIO PCI device whose migration behaviour is
 * set by knobs. docs/reference-device.md describes all that users see.
 *
 * Locks, outermost first:
 *   refdev::state_lock   migration state, the current stream, history order
 *   refdev_stream::lock  position in a stream
 *   refdev::reg_lock     registers, size of the state, configuration space, and
 *			  each single page of DMA: whoever has it knows that none
 *			  is being written. VFIO's container lock and the user's
 *			  mmap_lock nest inside.
 *   refdev::knob_lock    knobs, whether a fault is spent, opened
 *   refdev::irq_lock     interrupt triggers, latches, counts and clocks
 *			  (spinlock, also taken by the clocks' timers)
 *   refdev::history_lock the ring of state changes (spinlock)
 * Nobody sleeps for a knob (bandwidth, load time) with a lock held; only the
 * time per state change passes under state_lock.
 *
 * DMA and interrupts at a rate are allowed in RUNNING and PRE_COPY, and in the
 * P2P states as the knob p2p_active says: leaving such states forbids them
 * under reg_lock and irq_lock, so that none comes after it. Their work and
 * timers end by themselves then; closing the device waits for that
 * (refdev_dma_release(), refdev_irq_release()).
 */
#ifndef REFDEV_H
#define REFDEV_H

#include <linux/atomic.h>
#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/mdev.h>
#include <linux/mutex.h>
#include <linux/pci_regs.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "refdev_regs.h"

#define REFDEV_HISTORY_ENTRIES	512

/*
 * Of the uAPI since Linux 7.1. Where VFIO core does not know the feature, it
 * asks the driver, which can answer it all the same.
 */
#ifdef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2
#define REFDEV_CORE_HAS_PRECOPY_INFO_V2
#else
#define VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2	12
#endif
#ifndef VFIO_PRECOPY_INFO_REINIT
#define VFIO_PRECOPY_INFO_REINIT	(1 << 0)
#endif

#define REFDEV_LOG_PAGE_MAX	(1ULL << 30)
#define REFDEV_LOG_RANGES_MAX	256ULL	/* those that VFIO core lets through */

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
	REFDEV_DMA_PAGES_WRITTEN,
	REFDEV_DMA_ERRORS,
	REFDEV_FAULTS,
	REFDEV_OTHER_VERSIONS,
	REFDEV_REINITS,
	REFDEV_REINITS_TOLD,
	REFDEV_REINIT_BYTES_READ,
	REFDEV_LOG_STARTS,
	REFDEV_LOG_REPORTS,
	REFDEV_LOG_PAGES_REPORTED,
	REFDEV_LOG_PAGES_LEFT_OUT,
	REFDEV_LOG_OVERFLOWS,
	REFDEV_OPENS,
	REFDEV_RESETS,
	REFDEV_NR_COUNTERS
};

/* Where a fault happens. */
enum refdev_fail_at {
	REFDEV_FAIL_NONE,
	REFDEV_FAIL_STATE,		/* the arc to fail_state */
	REFDEV_FAIL_READ,		/* the read() that would reach fail_byte */
	REFDEV_FAIL_WRITE,		/* the write() that would */
	REFDEV_FAIL_LOAD,		/* the arc that leaves RESUMING */
};

enum refdev_fail_times {
	REFDEV_FAIL_ONCE,
	REFDEV_FAIL_ALWAYS,
};

enum refdev_fail_device {
	REFDEV_FAIL_STAYS,
	REFDEV_FAIL_ERROR,
};

enum refdev_corrupt {
	REFDEV_CORRUPT_NONE,
	REFDEV_CORRUPT_STREAM,
	REFDEV_CORRUPT_STATE,
};

/* What a driver makes of a stream of another version than its own. */
enum refdev_other_version {
	REFDEV_OTHER_REFUSED,
	REFDEV_OTHER_READ,		/* as what it is */
	REFDEV_OTHER_MISREAD,		/* as one of its own */
};

/* When initial data comes anew. */
enum refdev_reinit_at {
	REFDEV_REINIT_READ,		/* so many bytes were read */
	REFDEV_REINIT_P2P,		/* PRE_COPY_P2P is entered */
};

/* What goes on in RUNNING_P2P and PRE_COPY_P2P. */
enum refdev_p2p_active {
	REFDEV_P2P_NONE,
	REFDEV_P2P_IRQS,
	REFDEV_P2P_ALL,			/* DMA to memory too */
};

/* What a report of dirty pages tells. */
enum refdev_log_report {
	REFDEV_LOG_TRUE,
	REFDEV_LOG_TOO_LITTLE,
	REFDEV_LOG_FAIL,
};

/* What users dial in; sizes are bytes in the migration stream. */
struct refdev_knobs {
	bool migration;
	bool stop_copy;
	bool pre_copy;
	bool p2p;
	bool precopy_info_v2;
	bool dirty_tracking;
	u64 initial_bytes;
	u64 stop_copy_bytes;
	u64 dirty_bytes_per_sec;
	u64 reinit_count;		/* how often in a stream */
	u64 reinit_bytes;
	u64 reinit_after_bytes;		/* read since the last time */
	u64 reinit_at;			/* enum refdev_reinit_at */
	u64 save_bytes_per_sec;		/* 0: unlimited */
	u64 load_bytes_per_sec;		/* 0: unlimited */
	u64 load_initial_ms;
	u64 state_change_ms;		/* for each single arc */
	u64 p2p_active;			/* enum refdev_p2p_active */
	u64 dma_pages_per_sec;		/* 0: off */
	u64 log_report;			/* enum refdev_log_report */
	u64 log_page_bytes;		/* the smallest page that it can track */
	u64 log_max_ranges;
	u64 log_max_pages;		/* remembered between reports */
	u64 irq_rates[REFDEV_MAX_VECTORS];	/* Hz */
	enum refdev_fail_at fail_at;
	enum vfio_device_mig_state fail_state;
	u64 fail_byte;			/* of the stream */
	u64 fail_errno;
	u64 fail_times;			/* enum refdev_fail_times */
	u64 fail_device;		/* enum refdev_fail_device */
	u64 corrupt;			/* enum refdev_corrupt */
	u64 stream_version;		/* of the streams that the driver writes */
	u64 other_version;		/* enum refdev_other_version */
	u64 version_errno;		/* of a version that is refused */
};

/* What a guest can write to, and what a reset clears. */
struct refdev_regs {
	u64 control;
	u64 generation;
	u64 seed;
	u64 checksum;
	u64 scratch[REFDEV_SCRATCH_WORDS];
	u64 dma_address;
	u64 dma_pages;
	u64 dma_control;
	u64 dma_sequence;
	u64 irq_rate[REFDEV_MAX_VECTORS];	/* Hz; 0: as the knob says */
};

/* Raises a vector at a rate. */
struct refdev_clock {
	struct hrtimer timer;
	struct refdev *rd;
	unsigned int vector;
	u64 period_ns;			/* 0: off */
};

/* What migrates of the interrupts. */
struct refdev_irq_state {
	u64 latched;			/* bit n: vector n */
	u64 raised[REFDEV_MAX_VECTORS];	/* since reset */
};

/* What an injected fault does to the call that meets it. */
struct refdev_fault {
	int error;			/* a negative errno; 0: no fault */
	bool fatal;			/* the device goes to ERROR */
};

enum refdev_cause {
	REFDEV_CAUSE_SET_STATE,
	REFDEV_CAUSE_RESET,
	REFDEV_CAUSE_OPEN,
	REFDEV_CAUSE_CLOSE,
	REFDEV_CAUSE_FAULT,
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

struct refdev_log;
struct refdev_stream;
struct refdev_type;

struct refdev {
	struct vfio_device vdev;
	struct mdev_device *mdev;
	struct refdev_type *type;
	unsigned int nr_vectors;
	u64 default_seed;

	struct mutex state_lock;
	enum vfio_device_mig_state state;
	struct refdev_stream *stream;
	bool precopy_info_v2;		/* the user opted in, and not with core */

	struct mutex reg_lock;
	struct refdev_regs regs;
	bool streaming;			/* the state's size and seed are fixed */
	u8 config[PCI_CFG_SPACE_SIZE];
	u8 config_wmask[PCI_CFG_SPACE_SIZE];
	__le32 msix_table[REFDEV_MAX_VECTORS * PCI_MSIX_ENTRY_SIZE / 4];

	bool dma_allowed;		/* in this state */
	u64 dma_rate;			/* pages per second at present */
	u64 dma_since;			/* ns, pages are counted up to here */
	__le64 *dma_page;
	struct delayed_work dma_work;
	struct refdev_log *log;		/* NULL: nobody wants to know */

	struct mutex knob_lock;
	struct refdev_knobs knobs;
	bool fault_spent;		/* it was to happen once */
	bool opened;

	spinlock_t irq_lock;
	bool irq_deliver;		/* in this state */
	struct eventfd_ctx *trigger[REFDEV_MAX_VECTORS];
	struct eventfd_ctx *request;
	DECLARE_BITMAP(latched, REFDEV_MAX_VECTORS);
	u64 raised[REFDEV_MAX_VECTORS];
	struct refdev_clock clocks[REFDEV_MAX_VECTORS];

	atomic64_t counters[REFDEV_NR_COUNTERS];
	spinlock_t history_lock;
	u64 history_seq;		/* entries ever recorded */
	struct refdev_history_entry *history;
};

static inline struct refdev *to_refdev(struct vfio_device *vdev)
{
	return container_of(vdev, struct refdev, vdev);
}

/* Whether the user opted in to VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2. */
static inline bool refdev_precopy_info_v2(struct refdev *rd)
{
#ifdef REFDEV_CORE_HAS_PRECOPY_INFO_V2
	return READ_ONCE(rd->vdev.precopy_info_v2);
#else
	return READ_ONCE(rd->precopy_info_v2);
#endif
}

static inline void refdev_count(struct refdev *rd, enum refdev_counter counter,
				u64 n)
{
	atomic64_add(n, &rd->counters[counter]);
}

/* pci.c */
void refdev_pci_init(struct refdev *rd);
void refdev_pci_reset(struct refdev *rd, bool config);
ssize_t refdev_pci_read(struct vfio_device *vdev, char __user *buf,
			size_t count, loff_t *ppos);
ssize_t refdev_pci_write(struct vfio_device *vdev, const char __user *buf,
			 size_t count, loff_t *ppos);
int refdev_pci_region_info(struct vfio_region_info *info);

/* irq.c */
void refdev_irq_init(struct refdev *rd);
unsigned int refdev_irq_count(struct refdev *rd, u32 index);
int refdev_irq_set(struct refdev *rd, struct vfio_irq_set *hdr, void *data);
void refdev_irq_raise(struct refdev *rd, unsigned int vector);
void refdev_irq_set_deliver(struct refdev *rd, bool deliver);
void refdev_irq_request(struct refdev *rd, unsigned int count);
void refdev_irq_get_state(struct refdev *rd, struct refdev_irq_state *state);
void refdev_irq_set_state(struct refdev *rd,
			  const struct refdev_irq_state *state);
void refdev_irq_set_rates(struct refdev *rd);
void refdev_irq_release(struct refdev *rd);

/* dma.c */
int refdev_dma_setup(void);
void refdev_dma_teardown(void);
int refdev_dma_init(struct refdev *rd);
void refdev_dma_allow(struct refdev *rd, bool allowed);
void refdev_dma_update(struct refdev *rd);
void refdev_dma_release(struct refdev *rd);

/* log.c */
bool refdev_log_is_possible(void);
void refdev_log_offer(struct refdev *rd, bool offered);
void refdev_log_page(struct refdev *rd, u64 address);
void refdev_log_release(struct refdev *rd);

/* fault.c */
struct refdev_fault refdev_fault_arc(struct refdev *rd,
				     enum vfio_device_mig_state from,
				     enum vfio_device_mig_state to);
struct refdev_fault refdev_fault_bytes(struct refdev *rd,
				       enum refdev_fail_at at, u64 first,
				       u64 count);
bool refdev_fault_corrupts(struct refdev *rd, enum refdev_corrupt what);

/* migration.c */
extern const struct vfio_migration_ops refdev_migration_ops;
u64 refdev_migration_flags(const struct refdev_knobs *knobs);
void refdev_migration_restart(struct refdev *rd, enum refdev_cause cause);
void refdev_migration_fail(struct refdev *rd, struct refdev_stream *stream);
const char *refdev_state_name(enum vfio_device_mig_state state);

/* stream.c */
u64 refdev_state_words(struct refdev *rd);
void refdev_state_changed(struct refdev *rd);

/* knobs.c */
extern const struct attribute_group refdev_knob_group;
extern const struct refdev_knobs refdev_default_knobs;

/* sysfs.c */
extern const struct attribute_group *refdev_groups[];
void refdev_history_add(struct refdev *rd, struct refdev_history_entry *entry);

static inline void refdev_get_knobs(struct refdev *rd,
				    struct refdev_knobs *knobs)
{
	mutex_lock(&rd->knob_lock);
	*knobs = rd->knobs;
	mutex_unlock(&rd->knob_lock);
}

#endif /* REFDEV_H */
