//! Passwords: read without being shown. Never a part of the command line, which everybody
//! on the machine can read.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use control::signal::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::Failure;

/// Asks twice for a password at a terminal; elsewhere the first line of standard input is one.
pub(crate) fn read(user: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return checked(one_line()?);
    }
    let first = asked(&format!("Password of {user}: "))?;
    let second = asked("Once more: ")?;
    if first != second {
        return Err(Failure::other(
            "these are two passwords; nothing was changed",
        ));
    }
    checked(first)
}

/// Asks for a password, or makes one up.
pub(crate) fn read_or_generate(generate: bool, user: &str) -> Result<Secret, Failure> {
    match generate {
        true => Ok(Secret::generate()),
        false => read(user),
    }
}

fn checked(password: String) -> Result<Secret, Failure> {
    if password.is_empty() {
        return Err(Failure::other("no password; nothing was changed"));
    }
    // Ctrl-C among them: it interrupts nothing while the terminal shows nothing.
    if password.contains(char::is_control) {
        return Err(Failure::other(
            "a password has no control characters; nothing was changed",
        ));
    }
    Ok(Secret::new(password))
}

fn asked(question: &str) -> Result<String, Failure> {
    let cannot = |error: io::Error| Failure::io("cannot ask for a password", &error);
    eprint!("{question}");
    io::stderr().flush().map_err(cannot)?;
    let _hidden = Hidden::new().map_err(cannot)?;
    let line = one_line();
    eprintln!();
    line
}

fn one_line() -> Result<String, Failure> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::io("cannot read a password", &error))?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// The terminal shows nothing of what is typed for as long as this lives.
struct Hidden(Termios);

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        // A signal would leave the terminal as it is.
        modes.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Flush, &modes)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_typed_again_is_no_password() {
        assert!(checked("two words \u{fc}".to_owned()).is_ok());
        for wrong in ["", "a\u{3}"] {
            assert!(checked(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }
}
