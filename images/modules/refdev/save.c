// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: reading the migration data out.
 */
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "stream.h"

/* Bytes of state that were sent, and that can thus become dirty. */
static u64 refdev_save_sent_units(struct refdev_stream *stream)
{
	u64 sent = stream->initial_bytes -
		   stream->save.unread[REFDEV_SECTION_START];

	if (sent < sizeof(struct refdev_start_record))
		return 0;
	return (sent - sizeof(struct refdev_start_record)) / REFDEV_DIRTY_UNIT;
}

/*
 * Counts what became dirty up to now. State that is dirty already cannot
 * become dirty again before it is read: there is never more of it than was
 * sent.
 */
static void refdev_save_dirty(struct refdev_stream *stream)
{
	struct refdev_save *save = &stream->save;
	u64 now = ktime_get_ns();
	u64 units, waiting, limit;
	struct refdev_knobs knobs;

	if (save->stopped)
		return;
	refdev_get_knobs(stream->rd, &knobs);
	if (!knobs.dirty_bytes_per_sec) {
		save->dirty_since = now;
		return;
	}
	units = mul_u64_u64_div_u64(now - save->dirty_since,
				    knobs.dirty_bytes_per_sec, NSEC_PER_SEC) /
		REFDEV_DIRTY_UNIT;
	if (!units)
		return;
	save->dirty_since += mul_u64_u64_div_u64(units * REFDEV_DIRTY_UNIT,
						 NSEC_PER_SEC,
						 knobs.dirty_bytes_per_sec);
	waiting = DIV_ROUND_UP_ULL(save->unread[REFDEV_SECTION_DIRTY],
				   REFDEV_DIRTY_UNIT);
	limit = refdev_save_sent_units(stream);
	limit -= min(limit, waiting);
	save->dirty_units = min(save->dirty_units + units, limit);
}

static u64 refdev_save_dirty_bytes(struct refdev_stream *stream)
{
	refdev_save_dirty(stream);
	return stream->save.unread[REFDEV_SECTION_DIRTY] +
	       stream->save.dirty_units * REFDEV_DIRTY_UNIT;
}

u64 refdev_save_unread(struct refdev_stream *stream)
{
	u64 unread;

	mutex_lock(&stream->lock);
	unread = stream->save.unread[REFDEV_SECTION_START] +
		 stream->save.unread[REFDEV_SECTION_REINIT] +
		 stream->save.unread[REFDEV_SECTION_STOP] +
		 refdev_reinit_waiting(stream) +
		 refdev_save_dirty_bytes(stream);
	mutex_unlock(&stream->lock);
	return unread;
}

static void refdev_save_begin(struct refdev_stream *stream,
			      enum refdev_section section, u64 word, u64 words,
			      u64 record_bytes)
{
	struct refdev_save *save = &stream->save;

	save->section = section;
	save->record_bytes = record_bytes;
	save->header_due = true;
	save->word = word;
	save->words_left = words;
	save->trailer_due = section == REFDEV_SECTION_STOP;
}

/* One record for all dirty state up to the end of the initial state. */
static void refdev_save_begin_dirty(struct refdev_stream *stream)
{
	const u64 unit_words = REFDEV_DIRTY_UNIT / 8;
	const u64 header_words = sizeof(struct refdev_record) / 8;
	struct refdev_save *save = &stream->save;
	u64 end = refdev_initial_words(stream->initial_bytes) + header_words;
	u64 units, words;

	if (save->dirty_word + unit_words > end)
		save->dirty_word = 0;
	units = min(save->dirty_units, (end - save->dirty_word) / unit_words);
	words = units * unit_words - header_words;

	refdev_save_begin(stream, REFDEV_SECTION_DIRTY, save->dirty_word, words,
			  units * REFDEV_DIRTY_UNIT);
	save->unread[REFDEV_SECTION_DIRTY] = save->record_bytes;
	save->dirty_is_initial = false;
	save->dirty_units -= units;
	save->dirty_word += words;
}

