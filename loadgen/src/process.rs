#![forbid(unsafe_code)]
//! What a server process uses, read from `/proc`: CPU time, resident memory, bytes written. And a server that we start.

use std::io;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

/// A look at one or several processes; with several, sums.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// User and system time since the processes began, seconds; the kernel counts in hundredths.
    pub cpu_s: f64,
    /// Resident memory, bytes.
    pub resident: u64,
    /// Highest resident memory ever, bytes.
    pub resident_peak: u64,
    /// Bytes handed to the block layer, if `/proc/PID/io` may be read (same user, or root).
    pub written: Option<u64>,
}

impl Sample {
    /// Looks at the processes.
    ///
    /// # Errors
    /// A process that is not there (any more).
    pub fn take(pids: &[u32]) -> io::Result<Sample> {
        let mut sum = Sample { written: Some(0), ..Sample::default() };
        for pid in pids {
            let one = Sample::of(*pid)?;
            sum.cpu_s += one.cpu_s;
            sum.resident += one.resident;
            sum.resident_peak += one.resident_peak;
            sum.written = sum.written.zip(one.written).map(|(a, b)| a + b);
        }
        Ok(sum)
    }

    fn of(pid: u32) -> io::Result<Sample> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let malformed = || io::Error::other(format!("/proc/{pid} has another shape than expected"));
        let ticks = cpu_ticks(&read("stat")?).ok_or_else(malformed)?;
        let status = read("status")?;
        Ok(Sample {
            cpu_s: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            // A process that has ended and was not waited for has no memory.
            resident: kilobytes(&status, "VmRSS:").unwrap_or(0) << 10,
            resident_peak: kilobytes(&status, "VmHWM:").unwrap_or(0) << 10,
            written: read("io").ok().and_then(|text| after(&text, "write_bytes:")?.parse().ok()),
        })
    }
}

/// utime and stime: the 14th and 15th field, counted behind the name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

fn kilobytes(status: &str, key: &str) -> Option<u64> {
    after(status, key)?.split_whitespace().next()?.parse().ok()
}

/// CPU time of this process so far, seconds.
pub fn own_cpu_s() -> f64 {
    Sample::of(std::process::id()).map_or(0.0, |sample| sample.cpu_s)
}

/// A server that we started, and end.
#[derive(Debug)]
pub struct Started {
    child: Child,
}

impl Started {
    /// Runs a command line. The shell replaces itself, so that the process id is the server's; what the server says on
    /// its standard output goes to our standard error.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn run(command: &str) -> io::Result<Started> {
        let output = Stdio::from(rustix::io::dup(rustix::stdio::stderr())?);
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(output)
            .spawn()?;
        Ok(Started { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// SIGKILL, and it is gone when this returns.
    pub fn kill(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Started {
    /// SIGTERM, ten seconds, SIGKILL.
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid() as i32) {
            let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        for _ in 0..1000 {
            if self.ended().is_some() {
                return;
            }
            // A process that ends has no event that std could wait for with a limit.
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_has_used_cpu_time_and_memory() {
        let before = Sample::take(&[std::process::id()]).unwrap();
        let mut sum = 0u64;
        // Until the kernel's clock of hundredths has moved.
        while own_cpu_s() <= before.cpu_s {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(before.resident > 100 << 10 && before.resident_peak >= before.resident, "{before:?}");
    }

    #[test]
    fn several_processes_are_summed_and_a_missing_one_is_an_error() {
        let own = std::process::id();
        let (one, two) = (Sample::take(&[own]).unwrap(), Sample::take(&[own, own]).unwrap());
        assert!(two.resident > one.resident * 3 / 2);
        assert!(Sample::take(&[own, u32::MAX >> 1]).is_err());
    }

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 1 0 5";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("nonsense"), None);
        assert_eq!(kilobytes("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
    }

    #[test]
    fn a_started_process_is_the_command_itself_and_ends_with_us() {
        let started = Started::run("sleep 1000").unwrap();
        let pid = started.pid();
        let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // The shell replaces itself a moment after it was started.
        while name().trim() == "sh" || name().trim().starts_with("ringkeeper") || name().contains("process") {
            std::thread::yield_now();
        }
        assert_eq!(name().trim(), "sleep");
        drop(started);
        assert_eq!(name(), "");
    }
}
