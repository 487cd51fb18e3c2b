//! The smallest XDP program: "pass".
//!
//! A veth takes frames that its peer's XDP program sends or redirects only where it has a program
//! itself. So the outer ends of the bed get this one. It is two instructions, written here as an
//! object file for `ip link set … xdp`, so that no compiler is needed.

/// `mov r0, XDP_PASS; exit`
const CODE: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
/// The section that holds [`CODE`]; its name tells the loader the program's type.
pub(super) const SECTION: &str = "xdp";

const LICENSE: &[u8] = b"Dual MIT/GPL\0";
/// Section and symbol names; [`name`] finds an offset in it.
const NAMES: &[u8] = b"\0xdp\0license\0.symtab\0.strtab\0pass\0";

const HEADER_LEN: usize = 64;
const SECTION_HEADER_LEN: usize = 64;

/// A relocatable ELF64 object for BPF with the program.
pub(super) fn object() -> Vec<u8> {
    let symbols = symbols();
    // Type, flags, link, info and entry size as ELF names them; link 4 is the string table.
    let sections = [
        Section::new("xdp", SHT_PROGBITS, &CODE).flags(SHF_ALLOC | SHF_EXECINSTR),
        Section::new("license", SHT_PROGBITS, LICENSE).flags(SHF_ALLOC | SHF_WRITE),
        Section::new(".symtab", SHT_SYMTAB, &symbols).table(4, 1, 24),
        Section::new(".strtab", SHT_STRTAB, NAMES),
    ];

    let mut body = Vec::new();
    let mut headers = vec![0; SECTION_HEADER_LEN];
    for section in &sections {
        body.resize(body.len().next_multiple_of(8), 0);
        section.header(HEADER_LEN + body.len(), &mut headers);
        body.extend_from_slice(section.bytes);
    }
    body.resize(body.len().next_multiple_of(8), 0);

    let mut elf = Vec::with_capacity(HEADER_LEN + body.len() + headers.len());
    elf.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    half(&mut elf, ET_REL);
    half(&mut elf, EM_BPF);
    word(&mut elf, 1); // version
    long(&mut elf, 0); // entry point
    long(&mut elf, 0); // program headers
    long(&mut elf, HEADER_LEN + body.len());
    word(&mut elf, 0); // flags
    for value in [64, 0, 0, 64, 5, 4] {
        half(&mut elf, value); // sizes and counts of headers; the names are in section 4
    }
    elf.extend_from_slice(&body);
    elf.extend_from_slice(&headers);
    elf
}

const ET_REL: u16 = 1;
const EM_BPF: u16 = 247;
const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHF_WRITE: usize = 1;
const SHF_ALLOC: usize = 2;
const SHF_EXECINSTR: usize = 4;

struct Section<'a> {
    name: &'static str,
    kind: u32,
    bytes: &'a [u8],
    flags: usize,
    link: u32,
    info: u32,
    entry: usize,
}

impl<'a> Section<'a> {
    const fn new(name: &'static str, kind: u32, bytes: &'a [u8]) -> Self {
        Self {
            name,
            kind,
            bytes,
            flags: 0,
            link: 0,
            info: 0,
            entry: 0,
        }
    }

    const fn flags(mut self, flags: usize) -> Self {
        self.flags = flags;
        self
    }

    const fn table(mut self, link: u32, info: u32, entry: usize) -> Self {
        self.link = link;
        self.info = info;
        self.entry = entry;
        self
    }

    fn header(&self, offset: usize, out: &mut Vec<u8>) {
        word(out, name(self.name));
        word(out, self.kind);
        long(out, self.flags);
        long(out, 0); // address
        long(out, offset);
        long(out, self.bytes.len());
        word(out, self.link);
        word(out, self.info);
        long(out, 8); // alignment
        long(out, self.entry);
    }
}

/// The null symbol, and `pass`: a global function in section 1.
fn symbols() -> Vec<u8> {
    let mut out = vec![0; 24];
    word(&mut out, name("pass"));
    out.extend_from_slice(&[0x12, 0]);
    half(&mut out, 1);
    long(&mut out, 0);
    long(&mut out, CODE.len());
    out
}

fn name(wanted: &str) -> u32 {
    let wanted = [b"\0", wanted.as_bytes(), b"\0"].concat();
    let at = NAMES.windows(wanted.len()).position(|part| part == wanted);
    at.map_or(0, |at| u32::try_from(at + 1).unwrap_or(0))
}

fn half(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn long(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_the_string_table() {
        for text in ["xdp", "license", ".symtab", ".strtab", "pass"] {
            let at = name(text) as usize;
            assert!(NAMES[at..].starts_with(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn section_headers_are_where_the_header_says() {
        let elf = object();
        let at = u64::from_le_bytes(elf[40..48].try_into().unwrap());
        let at = usize::try_from(at).unwrap();
        assert_eq!(elf.len(), at + 5 * SECTION_HEADER_LEN);
        let code = usize::try_from(u64::from_le_bytes(
            elf[at + 64 + 24..at + 64 + 32].try_into().unwrap(),
        ))
        .unwrap();
        assert_eq!(elf[code..code + 16], CODE);
    }
}
