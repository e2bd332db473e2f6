#![forbid(unsafe_code)]
//! setWatches and setWatches2: what a client that comes back missed, and what it waits for from now on
//! (client-protocol §6.5; stock `DataTree.setWatches`).
//!
//! For each path either an event is queued at once or a watch is registered, never both; lists in the order of the
//! request, paths in the order of the list. No permission is asked, as in stock.

use super::Watch;
use crate::wire::ErrorCode;
use crate::wire::reply::EventType;
use crate::wire::request::SetWatches;

/// The lists of the request, in its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetWatchesList {
    /// Watches on data, or by exists on a znode that was there.
    Data,
    /// Watches by exists on a znode that was not there.
    Exist,
    /// Watches on children.
    Child,
    /// addWatch mode 0.
    Persistent,
    /// addWatch mode 1.
    PersistentRecursive,
}

impl SetWatchesList {
    /// All, in order; setWatches has the first three.
    pub const ALL: [SetWatchesList; 5] = [
        SetWatchesList::Data,
        SetWatchesList::Exist,
        SetWatchesList::Child,
        SetWatchesList::Persistent,
        SetWatchesList::PersistentRecursive,
    ];

    /// The watch that an entry of this list registers.
    pub fn watch(self) -> Watch {
        match self {
            SetWatchesList::Data | SetWatchesList::Exist => Watch::Data,
            SetWatchesList::Child => Watch::Child,
            SetWatchesList::Persistent => Watch::Persistent,
            SetWatchesList::PersistentRecursive => Watch::PersistentRecursive,
        }
    }

    /// Whether the decision depends on the znode at all.
    pub fn asks_for_node(self) -> bool {
        !matches!(self, SetWatchesList::Persistent | SetWatchesList::PersistentRecursive)
    }

    /// What to do for a path of this list, given what the client saw last and the znode as it is, `None` when there is
    /// none. Comparisons are strict: a change at `relative_zxid` was seen.
    pub fn decide(self, relative_zxid: i64, node: Option<NodeZxids>) -> Rearm {
        match (self, node) {
            (SetWatchesList::Data | SetWatchesList::Child, None) => Rearm::Fire(EventType::NodeDeleted),
            (SetWatchesList::Data, Some(node)) if node.mzxid > relative_zxid => {
                Rearm::Fire(EventType::NodeDataChanged)
            }
            (SetWatchesList::Exist, Some(_)) => Rearm::Fire(EventType::NodeCreated),
            (SetWatchesList::Child, Some(node)) if node.pzxid > relative_zxid => {
                Rearm::Fire(EventType::NodeChildrenChanged)
            }
            _ => Rearm::Register(self.watch()),
        }
    }
}

/// The two zxids of a znode that decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeZxids {
    /// Last change of the data.
    pub mzxid: i64,
    /// Last creation or deletion of a child.
    pub pzxid: i64,
}

/// What becomes of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rearm {
    /// Queue this event, with zxid -1 and before the reply; register nothing.
    Fire(EventType),
    /// Register this watch; no event.
    Register(Watch),
}

/// How far a run came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The slice is over, entries are left.
    More,
    /// All done: reply, header only.
    Done,
}

/// Where a setWatches stands, so that a long one can go in slices (DESIGN §2, rule 9). Each entry stands for itself: a
/// later slice may read at a later zxid, so long as each watch is armed at the zxid of its own read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetWatchesRun {
    list: usize,
    entry: usize,
}