/* Finds the next section that can be read in this state, if there is one. */
static bool refdev_save_next(struct refdev_stream *stream)
{
	struct refdev_save *save = &stream->save;
	u64 initial_words = refdev_initial_words(stream->initial_bytes);
	u64 bytes;

	refdev_save_dirty(stream);
	if (save->reinit_left) {
		bytes = refdev_reinit_next(stream);
		refdev_save_begin(stream, REFDEV_SECTION_REINIT, 0,
				  (bytes - sizeof(struct refdev_record)) / 8,
				  bytes);
		return true;
	}
	if (save->dirty_units) {
		refdev_save_begin_dirty(stream);
		return true;
	}
	if (!save->stopped || save->section == REFDEV_SECTION_STOP)
		return false;
	refdev_save_begin(stream, REFDEV_SECTION_STOP, initial_words,
			  refdev_stop_words(stream->stop_copy_bytes),
			  stream->stop_copy_bytes);
	return true;
}

static size_t refdev_save_start_record(struct refdev_stream *stream, u8 *out)
{
	struct refdev_start_record record = {
		.magic = cpu_to_le64(REFDEV_STREAM_START),
		.version = cpu_to_le64(stream->version),
		.nr_vectors = cpu_to_le64(stream->rd->nr_vectors),
		.initial_bytes = cpu_to_le64(stream->initial_bytes),
		.stop_copy_bytes = cpu_to_le64(stream->stop_copy_bytes),
		.seed = cpu_to_le64(stream->seed),
	};

	memcpy(out, &record, sizeof(record));
	return sizeof(record);
}

static size_t refdev_save_record(struct refdev_stream *stream, u64 magic,
				 u8 *out)
{
	struct refdev_record record = {
		.magic = cpu_to_le64(magic),
		.bytes = cpu_to_le64(stream->save.record_bytes),
		.first_word = cpu_to_le64(stream->save.word),
	};

	if (magic == REFDEV_STREAM_REINIT)
		record.left = cpu_to_le64(stream->save.reinit_left);
	memcpy(out, &record, sizeof(record));
	return sizeof(record);
}

static size_t refdev_save_registers(struct refdev_stream *stream, u8 *out)
{
	struct refdev *rd = stream->rd;
	const struct refdev_regs *regs = &rd->regs;
	struct refdev_reg_record record;
	struct refdev_irq_state irqs;
	unsigned int i;

	mutex_lock(&rd->reg_lock);
	refdev_irq_get_state(rd, &irqs);
	record.control = cpu_to_le64(regs->control);
	record.generation = cpu_to_le64(regs->generation);
	record.latched = cpu_to_le64(irqs.latched);
	for (i = 0; i < REFDEV_SCRATCH_WORDS; i++)
		record.scratch[refdev_scratch_place(stream, i)] =
			cpu_to_le64(regs->scratch[i]);
	record.dma_address = cpu_to_le64(regs->dma_address);
	record.dma_pages = cpu_to_le64(regs->dma_pages);
	record.dma_control = cpu_to_le64(regs->dma_control);
	record.dma_sequence = cpu_to_le64(regs->dma_sequence);
	for (i = 0; i < REFDEV_MAX_VECTORS; i++) {
		record.irq_rate[i] = cpu_to_le64(regs->irq_rate[i]);
		record.irq_raised[i] = cpu_to_le64(irqs.raised[i]);
	}
	mutex_unlock(&rd->reg_lock);

	memcpy(out, &record, sizeof(record));
	return sizeof(record);
}

static size_t refdev_save_header(struct refdev_stream *stream, u8 *out)
{
	size_t len;

	switch (stream->save.section) {
	case REFDEV_SECTION_START:
		return refdev_save_start_record(stream, out);
	case REFDEV_SECTION_DIRTY:
		return refdev_save_record(stream, REFDEV_STREAM_DIRTY, out);
	case REFDEV_SECTION_REINIT:
		return refdev_save_record(stream, stream->version <
					  REFDEV_STREAM_REINITS ?
					  REFDEV_STREAM_DIRTY :
					  REFDEV_STREAM_REINIT, out);
	default:
		len = refdev_save_record(stream, REFDEV_STREAM_STOP, out);
		return len + refdev_save_registers(stream, out + len);
	}
}

