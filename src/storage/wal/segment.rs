#![forbid(unsafe_code)]
//! Preparing a segment ahead of its use: the steps, and what the log needs to know of the result.
//!
//! A segment is whole under its final name or not there at all: it is filled and flushed under the name of a part,
//! then renamed, then its directory is made durable (reliability R2). Whatever a crash leaves under a part's name is
//! free to be reused or removed.

use super::format::{SegmentHeader, SegmentId};
use crate::storage::action::FileAction;
use crate::storage::aligned::{AlignedBuf, BLOCK_BYTES};
use crate::storage::{Identity, names};

/// A segment that is durable under its name and holds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PreparedSegment {
    /// Its number.
    pub segment: SegmentId,
    /// The random number in its header.
    pub generation: u64,
    /// Its size.
    pub bytes: u64,
}

impl PreparedSegment {
    /// Steps in the log directory that make the segment, out of zeros.
    pub fn create(&self, identity: Identity) -> Vec<FileAction> {
        let part = names::segment_part(self.segment);
        let header = BLOCK_BYTES as u64;
        let mut steps = vec![
            FileAction::Create { name: part.clone() },
            FileAction::Zero { name: part.clone(), offset: header, bytes: self.bytes - header },
        ];
        self.publish(identity, part, &mut steps);
        steps
    }

    /// Steps in the log directory that make the segment out of the file `old`, which is `bytes` long and whose
    /// contents are no longer needed. They stay where they are: nothing of another generation verifies.
    pub fn recycle(&self, identity: Identity, old: &str) -> Vec<FileAction> {
        let part = names::segment_part(self.segment);
        let mut steps = Vec::new();
        if old != part {
            // Durable before the header changes: a file under the old name never has a new number.
            steps.push(FileAction::Rename { from: old.to_owned(), to: part.clone() });
            steps.push(FileAction::SyncDirectory);
        }
        self.publish(identity, part, &mut steps);
        steps
    }

    fn publish(&self, identity: Identity, part: String, steps: &mut Vec<FileAction>) {
        let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
        let header = SegmentHeader {
            identity,
            segment: self.segment,
            generation: self.generation,
            bytes: self.bytes,
            start: None,
        };
        header.encode(&mut block);
        steps.extend([
            FileAction::Write { name: part.clone(), offset: 0, bytes: block },
            FileAction::Flush { name: part.clone() },
            FileAction::Rename { from: part, to: names::segment(self.segment) },
            FileAction::SyncDirectory,
        ]);
    }
}
