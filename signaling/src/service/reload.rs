//! What mediad makes of a reload, which has the same file to read.

use control::{
    Client,
    channel::RequestError,
    media::{self, Media},
    signal::ReloadReport,
};

/// Has mediad read its file again, and adds what it makes of it to the `report`; `is_new` where there is something for
/// it to read. Tells whether signaling is to go by the new `[media]`: not while mediad goes by the one before, or calls
/// would be told of addresses and times that are not so.
pub(super) async fn media(client: &Client<Media>, report: &mut ReloadReport, is_new: bool) -> bool {
    if !client.is_up() {
        if is_new {
            let words = "mediad is away: what is new in [media] takes effect when it starts";
            report.warnings.push(words.to_owned());
        }
        return true;
    }
    let told = match client.request(media::Request::Reload).await {
        Ok(media::Response::Reloaded(told)) => told,
        Ok(_) => {
            let words = "mediad has answered something else than what it has taken over: run daemons of one release";
            report.warnings.push(words.to_owned());
            return true;
        }
        Err(RequestError::Fault(fault)) => {
            let reasons = fault.message.lines().collect::<Vec<_>>().join("; ");
            report.changed.retain(|key| !key.starts_with("media."));
            report.warnings.push(format!(
                "mediad goes on with the [media] that it has ({reasons}), and so does signaling: where mediad's file is \
                 good, reload again"
            ));
            return false;
        }
        // It has gone since, or is about to: the next one starts with its file.
        Err(error) => {
            report.warnings.push(format!(
                "mediad has not told what it makes of the new [media] ({error}): see its log, and reload again once it \
                 answers"
            ));
            return true;
        }
    };
    let lists = [
        (&mut report.changed, told.changed),
        (&mut report.restart, told.restart),
    ];
    for (known, told) in lists {
        for key in told {
            if !known.contains(&key) {
                known.push(key);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use control::{
        Endpoint, Fault, FaultCode,
        channel::{Events, Handler, serve},
        media::{Reloaded, Request, Response},
    };

    use super::*;

    /// A mediad that answers this.
    struct Mediad(Result<Reloaded, Fault>);

    impl Handler<Media> for Mediad {
        fn handle(
            &self,
            _: Request,
        ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
            let answer = self.0.clone().map(Response::Reloaded);
            async move { answer }
        }
    }

    /// The report of a mediad that answers so, and whether its `[media]` is signaling's too.
    async fn told(answer: Result<Reloaded, Fault>) -> (ReloadReport, bool) {
        let (listener, endpoint) = Endpoint::memory();
        tokio::spawn(serve(listener, Arc::new(Mediad(answer)), Events::new()));
        let client = Client::connect(endpoint);
        while !client.is_up() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut report = ReloadReport {
            changed: vec!["trunks".to_owned(), "media.one_stream".to_owned()],
            ..ReloadReport::default()
        };
        let is_taken = media(&client, &mut report, true).await;
        (report, is_taken)
    }

    #[tokio::test]
    async fn signaling_goes_by_the_new_media_where_mediad_does() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (report, is_taken) = told(Ok(Reloaded {
            changed: names(&["media.one_stream", "media.timeout"]),
            restart: names(&["media.ports"]),
        }))
        .await;
        assert!(is_taken && report.warnings.is_empty());
        assert_eq!(
            report.changed,
            ["trunks", "media.one_stream", "media.timeout"]
        );
        assert_eq!(report.restart, ["media.ports"]);

        let (report, is_taken) = told(Err(Fault::new(FaultCode::Invalid, "a\nb"))).await;
        assert!(!is_taken);
        assert_eq!(report.changed, ["trunks"]);
        let warning = report.warnings.join("\n");
        assert!(
            warning.contains("(a; b), and so does signaling"),
            "{warning}"
        );
    }
}