impl SetWatchesRun {
    /// Goes through up to `entries_max` entries. `node` looks a znode up, `act` does what was decided.
    ///
    /// A null list, and a null path where the znode is asked for, end the run with MarshallingError; what came before stays
    /// done. A null path among the persistent ones watches nothing. An error of `act` ends the run as well.
    pub fn advance<E: From<ErrorCode>>(
        &mut self,
        request: &SetWatches<'_>,
        entries_max: usize,
        mut node: impl FnMut(&[u8]) -> Option<NodeZxids>,
        mut act: impl FnMut(&[u8], Rearm) -> Result<(), E>,
    ) -> Result<Progress, E> {
        let mut left = entries_max;
        while let (Some(paths), Some(list)) =
            (request.lists.get(self.list), SetWatchesList::ALL.get(self.list))
        {
            let paths = paths.as_ref().ok_or(ErrorCode::MarshallingError)?;
            for path in &paths[self.entry..] {
                if left == 0 {
                    return Ok(Progress::More);
                }
                left -= 1;
                self.entry += 1;
                match path {
                    Some(path) if list.asks_for_node() => {
                        act(path, list.decide(request.relative_zxid, node(path)))?;
                    }
                    Some(path) => act(path, Rearm::Register(list.watch()))?,
                    None if list.asks_for_node() => return Err(ErrorCode::MarshallingError.into()),
                    None => {}
                }
            }
            (self.list, self.entry) = (self.list + 1, 0);
        }
        Ok(Progress::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: i64 = 100;

    #[test]
    fn each_list_fires_for_what_was_missed_and_registers_the_rest() {
        use EventType::*;
        use SetWatchesList::*;
        let node = |mzxid, pzxid| Some(NodeZxids { mzxid, pzxid });
        for (list, state, expected) in [
            (Data, None, Rearm::Fire(NodeDeleted)),
            (Data, node(101, 0), Rearm::Fire(NodeDataChanged)),
            (Data, node(100, 101), Rearm::Register(Watch::Data)),
            (Exist, None, Rearm::Register(Watch::Data)),
            (Exist, node(1, 1), Rearm::Fire(NodeCreated)),
            (Child, None, Rearm::Fire(NodeDeleted)),
            (Child, node(0, 101), Rearm::Fire(NodeChildrenChanged)),
            (Child, node(101, 100), Rearm::Register(Watch::Child)),
            (Persistent, None, Rearm::Register(Watch::Persistent)),
            (Persistent, node(101, 101), Rearm::Register(Watch::Persistent)),
            (PersistentRecursive, None, Rearm::Register(Watch::PersistentRecursive)),
            (PersistentRecursive, node(101, 101), Rearm::Register(Watch::PersistentRecursive)),
        ] {
            assert_eq!(list.decide(SEEN, state), expected, "{list:?} {state:?}");
        }
    }

    type Done = Vec<(Vec<u8>, Rearm)>;

    /// Runs in slices of every size and gives what was done, which must not depend on the size.
    fn run(lists: Vec<Option<Vec<Option<&[u8]>>>>) -> (Done, Result<(), ErrorCode>) {
        let request = SetWatches { relative_zxid: SEEN, lists };
        let outcomes: Vec<_> = (1..8)
            .map(|slice| {
                let (mut run, mut done) = (SetWatchesRun::default(), vec![]);
                let node =
                    |path: &[u8]| path.starts_with(b"/here").then_some(NodeZxids { mzxid: 1, pzxid: 1 });
                let end = loop {
                    let act = |path: &[u8], rearm| -> Result<(), ErrorCode> {
                        done.push((path.to_vec(), rearm));
                        Ok(())
                    };
                    match run.advance(&request, slice, node, act) {
                        Ok(Progress::More) => {}
                        Ok(Progress::Done) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                (done, end)
            })
            .collect();
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
        outcomes.into_iter().next().expect("seven sizes")
    }

    #[test]
    fn lists_go_in_order_and_paths_within_them() {
        let list = |paths: &[&'static str]| Some(paths.iter().map(|p| Some(p.as_bytes())).collect());
        let (done, end) = run(vec![
            list(&["/here/2", "/gone"]),
            list(&[]),
            list(&["/here/1"]),
            list(&["/p"]),
            list(&["/r"]),
        ]);
        let expected = [
            ("/here/2", Rearm::Register(Watch::Data)),
            ("/gone", Rearm::Fire(EventType::NodeDeleted)),
            ("/here/1", Rearm::Register(Watch::Child)),
            ("/p", Rearm::Register(Watch::Persistent)),
            ("/r", Rearm::Register(Watch::PersistentRecursive)),
        ];
        assert_eq!(done, expected.map(|(path, rearm)| (path.as_bytes().to_vec(), rearm)));
        assert_eq!(end, Ok(()));
    }

    #[test]
    fn a_null_list_ends_the_run_with_what_came_before_done() {
        let (done, end) = run(vec![Some(vec![Some(b"/here")]), None, Some(vec![Some(b"/here")])]);
        assert_eq!(done.len(), 1);
        assert_eq!(end, Err(ErrorCode::MarshallingError));
        let (done, end) = run(vec![Some(vec![Some(b"/here"), None, Some(b"/here")])]);
        assert_eq!((done.len(), end), (1, Err(ErrorCode::MarshallingError)));
        let none = || Some(vec![]);
        let (done, end) = run(vec![none(), none(), none(), Some(vec![None, Some(b"/p")])]);
        assert_eq!((done.len(), end), (1, Ok(())));
    }
}
