// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: what saving and loading share. Life of a stream, its pace
 * and digest, and the size and sum of the device state.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "stream.h"

/* Below this a sleep costs more than it takes. */
#define REFDEV_SLEEP_MIN_NS	50000
#define REFDEV_SLEEP_SLACK_NS	50000

u64 refdev_initial_words(u64 initial_bytes)
{
	return (initial_bytes - sizeof(struct refdev_start_record)) / 8;
}

u64 refdev_stop_words(u64 stop_copy_bytes)
{
	return (stop_copy_bytes - REFDEV_STOP_OVERHEAD) / 8;
}

/* Where a scratch register is among them, by the version of the stream. */
unsigned int refdev_scratch_place(struct refdev_stream *stream, unsigned int i)
{
	return stream->version == REFDEV_STREAM_OLDEST ?
	       REFDEV_SCRATCH_WORDS - 1 - i : i;
}

u64 refdev_state_words(struct refdev *rd)
{
	struct refdev_knobs knobs;

	refdev_get_knobs(rd, &knobs);
	return refdev_initial_words(knobs.initial_bytes) +
	       refdev_stop_words(knobs.stop_copy_bytes);
}

/* The sum over n words is n * seed + step * n * (n - 1) / 2. */
void refdev_state_changed(struct refdev *rd)
{
	u64 n = refdev_state_words(rd);
	u64 pairs = n & 1 ? n * ((n - 1) / 2) : n / 2 * (n - 1);

	lockdep_assert_held(&rd->reg_lock);

	rd->regs.checksum = n * rd->regs.seed + REFDEV_STATE_STEP * pairs;
}

/* The caller holds state_lock; the stream fixes seed and size of the state. */
struct refdev_stream *refdev_stream_create(struct refdev *rd)
{
	struct refdev_stream *stream;
	struct refdev_knobs knobs;

	stream = kzalloc(sizeof(*stream), GFP_KERNEL_ACCOUNT);
	if (!stream)
		return NULL;
	stream->buffer = kvmalloc(REFDEV_STREAM_BUFFER, GFP_KERNEL_ACCOUNT);
	if (!stream->buffer) {
		kfree(stream);
		return NULL;
	}
	kref_init(&stream->kref);
	mutex_init(&stream->lock);
	init_waitqueue_head(&stream->wait);
	stream->rd = rd;
	stream->pace_due = ktime_get_ns();

	mutex_lock(&rd->reg_lock);
	refdev_get_knobs(rd, &knobs);
	stream->version = knobs.stream_version;
	stream->initial_bytes = knobs.initial_bytes;
	stream->stop_copy_bytes = knobs.stop_copy_bytes;
	stream->seed = rd->regs.seed;
	rd->streaming = true;
	mutex_unlock(&rd->reg_lock);
	return stream;
}

static void refdev_stream_free(struct kref *kref)
{
	struct refdev_stream *stream =
		container_of(kref, struct refdev_stream, kref);

	kvfree(stream->buffer);
	kfree(stream);
}

void refdev_stream_put(struct refdev_stream *stream)
{
	kref_put(&stream->kref, refdev_stream_free);
}

/*
 * Makes the stream the device's current one. On failure the stream is gone.
 * The file and the device hold one reference each, since either may end first.
 */
struct file *refdev_stream_file(struct refdev_stream *stream,
				const struct file_operations *fops, int flags)
{
	struct refdev *rd = stream->rd;
	struct file *file;

	lockdep_assert_held(&rd->state_lock);

	file = anon_inode_getfile("[refdev-migration]", fops, stream, flags);
	if (IS_ERR(file)) {
		mutex_lock(&rd->reg_lock);
		rd->streaming = false;
		mutex_unlock(&rd->reg_lock);
		refdev_stream_put(stream);
		return file;
	}
	stream_open(file_inode(file), file);
	kref_get(&stream->kref);
	rd->stream = stream;
	return file;
}

int refdev_stream_release(struct inode *inode, struct file *file)
{
	refdev_stream_put(file->private_data);
	return 0;
}

