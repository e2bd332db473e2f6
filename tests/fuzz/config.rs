//! Configuration files, which an operator writes and a script generates.

use crate::counting::bounded;
use crate::target;
use ringkeeper::config::{Inputs, Raw, check};

/// What reading and checking a file may hold, in multiples of it: the shortest pair is two bytes (`a` and a line end)
/// and becomes two strings and where they stand, twice here, and a notice.
const FILE_TIMES: usize = 128;

target!(
    /// zoo.cfg, and the same bytes as the dynamic file it names and as flags.
    config_file,
    |input| {
        let checked = bounded(input.len(), FILE_TIMES, || {
            let raw = Raw::from_file("zoo.cfg", input)?;
            check(&Inputs { raw: raw.clone(), dynamic: Some(raw), my_id: Some("1".into()) })
        });
        match checked {
            Ok(checked) => assert!(checked.config.tick_ms > 0),
            // What is wrong is said in one line, whatever stands in the file.
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error:?}"),
        }
        if let Ok(raw) = Raw::from_file("zoo.cfg", input) {
            let _ = check(&Inputs::from(raw));
        }
    }
);
