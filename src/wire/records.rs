#![forbid(unsafe_code)]
//! Records that occur inside many messages: Stat, Id, ACL (`zookeeper.jute`).

use super::jute::{DecodeError, Reader, Writer};

/// Bytes of an encoded [`Stat`].
pub const STAT_BYTES: usize = 68;

/// What clients see of a znode beside its data; ZooKeeper's field names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// zxid that created it.
    pub czxid: i64,
    /// zxid of the last data change; creation counts.
    pub mzxid: i64,
    /// Wall clock of the creation, ms since 1970.
    pub ctime: i64,
    /// Wall clock of the last data change, ms since 1970.
    pub mtime: i64,
    /// Data version.
    pub version: i32,
    /// As clients see it: 2 x stored count of creations - children, wrapping.
    pub cversion: i32,
    /// ACL version.
    pub aversion: i32,
    /// Owning session of a plain ephemeral, else 0.
    pub ephemeral_owner: i64,
    /// Bytes of data; 0 for null.
    pub data_length: i32,
    /// Direct children.
    pub num_children: i32,
    /// zxid of the last creation or deletion of a direct child.
    pub pzxid: i64,
}

impl Stat {
    /// Appends the 68 bytes.
    pub fn encode(&self, out: &mut impl Writer) {
        let mut bytes = [0u8; STAT_BYTES];
        bytes[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.version.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        bytes[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        bytes[52..56].copy_from_slice(&self.data_length.to_be_bytes());
        bytes[56..60].copy_from_slice(&self.num_children.to_be_bytes());
        bytes[60..68].copy_from_slice(&self.pzxid.to_be_bytes());
        out.raw(&bytes);
    }

    /// Reads the 68 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Stat, DecodeError> {
        Ok(Stat {
            czxid: r.long()?,
            mzxid: r.long()?,
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: r.long()?,
            data_length: r.int()?,
            num_children: r.int()?,
            pzxid: r.long()?,
        })
    }
}

/// Bits of [`Acl::perms`].
pub mod perms {
    /// Read data, Stat and children's names.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All five.
    pub const ALL: i32 = 31;
}

/// An identity: of a connection, or in an ACL. Bytes as Java writes them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Id {
    /// `world`, `digest`, `ip`, …
    pub scheme: Box<[u8]>,
    /// What the scheme makes of it.
    pub id: Box<[u8]>,
}

impl Id {
    /// An identity from text.
    pub fn new(scheme: &str, id: impl AsRef<[u8]>) -> Id {
        Id { scheme: scheme.as_bytes().into(), id: id.as_ref().into() }
    }
}

/// One entry of an access control list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Acl {
    /// Bits of [`perms`]; others are kept and never tested.
    pub perms: i32,
    /// Whom it is for.
    pub id: Id,
}

impl Acl {
    /// `world:anyone` with all permissions, the list a node gets by default.
    pub fn open() -> Acl {
        Acl { perms: perms::ALL, id: Id::new("world", "anyone") }
    }

    /// Whether this entry names everyone.
    pub fn is_world(&self) -> bool {
        &*self.id.scheme == b"world" && &*self.id.id == b"anyone"
    }
}

/// Appends a list; never null.
pub fn encode_acls(acls: &[Acl], out: &mut impl Writer) {
    out.int(i32::try_from(acls.len()).expect("an ACL list came from one frame"));
    for acl in acls {
        out.int(acl.perms);
        out.string(&acl.id.scheme);
        out.string(&acl.id.id);
    }
}

/// Bytes of what [`encode_acls`] appends.
pub fn acls_bytes(acls: &[Acl]) -> usize {
    4 + acls.iter().map(|acl| 12 + acl.id.scheme.len() + acl.id.id.len()).sum::<usize>()
}

/// Reads a list that was stored, where neither the list nor a part may be null (a null list reads as empty).
pub fn decode_acls(r: &mut Reader<'_>) -> Result<Vec<Acl>, DecodeError> {
    let count = r.count()?.unwrap_or(0);
    let mut acls = Vec::with_capacity((count as usize).min(r.rest().len() / 12));
    for _ in 0..count {
        acls.push(Acl { perms: r.int()?, id: decode_id(r)? });
    }
    Ok(acls)
}

/// Reads an identity of which neither part may be null.
pub(super) fn decode_id(r: &mut Reader<'_>) -> Result<Id, DecodeError> {
    let scheme = r.string()?.ok_or(DecodeError::Null)?.into();
    let id = r.string()?.ok_or(DecodeError::Null)?.into();
    Ok(Id { scheme, id })
}
