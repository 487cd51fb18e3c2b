//! Finds the Call-ID in a message that is not parsed yet.

/// The value of the first Call-ID field, or `None`. Looks at whole lines of the header section only;
/// what a parser would refuse gives some answer or none, but the same one for the same bytes.
pub(crate) fn find(message: &[u8]) -> Option<&[u8]> {
    let mut lines = message.split(|byte| *byte == b'\n');
    // The start line.
    lines.find(|line| !line.trim_ascii().is_empty())?;
    for line in lines {
        if line.trim_ascii().is_empty() {
            return None;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = line[..colon].trim_ascii_end();
        if name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i") {
            return Some(line[colon + 1..].trim_ascii());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_compact_and_spaced_names_are_found() {
        for field in ["Call-ID: a@b", "i:a@b", "CALL-ID \t:  a@b  "] {
            let message = format!("OPTIONS sip:x SIP/2.0\r\nVia: v\r\n{field}\r\n\r\nCall-ID: no");
            assert_eq!(find(message.as_bytes()), Some(&b"a@b"[..]), "{field}");
        }
    }

    #[test]
    fn a_body_is_not_searched() {
        assert_eq!(
            find(b"OPTIONS sip:x SIP/2.0\r\nVia: v\r\n\r\nCall-ID: no"),
            None
        );
        assert_eq!(find(b""), None);
        assert_eq!(find(b"\r\n\r\n"), None);
        assert_eq!(find(b"i: a start line is none"), None);
    }
}
