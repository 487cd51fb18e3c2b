//! Builds the XDP programs, so that the crate can embed them.
//!
//! They need a compiler whose standard library's source is at hand, and `bpf-linker` with an LLVM of
//! its own version. `scripts/toolchain.sh` (part of `make setup`) provides all of it; this script
//! only finds it, so that a plain `cargo build` works afterwards.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use aya_build::{Package, Toolchain};

/// Names a toolchain of rustup to build the programs with, instead of the one found.
const TOOLCHAIN_VARIABLE: &str = "TANDEM_EBPF_TOOLCHAIN";
/// The name under which `scripts/toolchain.sh` links a distribution's compiler.
const LINKED_TOOLCHAIN: &str = "tandem-ebpf";
/// The LLVM that bpf-linker 0.10 is built for. It reads what a compiler of this LLVM writes.
const LLVM_MAJOR: &str = "22";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: the XDP programs cannot be built: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let toolchains = toolchains();
    let toolchain = find_toolchain(&toolchains)?;
    let linker = find_linker()?;
    let llvm = link_llvm(&toolchains)?;

    prepend("PATH", linker);
    prepend("LD_LIBRARY_PATH", llvm);
    // `-Z build-std` on a compiler that is not a nightly.
    set("RUSTC_BOOTSTRAP", "1".into());
    // aya_build shows as a warning whatever that cargo says.
    set("CARGO_TERM_QUIET", "true".into());

    let package = Package {
        name: "ebpf",
        root_dir: "../ebpf",
        ..Package::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .map_err(|error| format!("{error:#}"))
}

/// The toolchains that rustup has, and the folder of each.
fn toolchains() -> Vec<(String, PathBuf)> {
    let Ok(output) = Command::new("rustup")
        .args(["toolchain", "list", "-v"])
        .output()
    else {
        return Vec::new();
    };
    // A line is the name, remarks in brackets, and the folder, which may be a link.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let name = line.split_whitespace().next()?;
            let folder = line.find('/').map(|start| PathBuf::from(&line[start..]))?;
            Some((name.to_owned(), folder))
        })
        .collect()
}

fn find_toolchain(toolchains: &[(String, PathBuf)]) -> Result<String, String> {
    if let Ok(name) = env::var(TOOLCHAIN_VARIABLE) {
        return Ok(name);
    }
    let able = |folder: &Path| {
        folder.join("lib/rustlib/src/rust/library/core").is_dir()
            && llvm_of(&folder.join("bin/rustc")).as_deref() == Some(LLVM_MAJOR)
    };
    let linked = toolchains
        .iter()
        .filter(|(name, _)| name == LINKED_TOOLCHAIN);
    linked
        .chain(toolchains)
        .find(|(_, folder)| able(folder))
        .map(|(name, _)| name.clone())
        .ok_or_else(|| {
            format!(
                "no Rust toolchain with the standard library's source and LLVM {LLVM_MAJOR} was \
                 found. Run `make setup`, or `rustup component add rust-src`, or name a toolchain \
                 in {TOOLCHAIN_VARIABLE}"
            )
        })
}

/// The major version of the LLVM that a compiler has.
fn llvm_of(rustc: &Path) -> Option<String> {
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next().map(str::to_owned)
}

/// The folder that has bpf-linker.
fn find_linker() -> Result<PathBuf, String> {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin");
    let cargo = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .map(|home| home.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let candidates = [local]
        .into_iter()
        .chain(cargo)
        .chain(env::split_paths(&path));
    for folder in candidates {
        let linker = folder.join("bpf-linker");
        if linker.is_file() {
            println!("cargo::rerun-if-changed={}", linker.display());
            return Ok(folder);
        }
    }
    Err("bpf-linker was not found. Run `make setup`, or `cargo install bpf-linker --version 0.10.3 \
         --locked`"
        .into())
}

/// A folder with nothing but the LLVM library that bpf-linker needs.
///
/// bpf-linker takes the first library named libLLVM on `LD_LIBRARY_PATH`, of whatever version, and
/// the compiler it is called by is not to find another toolchain's libraries there.
fn link_llvm(toolchains: &[(String, PathBuf)]) -> Result<PathBuf, String> {
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    let folder = PathBuf::from(out).join("llvm");
    let system = [PathBuf::from("/usr")];
    let roots = toolchains.iter().map(|(_, folder)| folder).chain(&system);
    let libraries = roots.flat_map(|root| {
        let lib = root.join("lib");
        let multiarch = lib.join(format!("{}-linux-gnu", env::consts::ARCH));
        [lib, multiarch]
    });
    let library = libraries
        .filter_map(|lib| llvm_in(&lib))
        .next()
        .ok_or_else(|| {
            format!(
                "no shared library of LLVM {LLVM_MAJOR} was found in any Rust toolchain. Run `make \
             setup`"
            )
        })?;
    let link = folder.join("libLLVM.so");
    let prepare = || {
        fs::create_dir_all(&folder)?;
        if fs::read_link(&link).is_ok() {
            fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(&library, &link)
    };
    prepare().map_err(|error| format!("{}: {error}", link.display()))?;
    Ok(folder)
}

fn llvm_in(folder: &Path) -> Option<PathBuf> {
    let prefix = format!("libLLVM.so.{LLVM_MAJOR}.");
    let entries = fs::read_dir(folder).ok()?;
    entries
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
}

fn prepend(variable: &str, folder: PathBuf) {
    let old = env::var_os(variable).unwrap_or_default();
    let old = env::split_paths(&old).filter(|folder| !folder.as_os_str().is_empty());
    let folders = [folder].into_iter().chain(old);
    if let Ok(joined) = env::join_paths(folders) {
        set(variable, joined);
    }
}

#[expect(
    unsafe_code,
    reason = "aya_build takes the environment that it starts cargo with from ours"
)]
fn set(variable: &str, value: std::ffi::OsString) {
    // SAFETY: this script has one thread.
    unsafe { env::set_var(variable, value) }
}
