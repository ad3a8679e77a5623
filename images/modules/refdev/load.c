// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: writing the migration data in.
 *
 * Every word of device state is compared with what the seed makes of it, and
 * the trailer is checked by the write that brings its last byte. What is
 * loaded takes effect when the device leaves RESUMING.
 */
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "stream.h"

static int refdev_load_reject(struct refdev_stream *stream, const char *why)
{
	dev_notice_ratelimited(&stream->rd->mdev->dev,
			       "migration data refused at byte %llu: %s\n",
			       stream->digest.bytes, why);
	return -EINVAL;
}

static bool refdev_section_valid(u64 bytes)
{
	return bytes >= REFDEV_SECTION_MIN && bytes <= REFDEV_SECTION_MAX &&
	       !(bytes % 8);
}

/* A version that is not this driver's: whether it is taken, and for what. */
static int refdev_load_version(struct refdev_stream *stream, u64 version)
{
	struct refdev_knobs knobs;

	if (version < REFDEV_STREAM_OLDEST || version > REFDEV_STREAM_NEWEST)
		return refdev_load_reject(stream, "unknown version");
	if (version == stream->version)
		return 0;
	refdev_get_knobs(stream->rd, &knobs);
	refdev_count(stream->rd, REFDEV_OTHER_VERSIONS, 1);
	switch (knobs.other_version) {
	case REFDEV_OTHER_READ:
		stream->version = version;
		return 0;
	case REFDEV_OTHER_MISREAD:
		return 0;
	default:
		refdev_load_reject(stream, "another version");
		return -(int)knobs.version_errno;
	}
}

static int refdev_load_start(struct refdev_stream *stream)
{
	struct refdev_start_record *record =
		(struct refdev_start_record *)stream->load.header;
	struct refdev_load *load = &stream->load;
	int ret;

	if (le64_to_cpu(record->magic) != REFDEV_STREAM_START)
		return refdev_load_reject(stream, "not a stream of a reference device");
	ret = refdev_load_version(stream, le64_to_cpu(record->version));
	if (ret)
		return ret;
	if (le64_to_cpu(record->nr_vectors) != stream->rd->nr_vectors)
		return refdev_load_reject(stream, "number of vectors differs");
	stream->initial_bytes = le64_to_cpu(record->initial_bytes);
	stream->stop_copy_bytes = le64_to_cpu(record->stop_copy_bytes);
	stream->seed = le64_to_cpu(record->seed);
	if (!refdev_section_valid(stream->initial_bytes) ||
	    !refdev_section_valid(stream->stop_copy_bytes) ||
	    record->reserved[0] || record->reserved[1])
		return refdev_load_reject(stream, "bad header");

	load->state_words = refdev_initial_words(stream->initial_bytes);
	load->word = 0;
	load->first_time = true;
	load->is_initial = true;
	load->expect = REFDEV_EXPECT_RECORD;
	return 0;
}

/* is_initial: it is the last of new initial data. */
static int refdev_load_dirty(struct refdev_stream *stream, u64 bytes, u64 first,
			     bool is_initial)
{
	u64 initial_words = refdev_initial_words(stream->initial_bytes);
	struct refdev_load *load = &stream->load;
	u64 words;

	if (bytes % 8 || bytes <= sizeof(struct refdev_record))
		return refdev_load_reject(stream, "bad length of dirty state");
	words = (bytes - sizeof(struct refdev_record)) / 8;
	if (words > initial_words || first > initial_words - words)
		return refdev_load_reject(stream, "dirty state out of range");

	load->state_words = words;
	load->word = first;
	load->first_time = false;
	load->is_initial = is_initial;
	return 0;
}

static int refdev_load_stop(struct refdev_stream *stream, u64 bytes, u64 first)
{
	if (bytes != stream->stop_copy_bytes ||
	    first != refdev_initial_words(stream->initial_bytes))
		return refdev_load_reject(stream, "bad stop-copy section");

	stream->load.word = first;
	stream->load.expect = REFDEV_EXPECT_REGS;
	return 0;
}

static int refdev_load_record(struct refdev_stream *stream)
{
	struct refdev_record *record =
		(struct refdev_record *)stream->load.header;
	u64 bytes = le64_to_cpu(record->bytes);
	u64 first = le64_to_cpu(record->first_word);
	u64 magic = le64_to_cpu(record->magic);

	if (record->left && magic != REFDEV_STREAM_REINIT)
		return refdev_load_reject(stream, "bad record");
	if (magic == REFDEV_STREAM_REINIT &&
	    stream->version < REFDEV_STREAM_REINITS)
		return refdev_load_reject(stream, "unknown record");
	switch (magic) {
	case REFDEV_STREAM_DIRTY:
		return refdev_load_dirty(stream, bytes, first, false);
	case REFDEV_STREAM_REINIT:
		return refdev_load_dirty(stream, bytes, first, !record->left);
	case REFDEV_STREAM_STOP:
		return refdev_load_stop(stream, bytes, first);
	default:
		return refdev_load_reject(stream, "unknown record");
	}
}