static size_t refdev_save_words(struct refdev_stream *stream, u8 *out, size_t n)
{
	u64 word = stream->seed + stream->save.word * REFDEV_STATE_STEP;
	__le64 *words = (__le64 *)out;
	size_t i;

	for (i = 0; i < n; i++) {
		words[i] = cpu_to_le64(word);
		word += REFDEV_STATE_STEP;
	}
	return n * sizeof(*words);
}

static size_t refdev_save_trailer(struct refdev_stream *stream, u8 *out)
{
	struct refdev_trailer trailer = {
		.magic = cpu_to_le64(REFDEV_STREAM_TRAILER),
		.bytes = cpu_to_le64(stream->digest.bytes + sizeof(trailer)),
		.sum = cpu_to_le64(stream->digest.sum),
		.sum_of_sums = cpu_to_le64(stream->digest.sum_of_sums),
	};

	memcpy(out, &trailer, sizeof(trailer));
	return sizeof(trailer);
}

/*
 * Flips a bit of the stream behind the back of its checksum, in a scratch
 * register: nothing but the trailer can tell.
 */
static void refdev_save_corrupt(struct refdev_stream *stream)
{
	if (refdev_fault_corrupts(stream->rd, REFDEV_CORRUPT_STREAM))
		stream->buffer[sizeof(struct refdev_record) +
			       offsetof(struct refdev_reg_record, scratch)] ^= 1;
}

/* Fills the empty buffer with data of a single section; false: no data. */
static bool refdev_save_fill(struct refdev_stream *stream)
{
	struct refdev_save *save = &stream->save;
	u8 *buffer = stream->buffer;
	bool has_registers;
	size_t len = 0;
	size_t n;

	if (!save->header_due && !save->words_left && !save->trailer_due &&
	    !refdev_save_next(stream))
		return false;

	has_registers = save->header_due &&
			save->section == REFDEV_SECTION_STOP;
	if (save->header_due) {
		len += refdev_save_header(stream, buffer);
		save->header_due = false;
	}
	n = min_t(u64, save->words_left, (REFDEV_STREAM_BUFFER - len) / 8);
	len += refdev_save_words(stream, buffer + len, n);
	save->word += n;
	save->words_left -= n;
	refdev_digest_words(&stream->digest, (__le64 *)buffer, len / 8);
	if (has_registers)
		refdev_save_corrupt(stream);

	if (save->trailer_due && !save->words_left &&
	    REFDEV_STREAM_BUFFER - len >= sizeof(struct refdev_trailer)) {
		len += refdev_save_trailer(stream, buffer + len);
		save->trailer_due = false;
	}
	save->pos = 0;
	save->len = len;
	return true;
}

static ssize_t refdev_save_copy(struct refdev_stream *stream, char __user *buf,
				size_t count)
{
	struct refdev_save *save = &stream->save;
	size_t done = 0;

	while (done < count) {
		size_t n;

		if (fatal_signal_pending(current))
			return done ?: -EINTR;
		if (save->pos == save->len && !refdev_save_fill(stream))
			break;
		n = min(count - done, save->len - save->pos);
		if (copy_to_user(buf + done, stream->buffer + save->pos, n))
			return done ?: -EFAULT;
		save->pos += n;
		save->unread[save->section] -= n;
		if (save->section == REFDEV_SECTION_DIRTY)
			refdev_count(stream->rd, REFDEV_DIRTY_BYTES_READ, n);
		else if (save->section == REFDEV_SECTION_REINIT)
			refdev_count(stream->rd, REFDEV_REINIT_BYTES_READ, n);
		done += n;
		cond_resched();
	}
	return done;
}

/* What can be read in this state. */
static u64 refdev_save_readable(struct refdev_stream *stream)
{
	u64 readable = stream->save.unread[REFDEV_SECTION_START] +
		       stream->save.unread[REFDEV_SECTION_REINIT] +
		       refdev_save_dirty_bytes(stream);

	if (stream->save.stopped)
		readable += stream->save.unread[REFDEV_SECTION_STOP];
	return readable;
}

