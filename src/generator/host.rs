//! Reads the limits of this process: its cores and the CPU quota of its control group, and the time that throttling and
//! the hypervisor took from it.
//!
//! Values that the kernel does not give (no control groups, a sandbox without `/proc`) are unknown, and nothing is
//! concluded from them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The limits of this process, and the time that is taken from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// The control group of this process and its parents: each may limit it.
    groups: Vec<PathBuf>,
}

/// A reading of the time taken from this process so far. The difference of two readings is the time taken between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The number of periods of the quota that have started.
    pub periods: u64,
    /// The number of periods in which the quota was used up.
    pub throttled_periods: u64,
    /// How long the group was throttled, summed over its cores.
    pub throttled: Duration,
    /// How long cores of this machine had work while the hypervisor ran other guests (steal), summed over the cores.
    pub stolen: Duration,
}

impl Host {
    /// Finds the control groups of this process.
    pub fn find() -> Host {
        let (groups, mounts) = (text("/proc/self/cgroup"), text("/proc/self/mountinfo"));
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::read).collect();
        let groups = groups.lines().filter_map(ControlGroup::read);
        Host { groups: groups.flat_map(|group| directories(&group, &mounts)).collect() }
    }

    /// Returns the number of cores that this process may use; a quota may allow a part of a core.
    pub fn cores(&self) -> f64 {
        let affinity = sched_getaffinity(Pid::from_raw(0)).ok().map(|cores| {
            (0..CpuSet::count()).filter(|core| cores.is_set(*core).unwrap_or(false)).count() as f64
        });
        let whole = affinity.filter(|cores| *cores > 0.0).unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1.0, |cores| usize::from(cores) as f64)
        });
        self.groups.iter().filter_map(|group| quota(group)).fold(whole, f64::min)
    }

    /// Returns the current reading.
    pub fn taken(&self) -> Taken {
        let throttled = self.groups.iter().map(|group| throttled(group));
        // A throttled group also stops all groups in it, so the times of nested groups are not added.
        let worst = throttled.max_by_key(|taken| taken.throttled_periods).unwrap_or_default();
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Taken { stolen: steal(&stat).unwrap_or_default(), ..worst }
    }
}

impl Taken {
    /// Returns the difference from an earlier reading.
    pub fn since(self, earlier: Taken) -> Taken {
        Taken {
            periods: self.periods.saturating_sub(earlier.periods),
            throttled_periods: self.throttled_periods.saturating_sub(earlier.throttled_periods),
            throttled: self.throttled.saturating_sub(earlier.throttled),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }
}

/// Returns the text of a file, empty if it cannot be read. A name that is no UTF-8 must not hide the other lines.
fn text(path: impl AsRef<Path>) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The place of a control group: a line of `/proc/self/cgroup` (cgroups(7)).
struct ControlGroup<'a> {
    /// 0 in version 2.
    hierarchy: u32,
    controllers: Vec<&'a str>,
    path: &'a Path,
}

impl ControlGroup<'_> {
    /// Reads a line such as `3:cpu,cpuacct:/user.slice`.
    fn read(line: &str) -> Option<ControlGroup<'_>> {
        let mut fields = line.splitn(3, ':');
        let hierarchy = fields.next()?.parse().ok()?;
        let controllers = fields.next()?.split(',').filter(|name| !name.is_empty()).collect();
        Some(ControlGroup { hierarchy, controllers, path: Path::new(fields.next()?) })
    }
}

/// A mounted file system: a line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
struct Mount {
    /// The part of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
    kind: String,
    /// The options of the file system, such as `rw,cpu`.
    options: String,
}

impl Mount {
    /// Reads a line such as `36 35 0:29 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw`.
    fn read(line: &str) -> Option<Mount> {
        // The number of fields before the dash varies.
        let (mounted, file_system) = line.split_once(" - ")?;
        let mut mounted = mounted.split(' ').skip(3);
        let mut file_system = file_system.split(' ');
        Some(Mount {
            root: unescaped(mounted.next()?),
            point: unescaped(mounted.next()?),
            kind: file_system.next()?.to_owned(),
            options: file_system.nth(1)?.to_owned(),
        })
    }
}

