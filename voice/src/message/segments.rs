//! How many messages of a mobile network a text is: what accounts are billed by, and clients show.

/// The characters of GSM 7-bit (3GPP TS 23.038 section 6.2.1) beside those of ASCII that it has.
const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
/// Those that take two places.
const EXTENDED: &str = "^{}\\[~]|€\u{c}";

/// Segments of a text: 160 places of GSM 7-bit in one, 153 in each of several, or 70 and 67 code units of UTF-16
/// where a character has no place in that. An empty text is one.
///
/// ```
/// assert_eq!(voice::message::segments("Hello"), 1);
/// assert_eq!(voice::message::segments(&"a".repeat(161)), 2);
/// ```
pub fn segments(text: &str) -> u32 {
    let places = |c: char| match c {
        _ if c.is_ascii_alphanumeric() || GSM.contains(c) => Some(1),
        _ if EXTENDED.contains(c) => Some(2),
        _ => None,
    };
    let gsm = text.chars().map(places).sum::<Option<u32>>();
    let (length, whole, part) = match gsm {
        Some(length) => (length, 160, 153),
        None => {
            let units = text.encode_utf16().count();
            (u32::try_from(units).unwrap_or(u32::MAX), 70, 67)
        }
    };
    if length <= whole {
        return 1;
    }
    length.div_ceil(part)
}
