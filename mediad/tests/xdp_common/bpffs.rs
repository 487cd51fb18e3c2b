//! A bpffs of a test's own.
#![expect(unsafe_code, reason = "unshare and mount have no safe face in std")]

use std::{ffi::CString, io, os::unix::ffi::OsStrExt as _, path::Path, ptr};

/// Mounts a bpffs that only this thread and its children see, at `path`.
pub(crate) fn private_bpffs(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: changes this thread only.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: C strings and null pointers where the kernel takes them.
    let result = unsafe {
        libc::mount(
            ptr::null(),
            c"/".as_ptr(),
            ptr::null(),
            private,
            ptr::null(),
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    // SAFETY: as above.
    let result = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            path.as_ptr(),
            c"bpf".as_ptr(),
            0,
            ptr::null(),
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}
