#![forbid(unsafe_code)]
//! Where the network cards' interrupts run, and where their packets are handled.
//!
//! The last core is the sequencer's: every write passes it, so nothing else should. The others serve clients, and may as
//! well take their packets.

use std::path::PathBuf;

use super::on_dedicated;
use crate::host::{Host, cpu_list, nonsense, parse_cpu_list};
use crate::setting::{Change, Edit, Finding, Lasts, Setting, Severity, Stop};

/// `smp_affinity_list` of the cards' interrupts.
pub static AFFINITY: Setting = Setting {
    name: "irq-affinity",
    profiles: on_dedicated(Severity::Warning),
    check: check_affinity,
    change: |host| {
        let cores = host.pinned_cores()?;
        let (_, others) = cores.split_last().expect("four or more");
        let spread = interrupts(host)?.into_iter().zip(others.iter().cycle());
        let wrong = spread.filter(|(irq, core)| irq.cores != [**core]);
        Ok(Change::edits(
            wrong.map(|(irq, core)| Edit::Value { path: irq.path, to: core.to_string() }).collect(),
        ))
    },
    lasts: Lasts::UntilBoot,
    why: "an interrupt on the sequencer's core delays every write, and all on one core make it the limit (stop irqbalance or \
          ban it from the last core, IRQBALANCE_BANNED_CPULIST, or it moves them again)",
    undo: "echo OLD > /proc/irq/N/smp_affinity_list, or start irqbalance",
};

struct Interrupt {
    path: PathBuf,
    cores: Vec<usize>,
}

fn check_affinity(host: &Host) -> Result<Finding, Stop> {
    let cores = host.pinned_cores()?;
    let sequencer = *cores.last().expect("four or more");
    let interrupts = interrupts(host)?;
    let on_sequencer = interrupts.iter().filter(|irq| irq.cores.contains(&sequencer)).count();
    let first = &interrupts[0].cores;
    let piled = interrupts.len() > 1 && first.len() == 1 && interrupts.iter().all(|irq| irq.cores == *first);
    let count = interrupts.len();
    let current = match (on_sequencer, piled) {
        (0, false) => format!("{count} interrupts, none on core {sequencer}"),
        (0, true) => format!("all {count} interrupts on core {}", first[0]),
        _ => format!("{on_sequencer} of {count} interrupts may run on core {sequencer}, the sequencer's"),
    };
    Ok(Finding::new(on_sequencer == 0 && !piled, current, format!("spread, and none on core {sequencer}")))
}

/// The interrupts of all network cards.
fn interrupts(host: &Host) -> Result<Vec<Interrupt>, Stop> {
    let mut found = Vec::new();
    for card in cards(host)? {
        let device = format!("/sys/class/net/{card}/device");
        let mut numbers = host.names(format!("{device}/msi_irqs"))?;
        if numbers.is_empty() {
            // virtio: the card hangs on a device of its own, the interrupts on the PCI device above.
            numbers = host.names(format!("{device}/../msi_irqs"))?;
        }
        for number in numbers {
            let path = PathBuf::from(format!("/proc/irq/{number}/smp_affinity_list"));
            let Some(text) = host.text(&path)? else { continue };
            let cores = parse_cpu_list(&text).ok_or_else(|| nonsense(&path, &text))?;
            found.push(Interrupt { path, cores });
        }
    }
    match found.is_empty() {
        true => Err(Stop::absent("no network card with interrupts of its own")),
        false => Ok(found),
    }
}

/// Network interfaces with a device behind them.
fn cards(host: &Host) -> Result<Vec<String>, Stop> {
    let names = host.names("/sys/class/net")?.into_iter();
    Ok(names.filter(|name| host.exists(format!("/sys/class/net/{name}/device"))).collect())
}

