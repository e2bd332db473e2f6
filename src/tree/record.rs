#![forbid(unsafe_code)]
//! The immutable versions of a znode: `Data` (everything but its children) and `Dir` (its children and the two fields
//! that change with them).
//!
//! Most znodes are created and never changed. For them `Data` is 24 bytes and the data: the zxid that made it is czxid
//! and mzxid, its time ctime and mtime, the versions are 0, nobody owns it, and there was no version before. Anything
//! else is in the extension, 48 bytes more. With 100 bytes of data the common record is 124 bytes, one allocation of 128.
//!
//! Versions made by one txn replace each other (a multi may touch a znode twice): the predecessor of a record is always
//! of an earlier txn.
//!
//! Lives on: made on the sequencer, read on each shard.

use super::children::Children;
use super::digest::StoredStat;
use super::reclaim::{At, Object, Owned, Ref, Version};
use crate::base::Zxid;

/// The fixed part; extension and data follow. `meta` holds the ACL's number and two flags.
pub(super) struct Data {
    zxid: i64,
    mtime: i64,
}

/// What a changed, owned or re-created znode has beyond the fixed part.
#[derive(Clone, Copy)]
pub(super) struct Changed {
    predecessor: Option<Ref<Data>>,
    czxid: i64,
    mzxid: i64,
    ctime: i64,
    owner: i64,
    version: i32,
    aversion: i32,
}

const NULL: u32 = 1 << 30;
const DEAD: u32 = 1 << 29;

/// Bits of `meta` that number an ACL list.
pub(super) const ACL_NUMBERS: u32 = 1 << 29;

impl Object for Data {
    type Extension = Changed;
}

impl Version for Data {
    fn zxid(&self) -> Zxid {
        Zxid(self.zxid)
    }

    fn predecessor(this: At<'_, Data>) -> Option<Ref<Data>> {
        this.extension()?.predecessor
    }
}

/// The stored fields of `Data`, unpacked.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// czxid, ctime and the rest; `pzxid` and `cversion` are not looked at.
    pub(super) stat: StoredStat,
    /// Number of the ACL list.
    pub(super) acl: u32,
}

impl Data {
    /// A version made by `zxid` in place of `before`.
    pub(super) fn new(
        zxid: Zxid,
        fields: &Fields,
        data: Option<&[u8]>,
        before: Option<At<'_, Data>>,
    ) -> Owned<Data> {
        let stat = &fields.stat;
        let changed = Changed {
            predecessor: before.and_then(|before| chain(zxid, before)),
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            owner: stat.owner,
            version: stat.version,
            aversion: stat.aversion,
        };
        let plain = changed.predecessor.is_none()
            && (stat.czxid, stat.mzxid, stat.ctime) == (zxid.0, zxid.0, stat.mtime)
            && (stat.owner, stat.version, stat.aversion) == (0, 0, 0);
        debug_assert!(fields.acl < ACL_NUMBERS);
        let meta = fields.acl | if data.is_none() { NULL } else { 0 };
        let head = Data { zxid: zxid.0, mtime: stat.mtime };
        Owned::new(head, (!plain).then_some(changed), meta, data.unwrap_or_default())
    }

    /// The version that says: nothing here since `zxid`.
    pub(super) fn tombstone(zxid: Zxid, before: At<'_, Data>) -> Owned<Data> {
        let changed = Changed {
            predecessor: chain(zxid, before),
            czxid: 0,
            mzxid: 0,
            ctime: 0,
            owner: 0,
            version: 0,
            aversion: 0,
        };
        Owned::new(Data { zxid: zxid.0, mtime: 0 }, Some(changed), DEAD | NULL, &[])
    }
}

impl<'a> At<'a, Data> {
    /// Whether this version is a deletion.
    pub(super) fn is_dead(self) -> bool {
        self.meta() & DEAD != 0
    }

    /// Number of the ACL list.
    pub(super) fn acl(self) -> u32 {
        self.meta() & (ACL_NUMBERS - 1)
    }

    /// The data; null differs from empty.
    pub(super) fn data(self) -> Option<&'a [u8]> {
        (self.meta() & NULL == 0).then(|| self.bytes())
    }

    /// Owner as stored.
    pub(super) fn owner(self) -> i64 {
        self.extension().map_or(0, |changed| changed.owner)
    }

    /// zxid of the last data change.
    pub(super) fn mzxid(self) -> i64 {
        self.extension().map_or(self.zxid, |changed| changed.mzxid)
    }

    /// zxid of the creation.
    pub(super) fn czxid(self) -> i64 {
        self.extension().map_or(self.zxid, |changed| changed.czxid)
    }

    /// All stored fields; `pzxid` and `cversion` as of a znode that never had children.
    pub(super) fn fields(self) -> Fields {
        let stat = match self.extension() {
            None => StoredStat {
                czxid: self.zxid,
                mzxid: self.zxid,
                pzxid: self.zxid,
                ctime: self.mtime,
                mtime: self.mtime,
                ..StoredStat::default()
            },
            Some(changed) => StoredStat {
                czxid: changed.czxid,
                mzxid: changed.mzxid,
                pzxid: changed.czxid,
                ctime: changed.ctime,
                mtime: self.mtime,
                version: changed.version,
                cversion: 0,
                aversion: changed.aversion,
                owner: changed.owner,
            },
        };
        Fields { stat, acl: self.acl() }
    }

    /// The stored stat, with what `dir` knows of it.
    pub(super) fn stored_stat(self, dir: Option<At<'_, Dir>>) -> StoredStat {
        let mut stat = self.fields().stat;
        if let Some(dir) = dir {
            (stat.pzxid, stat.cversion) = (dir.pzxid, dir.cversion);
        }
        stat
    }
}

/// A version of a znode's children.
pub(super) struct Dir {
    zxid: i64,
    predecessor: Option<Ref<Dir>>,
    /// zxid of the last creation or deletion of a direct child; czxid before any.
    pub(super) pzxid: i64,
    /// Raw: children ever created.
    pub(super) cversion: i32,
    /// [`super::digest::body_crc`] of the data that `body_zxid` made: the writer's shortcut for a busy parent.
    pub(super) body_crc: u32,
    /// 0: no shortcut.
    pub(super) body_zxid: i64,
    /// The children.
    pub(super) children: Children,
}

impl Object for Dir {
    type Extension = ();
}

impl Version for Dir {
    fn zxid(&self) -> Zxid {
        Zxid(self.zxid)
    }

    fn predecessor(this: At<'_, Dir>) -> Option<Ref<Dir>> {
        this.head().predecessor
    }
}

impl Dir {
    /// A version made by `zxid` in place of `before`.
    pub(super) fn new(
        zxid: Zxid,
        pzxid: i64,
        cversion: i32,
        children: Children,
        before: Option<At<'_, Dir>>,
    ) -> Dir {
        let predecessor = before.and_then(|before| chain(zxid, before));
        Dir { zxid: zxid.0, predecessor, pzxid, cversion, body_crc: 0, body_zxid: 0, children }
    }

    /// Ready to be linked.
    pub(super) fn into_owned(self) -> Owned<Dir> {
        Owned::new(self, None, 0, &[])
    }
}

/// The predecessor of a version made by `zxid` in place of `before`: that one, unless the same txn made it.
fn chain<H: Version>(zxid: Zxid, before: At<'_, H>) -> Option<Ref<H>> {
    if before.zxid() < zxid { Some(before.to_ref()) } else { H::predecessor(before) }
}

const _: () = assert!(size_of::<Data>() == 16);
const _: () = assert!(size_of::<Changed>() == 48);
