#![forbid(unsafe_code)]
//! Where the kernel takes the time from.

use super::on_servers;
use crate::host::Host;
use crate::setting::{Change, Edit, Finding, Lasts, Setting, Severity, Stop};

const FOLDER: &str = "/sys/devices/system/clocksource/clocksource0";

/// Sources that a process reads without a system call (the vDSO knows them), best first.
const FAST: [&str; 4] = ["tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"];

/// `current_clocksource`.
pub static CLOCK_SOURCE: Setting = Setting {
    name: "clock-source",
    profiles: on_servers(Severity::Warning, Severity::Warning),
    check: |host| {
        let current = source(host, "current_clocksource")?;
        let holds = FAST.contains(&current.as_str());
        Ok(Finding::new(holds, current, "tsc, arch_sys_counter, kvm-clock or Hyper-V's TSC page"))
    },
    change: |host| {
        let available = source(host, "available_clocksource")?;
        let known = FAST.iter().find(|fast| available.split_whitespace().any(|source| source == **fast));
        Ok(match known {
            Some(fast) => Change::edits(vec![Edit::Value {
                path: format!("{FOLDER}/current_clocksource").into(),
                to: (*fast).to_owned(),
            }]),
            None => Change::by_hand(
                "the kernel offers no fast source; its log says why it gave the TSC up (dmesg, \"tsc\": firmware, or the \
                 hypervisor's settings)",
            ),
        })
    },
    lasts: Lasts::UntilBoot,
    why: "the clock is read several times a request; hpet, acpi_pm and xen take a system call or a slow device, 1 µs and more",
    undo: "echo OLD > /sys/devices/system/clocksource/clocksource0/current_clocksource",
};

fn source(host: &Host, file: &str) -> Result<String, Stop> {
    match host.text(format!("{FOLDER}/{file}"))? {
        Some(text) if text.is_empty() => Err(Stop::unknown(format!("{FOLDER}/{file} is empty"))),
        Some(text) => Ok(text),
        None => Err(Stop::absent("the kernel does not say here")),
    }
}