/// `rps_cpus` of cards with one queue.
pub static RPS: Setting = Setting {
    name: "rps",
    profiles: on_dedicated(Severity::Info),
    check: |host| {
        let cores = host.pinned_cores()?;
        let queues = single_queues(host)?;
        let wrong = queues.iter().filter(|queue| !is_spread(&queue.cores, &cores)).count();
        let current = match queues.iter().find(|queue| !is_spread(&queue.cores, &cores)) {
            None => "spread".to_owned(),
            Some(queue) if queue.cores.is_empty() => format!("off on {wrong} of {} cards", queues.len()),
            Some(queue) => format!("cores {}", cpu_list(&queue.cores)),
        };
        let (sequencer, _) = cores.split_last().expect("four or more");
        Ok(Finding::new(wrong == 0, current, format!("two cores or more, not core {sequencer}")))
    },
    change: |host| {
        let cores = host.pinned_cores()?;
        let (_, others) = cores.split_last().expect("four or more");
        let wrong = single_queues(host)?.into_iter().filter(|queue| !is_spread(&queue.cores, &cores));
        Ok(Change::edits(wrong.map(|queue| Edit::Value { path: queue.path, to: mask(others) }).collect()))
    },
    lasts: Lasts::UntilBoot,
    why: "a card with one receive queue interrupts one core; RPS lets the others do the work behind the interrupt",
    undo: "echo OLD > /sys/class/net/CARD/queues/rx-0/rps_cpus",
};

fn is_spread(queue: &[usize], cores: &[usize]) -> bool {
    queue.len() > 1 && cores.last().is_some_and(|sequencer| !queue.contains(sequencer))
}

/// The receive queue of each card that has just one.
fn single_queues(host: &Host) -> Result<Vec<Interrupt>, Stop> {
    let mut found = Vec::new();
    for card in cards(host)? {
        let folder = format!("/sys/class/net/{card}/queues");
        let queues: Vec<String> =
            host.names(&folder)?.into_iter().filter(|name| name.starts_with("rx-")).collect();
        let [queue] = queues.as_slice() else { continue };
        let path = PathBuf::from(format!("{folder}/{queue}/rps_cpus"));
        let Some(text) = host.text(&path)? else { continue };
        let cores = parse_mask(&text).ok_or_else(|| nonsense(&path, &text))?;
        found.push(Interrupt { path, cores });
    }
    match found.is_empty() {
        true => Err(Stop::absent("no network card with a single queue")),
        false => Ok(found),
    }
}

/// A mask in the kernel's words: hexadecimal, 32 bits between commas, the highest first.
fn parse_mask(text: &str) -> Option<Vec<usize>> {
    const WORDS_MAX: usize = 2048;
    let words: Vec<&str> = text.split(',').collect();
    if words.len() > WORDS_MAX {
        return None;
    }
    let mut cores = Vec::new();
    for (nth, word) in words.iter().rev().enumerate() {
        let bits = u32::from_str_radix(word, 16).ok()?;
        cores.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| nth * 32 + bit));
    }
    Some(cores)
}

/// The reverse of [`parse_mask`].
fn mask(cores: &[usize]) -> String {
    let words = cores.last().map_or(1, |last| last / 32 + 1);
    let word = |nth: usize| {
        let bits =
            cores.iter().filter(|core| *core / 32 == nth).fold(0u32, |bits, core| bits | 1 << (core % 32));
        if nth + 1 == words { format!("{bits:x}") } else { format!("{bits:08x}") }
    };
    (0..words).rev().map(word).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_read_back() {
        let check = |text: &str, cores: &[usize]| {
            assert_eq!(mask(cores), text);
            assert_eq!(parse_mask(text).as_deref(), Some(cores), "{text}");
        };
        check("f", &[0, 1, 2, 3]);
        check("0", &[]);
        check("1,00000000", &[32]);
        check("80000001,00000002", &[1, 32, 63]);
        assert_eq!(parse_mask("00000000,0000000f"), Some(vec![0, 1, 2, 3]));
        for nonsense in ["", "x", "1,,2", "100000000"] {
            assert_eq!(parse_mask(nonsense), None, "{nonsense}");
        }
    }
}
