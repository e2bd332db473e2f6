#![forbid(unsafe_code)]
//! Text about a file of ours, for operators: `inspect wal` and `inspect snapshot`. Takes bytes, never changes any, and
//! says as much as can be read, damage included.

use std::fmt::{Result, Write};

use super::aligned::AlignedBuf;
use super::snapshot::{self, ChunkKind, Part, Received, SnapshotMeta};
use super::wal::{self, BatchKind, BatchSpan, Scanned, SegmentHeader, SegmentScan};
use crate::base::Zxid;
use crate::wire::OpCode;
use crate::wire::jute::Reader;
use crate::wire::txn::TxnHeader;

/// Describes one log segment: its header, each batch, and each record of it by the header of its txn.
pub fn wal(bytes: &[u8], out: &mut dyn Write) -> Result {
    let header = match SegmentHeader::decode(bytes) {
        Ok(header) => header,
        Err(error) => return writeln!(out, "{error}"),
    };
    let SegmentHeader { identity, segment, generation, start, .. } = header;
    writeln!(out, "segment {segment}  size {}  generation {generation:016x}", header.bytes)?;
    writeln!(out, "cluster {}  server {}", identity.cluster, identity.server.0)?;
    match start {
        Some(start) => {
            writeln!(out, "first zxid {}  after {}  chain {:?}", start.first, start.previous, start.chain)?
        }
        None => writeln!(out, "prepared, nothing written yet")?,
    }
    match wal::scan(identity.cluster, segment, bytes) {
        Scanned::Active(scan) => wal_batches(&scan, bytes, out),
        Scanned::Headless { first, last } => {
            writeln!(out, "DAMAGED header: batches with zxids {first} to {last} verify")
        }
        Scanned::Unused | Scanned::Unexplained { .. } | Scanned::Misnamed(_) => Ok(()),
        Scanned::Foreign(_) | Scanned::Newer(_) => Ok(()),
    }
}

fn wal_batches(scan: &SegmentScan, bytes: &[u8], out: &mut dyn Write) -> Result {
    let mut faults = scan.faults.iter().peekable();
    for span in &scan.batches {
        while let Some(fault) = faults.next_if(|fault| fault.offset < span.offset) {
            writeln!(out, "{:>10}  DAMAGED up to {}", fault.offset, fault.until)?;
        }
        let BatchSpan { offset, header } = span;
        let kind = match header.kind {
            BatchKind::Batch => "batch",
            BatchKind::Seal => "seal ",
            BatchKind::Cut => "cut  ",
            BatchKind::Restart => "begin",
        };
        writeln!(
            out,
            "{offset:>10}  {kind}  zxids {} to {}  records {}  bytes {}  committed {}  hash {:?}",
            header.first, header.last, header.count, header.length, header.committed, header.hash
        )?;
        for (zxid, payload) in span.records(bytes) {
            wal_record(zxid, payload, out)?;
        }
    }
    for fault in faults {
        writeln!(out, "{:>10}  DAMAGED up to {}", fault.offset, fault.until)?;
    }
    match scan.torn {
        Some(torn) => {
            writeln!(out, "{:>10}  torn batch of {} bytes, never acknowledged", torn.offset, torn.bytes)
        }
        None => writeln!(out, "{:>10}  end", scan.end),
    }
}

fn wal_record(zxid: Zxid, payload: &[u8], out: &mut dyn Write) -> Result {
    let length = payload.len();
    match TxnHeader::decode(&mut Reader::new(payload)) {
        Ok(TxnHeader { session, cxid, time, op, .. }) => {
            let label = OpCode::from_i32(op).map_or("?", OpCode::label);
            writeln!(
                out,
                "{:>12}{zxid}  {label} ({op})  session 0x{session:x}  cxid {cxid}  time {time}  bytes {length}",
                ""
            )
        }
        Err(_) => writeln!(out, "{:>12}{zxid}  bytes {length}, no txn header", ""),
    }
}

/// Describes a snapshot: its header, each chunk, and with `nodes` each session and znode.
pub fn snapshot(bytes: &[u8], nodes: bool, out: &mut dyn Write) -> Result {
    let meta = match SnapshotMeta::decode(bytes) {
        Ok(meta) => meta,
        Err(fault) => return writeln!(out, "{fault}"),
    };
    let SnapshotMeta { identity, zxid, digest, digest_version, taken, received } = meta;
    writeln!(out, "snapshot at zxid {zxid}  digest {digest_version}/{digest}  taken {}", taken.0)?;
    writeln!(out, "cluster {}  server {}", identity.cluster, identity.server.0)?;
    if let Some(received) = received {
        let Received { log_from, confirmed } = received;
        writeln!(out, "received from a leader, log from segment {log_from} on  confirmed {confirmed}")?;
    }
    let mut read = |offset: u64, length: usize| {
        let from = usize::try_from(offset).map_err(|error| error.to_string())?;
        let part = bytes.get(from..).and_then(|rest| rest.get(..length));
        part.map(AlignedBuf::copy_of).ok_or_else(|| "the file ends early".to_owned())
    };
    let index = match snapshot::index(identity.cluster, bytes.len() as u64, &mut read) {
        Ok(index) => index,
        Err(fault) => return writeln!(out, "DAMAGED: {fault}"),
    };
    let totals = index.totals;
    writeln!(out, "znodes {}  sessions {}  ACL lists {}", totals.nodes, totals.sessions, totals.acls)?;
    for span in &index.chunks {
        let part = usize::try_from(span.bytes).map_err(|_| std::fmt::Error)?;
        let part = read(span.offset, part).map_err(|_| std::fmt::Error)?;
        match index.part(span, part) {
            Ok(part) => snapshot_part(span, &part, nodes, out)?,
            Err(fault) => writeln!(out, "{:>10}  DAMAGED: {fault}", span.offset)?,
        }
    }
    Ok(())
}

fn snapshot_part(span: &snapshot::ChunkSpan, part: &Part, nodes: bool, out: &mut dyn Write) -> Result {
    let (what, records) = match span.kind {
        ChunkKind::Acls => ("ACL lists", part.acls().count()),
        ChunkKind::Sessions => ("sessions", part.sessions().count()),
        _ => ("znodes", part.nodes().count()),
    };
    writeln!(out, "{:>10}  {what}  records {records}  bytes {}", span.offset, span.bytes)?;
    if !nodes {
        return Ok(());
    }
    for (session, timeout_ms) in part.sessions() {
        writeln!(out, "{:>12}session {session}  timeout {timeout_ms} ms", "")?;
    }
    for node in part.nodes() {
        let path = String::from_utf8_lossy(node.path);
        let data = node.data.map_or("null".to_owned(), |data| format!("{} bytes", data.len()));
        writeln!(
            out,
            "{:>12}{}  data {data}  czxid 0x{:x}  mzxid 0x{:x}  pzxid 0x{:x}  version {}  cversion {}  aversion {}  \
             owner 0x{:x}  acl {}",
            "",
            path.escape_debug(),
            node.czxid,
            node.mzxid,
            node.pzxid,
            node.version,
            node.cversion,
            node.aversion,
            node.owner,
            node.acl
        )?;
    }
    Ok(())
}