/// Returns a path of a list of mounts, in which a space, tab, line feed or backslash is written in octal, as `\040`.
fn unescaped(field: &str) -> PathBuf {
    let (mut rest, mut path) = (field.as_bytes(), Vec::new());
    while let Some((&first, after)) = rest.split_first() {
        let octal = if first == b'\\' { after.get(..3) } else { None };
        let byte = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(path).into()
}

/// Returns the time stolen from all cores, from the text of `/proc/stat`.
fn steal(stat: &str) -> Option<Duration> {
    let all = stat.lines().next()?.strip_prefix("cpu ")?;
    // user, nice, system, idle, iowait, irq, softirq, steal. The unit is USER_HZ, which is 100 on Linux.
    let ticks: u64 = all.split_ascii_whitespace().nth(7)?.parse().ok()?;
    Some(Duration::from_millis(ticks.saturating_mul(10)))
}

/// Returns the folders of a group and of its parents, if the group is of version 2 or has the CPU controller of version
/// 1.
fn directories(group: &ControlGroup, mounts: &[Mount]) -> Vec<PathBuf> {
    let mount = mounts.iter().find(|mount| match group.hierarchy {
        0 => mount.kind == "cgroup2",
        _ => {
            mount.kind == "cgroup"
                && group.controllers.contains(&"cpu")
                && mount.options.split(',').any(|option| option == "cpu")
        }
    });
    let Some(mount) = mount else { return Vec::new() };
    // In a container the mount may show a part of the tree, while the path is that of the whole tree.
    let path = group.path;
    let below = path.strip_prefix(&mount.root).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
    let own = mount.point.join(below);
    let own = if own.is_dir() { own } else { mount.point.clone() };
    own.ancestors().take_while(|path| path.starts_with(&mount.point)).map(Path::to_owned).collect()
}

/// Returns the cores that a group's quota allows; `None`: no quota.
fn quota(group: &Path) -> Option<f64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(max) => {
            let (quota, period) = max.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
        None => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
    };
    // `max` and -1 mean no quota.
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

fn throttled(group: &Path) -> Taken {
    let mut taken = Taken::default();
    let stat = std::fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
    for (name, value) in stat.lines().filter_map(|line| line.split_once(' ')) {
        let value = value.trim().parse().unwrap_or(0);
        match name {
            "nr_periods" => taken.periods = value,
            "nr_throttled" => taken.throttled_periods = value,
            "throttled_usec" => taken.throttled = Duration::from_micros(value),
            "throttled_time" => taken.throttled = Duration::from_nanos(value),
            _ => {}
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn a_quota_is_read_in_both_versions_and_need_not_be_whole() {
        let of = |files: &[(&str, &str)]| quota(group(files).path());
        assert_eq!(of(&[("cpu.max", "20000 100000\n")]), Some(0.2));
        assert_eq!(of(&[("cpu.max", "max 100000\n")]), None);
        assert_eq!(of(&[("cpu.cfs_quota_us", "250000\n"), ("cpu.cfs_period_us", "100000\n")]), Some(2.5));
        assert_eq!(of(&[("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n")]), None);
        assert_eq!(of(&[]), None, "the root of version 2 has none");
    }

    #[test]
    fn the_tightest_quota_of_all_groups_around_counts() {
        let wide = group(&[("cpu.max", "90000 100000\n")]);
        let tight = group(&[("cpu.max", "5000 10000\n")]);
        let host = Host { groups: [wide.path(), tight.path()].map(Path::to_owned).to_vec() };
        assert!((host.cores() - 0.5).abs() < 1e-9, "{}", host.cores());
        assert!(Host::default().cores() >= 1.0);
    }

    #[test]
    fn throttling_is_read_in_both_versions_and_what_passed_before_does_not_count() {
        let second =
            group(&[("cpu.stat", "usage_usec 5\nnr_periods 40\nnr_throttled 9\nthrottled_usec 700000\n")]);
        let first = group(&[("cpu.stat", "nr_periods 50\nnr_throttled 30\nthrottled_time 2000000000\n")]);
        let read = |directory: &tempfile::TempDir| throttled(directory.path());
        assert_eq!((read(&second).periods, read(&second).throttled), (40, Duration::from_millis(700)));
        assert_eq!((read(&first).throttled_periods, read(&first).throttled), (30, Duration::from_secs(2)));
        let host = Host { groups: vec![first.path().to_owned(), second.path().to_owned()] };
        let taken = host.taken();
        assert_eq!(taken.throttled_periods, 30, "the worst of the groups around, not their sum");
        assert_eq!(taken.since(taken), Taken::default());
    }

    #[test]
    fn groups_are_found_where_they_are_mounted() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("a/b")).unwrap();
        let mount = |fs: &str, root: &str, options: &str| {
            format!("36 35 0:29 {root} {} rw - {fs} {fs} {options}", top.path().display())
        };
        let found = |group: &str, mount: String| {
            let found = directories(&ControlGroup::read(group).unwrap(), &[Mount::read(&mount).unwrap()]);
            found
                .iter()
                .map(|path| path.strip_prefix(top.path()).unwrap().display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("0::/a/b", mount("cgroup2", "/", "rw")), ["a/b", "a", ""]);
        assert_eq!(found("3:cpu,cpuacct:/a", mount("cgroup", "/", "rw,cpu,cpuacct")), ["a", ""]);
        assert_eq!(found("0::/docker/x/a", mount("cgroup2", "/docker/x", "rw")), ["a", ""]);
        assert_eq!(found("0::/../gone", mount("cgroup2", "/", "rw")), [""], "seen from a container");
        assert!(found("4:cpuset:/a", mount("cgroup", "/", "rw,cpuset")).is_empty());
        assert!(found("4:memory:/a", mount("cgroup", "/", "rw,cpu")).is_empty());
    }

    #[test]
    fn a_line_of_a_mount_may_have_more_fields_and_a_path_with_spaces() {
        let line =
            r"36 35 0:29 /a\134b /mnt/two\040words\ rw,nosuid shared:9 master:1 - cgroup2 none rw,nsdelegate";
        let mount = Mount::read(line).unwrap();
        assert_eq!((mount.root, mount.point), (PathBuf::from(r"/a\b"), PathBuf::from(r"/mnt/two words\")));
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("cgroup2", "rw,nsdelegate"));
        assert!(Mount::read("36 35 0:29 / /mnt rw").is_none());
    }

    #[test]
    fn a_mount_whose_name_is_no_text_hides_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let lines = [
            b"35 1 8:1 / /mnt/\xff rw - ext4 /dev/sdb1 rw\n".as_slice(),
            b"36 35 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        ];
        let file = directory.path().join("mountinfo");
        std::fs::write(&file, lines.concat()).unwrap();
        let mounts = text(&file);
        let kinds: Vec<String> = mounts.lines().filter_map(Mount::read).map(|mount| mount.kind).collect();
        assert_eq!(kinds, ["ext4", "cgroup2"]);
        assert_eq!(text(directory.path().join("missing")), "");
    }

    #[test]
    fn a_group_may_have_a_colon_in_its_path_and_a_name_for_a_controller() {
        let group = ControlGroup::read("12:name=systemd:/a:b").unwrap();
        assert_eq!((group.hierarchy, group.controllers.as_slice()), (12, ["name=systemd"].as_slice()));
        assert_eq!(group.path, Path::new("/a:b"));
        assert!(ControlGroup::read("0:").is_none() && ControlGroup::read("").is_none());
    }

    #[test]
    fn stolen_time_is_that_of_all_cores() {
        let stat = "cpu  1 2 3 4 5 6 7 123 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n";
        assert_eq!(steal(stat), Some(Duration::from_millis(1230)));
        assert_eq!(steal("cpu  1 2 3 4\n"), None, "an old kernel");
        assert_eq!(steal(""), None);
    }
}
