//! A filter that can be replaced, and that debug lines of watched work pass.

use std::fmt;

use tracing::{
    Event, Level, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    EnvFilter,
    filter::ParseError,
    layer::{Context, Filter},
    reload,
};

use super::WATCHED;

/// What is logged.
#[derive(Debug)]
pub(super) struct Verbosity {
    base: EnvFilter,
    /// Some work is watched: its debug lines pass whatever `base` says.
    watching: bool,
}

impl Verbosity {
    /// A filter in `RUST_LOG`'s words.
    pub(super) fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
        EnvFilter::builder().parse(filter)
    }
}

/// A filter, and what changes it.
pub(super) fn reloadable<S: Subscriber + 'static>(
    base: EnvFilter,
) -> (reload::Layer<Verbosity, S>, Handle) {
    let verbosity = Verbosity {
        base,
        watching: false,
    };
    let (filter, handle) = reload::Layer::new(verbosity);
    let set = move |base: Option<EnvFilter>, watching: bool| {
        // It fails only where the subscriber is gone, and nothing is logged at all.
        drop(handle.modify(|verbosity| {
            verbosity.watching = watching;
            if let Some(base) = base {
                verbosity.base = base;
            }
        }));
    };
    (filter, Handle(Box::new(set)))
}

/// Changes a filter that is in use.
pub(super) struct Handle(Box<dyn Fn(Option<EnvFilter>, bool) + Send + Sync>);

impl Handle {
    /// Another base where one is given, and whether work is watched.
    pub(super) fn set(&self, base: Option<EnvFilter>, watching: bool) {
        (self.0)(base, watching);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl<S: Subscriber> Filter<S> for Verbosity {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        let watched = self.watching && *metadata.level() <= Level::DEBUG && WATCHED.get();
        watched || Filter::<S>::enabled(&self.base, metadata, context)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        let base = Filter::<S>::callsite_enabled(&self.base, metadata);
        if self.watching && *metadata.level() <= Level::DEBUG && !base.is_always() {
            return Interest::sometimes();
        }
        base
    }

    fn event_enabled(&self, event: &Event<'_>, context: &Context<'_, S>) -> bool {
        let watched = self.watching && WATCHED.get();
        watched || Filter::<S>::event_enabled(&self.base, event, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let base = Filter::<S>::max_level_hint(&self.base)?;
        Some(if self.watching {
            base.max(LevelFilter::DEBUG)
        } else {
            base
        })
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Filter::<S>::on_new_span(&self.base, attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Filter::<S>::on_record(&self.base, id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Filter::<S>::on_enter(&self.base, id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Filter::<S>::on_exit(&self.base, id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Filter::<S>::on_close(&self.base, id, context);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, trace};
    use tracing_subscriber::{Layer as _, fmt::MakeWriter, layer::SubscriberExt as _};

    use super::{super::watched, *};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn only_watched_work_is_heard_below_the_filter_and_only_while_watching() {
        let lines = Lines::default();
        let (filter, handle) = reloadable(Verbosity::parse("info").unwrap());
        let writer = tracing_subscriber::fmt::layer().with_writer(lines.clone());
        let subscriber = tracing_subscriber::registry().with(writer.with_filter(filter));
        let heard = || String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap();
        let speak = || {
            debug!("one");
            {
                let _watched = watched();
                debug!("two");
                trace!("never");
            }
            debug!("three");
            info!("four");
            let text = heard();
            let words = ["one", "two", "never", "three", "four"];
            words.map(|word| text.contains(word))
        };
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(speak(), [false, false, false, false, true]);
            handle.set(None, true);
            assert_eq!(speak(), [false, true, false, false, true]);
            handle.set(Some(Verbosity::parse("debug").unwrap()), true);
            assert_eq!(speak(), [true, true, false, true, true]);
            handle.set(Some(Verbosity::parse("warn").unwrap()), false);
            assert_eq!(speak(), [false; 5]);
        });
    }
}
