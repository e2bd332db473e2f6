#![forbid(unsafe_code)]
//! What the sequencer touches that is not its own: the ring with the log's write and the sockets, the disk shard, the
//! keeper, the images, the clocks. [`Machine`] is the real one; the simulator makes up another, and runs this very code in it.
//!
//! Everything is known when it is compiled: on the machine each method is the call that stands behind it. What comes back
//! comes as in production, later and through reports, so that no order exists here that cannot exist there.

use std::io;
use std::time::Duration;

use super::Batch;
use crate::base::{Epoch, Millis, WallMillis, Zxid};
use crate::pipeline::Leftover;
use crate::runtime::Clock;
use crate::runtime::disk::{DiskLink, Done, Job, LogFile};
use crate::runtime::images::{ImageOut, ImageReport, Images, Txns};
use crate::runtime::keeper::{Keeper, KeeperReport};
use crate::runtime::peers::Sockets;
use crate::runtime::sys::{Durability, Ring, Woken};
use crate::storage::snapshot::Received;
use crate::storage::wal::{LogSpan, SegmentId};
use crate::zab::message::LinkId;

/// One set of all that the sequencer touches.
pub trait World: 'static {
    /// The log's writes, and the sockets of other servers.
    type Io: SequencerIo<File = <Self::Disk as DiskShard>::File>;
    /// Segments and snapshots.
    type Disk: DiskShard;
    /// The epoch record, and ranges of the log.
    type Keeper: EpochKeeper;
    /// Whole states.
    type Images: ImageMover;
    /// Both clocks.
    type Clock: Clocks;
    /// Whether memory that waits for its readers is a reason to wake up. How long they take depends on the whole process:
    /// a run that is to be repeated leaves such memory for its next turn.
    const WAKES_TO_RECLAIM: bool;
}

/// What [`Ring`] does for the sequencer beside its sockets.
pub trait SequencerIo: Sockets {
    /// An open segment of the log.
    type File;
    /// See [`Ring::is_writing`].
    fn is_writing(&self) -> bool;
    /// See [`Ring::write`].
    fn write(&mut self, file: &Self::File, batch: Batch, durability: Durability);
    /// Makes what was written to the file durable, and waits for it.
    ///
    /// # Errors
    /// The disk's; what is durable is unknown then.
    fn flush(&mut self, file: &Self::File) -> io::Result<()>;
    /// See [`Ring::take_buffer`].
    fn take_buffer(&mut self) -> Option<Batch>;
    /// See [`Ring::turn`].
    ///
    /// # Errors
    /// When nothing can be submitted any more; the server cannot go on.
    fn turn(&mut self, wait: Option<Duration>) -> io::Result<Woken>;
}

/// What [`DiskLink`] does.
pub trait DiskShard {
    /// An open segment of the log.
    type File;
    /// See [`DiskLink::send`].
    fn send(&mut self, job: Job);
    /// See [`DiskLink::has_report`].
    fn has_report(&mut self) -> bool;
    /// See [`DiskLink::take`].
    fn take(&mut self) -> Option<Done>;
    /// See [`DiskLink::take_file`].
    fn take_file(&mut self, segment: SegmentId) -> Self::File;
    /// Which segment the file is.
    fn segment(file: &Self::File) -> SegmentId;
}

/// What [`Keeper`] does.
pub trait EpochKeeper {
    /// See [`Keeper::save_epoch`].
    fn save_epoch(&mut self, accepted: Epoch, current: Epoch);
    /// See [`Keeper::admit`].
    fn admit(&mut self);
    /// See [`Keeper::disown`].
    fn disown(&mut self);
    /// See [`Keeper::read_log`].
    fn read_log(&mut self, link: LinkId, span: LogSpan, after: Zxid, up_to: Zxid, snapshot_bytes: u64);
    /// See [`Keeper::has_report`].
    fn has_report(&mut self) -> bool;
    /// See [`Keeper::take`].
    fn take(&mut self) -> Option<KeeperReport>;
}

