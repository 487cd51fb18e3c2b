//! One way to log for every process: to standard error, filtered by `RUST_LOG`, as text for people or
//! as JSON lines with `TANDEM_LOG_FORMAT=json`.
//!
//! What is logged can be changed while the process runs: [`raise`] replaces the filter, and [`watched`]
//! lets debug lines of one piece of work through that the filter would stop, once
//! [`set_watching`] has said that there is any such work. While there is none a stopped line costs what
//! it always does: nothing.
//!
//! A thread of its own writes the lines: who logs does not wait for who reads the log. Where that one is too
//! slow, or does not read at all, lines are lost, and no call; [`metrics`] has how many.

mod fields;
mod verbosity;

use std::{
    cell::Cell,
    io::IsTerminal,
    marker::PhantomData,
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use verbosity::{Handle, Verbosity};

/// The filter of this process, once [`init`] has set it up.
static FILTER: OnceLock<Mutex<Filter>> = OnceLock::new();

/// How many lines of this process were lost.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

#[derive(Debug)]
struct Filter {
    handle: Handle,
    /// What the process was started with.
    first: String,
    now: String,
    watching: bool,
}

/// Why the log stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another subscriber than [`init`]'s is at work.
    #[error("the log of this process was not set up in a way that can be changed")]
    NotOurs,
    /// The text is no filter.
    #[error(
        "'{filter}' is no log filter: {error}; say off, error, warn, info, debug or trace, or levels of \
         parts, such as info,signaling=debug"
    )]
    Malformed {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        error: String,
    },
}

/// Lines that wait for who reads the log, at most.
const WAITING: usize = 16_384;

/// The log of this process. When it is dropped, the last lines are written.
#[must_use = "the log ends when it is dropped"]
#[derive(Debug)]
pub struct Log {
    _writing: WorkerGuard,
}

