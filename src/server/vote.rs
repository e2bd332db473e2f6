#![forbid(unsafe_code)]
//! What a member that is stopped holds, and what an operator decides about its vote (`ringkeeper admit`; reliability
//! R11, F13).
//!
//! Reads as a start does, tree and all, so that what is said of the data is what the server would come up with; and
//! writes nothing before it is told to. Holds the folders' locks meanwhile: no server starts, and none is disturbed.
//!
//! Lives on: the main thread of a process that serves nobody.

use super::rebuild::rebuild;
use super::start::{self, OnProgress, StartError};
use crate::base::Zxid;
use crate::config::Config;
use crate::runtime::files::{self, DataDirs};
use crate::runtime::{Clock, host};
use crate::storage::decision::{self, Decision};
use crate::storage::epoch::EpochRecord;
use crate::storage::names;
use crate::storage::recovery::{RecoveryReport, Steps};

/// A member's folders, locked, and what is in them.
#[derive(Debug)]
pub struct Examined {
    dirs: DataDirs,
    steps: Steps,
    /// Who it is, its epochs and its vote, as it would start.
    pub record: EpochRecord,
    /// What was found.
    pub report: RecoveryReport,
    /// Znodes, as of `applied`.
    pub znodes: u64,
    /// The last zxid that it knows to be committed.
    pub applied: Zxid,
}

impl Examined {
    /// Whether nothing would change.
    pub fn is_so(&self, decision: Decision) -> bool {
        decision::steps(decision, &self.record, &self.report).is_none()
    }

    /// Makes it so, durably, and lets go of the folders. What the recovery asks for is done first, as a start would: what
    /// is said of the vote is said of what is there then.
    ///
    /// # Errors
    /// The first step that failed; deciding again is safe.
    pub fn decide(self, decision: Decision) -> Result<(), StartError> {
        let Some(steps) = decision::steps(decision, &self.record, &self.report) else { return Ok(()) };
        files::perform(&self.dirs, &self.steps).map_err(|error| StartError::Recovery(error.to_string()))?;
        let data = self.dirs.data();
        data.perform(&steps).map_err(|error| {
            StartError::Recovery(format!(
                "cannot write {} in {}: {error}",
                names::EPOCH,
                data.path().display()
            ))
        })
    }

    /// The folders: data, log.
    pub fn folders(&self) -> (&std::path::Path, &std::path::Path) {
        (self.dirs.data().path(), self.dirs.log().path())
    }
}

/// Locks and reads the folders of a member's configuration. Changes nothing.
///
/// # Errors
/// When no server has run there, one runs, or a start would refuse what is there.
pub fn examine(config: &Config, on_progress: &mut OnProgress<'_>) -> Result<Examined, StartError> {
    let dirs = DataDirs::open_used(&config.folders.data, &config.folders.log)?;
    let clock = Clock::start();
    let random =
        host::random().map_err(|source| StartError::System { what: "drawing random numbers", source })?;
    let mut distrusted = Vec::new();
    loop {
        let settings = start::recover_settings(config, random, &distrusted);
        let mut recovered =
            files::examine(&dirs, &settings, &mut |progress| start::say_progress(on_progress, progress))
                .map_err(|error| StartError::Recovery(error.to_string()))?;
        if recovered.report.fresh {
            let data = dirs.data().path().display();
            return Err(StartError::Recovery(format!(
                "{data} holds no data and no {}: no server has run on it; start one, which notes what it begins with",
                names::EPOCH
            )));
        }
        let (record, report) = (recovered.epoch, recovered.report.clone());
        let steps = std::mem::take(&mut recovered.steps);
        let building = start::building(config, &dirs, &clock, random[3], None);
        match rebuild(recovered, building, on_progress).map_err(StartError::Recovery)? {
            Ok(rebuilt) => {
                let (znodes, applied) = (rebuilt.reader.stats().znode_count, rebuilt.pipeline.applied());
                return Ok(Examined { dirs, steps, record, report, znodes, applied });
            }
            Err(zxid) => distrusted.push(zxid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;
    use crate::runtime::files::OpenError;

    fn examine(config: &Config) -> Result<Examined, StartError> {
        super::examine(config, &mut |_, _, _| {})
    }

    fn config(data: &std::path::Path) -> Config {
        let mut raw = crate::config::Raw::default();
        let mut set = |key: &str, value: &str| raw.set(key, value, crate::config::Origin::Argument);
        set("dataDir", &data.to_string_lossy());
        set("initLimit", "10");
        set("syncLimit", "5");
        for id in 1..=3 {
            set(&format!("server.{id}"), &format!("127.0.0.1:{}:{}", 2888 + id, 3888 + id));
        }
        let inputs =
            crate::config::Inputs { my_id: Some("2".to_owned()), ..crate::config::Inputs::from(raw) };
        crate::config::check(&inputs).expect("complete").config
    }

    /// What a first start leaves.
    fn first_start(config: &Config) {
        let dirs = DataDirs::open(&config.folders.data, &config.folders.log).unwrap();
        let settings = start::recover_settings(config, [1, 2, 3, 4], &[]);
        files::recover(&dirs, &settings, &mut |_| {}).unwrap();
    }

    #[test]
    fn a_vote_is_given_taken_and_given_again_and_only_by_a_decision() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        config.folders.accept_empty = false;
        first_start(&config);
        let admitted = || {
            let examined = examine(&config).unwrap();
            assert_eq!((examined.applied, examined.znodes), (Zxid::ZERO, 5));
            assert_eq!(examined.is_so(Decision::Admit), examined.record.admitted);
            assert_eq!(examined.is_so(Decision::Strip), !examined.record.admitted);
            (examined.record.admitted, examined.record.sequence)
        };
        assert_eq!(admitted(), (false, 1));
        assert_eq!(admitted(), (false, 1), "reading changes nothing");
        for (decision, expected) in [
            (Decision::Strip, (false, 1)),
            (Decision::Admit, (true, 2)),
            (Decision::Admit, (true, 2)),
            (Decision::Strip, (false, 3)),
            (Decision::Admit, (true, 4)),
        ] {
            examine(&config).unwrap().decide(decision).unwrap();
            assert_eq!(admitted(), expected, "{decision:?}");
        }
        let record = examine(&config).unwrap().record;
        assert_eq!((record.accepted, record.current, record.member), (Epoch(0), Epoch(0), true));
    }

    #[test]
    fn a_provisional_vote_is_not_yet_one() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        first_start(&config);
        let examined = examine(&config).unwrap();
        assert_eq!((examined.record.admitted, examined.record.provisional), (true, true));
        assert!(!examined.is_so(Decision::Admit));
        examined.decide(Decision::Admit).unwrap();
        let record = examine(&config).unwrap().record;
        assert_eq!((record.admitted, record.provisional), (true, false));
    }

    #[test]
    fn folders_in_use_or_of_nobody_are_refused_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let config = config(&data);
        let refused = examine(&config).map(drop);
        assert!(matches!(refused, Err(StartError::Folders(OpenError::Unused(_)))), "{refused:?}");
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);

        let dirs = DataDirs::open(&data, &data).unwrap();
        let refused = examine(&config).map(drop);
        assert!(matches!(refused, Err(StartError::Folders(OpenError::InUse(_)))), "{refused:?}");
        drop(dirs);
        let refused = examine(&config).map(drop).expect_err("nothing was ever in it").to_string();
        assert!(refused.contains("no server has run on it"), "{refused}");
    }
}
