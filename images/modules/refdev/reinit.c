// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reference device: initial data that comes anew while pre-copy goes on.
 *
 * It comes when enough was read, or with PRE_COPY_P2P, and is found when
 * somebody asks: by GET_PRECOPY_INFO, which has VFIO_PRECOPY_INFO_REINIT in its
 * flags then, if the user opted in to that. To all others it is dirty state.
 * What nobody asked for in time is read in STOP_COPY.
 */
#include <linux/ktime.h>

#include "stream.h"

/* No record is shorter, so that none is without state. */
#define REFDEV_REINIT_RECORD_MIN	64ULL

/* Whether the user opted in to the second version, and the driver knows it. */
static bool refdev_reinit_is_told(struct refdev *rd,
				  const struct refdev_knobs *knobs)
{
	return knobs->precopy_info_v2 && refdev_precopy_info_v2(rd);
}

static void refdev_reinit_come(struct refdev_stream *stream,
			       const struct refdev_knobs *knobs)
{
	stream->save.reinits++;
	stream->save.reinit_due += knobs->reinit_bytes;
	refdev_count(stream->rd, REFDEV_REINITS, 1);
}

/*
 * By bytes it comes when all initial data before it was read, and so many bytes
 * since that was found.
 */
static void refdev_reinit_update(struct refdev_stream *stream,
				 const struct refdev_knobs *knobs)
{
	const struct refdev_save *save = &stream->save;

	lockdep_assert_held(&stream->lock);

	if (knobs->reinit_at == REFDEV_REINIT_READ && !save->stopped &&
	    save->reinits < knobs->reinit_count && !save->reinit_due &&
	    !save->unread[REFDEV_SECTION_START] &&
	    !save->unread[REFDEV_SECTION_REINIT] &&
	    stream->bytes - save->reinit_since >= knobs->reinit_after_bytes)
		refdev_reinit_come(stream, knobs);
}

/* What came can be read from now on. */
static void refdev_reinit_find(struct refdev_stream *stream, bool told)
{
	struct refdev_save *save = &stream->save;

	save->unread[REFDEV_SECTION_REINIT] += save->reinit_due;
	save->reinit_left += save->reinit_due;
	save->reinit_due = 0;
	save->reinit_since = stream->bytes;
	save->reinit_told = told;
	if (!told)
		return;
	refdev_count(stream->rd, REFDEV_REINITS_TOLD, 1);
	/* Dirty is now what changes after that; a record goes to its end. */
	save->dirty_units = 0;
	save->dirty_since = ktime_get_ns();
	save->dirty_is_initial = true;
}

/* For GET_PRECOPY_INFO: whether there is new initial data to be told of. */
bool refdev_reinit_ask(struct refdev_stream *stream)
{
	struct refdev_knobs knobs;
	bool told;

	refdev_get_knobs(stream->rd, &knobs);
	refdev_reinit_update(stream, &knobs);
	if (!stream->save.reinit_due)
		return false;
	told = refdev_reinit_is_told(stream->rd, &knobs);
	refdev_reinit_find(stream, told);
	return told;
}

/* What STOP_COPY would have to read of data that nobody asked for yet. */
u64 refdev_reinit_waiting(struct refdev_stream *stream)
{
	struct refdev_knobs knobs;

	refdev_get_knobs(stream->rd, &knobs);
	refdev_reinit_update(stream, &knobs);
	return stream->save.reinit_due;
}

/* The last moment: it is read in STOP_COPY. */
void refdev_reinit_stopped(struct refdev_stream *stream)
{
	struct refdev_knobs knobs;

	refdev_get_knobs(stream->rd, &knobs);
	refdev_reinit_update(stream, &knobs);
	if (stream->save.reinit_due)
		refdev_reinit_find(stream, false);
}

/* PRE_COPY_P2P was entered: by then users have decided to leave pre-copy. */
void refdev_reinit_p2p(struct refdev_stream *stream)
{
	struct refdev_knobs knobs;

	refdev_get_knobs(stream->rd, &knobs);
	mutex_lock(&stream->lock);
	if (knobs.reinit_at == REFDEV_REINIT_P2P &&
	    stream->save.reinits < knobs.reinit_count)
		refdev_reinit_come(stream, &knobs);
	mutex_unlock(&stream->lock);
}

/* The bytes of the next record: no more state than the initial bytes have. */
u64 refdev_reinit_next(struct refdev_stream *stream)
{
	struct refdev_save *save = &stream->save;
	u64 bytes, rest;

	bytes = min(save->reinit_left, sizeof(struct refdev_record) +
		    refdev_initial_words(stream->initial_bytes) * 8);
	rest = save->reinit_left - bytes;
	if (rest && rest < REFDEV_REINIT_RECORD_MIN)
		bytes -= REFDEV_REINIT_RECORD_MIN;
	save->reinit_left -= bytes;
	return bytes;
}
