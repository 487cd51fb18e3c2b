//! What the operating system lets this process have.

#![expect(
    unsafe_code,
    reason = "getrlimit, setrlimit, sched_setaffinity and prctl have no safe wrappers"
)]

use std::io;

/// Descriptors that this process may have open, as it stands.
#[must_use]
pub fn open_files() -> u64 {
    current().map_or(1024, |limit| limit.rlim_cur)
}

/// Descriptors that so many media ports need: two sockets for each at most, a recording for each pair, two thousand of the
/// NG front's connections, and some for everything else.
#[must_use]
pub const fn files_for(ports: usize) -> u64 {
    ports as u64 * 2 + ports as u64 / 2 + 4096
}

/// Raises the number of open files towards `wanted`; beyond the hard limit where the process may.
/// The limit that holds afterwards.
pub fn raise_open_files(wanted: u64) -> u64 {
    let Ok(mut limit) = current() else {
        return open_files();
    };
    if limit.rlim_cur < wanted {
        let hard = limit.rlim_max;
        limit.rlim_cur = wanted;
        limit.rlim_max = hard.max(wanted);
        if !set(&limit) {
            // Without CAP_SYS_RESOURCE, or beyond fs.nr_open: up to the hard limit then.
            limit.rlim_cur = wanted.min(hard);
            limit.rlim_max = hard;
            set(&limit);
        }
    }
    open_files()
}

/// Has the kernel give this process small pages only. By pages of 2 MiB, which the allocator asks for where the system
/// leaves that to programs, it holds what no call uses: 14 MiB before the first one, and more with each. A refusal is no harm.
pub fn refuse_huge_pages() {
    let [on, unused] = [1, 0_usize];
    // SAFETY: PR_SET_THP_DISABLE takes a number, and nothing in the others' places.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused);
    }
}

/// Binds the calling thread to one core, counted over those that the process may use.
///
/// # Errors
/// What the kernel says, or `NotFound` where the process has no core to run on.
pub fn pin_to_core(number: usize) -> io::Result<()> {
    let cores = allowed_cores()?;
    let Some(&core) = cores.get(number % cores.len().max(1)) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` came from a set of the same size.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` lives through the call; 0 is the calling thread.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The cores that this process may run on.
///
/// # Errors
/// What the kernel says.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable for its size; the process' own id asks for its first thread, whose
    // set is not narrowed by pinning another.
    let result = unsafe {
        libc::sched_getaffinity(libc::getpid(), size_of::<libc::cpu_set_t>(), &raw mut set)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let size = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: every index is below CPU_SETSIZE.
    Ok((0..size)
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect())
}

fn current() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable and lives through the call.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(limit)
    }
}

fn set(limit: &libc::rlimit) -> bool {
    // SAFETY: `limit` lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_never_shrinks() {
        let before = open_files();
        assert!(raise_open_files(before) >= before);
        assert!(raise_open_files(1) >= before);
    }

    #[test]
    fn there_are_no_huge_pages() {
        refuse_huge_pages();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("THP_enabled:\t0"), "{status}");
    }

    #[test]
    fn a_thread_is_pinned_to_one_allowed_core() {
        let cores = allowed_cores().unwrap();
        std::thread::spawn(move || {
            pin_to_core(cores.len() + 1).unwrap();
        })
        .join()
        .unwrap();
    }
}