/// Starts logging for the whole process, until what it gives is dropped. `default` is the filter where
/// `RUST_LOG` says nothing, such as `info`. A second call does nothing.
pub fn init(default: &str) -> Option<Log> {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let usable = !wanted.is_empty() && Verbosity::parse(&wanted).is_ok();
    let first = if usable { wanted } else { default.to_owned() };
    let base = Verbosity::parse(&first).ok()?;
    let (filter, handle) = verbosity::reloadable(base);
    let (writer, writing) = NonBlockingBuilder::default()
        .thread_name("log")
        .buffered_lines_limit(WAITING)
        .finish(std::io::stderr());
    let lost = writer.error_counter();
    let json = std::env::var("TANDEM_LOG_FORMAT").is_ok_and(|format| format == "json");
    let lines = if json {
        let lines = tracing_subscriber::fmt::layer().with_target(false).json();
        lines.with_writer(writer).boxed()
    } else {
        for_people(writer, takes_style(&std::io::stderr())).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Already initialised means that a test or an embedding program chose its own way.
    subscriber.try_init().ok()?;
    let filter = Filter {
        handle,
        now: first.clone(),
        first,
        watching: false,
    };
    drop(FILTER.set(Mutex::new(filter)));
    drop(LOST.set(lost));
    Some(Log { _writing: writing })
}

/// What the log of this process measures of itself, as Prometheus' text; empty where it is not [`init`]'s. All
/// daemons of one process have the same, and each process is told from others by its program's name.
pub fn metrics() -> String {
    LOST.get().map_or_else(String::new, |lost| {
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_stem().unwrap_or_default();
        lost_lines(&program.to_string_lossy(), lost.dropped_lines())
    })
}

fn lost_lines(program: &str, lines: usize) -> String {
    let harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let program: String = program.chars().filter(harmless).collect();
    format!(
        "# HELP tandem_log_lines_lost_total Lines of the log that were lost, for nobody read it fast enough.\n\
         # TYPE tandem_log_lines_lost_total counter\n\
         tandem_log_lines_lost_total{{program=\"{program}\"}} {lines}\n"
    )
}

/// Whether what is written there may be styled: it is a terminal that can, and nobody asked for plain text
/// (<https://no-color.org>).
pub fn takes_style(stream: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

fn for_people<S, W>(writer: W, ansi: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(ansi)
        .fmt_fields(fields::one_line())
        .with_writer(writer)
}

/// Logs by another filter from now on, such as `debug` or `info,signaling=debug`; with `None` by the
/// one that the process was started with.
///
/// # Errors
/// It is no filter, or the log is not ours.
pub fn raise(filter: Option<&str>) -> Result<(), LogError> {
    change(|state| {
        let wanted = filter.map_or_else(|| state.first.clone(), str::to_owned);
        let base = match filter {
            Some(filter) => ordered(filter)?,
            None => parsed(&wanted)?,
        };
        state.handle.set(Some(base), state.watching);
        state.now = wanted;
        Ok(())
    })
}

/// A filter that somebody has typed. `RUST_LOG`'s words take whatever is no level for the name of a
/// target: with a slip of the keyboard in place of a level the node would fall silent.
fn ordered(filter: &str) -> Result<EnvFilter, LogError> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let mut words = filter.split(',');
    match words.find(|word| !word.contains(['=', '[']) && !is_level(word)) {
        None => parsed(filter),
        Some(word) => Err(LogError::Malformed {
            filter: filter.to_owned(),
            error: format!("'{word}' is no level"),
        }),
    }
}

fn parsed(filter: &str) -> Result<EnvFilter, LogError> {
    Verbosity::parse(filter).map_err(|error| LogError::Malformed {
        filter: filter.to_owned(),
        error: error.to_string(),
    })
}

/// Whether any work is [`watched`].
///
/// # Errors
/// The log is not ours.
pub fn set_watching(on: bool) -> Result<(), LogError> {
    change(|state| {
        if state.watching != on {
            state.watching = on;
            state.handle.set(None, on);
        }
        Ok(())
    })
}

/// The filter that is in force; empty where the log is not ours.
pub fn filter() -> String {
    FILTER.get().map_or_else(String::new, |state| {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now.clone()
    })
}

fn change(change: impl FnOnce(&mut Filter) -> Result<(), LogError>) -> Result<(), LogError> {
    let state = FILTER.get().ok_or(LogError::NotOurs)?;
    change(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, what this thread does is watched. Not to be held across an await.
#[derive(Debug)]
#[must_use = "the work is watched while the guard lives"]
pub struct Watched {
    before: bool,
    /// It belongs to its thread.
    here: PhantomData<*const ()>,
}

/// Lets debug lines of this thread through until the guard is dropped.
pub fn watched() -> Watched {
    Watched {
        before: WATCHED.replace(true),
        here: PhantomData,
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        WATCHED.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use tracing_subscriber::util::SubscriberInitExt as _;

    use super::*;

    /// Nobody reads it.
    struct Stuck;

    impl io::Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_secs(3_600));
            Ok(0)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_lost_are_counted() {
        let builder = NonBlockingBuilder::default().buffered_lines_limit(8);
        let (writer, writing) = builder.finish(Stuck);
        let lost = writer.error_counter();
        let lines = tracing_subscriber::registry().with(for_people(writer, false));
        let here = lines.set_default();
        for number in 0..100 {
            tracing::info!(number, "a line");
        }
        drop(here);
        // One is with the writer, eight wait.
        let count = lost.dropped_lines();
        assert!((91..=92).contains(&count), "{count}");
        let page = lost_lines("tan\"dem\n", count);
        let line = format!("tandem_log_lines_lost_total{{program=\"tandem\"}} {count}\n");
        assert!(page.ends_with(&line), "{page}");
        // It would wait for the writer.
        std::mem::forget(writing);
    }

    #[test]
    fn what_is_no_level_is_refused_with_the_levels() {
        for good in [
            "debug",
            "INFO",
            "off",
            "info,signaling=debug",
            "warn,sip=trace",
        ] {
            assert!(ordered(good).is_ok(), "{good}");
        }
        for (bad, word) in [
            ("nonsense", "'nonsense'"),
            ("", "''"),
            ("info,signalling", "'signalling'"),
            ("signaling=loud", "level"),
        ] {
            let error = ordered(bad).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
            assert!(
                error.contains("error, warn, info, debug or trace"),
                "{error}"
            );
        }
    }
}