static int refdev_load_registers(struct refdev_stream *stream)
{
	struct refdev_load *load = &stream->load;

	memcpy(&load->regs, load->header, sizeof(load->regs));
	load->state_words = refdev_stop_words(stream->stop_copy_bytes);
	load->first_time = true;
	load->is_initial = false;
	load->expect = REFDEV_EXPECT_TRAILER;
	return 0;
}

static int refdev_load_trailer(struct refdev_stream *stream)
{
	struct refdev_trailer *trailer =
		(struct refdev_trailer *)stream->load.header;
	const struct refdev_digest *digest = &stream->digest;

	if (le64_to_cpu(trailer->magic) != REFDEV_STREAM_TRAILER)
		return refdev_load_reject(stream, "no trailer");
	if (le64_to_cpu(trailer->bytes) != digest->bytes + sizeof(*trailer))
		return refdev_load_reject(stream, "length differs");
	if (le64_to_cpu(trailer->sum) != digest->sum ||
	    le64_to_cpu(trailer->sum_of_sums) != digest->sum_of_sums)
		return refdev_load_reject(stream, "checksum differs");

	stream->load.expect = REFDEV_EXPECT_NOTHING;
	return 0;
}

static size_t refdev_load_header_words(enum refdev_expect expect)
{
	switch (expect) {
	case REFDEV_EXPECT_START:
		return sizeof(struct refdev_start_record) / 8;
	case REFDEV_EXPECT_RECORD:
		return sizeof(struct refdev_record) / 8;
	case REFDEV_EXPECT_REGS:
		return sizeof(struct refdev_reg_record) / 8;
	default:
		return sizeof(struct refdev_trailer) / 8;
	}
}

/* A complete header of the kind that was expected. */
static int refdev_load_header(struct refdev_stream *stream)
{
	struct refdev_load *load = &stream->load;
	enum refdev_expect expect = load->expect;
	int ret;

	switch (expect) {
	case REFDEV_EXPECT_START:
		ret = refdev_load_start(stream);
		break;
	case REFDEV_EXPECT_RECORD:
		ret = refdev_load_record(stream);
		break;
	case REFDEV_EXPECT_REGS:
		ret = refdev_load_registers(stream);
		break;
	default:
		return refdev_load_trailer(stream);
	}
	refdev_digest_words(&stream->digest, load->header, load->header_words);
	return ret;
}

static int refdev_load_state(struct refdev_stream *stream, const __le64 *words,
			     size_t n)
{
	struct refdev_load *load = &stream->load;
	u64 word = stream->seed + load->word * REFDEV_STATE_STEP;
	u64 wrong = 0;
	u64 sum = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		u64 loaded = le64_to_cpu(words[i]);

		wrong |= loaded ^ word;
		sum += loaded;
		word += REFDEV_STATE_STEP;
	}
	if (wrong)
		return refdev_load_reject(stream, "device state differs from its seed");

	refdev_digest_words(&stream->digest, words, n);
	if (load->first_time)
		load->state_sum += sum;
	load->word += n;
	load->state_words -= n;
	if (!load->state_words && load->is_initial)
		load->initials++;
	return 0;
}

static int refdev_load_words(struct refdev_stream *stream, const __le64 *words,
			     size_t n)
{
	struct refdev_load *load = &stream->load;
	int ret = 0;

	while (n && !ret) {
		size_t step = 1;

		if (load->state_words) {
			step = min_t(u64, n, load->state_words);
			ret = refdev_load_state(stream, words, step);
		} else if (load->expect == REFDEV_EXPECT_NOTHING) {
			ret = refdev_load_reject(stream, "data after the trailer");
		} else {
			load->header[load->header_words++] = *words;
			if (load->header_words ==
			    refdev_load_header_words(load->expect)) {
				ret = refdev_load_header(stream);
				load->header_words = 0;
			}
		}
		words += step;
		n -= step;
	}
	return ret;
}

static ssize_t refdev_load_copy(struct refdev_stream *stream,
				const char __user *buf, size_t count)
{
	struct refdev_load *load = &stream->load;
	u8 *buffer = stream->buffer;
	size_t done = 0;

	while (done < count) {
		size_t n = min(count - done, REFDEV_STREAM_BUFFER - load->len);
		size_t whole;

		if (fatal_signal_pending(current))
			return done ?: -EINTR;
		if (copy_from_user(buffer + load->len, buf + done, n))
			return done ?: -EFAULT;
		done += n;
		load->len += n;

		whole = round_down(load->len, sizeof(__le64));
		load->error = refdev_load_words(stream, (__le64 *)buffer,
						whole / sizeof(__le64));
		if (load->error) {
			refdev_count(stream->rd, REFDEV_LOAD_ERRORS, 1);
			return load->error;
		}
		load->len -= whole;
		memmove(buffer, buffer + whole, load->len);
		cond_resched();
	}
	return done;
}

