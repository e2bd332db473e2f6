#![forbid(unsafe_code)]
//! A system made of files: a dedicated host of eight cores on which every setting holds, and what breaks each.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringkeeper_tuning::files::{Files, Rooted};
use ringkeeper_tuning::host::{Host, Options};
use ringkeeper_tuning::probe::{DurableWrites, Method, Probe, Refused};
use ringkeeper_tuning::setting::Profile;

/// Below one folder; gone with the value.
pub(crate) struct Fake {
    folder: tempfile::TempDir,
    /// What trying says.
    pub(crate) probe: FakeProbe,
}

/// A machine that answers as it is told.
#[derive(Clone)]
pub(crate) struct FakeProbe {
    pub(crate) ring: Result<(), Refused>,
    pub(crate) writes: Result<DurableWrites, i32>,
}

impl Probe for FakeProbe {
    fn io_uring(&self) -> Result<(), Refused> {
        self.ring.clone()
    }

    fn durable_writes(&self, _: &Path) -> io::Result<DurableWrites> {
        self.writes.clone().map_err(io::Error::from_raw_os_error)
    }
}

pub(crate) fn writes(method: Method, micros: u64) -> DurableWrites {
    let refused = match method {
        Method::DirectDsync => vec![],
        _ => vec![(Method::DirectDsync, "Invalid argument (os error 22)".to_owned())],
    };
    DurableWrites { method, refused, took: vec![Duration::from_micros(micros); 100] }
}

/// Paths with what is there: bytes and permissions, a link's target, or nothing for a folder.
pub(crate) type Tree = BTreeMap<PathBuf, (Option<Vec<u8>>, u32)>;

impl Fake {
    /// Nothing at all.
    pub(crate) fn empty() -> Fake {
        // In memory where there is such a place: an fsync of a test need not wait for a disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let probe = FakeProbe { ring: Ok(()), writes: Ok(writes(Method::DirectDsync, 150)) };
        Fake { folder: folder.unwrap(), probe }
    }

    /// Everything holds, under every profile.
    pub(crate) fn healthy() -> Fake {
        let fake = Fake::empty();
        for (path, text) in HEALTHY {
            fake.write(path, text);
        }
        for core in 0..8 {
            let folder = format!("/sys/devices/system/cpu/cpu{core}");
            fake.write(&format!("{folder}/cpufreq/scaling_governor"), "performance\n");
            for (state, name, micros, disabled) in [(0, "POLL", 0, 0), (1, "C1", 2, 0), (2, "C6", 133, 1)] {
                let folder = format!("{folder}/cpuidle/state{state}");
                fake.write(&format!("{folder}/name"), format!("{name}\n"));
                fake.write(&format!("{folder}/latency"), format!("{micros}\n"));
                fake.write(&format!("{folder}/disable"), format!("{disabled}\n"));
            }
        }
        for nth in 0..4 {
            fake.write(&format!("/sys/devices/pci0/nic0/msi_irqs/{}", 40 + nth), "msix\n");
            fake.write(&format!("/sys/devices/pci0/nic0/net/eth0/queues/rx-{nth}/rps_cpus"), "00000000\n");
            fake.write(&format!("/proc/irq/{}/smp_affinity_list", 40 + nth), format!("{nth}\n"));
        }
        // A virtio card: its interrupts are its parent's.
        fake.write("/sys/devices/pci0/nic1/msi_irqs/50", "msix\n");
        fake.write("/proc/irq/50/smp_affinity_list", "4\n");
        fake.write("/sys/devices/pci0/nic1/virtio0/net/eth1/queues/rx-0/rps_cpus", "0000007f\n");
        fake.write("/sys/devices/virtual/net/lo/queues/rx-0/rps_cpus", "00000000\n");
        for folder in ["/etc/sysctl.d", "/etc/security/limits.d", "/var/lib/zookeeper", "/sys/class/block"] {
            std::fs::create_dir_all(fake.at(folder)).unwrap();
        }
        for (link, target) in [
            ("/sys/class/net/eth0", "../../devices/pci0/nic0/net/eth0"),
            ("/sys/class/net/eth1", "../../devices/pci0/nic1/virtio0/net/eth1"),
            ("/sys/class/net/lo", "../../devices/virtual/net/lo"),
            ("/sys/devices/pci0/nic0/net/eth0/device", "../.."),
            ("/sys/devices/pci0/nic1/virtio0/net/eth1/device", "../.."),
            ("/sys/block/nvme0n1", "../devices/pci0/nvme0/block/nvme0n1"),
            ("/sys/block/dm-0", "../devices/virtual/block/dm-0"),
            ("/sys/class/block/nvme0n1p1", "../../devices/pci0/nvme0/block/nvme0n1/nvme0n1p1"),
            ("/sys/dev/block/259:1", "../../devices/pci0/nvme0/block/nvme0n1/nvme0n1p1"),
            ("/sys/dev/block/252:0", "../../devices/virtual/block/dm-0"),
            (
                "/sys/devices/virtual/block/dm-0/slaves/nvme0n1p1",
                "../../../../pci0/nvme0/block/nvme0n1/nvme0n1p1",
            ),
        ] {
            let link = fake.at(link);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
        }
        fake
    }

