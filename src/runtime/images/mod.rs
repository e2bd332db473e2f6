#![forbid(unsafe_code)]
//! Whole states between servers: stock's SNAP stream (ensemble-protocol §3.5) out of a tree that writes go on in, and into
//! a tree beside the one that is served.
//!
//! ```text
//! a learner's leader                              a learner
//!   send; room ─► Chunk … Chunk{last} ── link ──►   receive; bytes ─► Taken … Received{rest}
//!                                                   install ─► Installed ─► Pipeline::adopt
//! ```
//!
//! - `send.rs`: a walker's znodes, encoded, a few chunks ahead of the link.
//! - `receive.rs`: decoded, judged, built; then the txns behind it, its own snapshot on disk, and the state is handed over.
//!
//! What is sent is exact at one zxid, parents before children. What is received may be fuzzy, as stock's is: the txns
//! that follow it make it exact, and the digest of the last one says whether they did.
//!
//! Lives on: [`Images`] on the sequencer, which never waits for it; the work on threads of low priority, one for each
//! image. They come to their end with the image: at its last report, or when [`Images::drop_image`] is called.
//!
//! Not here: sockets (`runtime`'s links), when an image is sent and what a received one means (zab).

pub mod receive;
pub mod send;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, mpsc};

use super::Clock;
use super::files::DataDirs;
use super::{host, sys};
use crate::base::{Zxid, limits};
use crate::pipeline::{self, Leftover, Pipeline};
use crate::sessions::SessionImage;
use crate::storage::Identity;
use crate::storage::snapshot::Received;
use crate::tree::ImageWalker;
use crate::wire::Acl;
use crate::zab::message::LinkId;

/// What images are made and judged by.
#[derive(Clone)]
pub struct Settings {
    /// Where an installed state's snapshot goes.
    pub dirs: Arc<DataDirs>,
    /// Whose it is.
    pub identity: Identity,
    /// For the clocks of its sessions.
    pub clock: Clock,
    /// What a received state is judged and built by.
    pub intake: Intake,
    /// Random: seed of the received trees.
    pub seed: u64,
}

/// What a received state is judged and built by.
#[derive(Clone)]
pub struct Intake {
    /// What its pipeline goes by.
    pub pipeline: pipeline::Settings,
    /// `tickTime`: buckets of its session table.
    pub tick_ms: u64,
    /// Longest path, data or ACL list that is taken, bytes: `jute.maxbuffer` and its extra size, to which stock holds them.
    pub element_bytes_max: usize,
    /// Memory that it may take, bytes; see [`memory_bytes_max`].
    pub image_bytes_max: u64,
}

/// Half of what the process may take: the state it replaces needs the other half.
pub fn memory_bytes_max() -> u64 {
    let (_, memory_mb) = host::memory_mb();
    memory_mb << 19
}

/// A state to send. What is not sent after all is given to [`Images::send`] and dropped there: the walker ends by going
/// through the whole tree, which is not for the sequencer.
pub struct ImageOut {
    /// The znodes ([`crate::tree::TreeWriter::begin_image`] with [`limits::IMAGE_COPIES_BYTES_MAX`]), and the zxid.
    pub walker: ImageWalker,
    /// Every ACL list they name.
    pub acls: Vec<Arc<[Acl]>>,
    /// Sessions as of that zxid.
    pub sessions: SessionImage,
}

impl ImageOut {
    /// Of what `pipeline` has published; `None` when [`limits::IMAGES_SENT_MAX`] are on their way. Between txns only.
    pub fn of(pipeline: &mut Pipeline) -> Option<ImageOut> {
        let walker = pipeline.tree().begin_image(limits::IMAGE_COPIES_BYTES_MAX)?;
        let acls = pipeline.tree().acl_lists();
        Some(ImageOut { walker, acls, sessions: pipeline.sessions_ref().image().clone() })
    }
}

/// What came of an image.
pub enum ImageReport {
    /// The next bytes for the link, which asked for them. After the `last` nothing is reported of this image any more.
    Chunk {
        /// Whose.
        link: LinkId,
        /// Raw bytes of the stream, [`CHUNK_BYTES`] or a little more.
        bytes: Vec<u8>,
        /// Nothing follows.
        last: bool,
    },
    /// Bytes were read; the next may come.
    Taken {
        /// Whose.
        link: LinkId,
    },
    /// The image is whole and stands beside the state.
    Received {
        /// Whose.
        link: LinkId,
        /// What came behind it: packets.
        rest: Vec<u8>,
    },
    /// The image is forgotten: it is malformed, or did not become what its txns say, or one that was sent could not go on.
    /// Its link is to be given up. When it was to be installed, the state before it is untouched, in memory and on disk.
    Bad {
        /// Whose.
        link: LinkId,
        /// For the log.
        why: String,
    },
    /// The state is durable in a snapshot that the log does not reach. The log's restart is next, then
    /// [`Pipeline::adopt`]; the disk shard has to hear of the snapshot ([`super::disk::Job::Received`]).
    Installed {
        /// Whose.
        link: LinkId,
        /// The state's.
        zxid: Zxid,
        /// The state.
        state: Box<Pipeline>,
        /// Size of the snapshot.
        snapshot_bytes: u64,
    },
    /// The snapshot could not be made durable. The old state is untouched, in memory and on disk; a server that cannot
    /// write has to stop.
    InstallFailed {
        /// Whose.
        link: LinkId,
        /// For the log.
        why: String,
    },
}

