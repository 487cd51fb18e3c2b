//! `tandem routes import` and `export`: the routes in the store, in and out as CSV.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use control::{
    Config,
    config::{Choice, Cost, Route},
};
use store::{RoutingDocument, RoutingKind, Store};

use crate::{
    exit::{Exit, Failure},
    node, output,
    progress::Progress,
};

/// Routes of the store that are read at a time.
const PAGE: u32 = 10_000;
/// Errors that are told at most.
const ERRORS: usize = 20;
/// How a line is written.
const LINE: &str = "write PREFIX,TRUNK[,COST[,SHARE]]";

/// Puts the routes of a file in the place of all that the store has.
pub(super) async fn import(
    file: &Path,
    config: Option<&Path>,
    as_json: bool,
) -> Result<Exit, Failure> {
    let shown = file.display().to_string();
    let input: Box<dyn io::Read> = if shown == "-" {
        Box::new(io::stdin())
    } else {
        let opened = fs::File::open(file);
        Box::new(opened.map_err(|error| Failure::io(format!("cannot read {shown}"), &error))?)
    };
    let progress = Progress::counting(format!("lines of {shown} read"));
    let (mut documents, mut errors, mut named) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, line) in (1_u64..).zip(BufReader::new(input).lines()) {
        let line = line.map_err(|error| Failure::io(format!("cannot read {shown}"), &error))?;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match read(line) {
            Ok(route) => {
                named.extend(route.trunks.iter().map(|choice| choice.trunk.clone()));
                documents.push(document(number, &route)?);
            }
            Err(error) => errors.push(format!("{shown}:{number}: {error}")),
        }
        progress.one_more();
    }
    progress.now("writing");
    if !errors.is_empty() {
        for error in errors.iter().take(ERRORS) {
            eprintln!("tandem: {}", output::printable(error));
        }
        let count = u64::try_from(errors.len()).unwrap_or(u64::MAX);
        let lines = output::count(count, "line");
        return Err(Failure::other(format!(
            "{lines} cannot be read; no route was changed"
        )));
    }
    let (store, config) = open(config).await?;
    known(&config, &store, &named).await?;
    store
        .replace_routing(RoutingKind::Route, &documents)
        .await
        .map_err(|error| Failure::other(error.to_string()))?;
    drop(progress);
    store.close().await;
    let count = documents.len();
    let words = format!("{count} routes are in the store");
    output::done(as_json, &serde_json::json!({ "routes": count }), words)
}

/// Writes the store's routes to standard output.
pub(super) async fn export(config: Option<&Path>) -> Result<Exit, Failure> {
    let (store, _) = open(config).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut after = String::new();
    loop {
        let page = store.routing(RoutingKind::Route, &after, PAGE).await;
        let page = page.map_err(|error| Failure::other(error.to_string()))?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        for document in &page {
            out.write_all(lines(document)?.as_bytes())
                .map_err(Failure::Output)?;
        }
    }
    out.flush().map_err(Failure::Output)?;
    Ok(Exit::Done)
}

async fn open(config: Option<&Path>) -> Result<(Store, Config), Failure> {
    let config = node::load(config)?.1.config;
    let store = Store::open(&config.store.url, &config.node.data_dir).await;
    let store = store.map_err(|error| Failure::other(error.to_string()))?;
    Ok((store, config))
}

/// Whether every trunk that is named exists, in the file or in the store.
async fn known(config: &Config, store: &Store, named: &BTreeSet<String>) -> Result<(), Failure> {
    for name in named {
        let here = config.trunks.iter().any(|trunk| trunk.name == *name);
        if here {
            continue;
        }
        let there = store.routing_document(RoutingKind::Trunk, name).await;
        let there = there.map_err(|error| Failure::other(error.to_string()))?;
        if there.is_none() {
            return Err(Failure::other(format!(
                "there is no trunk '{name}', neither in the file nor in the store; no route was changed"
            )));
        }
    }
    Ok(())
}

/// A route of a line.
fn read(line: &str) -> Result<Route, String> {
    let (prefix, trunk) = line.split_once(',').ok_or(LINE)?;
    let prefix = prefix.trim();
    let is_dialled = |b: u8| b.is_ascii_alphanumeric() || b"+*#".contains(&b);
    if prefix.len() > 63 || !prefix.bytes().all(is_dialled) {
        return Err(format!("'{prefix}' is no prefix"));
    }
    let mut route = Route::to(prefix, "");
    route.trunks = vec![choice(trunk)?];
    Ok(route)
}

/// A trunk of a route: `TRUNK[,COST[,SHARE]]`.
pub(super) fn choice(text: &str) -> Result<Choice, String> {
    let mut fields = text.split(',').map(str::trim);
    let trunk = fields
        .next()
        .filter(|trunk| !trunk.is_empty())
        .ok_or(LINE)?;
    let (cost, share) = (fields.next(), fields.next());
    if fields.next().is_some() {
        return Err(LINE.to_owned());
    }
    let cost = cost.filter(|cost| !cost.is_empty()).map(|cost| {
        let number = cost
            .parse::<f64>()
            .map_err(|_| format!("'{cost}' is no cost"))?;
        Cost::try_from(number).map_err(|error| error.to_string())
    });
    let share = share.filter(|share| !share.is_empty());
    let share = share.map(|share| share.parse().map_err(|_| format!("'{share}' is no share")));
    Ok(Choice {
        trunk: trunk.to_owned(),
        cost: cost.transpose()?.unwrap_or_default(),
        share: share.transpose()?,
    })
}

fn document(line: u64, route: &Route) -> Result<RoutingDocument, Failure> {
    let document = serde_json::to_string(route);
    let document = document.map_err(|error| Failure::other(error.to_string()))?;
    // What was written first comes first.
    let id = format!("csv-{line:012}");
    Ok(RoutingDocument::new(id, document))
}

/// The lines of a route: one for each of its trunks.
fn lines(document: &RoutingDocument) -> Result<String, Failure> {
    let route: Route = serde_json::from_str(&document.document)
        .map_err(|error| Failure::other(format!("route '{}': {error}", document.id)))?;
    let mut text = String::new();
    for choice in &route.trunks {
        let share = choice
            .share
            .map(|share| format!(",{share}"))
            .unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{},{},{}{share}",
            route.prefix, choice.trunk, choice.cost
        );
    }
    if route.is_conditional() {
        text = format!(
            "# with conditions, which CSV does not hold:\n# {}",
            text.replace('\n', "\n# ")
        );
        text.truncate(text.trim_end_matches("# ").len());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_in_and_out() {
        for (line, out) in [
            ("+49, a", "+49,a,0\n"),
            ("49,a,0.0105", "49,a,0.0105\n"),
            (",a,1,70", ",a,1,70\n"),
        ] {
            let document = document(1, &read(line).unwrap()).unwrap();
            assert_eq!(lines(&document).unwrap(), out);
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        for (line, part) in [
            ("49", "PREFIX,TRUNK"),
            ("49,", "PREFIX,TRUNK"),
            ("49,a,x", "'x' is no cost"),
            ("49,a,-1", "a cost from 0"),
            ("49,a,1,-5", "'-5' is no share"),
            ("4 9,a", "'4 9' is no prefix"),
            ("49,a,1,2,3", "PREFIX,TRUNK"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
