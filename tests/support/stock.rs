#![forbid(unsafe_code)]
//! Where stock ZooKeeper 3.9.5 comes from: `RINGKEEPER_STOCK_CLASSPATH`, or a folder of the user's cache that
//! `tests/support/fetch_stock` fills once.

use std::process::Command;
use std::sync::OnceLock;

/// Where stock finds logback.xml.
const LOGBACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compat/clients/kazoo");

/// Set to 1, only ringkeeper is tested. Without it a machine that cannot get stock fails its tests, rather than
/// report a comparison that never took place.
pub fn is_hermetic() -> bool {
    std::env::var_os("RINGKEEPER_HERMETIC").is_some_and(|value| value == "1")
}

/// The class path that runs stock, or why there is none. Asked once a process.
pub fn classpath() -> Result<&'static str, String> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    FOUND.get_or_init(find).as_deref().map_err(Clone::clone)
}

fn find() -> Result<String, String> {
    if let Some(given) = std::env::var_os("RINGKEEPER_STOCK_CLASSPATH") {
        return given.into_string().map_err(|_| "RINGKEEPER_STOCK_CLASSPATH is not text".to_owned());
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fetch_stock");
    let run = Command::new(script).output().map_err(|error| format!("{script}: {error}"))?;
    let said = String::from_utf8_lossy(&run.stdout);
    // The last line it prints is the folder of the jars.
    match said.lines().last() {
        // In front, the folder that holds logback.xml.
        Some(folder) if run.status.success() => Ok(format!("{LOGBACK}:{folder}/*")),
        _ => Err(format!(
            "stock ZooKeeper 3.9.5 cannot be had, and these tests compare with it \
             (RINGKEEPER_HERMETIC=1 tests ringkeeper alone): {}",
            String::from_utf8_lossy(&run.stderr)
        )),
    }
}
