#![forbid(unsafe_code)]
//! `wchs`, `wchc`, `wchp` (stock `WatchCommand`, `WatchManager`). They cover the data-watch table only: child
//! watches are left out, persistent and recursive ones live in that table and are listed.

use super::answer::{Answer, Piece};
use crate::base::SessionId;
use std::iter::once;
use std::sync::Arc;

/// One shard's data-watch table, or that of all shards once merged. A session is on one shard only.
#[derive(Clone, Debug, Default)]
pub struct WatchView {
    /// Watched paths by session, each path once a session.
    pub sessions: Vec<(SessionId, Vec<Arc<[u8]>>)>,
}

impl WatchView {
    /// Adds another shard's table.
    pub fn merge(&mut self, other: WatchView) {
        self.sessions.extend(other.sessions);
    }

    fn watching(self) -> impl Iterator<Item = (SessionId, Vec<Arc<[u8]>>)> + Send {
        self.sessions.into_iter().filter(|(_, paths)| !paths.is_empty())
    }

    /// Every watch as (path, session), by path.
    fn by_path(self) -> Vec<(Arc<[u8]>, SessionId)> {
        let mut watches: Vec<_> = self
            .watching()
            .flat_map(|(session, paths)| paths.into_iter().map(move |path| (path, session)))
            .collect();
        watches.sort_unstable();
        watches
    }
}

/// `wchs`. Sorts all watches to count the paths: to be called where nobody waits.
pub fn wchs(view: WatchView) -> Answer {
    let connections = view.sessions.iter().filter(|(_, paths)| !paths.is_empty()).count();
    let watches = view.by_path();
    let paths = watches.chunk_by(|(a, _), (b, _)| a == b).count();
    Answer::text(format!(
        "{connections} connections watching {paths} paths\nTotal watches:{}\n",
        watches.len()
    ))
}

/// `wchc`: sessions, and the paths each watches.
pub fn wchc(view: WatchView) -> Answer {
    let sessions = view.watching().flat_map(|(session, paths)| {
        once(Piece::Session { tab: false, colon: false, session })
            .chain(paths.into_iter().map(|path| Piece::Path { tab: true, path }))
    });
    Answer::new(sessions.chain(once(Piece::text("\n"))))
}

/// `wchp`: paths, and the sessions that watch each. Sorts all watches: to be called where nobody waits.
pub fn wchp(view: WatchView) -> Answer {
    let mut last: Option<Arc<[u8]>> = None;
    let lines = view.by_path().into_iter().flat_map(move |(path, session)| {
        let head = (last.as_ref() != Some(&path)).then(|| {
            last = Some(path.clone());
            Piece::Path { tab: false, path }
        });
        head.into_iter().chain(once(Piece::Session { tab: true, colon: false, session }))
    });
    Answer::new(lines.chain(once(Piece::text("\n"))))
}
