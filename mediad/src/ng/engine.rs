//! What the front asks of the engine, over the control channel.

use control::{
    Client, FaultCode,
    channel::RequestError,
    media::{
        Create, Family, Handling, Leg, Local, Media, Modify, Monitor, Mute, Record, Remote,
        Request, Response, SessionId, SessionInfo, SessionStats, Unmonitor, Voice, VoiceOrder,
    },
};

/// What [`Create::owner`] says of the front's sessions.
const OWNER: &str = "ng";

/// Why the engine did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// It would not, or could not be asked.
    #[error("{0}")]
    Request(#[from] RequestError),
    /// It answered something else.
    #[error("the media engine answered out of turn")]
    OutOfTurn,
}

impl EngineError {
    /// It has no room left, or drains or stops: another engine may take the call.
    pub(super) fn is_full(&self) -> bool {
        let is_so = |code| matches!(code, FaultCode::Exhausted | FaultCode::Unavailable);
        matches!(self, Self::Request(RequestError::Fault(fault)) if is_so(fault.code))
    }

    /// There is no such session (any more).
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Request(RequestError::Fault(fault)) if fault.code == FaultCode::NotFound)
    }
}

type Result<T> = std::result::Result<T, EngineError>;

/// Opens a session; the legs in the order of A and B. `apart`: A only sends, to nobody as yet. `known`: a session that its
/// call has already.
pub(super) async fn create(
    media: &Client<Media>,
    families: [Family; 2],
    [a, b]: [Option<Remote>; 2],
    [of_a, of_b]: [Handling; 2],
    apart: bool,
    known: Option<SessionId>,
) -> Result<SessionInfo> {
    let leg = |family, remote, handling| Leg {
        family,
        port: None,
        remote,
        muted: false,
        handling,
    };
    let create = Create {
        id: SessionId(rand::random()),
        owner: OWNER.to_owned(),
        a: leg(families[0], a, of_a),
        b: leg(families[1], b, of_b),
        apart,
    };
    let id = create.id;
    let request = match known {
        Some(known) => Request::Beside(known, create),
        None => Request::Create(create),
    };
    let created = media.request(request).await;
    if matches!(created, Err(RequestError::Timeout)) {
        // It may be made yet, and nobody would know of it.
        let media = media.clone();
        tokio::spawn(async move { media.request(Request::Delete(id)).await });
    }
    session(created?)
}

/// Tells a session of new descriptions, and how its legs are treated from now on, where that is new.
pub(super) async fn modify(
    media: &Client<Media>,
    id: SessionId,
    [a, b]: [Option<Remote>; 2],
    handling: [Option<Handling>; 2],
) -> Result<SessionInfo> {
    let modify = Modify { id, a, b, handling };
    session(media.request(Request::Modify(modify)).await?)
}

/// Says whose media is handed on.
pub(super) async fn mute(media: &Client<Media>, id: SessionId, [a, b]: [bool; 2]) -> Result<()> {
    session(media.request(Request::Mute(Mute { id, a, b })).await?).map(drop)
}

/// Lets somebody hear a party, or says where; where it comes from.
pub(super) async fn monitor(media: &Client<Media>, monitor: Monitor) -> Result<Local> {
    match media.request(Request::Monitor(monitor)).await? {
        Response::Monitor(local) => Ok(local),
        _ => Err(EngineError::OutOfTurn),
    }
}

/// Lets somebody hear a party no longer.
pub(super) async fn unmonitor(media: &Client<Media>, monitor: Unmonitor) -> Result<()> {
    match media.request(Request::Unmonitor(monitor)).await? {
        Response::Gone => Ok(()),
        _ => Err(EngineError::OutOfTurn),
    }
}

/// Plays, or stops what is played.
pub(super) async fn voice(
    media: &Client<Media>,
    id: SessionId,
    orders: Vec<VoiceOrder>,
) -> Result<()> {
    session(media.request(Request::Voice(Voice { id, orders })).await?).map(drop)
}

/// Records a session as this says, or no longer; the file.
pub(super) async fn record(media: &Client<Media>, record: Record) -> Result<Option<String>> {
    match media.request(Request::Record(record)).await? {
        Response::Recording(path) => Ok(path),
        _ => Err(EngineError::OutOfTurn),
    }
}

/// What a session has carried so far.
pub(super) async fn query(media: &Client<Media>, id: SessionId) -> Result<SessionStats> {
    match media.request(Request::Query(id)).await? {
        Response::Stats(stats) => Ok(*stats),
        _ => Err(EngineError::OutOfTurn),
    }
}

/// Closes a session; what it carried, if it was there.
pub(super) async fn delete(media: &Client<Media>, id: SessionId) -> Result<Option<SessionStats>> {
    match media.request(Request::Delete(id)).await? {
        Response::Stats(stats) => Ok(Some(*stats)),
        Response::Gone => Ok(None),
        _ => Err(EngineError::OutOfTurn),
    }
}

/// The front's sessions.
pub(super) async fn list(media: &Client<Media>) -> Result<Vec<SessionId>> {
    let owner = OWNER.to_owned();
    match media.request(Request::List { owner }).await? {
        Response::Sessions(sessions) => Ok(sessions),
        _ => Err(EngineError::OutOfTurn),
    }
}

/// The metrics page.
pub(super) async fn metrics(media: &Client<Media>) -> Result<String> {
    match media.request(Request::Metrics).await? {
        Response::Metrics(page) => Ok(page),
        _ => Err(EngineError::OutOfTurn),
    }
}

fn session(response: Response) -> Result<SessionInfo> {
    match response {
        Response::Session(session) => Ok(session),
        _ => Err(EngineError::OutOfTurn),
    }
}