/// What [`Images`] does.
pub trait ImageMover {
    /// See [`Images::send`].
    fn send(&mut self, link: LinkId, out: ImageOut);
    /// See [`Images::room`].
    fn room(&mut self, link: LinkId);
    /// See [`Images::receive`].
    fn receive(&mut self, link: LinkId, zxid: Zxid);
    /// See [`Images::bytes`].
    fn bytes(&mut self, link: LinkId, bytes: Vec<u8>);
    /// See [`Images::install`].
    fn install(&mut self, link: LinkId, zxid: Zxid, txns: Txns, received: Received);
    /// See [`Images::drop_image`].
    fn drop_image(&mut self, link: LinkId);
    /// See [`Images::has_report`].
    fn has_report(&mut self) -> bool;
    /// See [`Images::take`].
    fn take(&mut self) -> Option<ImageReport>;
    /// See [`Images::discard`].
    fn discard(&mut self, leftover: Leftover);
}

/// What [`Clock`] does.
pub trait Clocks {
    /// See [`Clock::now`].
    fn now(&self) -> Millis;
    /// See [`Clock::wall`].
    fn wall(&self) -> WallMillis;
}

/// The machine this process runs on.
#[derive(Clone, Copy, Debug)]
pub enum Machine {}

impl World for Machine {
    type Io = Ring<Batch>;
    type Disk = DiskLink;
    type Keeper = Keeper;
    type Images = Images;
    type Clock = Clock;
    const WAKES_TO_RECLAIM: bool = true;
}

impl SequencerIo for Ring<Batch> {
    type File = LogFile;
    fn is_writing(&self) -> bool {
        Ring::is_writing(self)
    }
    fn write(&mut self, file: &LogFile, batch: Batch, durability: Durability) {
        let offset = batch.0.offset;
        Ring::write(self, file.as_fd(), batch, offset, durability);
    }
    fn flush(&mut self, file: &LogFile) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(file.as_fd())?)
    }
    fn take_buffer(&mut self) -> Option<Batch> {
        Ring::take_buffer(self)
    }
    fn turn(&mut self, wait: Option<Duration>) -> io::Result<Woken> {
        Ring::turn(self, wait)
    }
}

impl DiskShard for DiskLink {
    type File = LogFile;
    fn send(&mut self, job: Job) {
        DiskLink::send(self, job);
    }
    fn has_report(&mut self) -> bool {
        DiskLink::has_report(self)
    }
    fn take(&mut self) -> Option<Done> {
        DiskLink::take(self)
    }
    fn take_file(&mut self, segment: SegmentId) -> LogFile {
        DiskLink::take_file(self, segment)
    }
    fn segment(file: &LogFile) -> SegmentId {
        file.segment
    }
}

impl EpochKeeper for Keeper {
    fn save_epoch(&mut self, accepted: Epoch, current: Epoch) {
        Keeper::save_epoch(self, accepted, current);
    }
    fn admit(&mut self) {
        Keeper::admit(self);
    }
    fn disown(&mut self) {
        Keeper::disown(self);
    }
    fn read_log(&mut self, link: LinkId, span: LogSpan, after: Zxid, up_to: Zxid, snapshot_bytes: u64) {
        Keeper::read_log(self, link, span, after, up_to, snapshot_bytes);
    }
    fn has_report(&mut self) -> bool {
        Keeper::has_report(self)
    }
    fn take(&mut self) -> Option<KeeperReport> {
        Keeper::take(self)
    }
}

impl ImageMover for Images {
    fn send(&mut self, link: LinkId, out: ImageOut) {
        Images::send(self, link, out);
    }
    fn room(&mut self, link: LinkId) {
        Images::room(self, link);
    }
    fn receive(&mut self, link: LinkId, zxid: Zxid) {
        Images::receive(self, link, zxid);
    }
    fn bytes(&mut self, link: LinkId, bytes: Vec<u8>) {
        Images::bytes(self, link, bytes);
    }
    fn install(&mut self, link: LinkId, zxid: Zxid, txns: Txns, received: Received) {
        Images::install(self, link, zxid, txns, received);
    }
    fn drop_image(&mut self, link: LinkId) {
        Images::drop_image(self, link);
    }
    fn has_report(&mut self) -> bool {
        Images::has_report(self)
    }
    fn take(&mut self) -> Option<ImageReport> {
        Images::take(self)
    }
    fn discard(&mut self, leftover: Leftover) {
        Images::discard(self, leftover);
    }
}

impl Clocks for Clock {
    fn now(&self) -> Millis {
        Clock::now(self)
    }
    fn wall(&self) -> WallMillis {
        Clock::wall(self)
    }
}
