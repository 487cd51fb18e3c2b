//! `tandem reload`: take over what the configuration and the store say now.

use clap::Args;
use control::{
    channel::RequestError,
    signal::{ReloadReport, Request, Response},
};
use serde::Serialize;

use super::{Node, NodeArgs, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, printable},
};

/// Makes a node read its configuration and the store again, and take over what can be while it runs.
#[derive(Args, Debug)]
#[command(
    after_help = "All of the file and the store is checked first; where anything is wrong, all of it is told and nothing
is taken over. Trunks, routes, numbers, groups, blocks and limits take effect at once and together; calls
that are up keep what they began with. So do most keys of [sip], the certificates, and users that are new
in the file; users that the store has are changed by 'tandem users'.
What needs a restart, such as sip.listen, is named. SIGHUP does the same, and tells it in the log. What
is changed in the store is also taken over by itself, within seconds.
Exit code 0: it was taken over (maybe but for keys that need a restart); 1: it was not.

Examples:
  tandem check-config /etc/tandem/tandem.toml && tandem reload
  tandem reload --json | jq -r '.restart[]'"
)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Print JSON: {"ok": ..., "routing": ..., "changed": [], "restart": [], "warnings": [], "errors": []}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn reload(args: ReloadArgs) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let mut answer = node.ask(Request::Reload).await;
    if matches!(answer, Ok(Response::Reloading)) {
        eprintln!("tandem: the node is reading; calls go on");
    }
    // Each of these waits at the node for some seconds.
    while matches!(answer, Ok(Response::Reloading)) {
        answer = node.ask(Request::ReloadOutcome).await;
    }
    match answer {
        Ok(Response::Reloaded(report)) => {
            if args.json {
                output::json(&View::good(&report))?;
            } else {
                output::line(text(&report))?;
            }
            Ok(Exit::Done)
        }
        Ok(other) => Err(unexpected(&other)),
        Err(RequestError::Fault(fault)) => {
            let errors: Vec<_> = fault.message.lines().collect();
            if args.json {
                output::json(&View::bad(errors))?;
                return Ok(Exit::Failed);
            }
            for error in errors {
                eprintln!("error: {}", printable(error));
            }
            eprintln!("tandem: not reloaded; the node goes on with what it had");
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    }
}

fn text(report: &ReloadReport) -> String {
    let warnings = report.warnings.iter();
    let mut lines: Vec<_> = warnings
        .map(|warning| format!("warning: {}", printable(warning)))
        .collect();
    match report.changed.is_empty() {
        true => lines.push("nothing has changed in the file that takes effect now".to_owned()),
        false => lines.push(format!("in effect: {}", report.changed.join(", "))),
    }
    let restarts = report.restarts().into_iter();
    lines.extend(restarts.map(|keys| format!("needs a restart of {keys}")));
    lines.push(format!("routing by {}", report.routing));
    lines.join("\n")
}

/// What came of it, as scripts read it.
#[derive(Default, Serialize)]
struct View<'a> {
    ok: bool,
    routing: Option<&'a str>,
    changed: &'a [String],
    restart: &'a [String],
    warnings: &'a [String],
    errors: Vec<&'a str>,
}

impl<'a> View<'a> {
    fn good(report: &'a ReloadReport) -> Self {
        Self {
            ok: true,
            routing: Some(&report.routing),
            changed: &report.changed,
            restart: &report.restart,
            warnings: &report.warnings,
            errors: Vec::new(),
        }
    }

    fn bad(errors: Vec<&'a str>) -> Self {
        Self {
            errors,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_named() {
        let mut report = ReloadReport {
            routing: "1 trunks".to_owned(),
            changed: vec!["trunks".to_owned(), "sip.defence".to_owned()],
            restart: ["sip.listen", "media.ports", "sip.t1"]
                .map(str::to_owned)
                .to_vec(),
            warnings: vec!["odd".to_owned()],
            whole: true,
        };
        assert_eq!(
            text(&report),
            "warning: odd\nin effect: trunks, sip.defence\nneeds a restart of the node: sip.listen, \
             media.ports, sip.t1\nrouting by 1 trunks"
        );
        report.whole = false;
        assert_eq!(
            report.restarts(),
            ["signaling: sip.listen, sip.t1", "mediad: media.ports"]
        );
        report = ReloadReport {
            routing: report.routing,
            ..ReloadReport::default()
        };
        assert_eq!(
            text(&report),
            "nothing has changed in the file that takes effect now\nrouting by 1 trunks"
        );
    }
}