/* From here on the file gives errors, and whoever sleeps in it wakes up. */
void refdev_stream_close(struct refdev_stream *stream)
{
	mutex_lock(&stream->lock);
	stream->closed = true;
	mutex_unlock(&stream->lock);
	wake_up_all(&stream->wait);
}

void refdev_digest_words(struct refdev_digest *digest, const __le64 *words,
			 size_t n)
{
	u64 sum = digest->sum;
	u64 sum_of_sums = digest->sum_of_sums;
	size_t i;

	for (i = 0; i < n; i++) {
		sum += le64_to_cpu(words[i]);
		sum_of_sums += sum;
	}
	digest->sum = sum;
	digest->sum_of_sums = sum_of_sums;
	digest->bytes += n * sizeof(*words);
}

/*
 * Accounts for bytes at rate bytes per second (0: unlimited) and returns when
 * they are through, on the monotonic clock. A user who comes back late finds
 * the device ahead by up to REFDEV_PACE_CREDIT bytes, so that neither the
 * user's own work nor late timers lower the throughput.
 */
u64 refdev_stream_pace(struct refdev_stream *stream, u64 bytes, u64 rate)
{
	u64 now = ktime_get_ns();
	u64 credit;

	lockdep_assert_held(&stream->lock);

	if (!rate) {
		stream->pace_due = now;
		return now;
	}
	credit = mul_u64_u64_div_u64(REFDEV_PACE_CREDIT, NSEC_PER_SEC, rate);
	if (now > credit)
		stream->pace_due = max(stream->pace_due, now - credit);
	stream->pace_due += mul_u64_u64_div_u64(bytes, NSEC_PER_SEC, rate);
	return stream->pace_due;
}

static bool refdev_sleep_once(u64 until_ns)
{
	ktime_t until = ns_to_ktime(until_ns);

	if (fatal_signal_pending(current) ||
	    until_ns < ktime_get_ns() + REFDEV_SLEEP_MIN_NS)
		return false;
	schedule_hrtimeout_range(&until, REFDEV_SLEEP_SLACK_NS,
				 HRTIMER_MODE_ABS);
	return true;
}

/* Sleeps until a time on the monotonic clock; -EINTR if killed. */
int refdev_sleep(u64 until_ns)
{
	do {
		set_current_state(TASK_KILLABLE);
	} while (refdev_sleep_once(until_ns));
	__set_current_state(TASK_RUNNING);
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* The same, and ends when the stream is closed. */
static void refdev_stream_sleep(struct refdev_stream *stream, u64 until_ns)
{
	DEFINE_WAIT(wait);

	do {
		prepare_to_wait(&stream->wait, &wait, TASK_KILLABLE);
	} while (!READ_ONCE(stream->closed) && refdev_sleep_once(until_ns));
	finish_wait(&stream->wait, &wait);
}

/*
 * Every read() and write() lies between this and one of the two below. They
 * pass the lock from one to the other; 0 if it was taken.
 */
int refdev_stream_begin(struct refdev_stream *stream)
{
	mutex_lock(&stream->lock);
	if (!stream->closed)
		return 0;
	mutex_unlock(&stream->lock);
	return -ENODEV;
}

/* done bytes, which take until then, or an error: the result of the call. */
ssize_t refdev_stream_end(struct refdev_stream *stream, ssize_t done,
			  u64 until_ns)
{
	if (done > 0)
		stream->bytes += done;
	mutex_unlock(&stream->lock);
	if (done > 0)
		refdev_stream_sleep(stream, until_ns);
	return done;
}

/*
 * The call meets a fault. Only an open stream keeps the device, and state_lock
 * comes before the lock of a stream: the device is kept until both are there.
 */
ssize_t refdev_stream_fail(struct refdev_stream *stream,
			   struct refdev_fault fault)
{
	struct refdev *rd = stream->rd;

	get_device(&rd->vdev.device);
	mutex_unlock(&stream->lock);
	if (fault.fatal)
		refdev_migration_fail(rd, stream);
	vfio_put_device(&rd->vdev);
	return fault.error;
}