impl ImageReport {
    /// Whose it is.
    pub fn link(&self) -> LinkId {
        match self {
            ImageReport::Chunk { link, .. }
            | ImageReport::Taken { link }
            | ImageReport::Received { link, .. }
            | ImageReport::Bad { link, .. }
            | ImageReport::Installed { link, .. }
            | ImageReport::InstallFailed { link, .. } => *link,
        }
    }

    fn is_final(&self) -> bool {
        match self {
            ImageReport::Chunk { last, .. } => *last,
            ImageReport::Taken { .. } | ImageReport::Received { .. } => false,
            ImageReport::Bad { .. } | ImageReport::Installed { .. } | ImageReport::InstallFailed { .. } => {
                true
            }
        }
    }
}

/// Bytes of a chunk that is sent; the element that crosses it ends it.
pub const CHUNK_BYTES: usize = 128 << 10;

/// Chunks that are made before the link has asked for them, beside the one in the making.
const CHUNKS_AHEAD: usize = 2;

/// Txns in their order, as prep made them.
pub type Txns = Vec<(Zxid, Box<[u8]>)>;

/// Wakes the sequencer after a report.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// All images that are on their way, by link. A link has one at a time.
pub struct Images {
    settings: Arc<Settings>,
    wake: Wake,
    reports: mpsc::Receiver<(u64, ImageReport)>,
    told: mpsc::Sender<(u64, ImageReport)>,
    /// Reports that were looked at and not taken.
    next: VecDeque<ImageReport>,
    outgoing: mpsc::Sender<send::Job>,
    images: HashMap<LinkId, Image>,
    /// Images so far: an old one's late reports are told from a new one's by it.
    number: u64,
    alive: Arc<()>,
}

struct Image {
    number: u64,
    way: Way,
}

enum Way {
    Out(Outgoing),
    In(mpsc::Sender<receive::Order>),
    /// What becomes of it is reported whatever happens to the link.
    Installing,
}

/// An image that is being sent.
struct Outgoing {
    /// Each message lets the thread make a chunk.
    made: mpsc::Sender<()>,
    /// Chunks that the link has asked for and not got.
    wanted: usize,
    /// Chunks that it has not asked for.
    ahead: VecDeque<ImageReport>,
}

/// How a thread reports.
struct Teller {
    link: LinkId,
    number: u64,
    told: mpsc::Sender<(u64, ImageReport)>,
    wake: Wake,
    /// Counts the image until it ends.
    alive: Option<Arc<()>>,
}

impl Drop for Teller {
    /// Whoever waited for an image to end, or for a walker's place, looks again.
    fn drop(&mut self) {
        self.alive = None;
        (self.wake)();
    }
}

impl Outgoing {
    /// The next chunk, if there is one and it was asked for.
    fn next(&mut self) -> Option<ImageReport> {
        if self.wanted == 0 {
            return None;
        }
        let chunk = self.ahead.pop_front()?;
        self.wanted -= 1;
        // A thread that has ended needs no room.
        let _ = self.made.send(());
        Some(chunk)
    }
}

impl Teller {
    fn tell(&self, report: ImageReport) {
        // Without anybody to read it the process is on its way out.
        let _ = self.told.send((self.number, report));
        (self.wake)();
    }

    fn bad(&self, why: String) {
        self.tell(ImageReport::Bad { link: self.link, why });
    }
}

