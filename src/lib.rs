//! ringkeeper: a coordination server that ZooKeeper's clients cannot tell from ZooKeeper 3.9.5. This is its
//! architecture document: how a request travels, what each folder is, and the laws that hold it together.
//!
//! # Threads
//!
//! ```text
//!  clients ─► shard 0 accepts ── hands the socket to the shard with the fewest connections ──► shard i
//!
//!  shard i       a glommio executor (runtime/shard.rs) around a synchronous state machine (server/shard.rs):
//!                connections, their queues of requests, their watches. Reads end here.
//!       │ Submission ▲ Outcome       two queues a shard (runtime/ring.rs, runtime/messages.rs), a parked flag and a
//!       ▼            │               doorbell each way
//!  sequencer     one plain thread with a raw io_uring (runtime/sequencer, runtime/sys.rs): prep, zab, log, apply.
//!       │ Job        ▲ Done          The only writer of the tree
//!       ▼            │
//!  disk shard    a plain thread of low priority (runtime/disk.rs): snapshots, log segments made ahead, purge
//! ```
//!
//! `server/start.rs` builds all of it: probe the host, open and lock the folders, recover, start disk shard, sequencer
//! and shards, and bind the port last, so that it is there only when it can be answered.
//!
//! # A write
//!
//! 1. The shard's driver reads bytes and gives them to the logic (`Shard::on_bytes`), which pins a view of the tree for
//!    the turn, takes what the sequencer sent so far (`server/outcomes.rs`), and cuts frames (`server/connection.rs`).
//! 2. A write that decodes (`wire/request.rs`) takes one of the shard's credits and goes into the submission queue with
//!    its ticket, the generation of its attachment and the identities of its connection (`Shard::submit_request`). Out of
//!    credits, the frame stays where it is and the socket is not read. A write that stands behind a read of the same
//!    connection waits for that read: the read must not see it.
//! 3. The sequencer takes it (`Sequencer::take_submissions`), refuses it without a word if its attachment is no longer
//!    the session's, and *prepares* it at the next zxid (`pipeline/prep.rs`): every check, in stock's order, against the
//!    committed tree under the changes still outstanding (`pipeline/outstanding.rs`). The result is a txn in stock's
//!    bytes (`wire/txn.rs`), or an error that takes its zxid all the same.
//! 4. `zab` says append; the log collects (`storage/wal`). When no write is in flight, all that was collected leaves as
//!    one batch, padded to blocks, with `RWF_DSYNC`, in the same system call in which the sequencer would sleep. There is
//!    no timer: what arrives during a flush leaves with the next.
//! 5. The flush returns, `zab` commits (alone, its own flush is the quorum), and the round is applied
//!    (`Sequencer::apply_committed`, `pipeline/apply.rs`): the tree, sessions and ephemerals, containers, quotas; a reply
//!    and the change events come out.
//! 6. Replies and events go into the queues of the shards they concern: replies by ticket, events to the shards whose bit
//!    the interest table has (`watches/interest.rs`). Then the round is published, then the bells ring.
//! 7. The shard's next turn matches the reply to its place in the connection's queue (`Shard::decided`) and sends it.
//!
//! # A read
//!
//! Step 1 as above. Then `server/reads.rs` looks the path up in the pinned view (`tree/reader.rs`), checks the ACL
//! (`pipeline/acl.rs`) and appends the answer to the connection's output, with the view's zxid in the header. No lock, no
//! other core, and no allocation of its own; a read behind an unanswered write of its connection waits in the queue as
//! bytes (`Held`) until `Shard::drain` gets there. `sync` and `getEphemerals` cross to the sequencer and come back behind
//! everything that was submitted before them; they change nothing.
//!
//! A view is a snapshot at one zxid. Records are immutable versions chained newest first; a reader takes the newest at or
//! below its zxid and never waits. What the sequencer replaced is freed when no pin can reach it (`tree/reclaim.rs`).
//!
//! # A watch
//!
//! A read that sets one *arms* first: the shard's bit for the path's slot is set in the interest table, then `begun` is
//! loaded (`Shard::arm`). If the turn's view is older than that, the connection is set aside and the read answered in a
//! turn that is not. So a change is either in the data the client gets, or its event reaches this shard. The event
//! (`watches/event.rs`) carries the ACLs it needs; `Shard::event` fires the table (`watches/table.rs`), filters by READ,
//! and writes one frame for all who wait. Watches die with their connection; setWatches sets them again
//! (`watches/set_watches.rs`).
//!
//! # A session
//!
//! The handshake (`server/handshake.rs`) becomes a submission; the sequencer verifies the password, attaches the session
//! under a new generation and tells the old connection's shard to close (`sessions/table.rs`). While attached, a session
//! expires by its shard's clock: silent for its timeout, it becomes a suspect, its socket is read once more, and only
//! then does the shard propose the end. Attached nowhere, it expires by the sequencer's. Either way the end is a
//! closeSession txn that lists the ephemerals it deletes.
//!
//! A member may keep sessions of its own (`sessions/table/local.rs`, `runtime/sequencer/local.rs`): no txn says that they
//! begin or end, and the first ephemeral makes one global.
//!
//! # Between servers
//!
//! A member of an ensemble is the same server with links ([`runtime::peers`]), all of them sockets of the sequencer's
//! ring: what a turn sends to others leaves in the system call that writes the own log. `runtime/sequencer/member.rs`
//! carries events from links, disk and images to [`zab`] and performs what it wants, in its order. Links speak stock's
//! protocol; two servers of ours add checksums to it (`wire/peer/checked.rs`).
//!
//! - *The leader* prepares its own clients' requests and those that learners forward (`sequencer/leader.rs`); it knows
//!   which server holds which session, and hears from learners, with each ping, which sessions are alive.
//! - *A learner* forwards writes, asks about sessions that come from other servers, and answers its clients when it
//!   applies the txn that carries their session and number (`sequencer/learner.rs`). It reads from its own tree. A follower
//!   may serve observers (`zab/observer_master.rs`): they get what it has committed, and what they ask it passes on.
//! - *Without a leader* every client is closed, nothing that was asked is answered, and what is logged and not decided
//!   stays in the log, for the next leader to keep or to cut. It was never applied: nothing applied is ever taken back.
//!   Where that is asked for, clients may read what was applied until a leader is found
//!   (`runtime/sequencer/read_only.rs`).
//!
//! A txn is applied when a quorum has decided it and the own disk has it. What the own disk promised (epochs, the right
//! to vote) is saved by `runtime/keeper.rs`, which stands behind no other work. A server that is too far behind gets the
//! whole state ([`runtime::images`]), built beside its own and put in its place under the readers.
//!
//! # Folders
//!
//! From the top; each names only folders below it, and siblings do not know each other (`tests/tidy.rs` checks it).
//!
//! - [`cli`]: arguments, environment, files and signals come in here and nowhere else; logging, exit statuses.
//! - [`server`]: what the outside sees: connections, requests, reads, four-letter words; the start of it all.
//! - [`runtime`]: threads, clocks, rings, files. The only folder that knows glommio and io_uring.
//! - [`zab`]: who orders and when a proposal is committed: election, discovery, synchronization, broadcast, as one state
//!   machine.
//! - [`storage`]: what is on disk and in which order it must get there; recovery. Says what to write, never writes.
//! - [`pipeline`]: request to txn, txn to state; ACLs, quotas, containers.
//! - [`tree`]: many readers, one writer.
//! - [`sessions`]: who is connected, until when, and what they own.
//! - [`watches`]: who waits for what, and what a change fires.
//! - [`wire`]: ZooKeeper's encoding and every message in it, those between servers in `wire/peer`.
//! - [`config`]: zoo.cfg and properties to a checked configuration.
//! - [`base`]: numbers that travel, limits with their names, path rules.
//!
//! `zab`, `storage`, `pipeline`, `tree`, `sessions`, `watches`, `wire`, `config` and `base` know no clock, no random
//! numbers, no input or output and no threads: time and seeds are arguments.
//!
//! # Laws
//!
//! 1. **Apply is total.** All that can fail is decided in prep. Apply reads no clock, no random source, no setting that
//!    differs between servers; a txn whose digest is not the tree's stops the server (`pipeline/apply.rs`).
//! 2. **begun, records, replies and events, applied, bells, retire**, in that order, by the sequencer alone
//!    (`Sequencer::apply_committed`; modelled with loom in `tree/loom_models.rs`).
//! 3. **Events first.** A turn queues everything up to its zxid before it answers a read at it (`Shard::with_view`).
//! 4. **Interest before data.** Set the bit, fence, load `begun`, answer no earlier than that (`Shard::arm`).
//! 5. **A watch knows the zxid it was armed at** and ignores changes up to it (`watches/table.rs`).
//! 6. **A session's requests are answered in their order**, each read after the writes before it and before those behind
//!    it; other sessions never wait for them (`server/connection.rs`). The zxid a client sees never goes back: a client
//!    that has seen more than this server is refused.
//! 7. **Attaching is the sequencer's.** Nothing of an older attachment lands after the first answer of the newer one.
//! 8. **Expiry belongs to whoever holds the connection**, and its socket is read before it is given up.
//! 9. **Long answers to words go out in slices**, and an event is written once however many wait for it.
//! 10. **A pin lasts a turn and never crosses an await**: every borrow and every view ends within a synchronous function.
//! 11. **Everything is bounded** (`base/limits.rs`): credits, queued requests, output, watches, identities. The sequencer
//!     waits for nobody; pressure goes back to the socket.
//! 12. **Acknowledged is durable.** `applied ≤ committed ≤ last_logged` and `applied ≤ flushed`. A failed write or flush ends the
//!     process (`runtime/fatal.rs`); recovery reads what the disk holds and never guesses (`storage/recovery.rs`).
//!
//! # Where a test is
//!
//! `tests/README.md` says what each suite is. In short: `tests/mission` what the system is for, `tests/compat` what a
//! client may rely on, beside stock; `tests/sim` whole ensembles on made-up networks and disks; `tests/recovery` disks and
//! power; `tests/wire` and `tests/golden` recorded bytes; `tests/fuzz` decoders; `tests/tidy.rs` the rules of this page.
//!
//! # Not here yet
//!
//! Of ensembles: reconfig, repair of damaged ranges from peers. TLS, SASL, the admin HTTP server, the metrics page, the
//! audit log. Import and export of stock's files.
//! `getAllChildrenNumber` and long getChildren answers are made in one piece.

pub mod base;
pub mod cli;
pub mod config;
pub mod pipeline;
pub mod runtime;
pub mod server;
pub mod sessions;
pub mod storage;
pub mod tree;
pub mod watches;
pub mod wire;
pub mod zab;