static ssize_t refdev_load_write(struct file *file, const char __user *buf,
				 size_t count, loff_t *pos)
{
	struct refdev_stream *stream = file->private_data;
	struct refdev_load *load = &stream->load;
	struct refdev *rd = stream->rd;
	struct refdev_knobs knobs;
	struct refdev_fault fault;
	u64 initials;
	u64 until = 0;
	ssize_t done;

	if (!count)
		return 0;
	done = refdev_stream_begin(stream);
	if (done)
		return done;

	refdev_count(rd, REFDEV_WRITES, 1);
	fault = refdev_fault_bytes(rd, REFDEV_FAIL_WRITE, stream->bytes, count);
	if (fault.error)
		return refdev_stream_fail(stream, fault);
	initials = load->initials;
	done = load->error ?: refdev_load_copy(stream, buf, count);
	if (done > 0) {
		refdev_count(rd, REFDEV_BYTES_WRITTEN, done);
		refdev_get_knobs(rd, &knobs);
		until = refdev_stream_pace(stream, done,
					   knobs.load_bytes_per_sec);
		initials = load->initials - initials;
		if (initials) {
			until = max(until, ktime_get_ns()) + initials *
				knobs.load_initial_ms * NSEC_PER_MSEC;
			stream->pace_due = until;
		}
	}
	return refdev_stream_end(stream, done, until);
}

static const struct file_operations refdev_load_fops = {
	.owner = THIS_MODULE,
	.write = refdev_load_write,
	.release = refdev_stream_release,
};

struct file *refdev_load_open(struct refdev *rd)
{
	struct refdev_stream *stream = refdev_stream_create(rd);

	if (!stream)
		return ERR_PTR(-ENOMEM);
	stream->load.expect = REFDEV_EXPECT_START;
	return refdev_stream_file(stream, &refdev_load_fops, O_WRONLY);
}

static void refdev_load_apply_registers(struct refdev_stream *stream)
{
	const struct refdev_reg_record *record = &stream->load.regs;
	struct refdev *rd = stream->rd;
	struct refdev_regs *regs = &rd->regs;
	unsigned int i;

	lockdep_assert_held(&rd->reg_lock);

	regs->control = le64_to_cpu(record->control) & REFDEV_CONTROL_ENABLE;
	regs->generation = le64_to_cpu(record->generation) + 1;
	for (i = 0; i < REFDEV_SCRATCH_WORDS; i++) {
		unsigned int place = refdev_scratch_place(stream, i);

		regs->scratch[i] = le64_to_cpu(record->scratch[place]);
	}
	regs->dma_address = round_down(le64_to_cpu(record->dma_address),
				       REFDEV_DMA_PAGE);
	regs->dma_pages = min(le64_to_cpu(record->dma_pages),
			      REFDEV_DMA_PAGES_MAX);
	regs->dma_control = le64_to_cpu(record->dma_control) &
			    REFDEV_DMA_ENABLE;
	regs->dma_sequence = le64_to_cpu(record->dma_sequence);
	for (i = 0; i < REFDEV_MAX_VECTORS; i++)
		regs->irq_rate[i] = min(le64_to_cpu(record->irq_rate[i]),
					REFDEV_IRQ_RATE_MAX);
	refdev_dma_update(rd);
	refdev_irq_set_rates(rd);
}

static void refdev_load_apply_irqs(struct refdev *rd,
				   const struct refdev_reg_record *record)
{
	struct refdev_irq_state irqs = {
		.latched = le64_to_cpu(record->latched),
	};
	unsigned int i;

	for (i = 0; i < REFDEV_MAX_VECTORS; i++)
		irqs.raised[i] = le64_to_cpu(record->irq_raised[i]);
	refdev_irq_set_state(rd, &irqs);
}

/* The state, its size and its registers become those of the device. */
int refdev_load_apply(struct refdev_stream *stream)
{
	const struct refdev_load *load = &stream->load;
	struct refdev *rd = stream->rd;
	int ret = 0;

	mutex_lock(&stream->lock);
	if (load->error || load->expect != REFDEV_EXPECT_NOTHING || load->len) {
		ret = load->error ?: refdev_load_reject(stream, "incomplete");
		goto out;
	}

	mutex_lock(&rd->reg_lock);
	mutex_lock(&rd->knob_lock);
	rd->knobs.initial_bytes = stream->initial_bytes;
	rd->knobs.stop_copy_bytes = stream->stop_copy_bytes;
	mutex_unlock(&rd->knob_lock);
	rd->regs.seed = stream->seed;
	rd->regs.checksum = load->state_sum;
	if (refdev_fault_corrupts(rd, REFDEV_CORRUPT_STATE))
		rd->regs.checksum ^= 1;
	refdev_load_apply_registers(stream);
	mutex_unlock(&rd->reg_lock);
	refdev_load_apply_irqs(rd, &load->regs);
	refdev_count(rd, REFDEV_LOADS, 1);
out:
	mutex_unlock(&stream->lock);
	return ret;
}