    /// A healthy one with everything broken that can be broken without another breaking with it.
    pub(crate) fn broken() -> Fake {
        let mut fake = Fake::healthy();
        for (_, break_it) in BREAKS {
            break_it(&mut fake);
        }
        fake
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.strip_prefix('/').unwrap())
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Puts other text in the place of some that must be there.
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}: {text}");
        self.write(path, text.replace(from, to));
    }

    pub(crate) fn options(&self, profile: Profile) -> Options {
        Options {
            profile,
            data: vec!["/var/lib/zookeeper".into()],
            pid: None,
            unit: "ringkeeper.service".into(),
            user: "zookeeper".into(),
        }
    }

    pub(crate) fn files(&self) -> Rooted {
        Rooted::open(self.root()).unwrap()
    }

    pub(crate) fn host(&self, profile: Profile) -> Host {
        self.host_with(Box::new(self.files()), profile)
    }

    pub(crate) fn host_with(&self, files: Box<dyn Files>, profile: Profile) -> Host {
        Host::new(files, Some(Box::new(self.probe.clone())), self.options(profile))
    }

    /// Everything that is there.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        let mut folders = vec![self.root().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let about = path.symlink_metadata().unwrap();
                let bytes = if about.is_symlink() {
                    Some(std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
                } else if about.is_dir() {
                    folders.push(path.clone());
                    None
                } else {
                    Some(std::fs::read(&path).unwrap())
                };
                tree.insert(path, (bytes, about.permissions().mode()));
            }
        }
        tree
    }
}

