//! How the fields of a line are written for people.
//!
//! What strangers send is logged too, and white space or an escape sequence in it is a character as any
//! other to SIP: a line end in a URI would forge the next line of the log, and a terminal would obey the
//! sequence. The library's own way writes line ends as they are.

use std::fmt::{self, Write};

use tracing::field::Field;
use tracing_subscriber::{
    field::{MakeExt as _, MakeVisitor, VisitFmt, VisitOutput},
    fmt::format::{Writer, debug_fn},
};

/// Writes each field on the line that it belongs to, control characters escaped.
pub(super) fn one_line()
-> impl for<'w> MakeVisitor<Writer<'w>, Visitor: VisitFmt + VisitOutput<fmt::Result>> + 'static {
    debug_fn(put).delimited(" ")
}

fn put(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => {}
        (name, false) => write!(writer, "{name}=")?,
        // The name in italics, the sign dimmed.
        (name, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
    }
    write!(Escaping(writer), "{value:?}")
}

struct Escaping<'a, W>(&'a mut W);

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let control = part.chars().next_back().filter(|last| last.is_control());
            let plain = part.len() - control.map_or(0, char::len_utf8);
            self.0.write_str(part.get(..plain).unwrap_or_default())?;
            if let Some(control) = control {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{info, subscriber::with_default};
    use tracing_subscriber::layer::SubscriberExt as _;

    use crate::logging::for_people;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(ansi: bool, work: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = for_people(move || writer.clone(), ansi);
        with_default(tracing_subscriber::registry().with(lines), work);
        let bytes = page.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        // Behind the time.
        text.split_once(' ').unwrap().1.to_owned()
    }

    #[test]
    fn what_a_stranger_sends_forges_no_line_and_commands_no_terminal() {
        let user = "b\r\nINFO all is well\t\u{1b}[2J\u{9b}2J\0é";
        let escaped = r"b\r\nINFO all is well\t\u{1b}[2J\u{9b}2J\u{0}é";
        let line = logged(false, || info!(reason = %user, talk = 0.5, "call {user}"));
        let expected = format!(" INFO call {escaped} reason={escaped} talk=0.5\n");
        assert_eq!(line, expected);
        let line = logged(true, || info!(reason = %user, origin = "a", "call"));
        assert_eq!(line.matches(['\n', '\r', '\t', '\u{9b}', '\0']).count(), 1);
        assert!(line.ends_with("\"a\"\n") && line.contains(escaped) && !line.contains("\x1b[2J"));
    }
}
