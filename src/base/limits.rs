#![forbid(unsafe_code)]
//! Every bound of the server, with its name, unit and reason (STYLE §5: "everything has a bound with a name").
//! What an operator may change is a key (config) whose default stands here.

/// Largest request frame, bytes: stock's `jute.maxbuffer` default (`BinaryInputArchive.maxBuffer`).
pub const FRAME_BYTES_MAX: usize = 0xf_ffff;

/// Shards: one bit each in a word of the interest table, one bit to spare (DESIGN §1).
pub const SHARDS_MAX: usize = 63;

/// Slots of each ring between a shard and the sequencer. A power of two. At 2 x 64 bytes an entry both directions
/// of one shard take half a megabyte; deep enough that one flush (1 ms) at 1 M requests/s fits.
pub const RING_SLOTS: usize = 4096;

/// Writes a shard may have outstanding at the sequencer; each has a reserved reply slot, so that replies never find
/// the result ring full (DESIGN §1, "nobody waits for a full ring"). Half the ring: the rest is for events.
pub const SHARD_CREDITS: usize = RING_SLOTS / 2;

/// Requests of one connection that are decoded but not answered, before its socket is no longer read.
pub const CONNECTION_REQUESTS_MAX: usize = 1000;

/// Bytes of those requests of one connection that wait for an earlier one of its own, past which it is not read: one
/// frame may always wait.
pub const CONNECTION_HELD_BYTES_MAX: usize = 1 << 20;

/// Bytes of requests that one shard may have at the sequencer. Past it writes wait for a credit, as they do past
/// [`SHARD_CREDITS`]: full frames in every slot would take 2 GiB.
pub const SHARD_REQUEST_BYTES_MAX: usize = 32 << 20;

/// Memory of all connections for input that is not a whole frame yet, or waits for room, bytes. Past it the connection
/// whose bytes came last is closed (reliability §7, M3).
pub const INPUT_BYTES_MAX: usize = 256 << 20;

/// Longest first frame of a connection, bytes (reliability §7, memory before a session). A connect request has 45; its
/// password may be of any length, and none that is longer than stock's 16 bytes is right.
pub const HANDSHAKE_FRAME_BYTES_MAX: usize = 4096;

/// Time in which a frame that has begun must be complete, or the session's timeout if that is shorter, ms
/// (reliability M3).
pub const FRAME_MS_MAX: u64 = 30_000;

/// Time for which a client may take none of the bytes that wait for it, ms: closed after this to twice this
/// (reliability M34).
pub const OUTPUT_STALL_MS_MAX: u64 = 30_000;

/// Time for a word and its answer, ms (reliability M42; operations §4.1: capped by time, not by size).
pub const WORD_MS_MAX: u64 = 5_000;

/// Words that are being collected at once; those behind them wait (reliability M41). Each holds a copy of what every
/// shard has to say.
pub const WORDS_AT_ONCE_MAX: usize = 4;

/// Unsent bytes of one connection past which it is not read (DESIGN §8 "output caps").
pub const OUTPUT_SOFT_BYTES: usize = 1 << 20;

/// Unsent bytes of events alone past which a connection is closed.
pub const OUTPUT_EVENTS_HARD_BYTES: usize = 16 << 20;

/// Znodes under /zookeeper/quota that one `mntr` looks at for its gauges: with more there are none. About 10 ms.
pub const QUOTA_GAUGE_ZNODES_MAX: usize = 10_000;

/// Watches of one session (DESIGN §8).
pub const SESSION_WATCHES_MAX: usize = 1_000_000;

/// Takeovers of one session in a second past which both contenders are closed (reliability M12). A client that moves
/// does so once; two that hold the same id push each other out without end.
pub const SESSION_MOVES_MAX: u32 = 10;

/// Slots of each of the two tables of watch interest, a power of two: 512 KiB a table. A shard that watches as many
/// paths is told of two in three changes (1 - 1/e) it does not wait for, which it finds out with one look-up each.
pub const INTEREST_SLOTS: usize = 1 << 16;

/// Entries of one ACL, `auth` expanded and duplicates removed (reliability M24).
pub const ACL_ENTRIES_MAX: usize = 1024;

/// Longest credentials of an auth packet that are looked at, bytes (reliability M48).
pub const AUTH_BYTES_MAX: usize = 64 << 10;

/// Longest text that is read as quota limits or usage, bytes. The four keys take 120; it is parsed at every write below.
pub const QUOTA_TEXT_BYTES_MAX: usize = 4096;

/// Bytes of one WAL batch: what one flush carries at most.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Txns of one WAL batch.
pub const BATCH_TXNS_MAX: usize = 4096;

/// Collected and in-flight bytes of the WAL past which the sequencer takes no further submissions (reliability §7,
/// "log queue").
pub const WAL_QUEUE_BYTES_MAX: usize = 64 << 20;

/// Time without a new batch after which a seal record is due, milliseconds (reliability R4). It bounds the window in
/// which damage of the last batch looks like a torn write.
pub const SEAL_AFTER_MS: u64 = 50;

/// Size of a WAL segment unless `preAllocSize` says otherwise, bytes (reliability §7).
pub const WAL_SEGMENT_BYTES: u64 = 64 << 20;

/// Payload of one snapshot chunk, bytes, before the node that crosses it ends the chunk. Small enough that a writer
/// paces itself by chunks, large enough that a million nodes are a few hundred parts to load in parallel.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// States that may be on their way to learners at once: of five servers all four others. Each costs a change of a znode
/// a comparison, and a copy of what it changes first.
pub const IMAGES_SENT_MAX: usize = 4;

