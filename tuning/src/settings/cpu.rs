#![forbid(unsafe_code)]
//! Cores: how fast they run, how deep they sleep, and whom they are kept for.

use std::path::PathBuf;

use super::{on_dedicated, on_servers, unit};
use crate::host::{Host, cpu_list, nonsense, parse_cpu_list};
use crate::setting::{Change, Edit, Finding, Lasts, Setting, Severity, Stop};

const FOLDER: &str = "/sys/devices/system/cpu";

/// `scaling_governor`.
pub static GOVERNOR: Setting = Setting {
    name: "cpu-governor",
    profiles: on_servers(Severity::Warning, Severity::Info),
    check: |host| {
        let governors = governors(host)?;
        let fast = governors.iter().filter(|(_, governor)| governor == "performance").count();
        let others: std::collections::BTreeSet<&str> =
            governors.iter().map(|(_, governor)| governor.as_str()).collect();
        let current = match others.len() {
            1 => governors[0].1.clone(),
            _ => format!("performance on {fast} of {} cores", governors.len()),
        };
        Ok(Finding::new(fast == governors.len(), current, "performance"))
    },
    change: |host| {
        let slow = governors(host)?.into_iter().filter(|(_, governor)| governor != "performance");
        Ok(Change::edits(slow.map(|(path, _)| Edit::Value { path, to: "performance".into() }).collect()))
    },
    lasts: Lasts::UntilBoot,
    why: "a core that answers in bursts never looks busy: the other governors leave it at its lowest frequency, and each \
          answer takes two to three times as long",
    undo: "echo OLD > /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
};

fn governors(host: &Host) -> Result<Vec<(PathBuf, String)>, Stop> {
    let mut found = Vec::new();
    for core in host.cores()? {
        let path = PathBuf::from(format!("{FOLDER}/cpu{core}/cpufreq/scaling_governor"));
        match host.text(&path)? {
            Some(text) if text.is_empty() || text.contains(char::is_whitespace) => {
                return Err(nonsense(&path, &text));
            }
            Some(governor) => found.push((path, governor)),
            None => {}
        }
    }
    match found.is_empty() {
        true => Err(Stop::absent("no frequency scaling here: a virtual machine, or the firmware decides")),
        false => Ok(found),
    }
}

/// A thread that waits for the disk or a client sleeps for 50 µs and more; a wake-up that takes longer than this shows.
const EXIT_MICROS_MAX: u64 = 20;

/// `cpuidle`.
pub static IDLE_STATES: Setting = Setting {
    name: "cpu-idle-states",
    profiles: on_dedicated(Severity::Warning),
    check: |host| {
        let deep = deep_states(host)?;
        let worst = deep.iter().max_by_key(|state| state.micros);
        let current = match worst {
            None => "no deep state is on".to_owned(),
            Some(state) => format!("{} takes {} µs to leave", state.name, state.micros),
        };
        Ok(Finding::new(
            deep.is_empty(),
            current,
            format!("no state that takes more than {EXIT_MICROS_MAX} µs"),
        ))
    },
    change: |host| {
        let edits = deep_states(host)?.into_iter();
        Ok(Change::edits(edits.map(|state| Edit::Value { path: state.disable, to: "1".into() }).collect()))
    },
    lasts: Lasts::UntilBoot,
    why: "a core in a deep sleep needs 100 µs and more to wake, as long as a flush; it draws more power without (the kernel's \
          command line does the same for good: processor.max_cstate=1 intel_idle.max_cstate=1)",
    undo: "echo 0 > /sys/devices/system/cpu/cpu*/cpuidle/state*/disable",
};

struct DeepState {
    name: String,
    micros: u64,
    disable: PathBuf,
}

/// States that are on and take too long to leave.
fn deep_states(host: &Host) -> Result<Vec<DeepState>, Stop> {
    let mut any = false;
    let mut deep = Vec::new();
    for core in host.cores()? {
        let folder = format!("{FOLDER}/cpu{core}/cpuidle");
        for state in host.names(&folder)?.iter().filter(|name| name.starts_with("state")) {
            let micros = host.number(format!("{folder}/{state}/latency"))?;
            let disable = PathBuf::from(format!("{folder}/{state}/disable"));
            let (Some(micros), Some(disabled)) = (micros, host.number(&disable)?) else { continue };
            any = true;
            if micros > EXIT_MICROS_MAX && disabled == 0 {
                let name = host.text(format!("{folder}/{state}/name"))?.unwrap_or_else(|| state.clone());
                deep.push(DeepState { name, micros, disable });
            }
        }
    }
    match any {
        true => Ok(deep),
        false => Err(Stop::absent("no idle states here: a virtual machine, or the firmware decides")),
    }
}

/// `isolcpus`.
pub static ISOLATED: Setting = Setting {
    name: "isolated-cores",
    profiles: on_servers(Severity::Warning, Severity::Warning),
    check: |host| {
        let path = PathBuf::from(format!("{FOLDER}/isolated"));
        let text = host.text(&path)?.unwrap_or_default();
        let isolated = parse_cpu_list(&text).ok_or_else(|| nonsense(&path, &text))?;
        let wanted = "none, or the server is told to run on them";
        if isolated.is_empty() {
            return Ok(Finding::new(true, "none", wanted));
        }
        let (allowed, whose) = allowed(host)?;
        let idle: Vec<usize> = isolated.iter().copied().filter(|core| !allowed.contains(core)).collect();
        let current = match idle.is_empty() {
            true => format!("{} and {whose} may run there", cpu_list(&isolated)),
            false => format!("{}, where {whose} may not run on {}", cpu_list(&isolated), cpu_list(&idle)),
        };
        Ok(Finding::new(idle.is_empty(), current, wanted))
    },
    change: |_| {
        Ok(Change::by_hand(
            "CPUAffinity= with those cores in the unit (taskset -c without one), or isolcpus= off the kernel's command line",
        ))
    },
    lasts: Lasts::ByHand,
    why: "the scheduler puts nothing on an isolated core by itself: the server counts only the cores it may run on, and the \
          others stand idle",
    undo: "take CPUAffinity= out of the unit again",
};

/// The cores that the server may run on.
fn allowed(host: &Host) -> Result<(Vec<usize>, String), Stop> {
    if host.options.pid.is_none()
        && let Some(text) = unit::value(host, "CPUAffinity")?.filter(|text| !text.is_empty())
    {
        let unit = &host.options.unit;
        let cores = parse_cpu_list(&text).ok_or_else(|| nonsense(unit.as_ref(), &text))?;
        return Ok((cores, unit.clone()));
    }
    let path = host.process("status");
    let text = host.text(&path)?.ok_or_else(|| Stop::unknown(format!("no {}", path.display())))?;
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cores = list.and_then(parse_cpu_list).ok_or_else(|| nonsense(&path, &text))?;
    Ok((cores, host.options.pid.map_or("this process".into(), |pid| format!("process {pid}"))))
}
