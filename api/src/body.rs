//! What a client sends, as JSON.

use std::{error::Error, time::Duration};

use axum::{
    Json,
    body::{HttpBody as _, to_bytes},
    extract::{FromRequest, Request, rejection::JsonRejection},
};
use http_body_util::LengthLimitError;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{MOST_BODY, problem::Problem, rules};

/// How long a client may take for a body.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes in all that a request brings before anything is done about it, so that nothing waits for a client that
/// sends an octet now and then.
pub(crate) async fn in_time(request: Request) -> Result<Request, Problem> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    match timeout(PATIENCE, to_bytes(body, MOST_BODY)).await {
        Ok(Ok(body)) => Ok(Request::from_parts(parts, body.into())),
        Ok(Err(error)) if is_too_long(&error) => Err(Problem::too_large()),
        Ok(Err(_)) => Err(Problem::bad_body("the body broke off or is malformed")),
        Err(_) => Err(Problem::too_slow(PATIENCE)),
    }
}

/// Whether there was more than may be taken in, and not a fault on the way.
fn is_too_long(error: &axum::Error) -> bool {
    let source = error.source();
    source.is_some_and(<dyn Error>::is::<LengthLimitError>)
}

/// A JSON document, each member known and well formed: what is unknown is refused, so that a misspelt
/// one is not taken for the default.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::media_type()),
            Err(JsonRejection::BytesRejection(error)) if error.status().as_u16() == 413 => {
                Err(Problem::too_large())
            }
            Err(error) => Err(Problem::bad_body(error.body_text())),
        }
    }
}

/// Tells a member that is `null` from one that is not there.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A name that people give to something: 1 to 200 characters.
pub(crate) fn name(name: String) -> Result<String, Problem> {
    rules::name(&name).map_err(Problem::bad_member)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, io};

    use axum::{Router, body::Body, http::StatusCode, middleware::from_fn, routing::post};
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::time::{Instant, sleep};
    use tower_service::Service as _;

    use super::*;
    use crate::middleware;

    async fn answer(body: Body) -> StatusCode {
        let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
        let request = Request::post("/").body(body).unwrap();
        let Ok(response) = router.layer(from_fn(middleware::open)).call(request).await;
        response.status()
    }

    /// The answer to a body of so many octets, one each second.
    async fn slow(octets: usize) -> StatusCode {
        let body = stream::unfold(octets, async |left| {
            let left = left.checked_sub(1)?;
            sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>("x"), left))
        });
        answer(Body::from_stream(body)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_waited_for_so_long_and_no_longer() {
        assert_eq!(slow(29).await, StatusCode::OK);
        let began = Instant::now();
        assert_eq!(slow(100_000).await, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_told_to_be_too_large() {
        let broken = [Ok("{"), Err(io::Error::other("an invalid chunk"))];
        let broken = Body::from_stream(stream::iter(broken));
        assert_eq!(answer(broken).await, StatusCode::BAD_REQUEST);
        let long = answer(vec![b'x'; MOST_BODY + 1].into()).await;
        assert_eq!(long, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer(vec![b'x'; MOST_BODY].into()).await, StatusCode::OK);
    }
}
