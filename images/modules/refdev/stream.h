/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The migration data of the reference device.
 *
 * A stream is a sequence of records; all fields are 64-bit little-endian
 * words, and all records are a whole number of words long:
 *
 *   START  refdev_start_record, then initial_bytes - sizeof(header) bytes of
 *	    device state, from word 0 on
 *   DIRTY  refdev_record, then device state that was sent before; any number
 *   REINIT the same, of initial data that came anew, after START; any number
 *   STOP   refdev_record, refdev_reg_record, the rest of the device state,
 *	    refdev_trailer: stop_copy_bytes in all
 *
 * The device state is never held in memory: it is computed from the seed when
 * it is read and compared with the seed when it is loaded.
 */
#ifndef REFDEV_STREAM_H
#define REFDEV_STREAM_H

#include "refdev.h"

/*
 * The first version has the scratch registers from the last to the first. Up to
 * the second there is no REINIT: such data is sent as DIRTY.
 */
#define REFDEV_STREAM_OLDEST	1ULL
#define REFDEV_STREAM_REINITS	3ULL	/* the first that knows REINIT */
#define REFDEV_STREAM_NEWEST	3ULL
#define REFDEV_STREAM_START	0x5452415453524452ULL	/* "RDRSTART" */
#define REFDEV_STREAM_DIRTY	0x5954524944524452ULL	/* "RDRDIRTY" */
#define REFDEV_STREAM_REINIT	0x54494e4945524452ULL	/* "RDREINIT" */
#define REFDEV_STREAM_STOP	0x504f54532d524452ULL	/* "RDR-STOP" */
#define REFDEV_STREAM_TRAILER	0x52454c4941525452ULL	/* "RTRAILER" */

struct refdev_start_record {
	__le64 magic;
	__le64 version;
	__le64 nr_vectors;
	__le64 initial_bytes;
	__le64 stop_copy_bytes;
	__le64 seed;
	__le64 reserved[2];		/* 0 */
};

struct refdev_record {
	__le64 magic;
	__le64 bytes;			/* of the record, this header included */
	__le64 first_word;		/* index of the first word of state */
	__le64 left;			/* REINIT: bytes of records to come, else 0 */
};

struct refdev_reg_record {
	__le64 control;
	__le64 generation;
	__le64 latched;			/* bit n: vector n */
	__le64 scratch[REFDEV_SCRATCH_WORDS];
	__le64 dma_address;
	__le64 dma_pages;
	__le64 dma_control;
	__le64 dma_sequence;
	__le64 irq_rate[REFDEV_MAX_VECTORS];
	__le64 irq_raised[REFDEV_MAX_VECTORS];
};

struct refdev_trailer {
	__le64 magic;
	__le64 bytes;			/* of the stream, this trailer included */
	__le64 sum;			/* see refdev_digest, all before the trailer */
	__le64 sum_of_sums;
};

/* What STOP takes besides device state. */
#define REFDEV_STOP_OVERHEAD	(sizeof(struct refdev_record) + \
				 sizeof(struct refdev_reg_record) + \
				 sizeof(struct refdev_trailer))

/* State becomes dirty in units of this size, as counted in the stream. */
#define REFDEV_DIRTY_UNIT	4096

#define REFDEV_SECTION_MIN	4096ULL
#define REFDEV_SECTION_MAX	(1ULL << 40)
#define REFDEV_RATE_MAX		1000000000000ULL

struct refdev_digest {
	u64 bytes;
	u64 sum;
	u64 sum_of_sums;
};

/* A device may work ahead by this much while nobody reads or writes. */
#define REFDEV_PACE_CREDIT	(2ULL << 20)

#define REFDEV_STREAM_BUFFER	(64 << 10)

enum refdev_section {
	REFDEV_SECTION_START,
	REFDEV_SECTION_DIRTY,
	REFDEV_SECTION_REINIT,
	REFDEV_SECTION_STOP,
	REFDEV_SECTION_END,
};

