//! What processes and the kernel hold, and whether it grows.

use std::{fs, io, time::Duration};

/// What the kernel holds for anyone and would not give back for the asking, in KiB: objects (slab), among them sockets,
/// large areas (vmalloc: maps of BPF, tables of files), memory of each CPU.
pub(crate) fn kernel() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let parts = ["SUnreclaim", "VmallocUsed", "Percpu"];
    let parts: u64 = parts.iter().map(|part| field(&text, part)).sum();
    // The part of a socket that counts as one of a file system. The rest of that kind are other processes' files.
    let slabs = fs::read_to_string("/proc/slabinfo")?;
    Ok(parts + slab(&slabs, "sock_inode_cache"))
}

/// The memory of one kind of objects, in KiB, by a line such as `name 10 12 640 ...`: in use, in all, octets of each.
fn slab(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().map(str::split_whitespace);
    let line = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words));
    let numbers = line
        .into_iter()
        .flatten()
        .filter_map(|word| word.parse::<u64>().ok());
    let numbers: Vec<_> = numbers.take(3).collect();
    match numbers[..] {
        [_, all, octets] => all * octets / 1024,
        _ => 0,
    }
}

/// The resident set of a process and the tables of its pages, in KiB. Maps of BPF that it looks into are the kernel's, and
/// counted there.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let areas = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let own = field(&text, "VmRSS").saturating_sub(maps(&areas));
    Ok(own + field(&text, "VmPTE"))
}

/// What of a process's areas is maps of BPF, in KiB: the lines of one follow the line that names it.
fn maps(areas: &str) -> u64 {
    let mut is_map = false;
    let mut sum = 0;
    for line in areas.lines() {
        match line.split_once(':') {
            Some(("Rss", value)) if is_map => sum += number(value),
            Some((name, _)) if !name.contains(' ') => {}
            _ => is_map = line.ends_with("anon_inode:bpf-map"),
        }
    }
    sum
}

/// The descriptors that a process has open.
pub(crate) fn files(pid: u32) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// The number of a line such as `Slab:   123 kB`.
fn field(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|line| line.0 == name)
        .map_or(0, |line| number(line.1))
}

fn number(value: &str) -> u64 {
    let number = value.split_whitespace().next();
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The memory at moments of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<(Duration, u64)>);

impl Samples {
    pub(crate) fn take(&mut self, at: Duration, kib: u64) {
        self.0.push((at, kib));
    }

    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Those after a moment.
    pub(crate) fn after(mut self, moment: Duration) -> Self {
        self.0.retain(|(at, _)| *at >= moment);
        self
    }

    pub(crate) fn first(&self) -> u64 {
        self.0.first().map_or(0, |(_, kib)| *kib)
    }

    pub(crate) fn last(&self) -> u64 {
        self.0.last().map_or(0, |(_, kib)| *kib)
    }

    /// The most of the last third of the samples, beyond the most of the third before, in KiB.
    pub(crate) fn grown(&self) -> u64 {
        let third = self.0.len() / 3;
        let most = |part: &[(Duration, u64)]| part.iter().map(|(_, kib)| *kib).max();
        let (before, last) = self.0.split_at(self.0.len() - third);
        let middle = before.get(third..).and_then(most).unwrap_or(0);
        most(last).unwrap_or(0).saturating_sub(middle)
    }

    /// KiB a minute, by the straight line that is nearest to all.
    #[expect(clippy::cast_precision_loss, reason = "a slope for people")]
    pub(crate) fn slope(&self) -> f64 {
        let points = self.0.iter();
        let points = points.map(|(at, kib)| (at.as_secs_f64() / 60.0, *kib as f64));
        let count = self.0.len().max(1) as f64;
        let (x, y) = points
            .clone()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let (x, y) = (x / count, y / count);
        let (over, under) = points.fold((0.0, 0.0), |sum, point| {
            let off = point.0 - x;
            (sum.0 + off * (point.1 - y), sum.1 + off * off)
        });
        if under > 0.0 { over / under } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_noise_has_none() {
        let samples = |values: &[u64]| {
            let at = |index: u64| Duration::from_secs(30 * index);
            Samples((0..).map(at).zip(values.iter().copied()).collect())
        };
        assert!((samples(&[10, 20, 30, 40]).slope() - 20.0).abs() < 1e-9);
        assert!(samples(&[10, 12, 12, 10]).slope().abs() < 1e-9);
        assert!(samples(&[]).slope().abs() < 1e-9);
        assert_eq!(samples(&[1, 9, 20, 22, 30, 25]).grown(), 8);
        assert_eq!(samples(&[1, 9, 20, 30, 30, 25]).grown(), 0);
        assert_eq!(samples(&[]).grown(), 0);
    }

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let text = "Slabs: 1 kB\nSlab:        77 kB\nPercpu:\n";
        assert_eq!(
            ["Slab", "Percpu", "None"].map(|name| field(text, name)),
            [77, 0, 0]
        );
    }

    #[test]
    fn maps_of_bpf_are_not_the_processs_own() {
        let text = "7f00-7f10 rw-p 00000000 00:00 0\nRss: 5 kB\n\
                    7f20-7f30 rw-s 00001000 00:0e 5      anon_inode:bpf-map\nSize: 9 kB\nRss:  8 kB\nPss: 3 kB\n\
                    7f30-7f40 r-xp 00000000 08:01 7      /usr/lib/x.so\nRss: 2 kB\n";
        assert_eq!(maps(text), 8);
    }

    #[test]
    fn objects_are_counted_with_those_that_are_free() {
        let text = "slabinfo - version: 2.1\nsock_inode_cache 10 16 832 39 8 : tunables\n";
        assert_eq!(slab(text, "sock_inode_cache"), 13);
        assert_eq!(slab(text, "filp"), 0);
    }
}
