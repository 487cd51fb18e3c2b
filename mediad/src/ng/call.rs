//! One call of the NG protocol: its tags, and a session of the engine for each `m=` line.

use control::{
    Client,
    channel::RequestError,
    media::{
        Create, Family, Handling, Leg, Media, Modify, Remote, Request, Response, SessionId,
        SessionInfo, SessionStats, Side,
    },
};

/// What [`Create::owner`] says of the front's sessions.
pub(super) const OWNER: &str = "ng";

/// A call, from its first offer to its deletion.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// The first offerer's tag.
    a: Vec<u8>,
    /// The other party's, once it answered.
    b: Option<Vec<u8>>,
    /// By index of the `m=` line; `None` for one that was refused all along.
    streams: Vec<Option<SessionInfo>>,
}

/// Why a call could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The tags are not those of the call.
    #[error("the tags are not those of this call")]
    Tags,
    /// An answer has more streams than its offer.
    #[error("the answer has more m= lines than the offer")]
    MoreStreams,
    /// The engine would not.
    #[error("{0}")]
    Engine(#[from] RequestError),
    /// The engine answered something else than what it was asked for.
    #[error("the engine answered out of turn")]
    OutOfTurn,
}

impl Call {
    /// A call whose first offer came with `tag`.
    pub(super) fn new(tag: &[u8]) -> Self {
        Self {
            a: tag.to_vec(),
            ..Self::default()
        }
    }

    /// Whether the first offer has come through.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The sessions.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.streams.iter().flatten().map(|session| session.id)
    }

    /// Takes the offer of the party `from`; `other` is the family of the address that the other party
    /// is to see. Returns what to tell that party, by stream.
    pub(super) async fn offer(
        &mut self,
        media: &Client<Media>,
        from: &[u8],
        remotes: Vec<Option<Remote>>,
        other: Option<Family>,
    ) -> Result<(Side, Vec<Option<SessionInfo>>), CallError> {
        let side = self.side(from).ok_or(CallError::Tags)?;
        self.streams
            .resize(remotes.len().max(self.streams.len()), None);
        let mut told = Vec::with_capacity(remotes.len());
        for (index, remote) in remotes.into_iter().enumerate() {
            let Some(remote) = remote else {
                told.push(None);
                continue;
            };
            let session = match &self.streams[index] {
                Some(session) => modify(media, session.id, side, remote).await?,
                None => create(media, side, remote, other).await?,
            };
            self.streams[index] = Some(session.clone());
            told.push(Some(session));
        }
        Ok((side.other(), told))
    }

    /// Takes the answer of the party `to` to an offer of `from`. Returns what to tell the offerer.
    pub(super) async fn answer(
        &mut self,
        media: &Client<Media>,
        from: &[u8],
        to: &[u8],
        remotes: Vec<Option<Remote>>,
    ) -> Result<(Side, Vec<Option<SessionInfo>>), CallError> {
        let offerer = self.side(from).ok_or(CallError::Tags)?;
        if remotes.len() > self.streams.len() {
            return Err(CallError::MoreStreams);
        }
        if offerer == Side::A {
            // A forked call may be answered by more than one; the last one has the media.
            self.b = Some(to.to_vec());
        }
        let mut told = Vec::with_capacity(remotes.len());
        for (index, remote) in remotes.into_iter().enumerate() {
            told.push(match (&self.streams[index], remote) {
                (Some(session), Some(remote)) => {
                    Some(modify(media, session.id, offerer.other(), remote).await?)
                }
                _ => None,
            });
        }
        Ok((offerer, told))
    }

    /// Frees the call's sessions and returns what they carried.
    pub(super) async fn delete(
        &self,
        media: &Client<Media>,
    ) -> Result<Vec<SessionStats>, CallError> {
        let mut stats = Vec::new();
        for id in self.sessions() {
            if let Response::Stats(session) = media.request(Request::Delete(id)).await? {
                stats.push(session);
            }
        }
        Ok(stats)
    }

    /// Whether `tag` is one of the call's.
    pub(super) fn has(&self, tag: &[u8]) -> bool {
        self.side(tag).is_some()
    }

    fn side(&self, tag: &[u8]) -> Option<Side> {
        if tag == self.a {
            return Some(Side::A);
        }
        (self.b.as_deref() == Some(tag)).then_some(Side::B)
    }
}

async fn create(
    media: &Client<Media>,
    side: Side,
    remote: Remote,
    other: Option<Family>,
) -> Result<SessionInfo, CallError> {
    let family = Family::of(&remote.rtp);
    let near = Leg {
        family,
        port: None,
        remote: Some(remote),
        muted: false,
        handling: Handling::default(),
    };
    let far = Leg {
        family: other.unwrap_or(family),
        port: None,
        remote: None,
        muted: false,
        handling: Handling::default(),
    };
    let (a, b) = match side {
        Side::A => (near, far),
        Side::B => (far, near),
    };
    let create = Create {
        id: SessionId(rand::random()),
        owner: OWNER.to_owned(),
        a,
        b,
        apart: false,
    };
    session(media.request(Request::Create(create)).await?)
}

async fn modify(
    media: &Client<Media>,
    id: SessionId,
    side: Side,
    remote: Remote,
) -> Result<SessionInfo, CallError> {
    let (a, b) = match side {
        Side::A => (Some(remote), None),
        Side::B => (None, Some(remote)),
    };
    session(
        media
            .request(Request::Modify(Modify {
                id,
                a,
                b,
                handling: [None, None],
            }))
            .await?,
    )
}

fn session(response: Response) -> Result<SessionInfo, CallError> {
    match response {
        Response::Session(session) => Ok(session),
        _ => Err(CallError::OutOfTurn),
    }
}