/// Bytes of znodes that were changed while an image of them is sent, and wait to be sent as they were. A learner for which
/// more wait takes it too slowly, and is let go (reliability §7, "send queue per learner": here it is the state itself).
pub const IMAGE_COPIES_BYTES_MAX: usize = 256 << 20;

/// Snapshots that purge always leaves, whatever `autopurge.snapRetainCount` says (reliability R7; the floor is
/// stock's too).
pub const SNAPSHOTS_KEPT_MIN: usize = 3;

/// Log segments held in memory between their verification and their replay, bytes; past it they are read again.
pub const RECOVERY_KEEP_BYTES: u64 = 256 << 20;

/// Committed txns kept in memory for learners, bytes (in number, `commitLogCount`).
pub const HISTORY_BYTES_MAX: usize = 32 << 20;

/// Proposals outstanding at once in an ensemble: what three or four flushes carry at full load.
pub const PROPOSALS_OUTSTANDING_MAX: usize = 4 * BATCH_TXNS_MAX;

/// Payload bytes of a range of the log that a learner is sent instead of an image: at most, and at least however small the
/// image is.
pub const RANGE_BYTES_MAX: usize = 64 << 20;
/// See [`RANGE_BYTES_MAX`].
pub const RANGE_BYTES_MIN: usize = 4 << 20;

/// Descriptors that clients never get, so that a new log segment, a snapshot, another server and whoever asks the admin
/// server find one: what a server holds without a client, a few links to each other server, and 64 to spare
/// (reliability §7, F26).
pub const DESCRIPTORS_KEPT: u64 = 256;

/// Connections without a session: past it the oldest silent one is closed (DESIGN §8).
pub const SESSIONLESS_CONNECTIONS_MAX: usize = 16_384;

/// Identities of one connection (reliability M48).
pub const CONNECTION_IDENTITIES_MAX: usize = 16;

/// Znodes that one slice of a count looks at: 0.5 ms at 250 ns each, cold (DESIGN §2 rule 9).
pub const SLICE_ZNODES: usize = 2048;

/// Names that one slice of a listing copies: 0.5 ms at 60 ns each, cold.
pub const SLICE_NAMES: usize = 8192;

/// Longest list of children that is answered in one go.
pub const LISTING_WHOLE_MAX: u32 = 10_000;

/// Paths that one slice of a setWatches arms and registers: 0.5 ms at 500 ns each. One of a client's own size (128 KiB)
/// takes a few slices.
pub const SLICE_WATCHES: usize = 1024;

/// Distinct ACL lists beside the open one (reliability M25, §7).
pub const ACL_LISTS_MAX: usize = 1_000_000;

/// Guesses at the super user from one address within a second that shut it out (reliability M49), and for how long, ms.
pub const AUTH_FAILURES_PER_SECOND: u32 = 10;
/// See [`AUTH_FAILURES_PER_SECOND`].
pub const AUTH_SHUT_OUT_MS: u64 = 10_000;
/// Addresses whose guesses are remembered; further ones wait until old ones are forgotten.
pub const GUESSING_ADDRESSES: usize = 4096;

/// Steps of a SASL exchange on one connection (reliability M50).
pub const SASL_ROUNDS_MAX: u32 = 10;

/// Longest text of a client's that enters a log line, bytes (reliability M47).
pub const LOG_TEXT_BYTES_MAX: usize = 256;

/// Bytes that wait on one link between servers until the other end takes them; past it the link is given up. The longest
/// run of txns that is sent at once is 64 MiB; the smallest txn takes 36 bytes and, as PROPOSAL and COMMIT, 76. The rest is
/// for what is proposed meanwhile (reliability §7, "send queue per learner").
pub const LINK_OUTBOX_BYTES_MAX: usize = 192 << 20;

/// Bytes of packets that wait behind an image on its way to a learner; past it the link is given up.
pub const LINK_HELD_BYTES_MAX: usize = 64 << 20;

/// Bytes of packets that leave with one send, before the packet that crosses it ends the piece.
pub const LINK_PIECE_BYTES: usize = 256 << 10;

/// Bytes of an image that wait on its link before the next piece is asked for.
pub const LINK_IMAGE_AHEAD_BYTES: usize = 128 << 10;

/// Connections that other servers may open at once to each of the two ports, beside two for each configured server: past
/// it the oldest that has not said who it is makes room (reliability §7).
pub const LINK_SPARE_CONNECTIONS: usize = 16;

/// Longest list of servers that is read to tell whose ensemble its sender is of, bytes: 255 lines of 256 bytes.
pub const LINK_LIST_BYTES_MAX: usize = 64 << 10;

/// How much later than it meant to a turn of the sequencer begins when the machine, not the work, was the reason, ms: far
/// more than a turn takes, and less than the shortest session can be silent (two ticks).
pub const STANDSTILL_MS_MIN: u64 = 200;

/// Time one slice of a long answer or of a busy fan-out may take, microseconds (DESIGN §2 rule 9).
pub const SLICE_US_MAX: u64 = 500;

const _: () = assert!(INTEREST_SLOTS.is_power_of_two());
const _: () = assert!(RING_SLOTS.is_power_of_two());
const _: () = assert!(SHARD_CREDITS < RING_SLOTS);
const _: () = assert!(SHARDS_MAX < 64);
const _: () = assert!(LINK_HELD_BYTES_MAX < LINK_OUTBOX_BYTES_MAX);
