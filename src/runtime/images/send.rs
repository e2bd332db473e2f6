#![forbid(unsafe_code)]
//! A state out, as stock's stream, in chunks.
//!
//! Lives on: a thread of low priority ([`Job`]). It waits for room without being pinned; what the writer changes meanwhile
//! waits as copies, up to [`crate::base::limits::IMAGE_COPIES_BYTES_MAX`]. [`write`] knows nothing of threads.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};

use super::{CHUNK_BYTES, ImageOut, ImageReport, Teller};
use crate::sessions::SessionImage;
use crate::tree::{ImageWalker, NodeImage, Progress, StoredStat, acl_open};
use crate::wire::Acl;
use crate::wire::peer::snap::{OPEN_ACL, SnapEncoder, SnapNode, StatPersisted};

/// Znodes of a slice: how long the walker stays pinned.
const SLICE_NODES: usize = 512;

/// An image to send.
pub(super) struct Job {
    pub(super) out: ImageOut,
    pub(super) rooms: mpsc::Receiver<()>,
    pub(super) teller: Teller,
}

/// Why no more is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The image was dropped.
    Dropped,
    /// It cannot become whole.
    Broken(String),
}

impl Job {
    pub(super) fn run(self) {
        let Job { out, rooms, teller } = self;
        let link = teller.link;
        let written = write(out, &mut |bytes, last| {
            rooms.recv().map_err(|_| Stopped::Dropped)?;
            teller.tell(ImageReport::Chunk { link, bytes, last });
            Ok(())
        });
        if let Err(Stopped::Broken(why)) = written {
            teller.bad(why);
        }
        // The walker's place is free when the teller says that this has ended.
        drop(teller);
    }
}

/// Where the chunks go, each with whether it is the last.
type Give<'a> = &'a mut dyn FnMut(Vec<u8>, bool) -> Result<(), Stopped>;

/// Makes all of it, and gives it chunk by chunk.
///
/// # Errors
/// [`Stopped::Broken`], or what `give` says.
pub fn write(out: ImageOut, give: Give<'_>) -> Result<(), Stopped> {
    let ImageOut { mut walker, acls, sessions } = out;
    Chunks { give, bytes: Vec::new() }.write(&mut walker, &acls, &sessions)
}

struct Chunks<'a> {
    give: Give<'a>,
    bytes: Vec<u8>,
}

impl Chunks<'_> {
    fn write(
        &mut self,
        walker: &mut ImageWalker,
        acls: &[Arc<[Acl]>],
        sessions: &SessionImage,
    ) -> Result<(), Stopped> {
        let count = |n: usize| {
            u32::try_from(n).map_err(|_| Stopped::Broken(format!("{n} is more than its stream counts")))
        };
        let mut encoder = SnapEncoder::begin(count(sessions.len())?, &mut self.bytes);
        for (session, timeout_ms) in sessions.sessions() {
            encoder.session(session, timeout_ms, &mut self.bytes);
            self.give_full()?;
        }
        encoder.begin_acls(count(acls.len())?, &mut self.bytes);
        let mut numbers: HashMap<&[Acl], i64> = HashMap::from([(acl_open(), OPEN_ACL)]);
        for (list, number) in acls.iter().zip(1..) {
            encoder.acl(number, list, &mut self.bytes);
            numbers.insert(list, number);
            self.give_full()?;
        }
        loop {
            let left = CHUNK_BYTES.saturating_sub(self.bytes.len()).max(1);
            let (bytes, encoder) = (&mut self.bytes, &mut encoder);
            let progress = walker.next_slice(SLICE_NODES, left, &mut |image: NodeImage<'_>| {
                let acl = *numbers.get(image.acl).expect("every list was written before the znodes");
                let node = SnapNode { path: image.path, data: image.data, acl, stat: persisted(image.stat) };
                encoder.node(&node, bytes);
            });
            match progress {
                Progress::Done => break,
                Progress::More if self.bytes.len() < CHUNK_BYTES => std::thread::yield_now(),
                Progress::More => self.give_full()?,
                Progress::Aborted if walker.is_overrun() => {
                    let waiting = walker.queued().1 >> 20;
                    return Err(Stopped::Broken(format!(
                        "it is taken too slowly: {waiting} MiB of znodes that were changed meanwhile wait"
                    )));
                }
                Progress::Aborted => return Err(Stopped::Broken("the state was replaced".into())),
            }
        }
        encoder.end(&mut self.bytes);
        self.give(true)
    }

    fn give_full(&mut self) -> Result<(), Stopped> {
        if self.bytes.len() < CHUNK_BYTES { Ok(()) } else { self.give(false) }
    }

    fn give(&mut self, last: bool) -> Result<(), Stopped> {
        let room = if last { 0 } else { CHUNK_BYTES + CHUNK_BYTES / 8 };
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(room));
        (self.give)(bytes, last)
    }
}

fn persisted(stat: StoredStat) -> StatPersisted {
    StatPersisted {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.owner,
        pzxid: stat.pzxid,
    }
}