static ssize_t refdev_save_read(struct file *file, char __user *buf,
				size_t count, loff_t *pos)
{
	struct refdev_stream *stream = file->private_data;
	struct refdev *rd = stream->rd;
	struct refdev_knobs knobs;
	struct refdev_fault fault;
	u64 until = 0;
	ssize_t done;

	if (!count)
		return 0;
	done = refdev_stream_begin(stream);
	if (done)
		return done;

	refdev_count(rd, REFDEV_READS, 1);
	/* No more than is there now: what a fault is told must come true. */
	count = min_t(u64, count, refdev_save_readable(stream));
	fault = refdev_fault_bytes(rd, REFDEV_FAIL_READ, stream->bytes, count);
	if (fault.error)
		return refdev_stream_fail(stream, fault);
	done = refdev_save_copy(stream, buf, count);
	if (done > 0) {
		refdev_count(rd, stream->save.stopped ?
			     REFDEV_STOP_COPY_BYTES_READ :
			     REFDEV_PRECOPY_BYTES_READ, done);
		refdev_get_knobs(rd, &knobs);
		until = refdev_stream_pace(stream, done,
					   knobs.save_bytes_per_sec);
	} else if (!done && !stream->save.stopped) {
		refdev_count(rd, REFDEV_ENOMSG, 1);
		done = -ENOMSG;
	}
	return refdev_stream_end(stream, done, until);
}

/* Initial data first, and what counts as that. */
static void refdev_save_sizes(struct refdev_stream *stream,
			      struct vfio_precopy_info *info)
{
	const struct refdev_save *save = &stream->save;

	info->flags = refdev_reinit_ask(stream) ? VFIO_PRECOPY_INFO_REINIT : 0;
	info->initial_bytes = save->unread[REFDEV_SECTION_START];
	info->dirty_bytes = refdev_save_dirty_bytes(stream);
	if (save->dirty_is_initial) {
		info->initial_bytes += save->unread[REFDEV_SECTION_DIRTY];
		info->dirty_bytes -= save->unread[REFDEV_SECTION_DIRTY];
	}
	if (save->reinit_told)
		info->initial_bytes += save->unread[REFDEV_SECTION_REINIT];
	else
		info->dirty_bytes += save->unread[REFDEV_SECTION_REINIT];
}

static long refdev_save_precopy_info(struct refdev_stream *stream,
				     unsigned long arg)
{
	size_t minsz = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct vfio_precopy_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	mutex_lock(&stream->lock);
	if (stream->closed || stream->save.stopped) {
		mutex_unlock(&stream->lock);
		return -EINVAL;
	}
	refdev_count(stream->rd, REFDEV_PRECOPY_INFOS, 1);
	refdev_save_sizes(stream, &info);
	mutex_unlock(&stream->lock);
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static long refdev_save_ioctl(struct file *file, unsigned int cmd,
			      unsigned long arg)
{
	if (cmd != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	return refdev_save_precopy_info(file->private_data, arg);
}

static const struct file_operations refdev_save_fops = {
	.owner = THIS_MODULE,
	.read = refdev_save_read,
	.unlocked_ioctl = refdev_save_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = refdev_stream_release,
};

struct file *refdev_save_open(struct refdev *rd, bool stopped)
{
	struct refdev_stream *stream = refdev_stream_create(rd);
	struct refdev_save *save;

	if (!stream)
		return ERR_PTR(-ENOMEM);
	save = &stream->save;
	save->stopped = stopped;
	save->unread[REFDEV_SECTION_START] = stream->initial_bytes;
	save->unread[REFDEV_SECTION_STOP] = stream->stop_copy_bytes;
	save->dirty_since = ktime_get_ns();
	refdev_save_begin(stream, REFDEV_SECTION_START, 0,
			  refdev_initial_words(stream->initial_bytes),
			  stream->initial_bytes);
	return refdev_stream_file(stream, &refdev_save_fops, O_RDONLY);
}

/* Entering STOP_COPY: nothing becomes dirty any more, and nothing is ahead. */
void refdev_save_stopped(struct refdev_stream *stream)
{
	mutex_lock(&stream->lock);
	refdev_save_dirty(stream);
	refdev_reinit_stopped(stream);
	stream->save.stopped = true;
	stream->pace_due = max(stream->pace_due, ktime_get_ns());
	mutex_unlock(&stream->lock);
}