/// A setting, and what makes it fail on a healthy host of the dedicated profile.
pub(crate) type Break = (&'static str, fn(&mut Fake));

/// One for each setting.
pub(crate) const BREAKS: &[Break] = &[
    ("io-uring-sysctl", |fake| fake.write("/proc/sys/kernel/io_uring_disabled", "2\n")),
    ("io-uring-tried", |fake| fake.probe.ring = Err(Refused { call: "io_uring_setup", error: 1 })),
    ("memlock", |fake| {
        fake.edit("/usr/lib/systemd/system/ringkeeper.service", "LimitMEMLOCK=infinity", "LimitMEMLOCK=1M")
    }),
    ("open-files", |fake| fake.edit("/usr/lib/systemd/system/ringkeeper.service", "LimitNOFILE=65536\n", "")),
    ("file-system", |fake| fake.edit("/proc/self/mountinfo", "- ext4 /dev/mapper", "- btrfs /dev/mapper")),
    ("write-barriers", |fake| fake.edit("/proc/self/mountinfo", "rw,stripe=32", "rw,stripe=32,barrier=0")),
    ("mount-options", |fake| fake.edit("/proc/self/mountinfo", "rw,stripe=32", "rw,stripe=32,discard")),
    ("direct-io", |fake| fake.probe.writes = Ok(writes(Method::BufferedDsync, fake.latency()))),
    ("flush-latency", |fake| fake.probe.writes = Ok(writes(fake.method(), 12_340))),
    ("disk-scheduler", |fake| {
        fake.write("/sys/devices/pci0/nvme0/block/nvme0n1/queue/scheduler", "none mq-deadline kyber [bfq]\n")
    }),
    ("write-cache", |fake| fake.write("/sys/devices/pci0/nvme0/block/nvme0n1/queue/fua", "0\n")),
    ("swappiness", |fake| fake.write("/proc/sys/vm/swappiness", "60\n")),
    ("transparent-hugepages", |fake| {
        fake.write("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")
    }),
    ("numa", |fake| fake.write("/proc/sys/kernel/numa_balancing", "1\n")),
    ("cpu-governor", |fake| {
        fake.write("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave\n")
    }),
    ("cpu-idle-states", |fake| fake.write("/sys/devices/system/cpu/cpu5/cpuidle/state2/disable", "0\n")),
    ("isolated-cores", |fake| fake.write("/sys/devices/system/cpu/isolated", "2-3\n")),
    ("cpu-quota", |fake| fake.write("/sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n")),
    ("clock-source", |fake| {
        fake.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")
    }),
    ("irq-affinity", |fake| fake.write("/proc/irq/41/smp_affinity_list", "0-7\n")),
    ("rps", |fake| fake.write("/sys/devices/pci0/nic1/virtio0/net/eth1/queues/rx-0/rps_cpus", "00000000\n")),
    ("somaxconn", |fake| fake.write("/proc/sys/net/core/somaxconn", "128\n")),
    ("syn-backlog", |fake| fake.write("/proc/sys/net/ipv4/tcp_max_syn_backlog", "1024\n")),
    ("device-backlog", |fake| fake.write("/proc/sys/net/core/netdev_max_backlog", "1000\n")),
];

impl Fake {
    fn latency(&self) -> u64 {
        self.probe.writes.as_ref().unwrap().took[0].as_micros() as u64
    }

    fn method(&self) -> Method {
        self.probe.writes.as_ref().unwrap().method
    }
}

#[rustfmt::skip]
const HEALTHY: &[(&str, &str)] = &[
    ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("/etc/sysctl.conf", "# nothing\n"),
    ("/etc/sysctl.d/60-site.conf", "# ours for years\nvm.swappiness=1\n-net/ipv4/tcp_max_syn_backlog = 8192\nnet.core.netdev_max_backlog = 5000\nkernel.numa_balancing = 0\n"),
    // Hidden by a file of the same name in /etc.
    ("/usr/lib/sysctl.d/60-site.conf", "vm.swappiness = 100\n"),
    ("/usr/lib/sysctl.d/10-default.conf", "vm.swappiness = 30\n"),
    ("/proc/sys/kernel/io_uring_disabled", "0\n"),
    ("/proc/sys/kernel/numa_balancing", "0\n"),
    ("/proc/sys/vm/zone_reclaim_mode", "0\n"),
    ("/proc/sys/vm/swappiness", "1\n"),
    ("/proc/sys/net/core/somaxconn", "4096\n"),
    ("/proc/sys/net/core/netdev_max_backlog", "5000\n"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "8192\n"),
    ("/proc/swaps", "Filename Type Size Used Priority\n/dev/dm-1 partition 8388604 0 -2\n"),
    ("/proc/self/cgroup", "0::/system.slice/ssh.service\n"),
    ("/proc/self/status", "Name:\tringkeeper-tune\nCpus_allowed_list:\t0-1,4-7\n"),
    ("/proc/self/limits", "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\nMax locked memory         8388608              8388608              bytes\n"),
    ("/proc/self/mountinfo", "20 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n21 20 0:20 / /sys rw - sysfs sysfs rw\n22 20 252:0 / /var/lib rw,noatime shared:9 - ext4 /dev/mapper/data rw,stripe=32\n"),
    ("/sys/fs/cgroup/cpu.stat", "usage_usec 1\n"),
    ("/sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"),
    ("/sys/fs/cgroup/system.slice/cpu.stat", "usage_usec 1\nnr_periods 10\nnr_throttled 7\n"),
    ("/sys/devices/system/cpu/online", "0-7\n"),
    ("/sys/devices/system/cpu/isolated", "\n"),
    ("/sys/devices/system/node/online", "0-1\n"),
    ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm \n"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("/sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n"),
    ("/sys/devices/pci0/nvme0/block/nvme0n1/queue/scheduler", "[none] mq-deadline kyber bfq\n"),
    ("/sys/devices/pci0/nvme0/block/nvme0n1/queue/rotational", "0\n"),
    ("/sys/devices/pci0/nvme0/block/nvme0n1/queue/write_cache", "write back\n"),
    ("/sys/devices/pci0/nvme0/block/nvme0n1/queue/fua", "1\n"),
    ("/sys/devices/pci0/nvme0/block/nvme0n1/nvme0n1p1/partition", "1\n"),
    ("/sys/devices/virtual/block/dm-0/queue/scheduler", "none\n"),
    ("/usr/lib/systemd/system/ringkeeper.service", "[Service]\nExecStart=/usr/bin/ringkeeper serve\nLimitNOFILE=65536\nLimitMEMLOCK=infinity\n"),
];
