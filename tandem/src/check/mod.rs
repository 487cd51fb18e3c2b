//! `tandem check-config`: what is wrong with a configuration, told before it is run.

mod machine;

use std::path::PathBuf;

use api::AdminKey;
use clap::Args;
use control::config::ConfigError;
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    node, output,
};

/// Checks a configuration: its text, and as far as that can be told without starting, this machine.
#[derive(Args, Debug)]
#[command(
    after_help = "Errors stop a start, warnings do not. Whether addresses, devices and files are there is judged on the \
machine on which the check runs, and told as warnings: it may be another one than the node's.
Exit code 0: it can be used (maybe with warnings); 1: it cannot.

Examples:
  tandem check-config /etc/tandem/tandem.toml
  tandem check-config tandem.toml --json | jq -r '.errors[]'"
)]
pub(crate) struct CheckArgs {
    /// The file
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Print JSON: {"ok": true, "errors": [], "warnings": []}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let verdict = match node::check(&args.path) {
        Ok(loaded) => {
            let mut warnings = loaded.warnings;
            warnings.extend(machine::warnings(&loaded.config));
            // Which URLs and which keys there are is the store's and the API's to say.
            let store = store::Store::check_url(&loaded.config.store.url).err();
            let key = loaded.config.api.admin_key.as_deref().map(AdminKey::new);
            let key = key.and_then(Result::err);
            let errors = store.map(|error| error.to_string()).into_iter();
            let errors = errors.chain(key.map(|error| error.to_string()));
            Verdict::new(errors.collect(), warnings)
        }
        Err(ConfigError::Invalid(errors)) => Verdict::new(errors, Vec::new()),
        Err(error) => Verdict::new(vec![error.to_string()], Vec::new()),
    };
    if args.json {
        output::json(&verdict)?;
    } else {
        output::line(text(&verdict, &args.path.display().to_string()))?;
    }
    Ok(if verdict.ok { Exit::Done } else { Exit::Failed })
}

/// What is said of a configuration.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Verdict {
    fn new(errors: Vec<String>, warnings: Vec<String>) -> Self {
        Self {
            ok: errors.is_empty(),
            errors,
            warnings,
        }
    }
}

fn text(verdict: &Verdict, path: &str) -> String {
    let mut lines = Vec::new();
    lines.extend(verdict.errors.iter().map(|line| format!("error: {line}")));
    lines.extend(
        verdict
            .warnings
            .iter()
            .map(|line| format!("warning: {line}")),
    );
    lines.push(match (verdict.errors.len(), verdict.warnings.len()) {
        (0, 0) => format!("{path} is good"),
        (0, _) => format!("{path} can be used"),
        (1, _) => format!("{path} cannot be used: 1 error"),
        (errors, _) => format!("{path} cannot be used: {errors} errors"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_first_and_are_counted() {
        let verdict = Verdict::new(vec!["a".into(), "b".into()], vec!["c".into()]);
        assert_eq!(
            text(&verdict, "x.toml"),
            "error: a\nerror: b\nwarning: c\nx.toml cannot be used: 2 errors"
        );
        let verdict = Verdict::new(Vec::new(), vec!["c".into()]);
        assert_eq!(text(&verdict, "x.toml"), "warning: c\nx.toml can be used");
    }
}
