#![forbid(unsafe_code)]
//! Ends a process of which one core has stopped: a server that is half alive keeps its sessions and serves nobody
//! (reliability F23). Lives on: a thread of its own, which waits for nothing but time.
//!
//! Every core has a [`Pulse`] and beats it in each turn of its loop, idle or not: the sequencer at least once a second,
//! a shard with each of its ticks. The dog looks every half second, and barks when a pulse did not move for
//! [`LOOKS_MAX`] looks in a row. It counts its own looks, not the clock's seconds: while the whole process is paused (SIGSTOP, a
//! frozen machine) the dog does not look either, so a pause of any length counts as one look at most.
//!
//! A core that waits for the disk on purpose ([`Pulse::waits`]) is not dead: what a slow disk means is decided
//! elsewhere (F12). Not here: how the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::sequencer::Shared;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks without a beat after which a core counts as dead: 5 s of the dog's own running time.
const LOOKS_MAX: u32 = 10;

/// One core's sign of life.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicUsize,
    waits: AtomicBool,
}

impl Pulse {
    /// Another turn of the core's loop. Before the first the core is not watched.
    pub fn beat(&self) {
        // Relaxed: the dog compares with its last look, and a look too early is only one look of many.
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the core waits for the disk, in a call that may take any time.
    pub fn waits(&self, waits: bool) {
        // Relaxed: as above.
        self.waits.store(waits, Ordering::Relaxed);
    }
}

/// Starts the dog over these cores; `bark` is told which one is dead and is to end the process. The dog goes home when
/// the server is asked to stop: stopping has its own limit.
///
/// # Errors
/// When there are no more threads to be had.
pub fn spawn(
    pulses: Vec<(String, Arc<Pulse>)>,
    shared: Arc<Shared>,
    bark: impl FnOnce(&str) + Send + 'static,
) -> std::io::Result<()> {
    let stopping = move || shared.stopping.load(Ordering::Acquire);
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || watch(&pulses, LOOK_EVERY, stopping, bark))
        .map(drop)
}

fn watch(
    pulses: &[(String, Arc<Pulse>)],
    look_every: Duration,
    stopping: impl Fn() -> bool,
    bark: impl FnOnce(&str),
) {
    let mut looks: Vec<Look> = pulses.iter().map(|_| Look::default()).collect();
    while !stopping() {
        std::thread::sleep(look_every);
        for ((name, pulse), look) in pulses.iter().zip(&mut looks) {
            if look.at(pulse) && !stopping() {
                return bark(name);
            }
        }
    }
}

/// What was seen of one pulse.
#[derive(Default)]
struct Look {
    beats: usize,
    without: u32,
}

impl Look {
    /// Another look. Returns whether the core is dead.
    fn at(&mut self, pulse: &Pulse) -> bool {
        let beats = pulse.beats.load(Ordering::Relaxed);
        let alive = beats != self.beats || beats == 0 || pulse.waits.load(Ordering::Relaxed);
        self.without = if alive { 0 } else { self.without + 1 };
        self.beats = beats;
        self.without >= LOOKS_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn f23_a_core_that_does_not_beat_for_ten_looks_is_dead_and_one_that_does_is_not() {
        let pulse = Pulse::default();
        let mut look = Look::default();
        for _ in 0..100 {
            assert!(!look.at(&pulse), "not started yet");
        }
        for _ in 0..100 {
            pulse.beat();
            assert!(!look.at(&pulse));
        }
        for _ in 1..LOOKS_MAX {
            assert!(!look.at(&pulse));
        }
        assert!(look.at(&pulse));
        pulse.waits(true);
        for _ in 0..100 {
            assert!(!look.at(&pulse), "it waits for the disk");
        }
        pulse.waits(false);
        for _ in 1..LOOKS_MAX {
            assert!(!look.at(&pulse));
        }
        pulse.beat();
        assert!(!look.at(&pulse), "one beat, and all is forgotten");
    }

    #[test]
    fn f23_the_dog_names_the_core_that_died_and_leaves_when_the_server_stops() {
        let pulses: Vec<(String, Arc<Pulse>)> =
            ["sequencer", "shard-0"].map(|name| (name.to_owned(), Arc::default())).into();
        pulses[1].1.beat();
        let (barked, heard) = channel();
        let bark = move |name: &str| barked.send(name.to_owned()).expect("the test waits");
        watch(&pulses, Duration::from_millis(1), || false, bark);
        assert_eq!(heard.recv().as_deref(), Ok("shard-0"));
        // Returns, though a core is dead.
        watch(&pulses, Duration::ZERO, || true, |name| panic!("{name}"));
    }
}