impl Images {
    /// No image yet. `wake` is called on the threads, after each report and when an image has ended.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn new(settings: Settings, wake: Wake) -> io::Result<Images> {
        let (told, reports) = mpsc::channel();
        let (outgoing, inbox) = mpsc::channel::<send::Job>();
        let inbox = Arc::new(Mutex::new(inbox));
        for number in 0..limits::IMAGES_SENT_MAX {
            let inbox = Arc::clone(&inbox);
            std::thread::Builder::new().name(format!("image-out-{number}")).spawn(move || {
                sys::lower_priority();
                loop {
                    // Held while waiting: whoever gets it gets the next job.
                    let job = inbox.lock().map(|inbox| inbox.recv());
                    let Ok(Ok(job)) = job else { return };
                    job.run();
                }
            })?;
        }
        Ok(Images {
            settings: Arc::new(settings),
            wake,
            reports,
            told,
            next: VecDeque::new(),
            outgoing,
            images: HashMap::new(),
            number: 0,
            alive: Arc::new(()),
        })
    }

    /// Begins to send a state. Each chunk of it is reported after an [`Images::room`], and made before that.
    pub fn send(&mut self, link: LinkId, out: ImageOut) {
        let (made, rooms) = mpsc::channel();
        for _ in 0..CHUNKS_AHEAD {
            let _ = made.send(());
        }
        let teller = self.enter(link, Way::Out(Outgoing { made, wanted: 0, ahead: VecDeque::new() }));
        // The threads end only when `self` does.
        let _ = self.outgoing.send(send::Job { out, rooms, teller });
    }

    /// The link wants the next chunk.
    pub fn room(&mut self, link: LinkId) {
        let Some(Image { way: Way::Out(outgoing), .. }) = self.images.get_mut(&link) else { return };
        outgoing.wanted += 1;
        if let Some(chunk) = outgoing.next() {
            self.forget_if_final(&chunk);
            self.next.push_back(chunk);
        }
    }

    /// Begins to receive an image that its sender calls `zxid`.
    pub fn receive(&mut self, link: LinkId, zxid: Zxid) {
        let (orders, inbox) = mpsc::channel();
        let teller = self.enter(link, Way::In(orders));
        let settings = Arc::clone(&self.settings);
        let seed = self.settings.seed ^ self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let spawned = std::thread::Builder::new().name("image-in".into()).spawn(move || {
            sys::lower_priority();
            receive::run(&settings, zxid, seed, &inbox, &teller);
        });
        if let Err(error) = spawned {
            let why = format!("there is no thread for it: {error}");
            let _ = self.told.send((self.number, ImageReport::Bad { link, why }));
            (self.wake)();
        }
    }

    /// Bytes of an image came; the next after [`ImageReport::Taken`].
    pub fn bytes(&mut self, link: LinkId, bytes: Vec<u8>) {
        self.order(link, receive::Order::Bytes(bytes));
    }

    /// Applies these txns to a received image, which then stands at `zxid`, and makes it durable; `received` is what its
    /// snapshot says of the log. Those that the image holds already, by its zxid, are passed over. From now on it cannot
    /// be dropped: what becomes of it is reported.
    pub fn install(&mut self, link: LinkId, zxid: Zxid, txns: Txns, received: Received) {
        self.order(link, receive::Order::Install { zxid, txns, received });
        if let Some(image) = self.images.get_mut(&link) {
            image.way = Way::Installing;
        }
    }

    /// Forgets an image that is being sent or received; nothing more is reported of it.
    pub fn drop_image(&mut self, link: LinkId) {
        if matches!(self.images.get(&link), Some(Image { way: Way::Installing, .. })) {
            return;
        }
        // Its thread waits for what can no longer come, and ends.
        self.images.remove(&link);
        let is_told = |report: &ImageReport| {
            let installed =
                matches!(report, ImageReport::Installed { .. } | ImageReport::InstallFailed { .. });
            installed || report.link() != link
        };
        self.next.retain(is_told);
    }

    /// Whether a report waits.
    pub fn has_report(&mut self) -> bool {
        if self.next.is_empty() {
            let report = self.look();
            self.next.extend(report);
        }
        !self.next.is_empty()
    }

    /// The oldest report.
    pub fn take(&mut self) -> Option<ImageReport> {
        self.next.pop_front().or_else(|| self.look())
    }

    fn look(&mut self) -> Option<ImageReport> {
        while let Ok((number, report)) = self.reports.try_recv() {
            let image = self.images.get_mut(&report.link()).filter(|image| image.number == number);
            let report = match (image, report) {
                (None, _) => continue, // It was dropped.
                (Some(Image { way: Way::Out(outgoing), .. }), chunk @ ImageReport::Chunk { .. }) => {
                    outgoing.ahead.push_back(chunk);
                    let Some(chunk) = outgoing.next() else { continue };
                    chunk
                }
                (Some(_), report) => report,
            };
            self.forget_if_final(&report);
            return Some(report);
        }
        None
    }

    fn forget_if_final(&mut self, report: &ImageReport) {
        if report.is_final() {
            self.images.remove(&report.link());
        }
    }

    /// Images whose work has not ended, dropped ones included.
    pub fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }

    /// Lets go of what [`Pipeline::adopt`] took out, on a thread of its own.
    pub fn discard(&self, leftover: Leftover) {
        let discard = std::thread::Builder::new().name("image-discard".into());
        let spawned = discard.spawn(move || {
            sys::lower_priority();
            drop(leftover);
        });
        // Without a thread it was dropped here.
        drop(spawned);
    }

    fn enter(&mut self, link: LinkId, way: Way) -> Teller {
        self.number += 1;
        let before = self.images.insert(link, Image { number: self.number, way });
        assert!(before.is_none(), "two images on link {link:?}");
        let (told, wake) = (self.told.clone(), Arc::clone(&self.wake));
        Teller { link, number: self.number, told, wake, alive: Some(Arc::clone(&self.alive)) }
    }

    fn order(&mut self, link: LinkId, order: receive::Order) {
        if let Some(Image { way: Way::In(orders), .. }) = self.images.get(&link) {
            // A thread that has ended said why.
            let _ = orders.send(order);
        }
    }
}
