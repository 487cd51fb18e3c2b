//! Sessions by the control channel: one client, one connection, requests side by side.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use control::{
    Client, Endpoint,
    channel::RequestError,
    media::{Create, Family, Handling, Leg, Media, Request, Response, SessionId},
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{BenchError, Plan};

/// How long mediad may take to serve its socket.
const START: Duration = Duration::from_secs(10);

/// Pairs of create and delete a second.
pub(super) fn measure(plan: &Plan, socket: &Path) -> Result<f64, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = connect(socket).await?;
        let (pairs, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let workers: Vec<_> = (0..plan.window)
            .map(|worker| {
                let (client, pairs, stop) = (client.clone(), pairs.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut number = 0_u64;
                    while !stop.load(Relaxed) {
                        number += 1;
                        pair(&client, worker, number).await?;
                        pairs.fetch_add(1, Relaxed);
                    }
                    Ok::<_, BenchError>(())
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (before, begun) = (pairs.load(Relaxed), Instant::now());
        tokio::time::sleep(plan.time).await;
        #[expect(clippy::cast_precision_loss, reason = "a count of some seconds")]
        let rate = (pairs.load(Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        stop.store(true, Relaxed);
        for worker in workers {
            worker
                .await
                .map_err(|error| BenchError::Run(error.to_string()))??;
        }
        Ok(rate)
    })
}

/// Makes the sessions that are up all the while.
pub(super) fn hold(plan: &Plan, socket: &Path) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = connect(socket).await?;
        let numbers = stream::iter(1..=u64::from(plan.live)).map(Ok);
        let made = numbers.try_for_each_concurrent(usize::from(plan.window), |number| {
            let create = session(u16::MAX, number);
            let client = &client;
            async move { client.request(Request::Create(create)).await.map(drop) }
        });
        made.await.map_err(failed)
    })
}

async fn connect(socket: &Path) -> Result<Client<Media>, BenchError> {
    let end = Instant::now() + START;
    loop {
        match Client::connect_now(Endpoint::Unix(socket.to_owned())).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > end => {
                return Err(BenchError::Run(error.to_string()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn pair(client: &Client<Media>, worker: u16, number: u64) -> Result<(), BenchError> {
    let create = session(worker, number);
    let id = create.id;
    client
        .request(Request::Create(create))
        .await
        .map_err(failed)?;
    match client.request(Request::Delete(id)).await.map_err(failed)? {
        Response::Stats(_) => Ok(()),
        other => Err(BenchError::Run(format!(
            "a delete was answered with {other:?}"
        ))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn failed(error: RequestError) -> BenchError {
    BenchError::Run(error.to_string())
}

/// A session of which nothing is known yet.
fn session(worker: u16, number: u64) -> Create {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&worker.to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    let id = SessionId(id);
    let leg = || Leg {
        family: Family::V4,
        port: None,
        remote: None,
        muted: false,
        handling: Handling::default(),
    };
    Create {
        id,
        owner: "bench".to_owned(),
        a: leg(),
        b: leg(),
        apart: false,
    }
}
