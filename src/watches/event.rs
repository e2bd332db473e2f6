#![forbid(unsafe_code)]
//! What the sequencer tells a shard about one change: enough to fire watches and to filter the events, with no look at a
//! tree that may have moved on.

use std::sync::Arc;

use crate::base::{Zxid, path};
use crate::wire::Acl;
use crate::wire::reply::EventType;

/// Kinds of change that fire watches. setACL, check, failed operations and quota accounting fire nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChangeKind {
    /// create of any kind.
    Created,
    /// delete, removal of a container or a TTL node, end of an ephemeral.
    Deleted,
    /// setData, and reconfig on the config node.
    DataChanged,
}

impl ChangeKind {
    /// Whether the parent's list of children changed too.
    pub fn concerns_parent(self) -> bool {
        self != ChangeKind::DataChanged
    }
}

/// One change to one znode. A multi or a closeSession makes several of the same zxid, in its order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangeEvent {
    /// The txn's; every event of it carries it (3.9.0 and later).
    pub zxid: Zxid,
    /// What happened.
    pub kind: ChangeKind,
    /// The znode, a valid absolute path.
    pub path: Arc<[u8]>,
    /// The znode's ACL at the time of the change; `None` for the open one.
    pub acl: Option<Arc<[Acl]>>,
    /// The parent's, likewise; not looked at for [`ChangeKind::DataChanged`].
    pub parent_acl: Option<Arc<[Acl]>>,
}

impl ChangeEvent {
    /// The znode that an event of this type names: the parent for NodeChildrenChanged (`/` for a child of the root).
    pub fn path_of(&self, event: EventType) -> &[u8] {
        match event {
            EventType::NodeChildrenChanged => path::parent(&self.path).unwrap_or(b"/"),
            EventType::NodeCreated | EventType::NodeDeleted | EventType::NodeDataChanged => &self.path,
        }
    }

    /// The ACL that decides, by READ, who gets an event of this type (§6.3); `None` for the open one.
    pub fn acl_of(&self, event: EventType) -> Option<&[Acl]> {
        match event {
            EventType::NodeChildrenChanged => self.parent_acl.as_deref(),
            EventType::NodeCreated | EventType::NodeDeleted | EventType::NodeDataChanged => {
                self.acl.as_deref()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_names_its_node_and_the_list_that_filters_it() {
        fn is_plain<T: Send + Sync + 'static>() {}
        is_plain::<ChangeEvent>();

        let own: Arc<[Acl]> = Arc::new([Acl::open()]);
        let mut change = ChangeEvent {
            zxid: Zxid(1),
            kind: ChangeKind::Created,
            path: b"/a".as_slice().into(),
            acl: Some(own.clone()),
            parent_acl: None,
        };
        assert_eq!(change.path_of(EventType::NodeChildrenChanged), b"/", "never empty");
        assert_eq!(change.path_of(EventType::NodeCreated), b"/a");
        assert_eq!(change.acl_of(EventType::NodeDeleted), Some(&own[..]));
        assert_eq!(change.acl_of(EventType::NodeChildrenChanged), None);
        change.path = b"/a/b".as_slice().into();
        assert_eq!(change.path_of(EventType::NodeChildrenChanged), b"/a");
    }
}
