//! What the API asks of signaling.

use control::{
    FaultCode,
    channel::RequestError,
    signal::{Request, Response},
};

use crate::{State, problem::Problem};

impl State {
    /// signaling's answer, or the problem that its refusal is to the client.
    pub(crate) async fn ask(&self, request: Request) -> Result<Response, Problem> {
        let error = match self.signal.request(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let RequestError::Fault(fault) = &error else {
            return Err(Problem::unavailable("signaling", &error));
        };
        Err(match fault.code {
            FaultCode::NotFound => Problem::not_found(&fault.message),
            FaultCode::Invalid => Problem::refused(&fault.message),
            FaultCode::Party => Problem::party(&fault.message),
            FaultCode::Conflict => Problem::conflict(&fault.message),
            FaultCode::Changed => Problem::changed(),
            FaultCode::Exhausted | FaultCode::Unavailable => {
                Problem::unavailable("signaling", &error)
            }
            FaultCode::Unsupported | FaultCode::Internal => Problem::internal(&fault.message),
        })
    }
}

/// signaling answered something else than it was asked.
pub(crate) fn unexpected(response: &Response) -> Problem {
    Problem::internal(&format!("signaling answered {response:?}"))
}
