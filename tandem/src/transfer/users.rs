//! `tandem users import`: users and their passwords from CSV.

use std::{collections::HashMap, fs, io, path::PathBuf};

use clap::Args;
use control::config::{self, Forward};
use serde_json::Value;
use store::{Timestamp, User};

use super::{finish, plan::Plan, told};
use crate::{
    exit::{Exit, Failure},
    node::{Desk, NodeArgs},
    progress::Progress,
};

/// Errors that are told at most.
const ERRORS: usize = 20;

/// Adds the users of a CSV file, or gives them its passwords.
#[derive(Args, Debug)]
#[command(
    after_help = "A line is USER,DOMAIN,PASSWORD[,NAME] (RFC 4180: what holds a comma is quoted); one that begins with '#' and an
empty one do not count. What else is known of users who are there stays, and so do their registrations. All of
it is checked before any is stored, in one transaction; only hashes of the passwords are kept.

Examples:
  tandem users import users.csv --dry-run
  pass show users | tandem users import -"
)]
pub(crate) struct UsersImportArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Check it, and say what would change
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {"dry_run": ..., "users": {"new": N, "changed": N, "same": N}}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn import_users(args: UsersImportArgs) -> Result<Exit, Failure> {
    let users = read(&args.file)?;
    let desk = Desk::open(&args.node).await?;
    let progress = Progress::new("comparing with the store");
    let named: Vec<_> = users
        .iter()
        .map(|user| (user.domain.as_str(), user.name.as_str()))
        .collect();
    let before = desk.store.users(&named).await?;
    let before: HashMap<_, _> = before
        .into_iter()
        .map(|user| ((user.domain.clone(), user.name.clone()), user))
        .collect();
    let users = users.into_iter().map(|user| {
        let before = before.get(&(user.domain.clone(), user.name.clone()));
        before.map_or_else(|| user.clone(), |before| with_password(before, &user))
    });
    let users = users.collect();
    let mut plan = Plan::new(&desk.store).await?;
    plan.users(users, &desk.store).await?;
    plan.check(&desk.config, &desk.store).await?;
    if !args.dry_run {
        progress.now("writing");
        plan.write(&desk.store).await?;
    }
    drop(progress);
    let counts = told(&plan);
    if !args.dry_run {
        desk.api.record_import(Value::Object(counts.clone())).await;
    }
    finish(desk, &plan, counts, args.dry_run, args.json, &args.node).await
}

/// The user of before with another password, and with another name where there is one.
fn with_password(before: &User, user: &User) -> User {
    User {
        ha1_md5: user.ha1_md5.clone(),
        ha1_sha256: user.ha1_sha256.clone(),
        ha1_sha512: user.ha1_sha512.clone(),
        display: user.display.clone().or_else(|| before.display.clone()),
        ..before.clone()
    }
}

/// The users of a file, a line at a time.
fn read(file: &std::path::Path) -> Result<Vec<User>, Failure> {
    let shown = file.display().to_string();
    let input: Box<dyn io::Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => {
            let opened = fs::File::open(file);
            Box::new(opened.map_err(|error| Failure::io(format!("cannot read {shown}"), &error))?)
        }
    };
    let mut lines = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(input);
    let progress = Progress::counting(format!("lines of {shown} read"));
    let (mut users, mut errors) = (Vec::new(), Vec::new());
    let now = Timestamp::now();
    let mut line = csv::StringRecord::new();
    loop {
        match lines.read_record(&mut line) {
            Ok(false) => break,
            Ok(true) => {
                let number = line.position().map_or(0, csv::Position::line);
                match user(&line, now) {
                    Ok(user) => users.push(user),
                    Err(reason) => errors.push(format!("{shown}:{number}: {reason}")),
                }
            }
            Err(error) => errors.push(format!("{shown}: {error}")),
        }
        progress.one_more();
        if errors.len() >= ERRORS {
            break;
        }
    }
    drop(progress);
    if errors.is_empty() {
        return Ok(users);
    }
    errors.push("nothing was changed".to_owned());
    Err(Failure::other(errors.join("\n")))
}

fn user(line: &csv::StringRecord, now: Timestamp) -> Result<User, String> {
    let fields: Vec<_> = line.iter().collect();
    let (name, domain, password, display) = match fields.as_slice() {
        [name, domain, password] => (name, domain, password, None),
        [name, domain, password, display] => (name, domain, password, Some(*display)),
        _ => return Err("write USER,DOMAIN,PASSWORD[,NAME]".to_owned()),
    };
    let user = config::User {
        name: name.trim().to_owned(),
        domain: Some(domain.trim().to_owned()),
        // What is around it may be a part of it.
        password: Some((*password).to_owned()),
        display: display
            .filter(|display| !display.is_empty())
            .map(str::to_owned),
        enabled: true,
        forward: Forward::default(),
        ring_timeout: None,
        max_contacts: None,
    };
    let mut errors = Vec::new();
    user.check(None, &mut errors);
    match errors.is_empty() {
        true => signaling::user_row(&user, None, now).ok_or_else(|| "it has no domain".to_owned()),
        false => Err(errors.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(text: &str) -> Result<User, String> {
        let fields = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_bytes())
            .records()
            .next();
        user(&fields.unwrap().unwrap(), Timestamp::from_millis(0))
    }

    #[test]
    fn a_line_is_a_user_whose_password_is_kept_as_hashes() {
        let zoe = read_line("zoe,X.test,\"a,b \"\"c\",Zoe\n").unwrap();
        assert_eq!((zoe.name.as_str(), zoe.domain.as_str()), ("zoe", "x.test"));
        assert_eq!(zoe.display.as_deref(), Some("Zoe"));
        // printf 'zoe:x.test:a,b "c' | md5sum
        assert_eq!(
            zoe.ha1_md5.as_deref(),
            Some("7bb2b052fdfb77576fda487ab4cc3eb1")
        );
        for (line, part) in [
            ("zoe,x.test", "USER,DOMAIN,PASSWORD"),
            ("zoe,x.test,", "password is empty"),
            ("zoe,x test,p", "is no domain"),
            ("z:e,x.test,p", "name = "),
            ("zoe,x.test,p,Z,more", "USER,DOMAIN,PASSWORD"),
        ] {
            let error = read_line(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
