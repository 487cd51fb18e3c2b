//! One who listens to events, for tests.

use std::{sync::Arc, time::Duration};

use control::{
    Client, Endpoint, Fault, FaultCode, Notice,
    channel::{Events, Handler, serve},
    signal::{Event, Request, Response, Signal},
};
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};

/// What was told since it began to listen.
#[derive(Debug)]
pub(crate) struct Told {
    notices: broadcast::Receiver<Notice<Event>>,
    _client: Client<Signal>,
}

impl Told {
    /// Listens over a control channel, as any client does.
    pub(crate) async fn listen(events: Events<Signal>) -> Self {
        let (listener, endpoint) = Endpoint::memory();
        tokio::spawn(serve(listener, Arc::new(Nothing), events.clone()));
        let client = Client::connect(endpoint);
        let notices = client.notices();
        let listened = async {
            while !events.has_listeners() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let listened = timeout(Duration::from_secs(5), listened).await;
        listened.expect("the channel is up soon");
        Self {
            notices,
            _client: client,
        }
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            let notice = timeout(Duration::from_secs(5), self.notices.recv()).await;
            if let Notice::Event(event) = notice.expect("an event").unwrap() {
                return event;
            }
        }
    }
}

/// Answers nothing.
#[derive(Debug)]
struct Nothing;

impl Handler<Signal> for Nothing {
    fn handle(&self, _: Request) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        std::future::ready(Err(Fault::new(FaultCode::Unavailable, "not asked for")))
    }
}
