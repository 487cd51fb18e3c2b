//! Tells bpf-linker which instructions the programs may use.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Loads at any alignment: the kernel allows them on packets wherever the CPU does, and an
    // address in an Ethernet frame is not aligned. Without this each is put together from bytes.
    println!("cargo::rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
}