/* What the saving side still has to produce and to hand out. */
struct refdev_save {
	bool stopped;			/* STOP_COPY was entered */
	enum refdev_section section;	/* the one that is being produced */
	u64 record_bytes;		/* of this section's record */
	bool header_due;
	u64 words_left;			/* of device state in this record */
	u64 word;			/* index of the next one */
	bool trailer_due;
	u64 unread[REFDEV_SECTION_END];	/* bytes, by section */
	u64 dirty_units;		/* not yet part of a record */
	u64 dirty_word;			/* where the next DIRTY record starts */
	u64 dirty_since;		/* ns, dirty_units counted up to here */
	bool dirty_is_initial;		/* the current DIRTY record counts as that */
	u64 reinits;			/* how often initial data came anew */
	u64 reinit_due;			/* bytes of it that nobody knows of */
	u64 reinit_left;		/* bytes of it not yet part of a record */
	u64 reinit_since;		/* bytes read when it was found last */
	bool reinit_told;		/* it counts as initial, else as dirty */
	size_t pos;			/* first unread byte of the buffer */
	size_t len;			/* bytes in the buffer */
};

enum refdev_expect {
	REFDEV_EXPECT_START,
	REFDEV_EXPECT_RECORD,
	REFDEV_EXPECT_REGS,
	REFDEV_EXPECT_TRAILER,
	REFDEV_EXPECT_NOTHING,
};

/* What the loading side has seen. */
struct refdev_load {
	enum refdev_expect expect;	/* after the state words below */
	int error;
	bool is_initial;		/* the end of this record is that of */
	u64 initials;			/* initial data: how often it was there */
	u64 state_words;		/* left of the current record */
	u64 word;			/* index of the next word of state */
	bool first_time;		/* these words were not sent before */
	u64 state_sum;
	size_t len;			/* bytes in the buffer: part of a word */
	size_t header_words;		/* words gathered in header */
	__le64 header[sizeof(struct refdev_reg_record) / sizeof(__le64)];
	struct refdev_reg_record regs;
};

struct refdev_stream {
	struct kref kref;
	struct mutex lock;
	wait_queue_head_t wait;
	bool closed;			/* rd must not be touched any more */
	struct refdev *rd;
	u64 version;			/* in which registers are saved or read */
	u64 initial_bytes;
	u64 stop_copy_bytes;
	u64 seed;
	u64 bytes;			/* that went through the file */
	struct refdev_digest digest;
	u64 pace_due;			/* ns, when the bytes so far are through */
	union {
		struct refdev_save save;
		struct refdev_load load;
	};
	u8 *buffer;
};

/* stream.c */
struct refdev_stream *refdev_stream_create(struct refdev *rd);
struct file *refdev_stream_file(struct refdev_stream *stream,
				const struct file_operations *fops, int flags);
void refdev_stream_close(struct refdev_stream *stream);
int refdev_stream_begin(struct refdev_stream *stream);
ssize_t refdev_stream_end(struct refdev_stream *stream, ssize_t done,
			  u64 until_ns);
ssize_t refdev_stream_fail(struct refdev_stream *stream,
			   struct refdev_fault fault);
void refdev_stream_put(struct refdev_stream *stream);
int refdev_stream_release(struct inode *inode, struct file *file);
void refdev_digest_words(struct refdev_digest *digest, const __le64 *words,
			 size_t n);
u64 refdev_stream_pace(struct refdev_stream *stream, u64 bytes, u64 rate);
int refdev_sleep(u64 until_ns);
u64 refdev_initial_words(u64 initial_bytes);
u64 refdev_stop_words(u64 stop_copy_bytes);
unsigned int refdev_scratch_place(struct refdev_stream *stream, unsigned int i);

/* save.c */
struct file *refdev_save_open(struct refdev *rd, bool stopped);
void refdev_save_stopped(struct refdev_stream *stream);
u64 refdev_save_unread(struct refdev_stream *stream);

/* reinit.c */
bool refdev_reinit_ask(struct refdev_stream *stream);
u64 refdev_reinit_waiting(struct refdev_stream *stream);
void refdev_reinit_p2p(struct refdev_stream *stream);
void refdev_reinit_stopped(struct refdev_stream *stream);
u64 refdev_reinit_next(struct refdev_stream *stream);

/* load.c */
struct file *refdev_load_open(struct refdev *rd);
int refdev_load_apply(struct refdev_stream *stream);

#endif /* REFDEV_STREAM_H */
